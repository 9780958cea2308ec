//! Which resources a verb is for: those that were typed, those on standard input (`-`), or all that a list shows (`--all`).
//!
//! - What is read is held to a largest size: a slip of the pen must not be taken for ids.
//! - No ids on standard input are no failure: nothing is done to none of them, and that is said.
//! - `--all` without a condition is refused without `--yes`, as one who forgot the condition would lose everything; so is a condition that
//!   would not be one (see [`conditions`]).

use super::verbs::LIST_MAX;
use super::{Query, conditions};
use crate::cli::Which;
use crate::client::Session;
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::kind::Kind;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, Read};

/// What stands for the ids on standard input.
const STDIN: &str = "-";
/// How many ids are read at most: as many as a list shows.
const READ_MAX: usize = LIST_MAX;
/// How long one line may be: longer than any name.
const LINE_MAX: usize = 1024;

impl Session<'_> {
    /// What was typed, with what stands on standard input in the place of `-`; each once.
    pub(super) fn typed(&mut self, typed: &[String]) -> Outcome<Vec<String>> {
        let mut all = Vec::new();
        let mut is_read = false;
        for word in typed {
            if word != STDIN {
                all.push(word.clone());
            } else if std::mem::replace(&mut is_read, true) {
                return Err(Failure::usage("standard input can be read only once; give - only once"));
            } else {
                all.extend(read(self.input)?);
            }
        }
        let mut seen = BTreeSet::new();
        all.retain(|word| seen.insert(word.clone()));
        if all.is_empty() {
            self.out.flush()?;
            writeln!(self.messages, "berth: there are no ids on standard input, so there is nothing to do")?;
        }
        Ok(all)
    }

    /// The resources that `which` means; `only` are further conditions of `--all`.
    pub(super) fn chosen(&mut self, kind: Kind, which: &Which, only: Query) -> Outcome<Vec<String>> {
        if !which.all {
            return self.typed(&which.ids);
        }
        let has_condition = !(which.status.is_empty() && which.filter.is_empty() && only.is_empty());
        if !has_condition && !which.yes && !self.api.is_trial() {
            let message = format!(
                "this is for all {}s there are; narrow it (--status, --filter), or say --yes if that is meant",
                kind.word()
            );
            return Err(Failure::usage(message));
        }
        let conditions: Query = only.into_iter().chain(conditions::statuses(kind, &which.status)?).collect();
        let filters = conditions::filters(kind, &which.filter)?;
        let conditions = || {
            conditions
                .iter()
                .map(|(field, value)| (*field, value))
                .chain(filters.iter().map(|(field, value)| (field.as_str(), value)))
        };
        let page = [("limit", LIST_MAX.to_string()), ("sortDir", "asc".to_owned())];
        let query: Vec<_> = conditions().map(|(field, value)| (field, value.clone())).chain(page).collect();
        let Value::Array(rows) = self.api.get(kind.path(), &query)? else {
            return Err(Failure::new(
                Exit::Server,
                format!("the server answered with something that is no list of {}s", kind.word()),
            ));
        };
        conditions::held(kind, &rows, conditions().map(|(field, value)| (field, value.as_str())))?;
        let ids: Vec<_> = rows.iter().filter_map(|row| row["id"].as_str()).map(str::to_owned).collect();
        if ids.is_empty() {
            self.out.flush()?;
            writeln!(self.messages, "berth: there is no such {}, so there is nothing to do", kind.word())?;
        }
        Ok(ids)
    }
}

/// Whether several were asked for, so that JSON is an array: also where standard input has held only one.
pub(super) fn is_many(asked: &[String], typed: &[String]) -> bool {
    typed.len() != 1 || asked.iter().any(|word| word == STDIN)
}

/// The lines of `input` without the empty ones.
fn read(input: &mut dyn BufRead) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    loop {
        let mut line = Vec::new();
        let got = input.take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line);
        got.map_err(|error| Failure::new(Exit::Failed, format!("cannot read standard input: {error}")))?;
        if line.is_empty() {
            return Ok(found);
        }
        let at = found.len() + 1;
        let text = str::from_utf8(&line).ok().filter(|_| line.len() <= LINE_MAX).map(str::trim);
        let text = text.filter(|text| !text.chars().any(char::is_control));
        match text {
            Some("") => {}
            Some(_) if found.len() >= READ_MAX => {
                return Err(Failure::usage(format!("there are more than {READ_MAX} ids on standard input; give them in parts")));
            }
            Some(text) => found.push(text.to_owned()),
            None => {
                let message =
                    format!("standard input has no id or name in its place {at}; give one a line, as -o name prints them");
                return Err(Failure::usage(message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Outcome<Vec<String>> {
        read(&mut std::io::Cursor::new(bytes.to_vec()))
    }

    #[test]
    fn lines_are_ids_or_names() {
        assert_eq!(check(b"a\r\n\n  two words \nb"), Ok(vec!["a".into(), "two words".into(), "b".into()]));
        assert_eq!(check(b""), Ok(vec![]));
        assert_eq!(check(b"\n \n"), Ok(vec![]));
    }

    #[test]
    fn rubbish_is_refused_before_anything_is_done() {
        let long = vec![b'x'; LINE_MAX + 1];
        let many = b"x\n".repeat(READ_MAX + 1);
        for bytes in [&b"a\n\xff\xfe\n"[..], b"a\0b", b"a\x1b[2J", &long, &many] {
            assert_eq!(check(bytes).unwrap_err().exit, Exit::Usage);
        }
        assert_eq!(check(&b"x\n".repeat(READ_MAX)).unwrap().len(), READ_MAX);
    }
}
