//! What the verbs of several kinds have in common: lists, one or several resources, waiting, and what is printed in the end.

use super::select::is_many;
use super::{Query, conditions, put};
use crate::cli::{Again, Format, Ids, JournalArgs, NamedListArgs, PageArgs, RenameArgs, WaitArgs, Which, word};
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::kind::{Kind, id_of};
use crate::client::output;
use crate::client::wait::{Aim, Several, Wait, journal};
use crate::client::{Session, tell};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many rows a list asks for where nobody says: as many as the server gives at once. Source: architecture page, "Lists".
pub(super) const LIST_MAX: usize = 100_000;

impl Session<'_> {
    pub(super) fn id(&self, kind: Kind, typed: &str) -> Outcome<String> {
        id_of(&self.api, kind, typed)
    }

    /// Adds the resource that `typed` names, if anything was typed, to `query` as `field`.
    pub(super) fn narrow(&self, query: &mut Query, field: &'static str, kind: Kind, typed: Option<&String>) -> Outcome<()> {
        if let Some(typed) = typed {
            query.push((field, self.id(kind, typed)?));
        }
        Ok(())
    }

    pub(super) fn list(&mut self, kind: Kind, mut query: Query, page: &PageArgs) -> Outcome<()> {
        let limit = page.limit.map_or(LIST_MAX, |limit| limit as usize);
        query.push(("limit", limit.to_string()));
        query.extend(page.offset.map(|offset| ("offset", offset.to_string())));
        query.extend(conditions::order(kind, page.sort_key.as_ref())?.map(|key| ("sortKey", key)));
        query.extend(page.sort_dir.map(|direction| ("sortDir", word(direction))));
        let filters = conditions::filters(kind, &page.filter)?;
        let filters = filters.iter().map(|(field, value)| (field.as_str(), value.clone()));
        let query: Vec<_> = query.iter().map(|(key, value)| (*key, value.clone())).chain(filters).collect();
        let rows = match self.api.get(kind.path(), &query)? {
            Value::Array(rows) => rows,
            Value::Null => Vec::new(),
            _ => {
                return Err(Failure::new(
                    Exit::Server,
                    format!("the server answered with something that is no list of {}s", kind.word()),
                ));
            }
        };
        output::list(self.out, &self.shape, kind, &rows)?;
        if page.limit.is_none() && rows.len() >= LIST_MAX {
            self.out.flush()?;
            writeln!(self.messages, "berth: shown are the first {LIST_MAX}; narrow the list with --filter, or page with --offset")?;
        }
        Ok(())
    }

    pub(super) fn list_by_name(&mut self, kind: Kind, args: &NamedListArgs) -> Outcome<()> {
        let name = kind.name_field().zip(args.name.clone());
        self.list(kind, name.into_iter().collect(), &args.page)
    }

    pub(super) fn show(&mut self, kind: Kind, args: &Ids) -> Outcome<()> {
        let typed = self.typed(&args.ids)?;
        let (rows, done) = self.each(&typed, |session, typed| {
            let id = session.id(kind, typed)?;
            session.api.get(&kind.path_of(&id), &[])
        });
        output::show(self.out, &self.shape, kind, &rows, is_many(&args.ids, &typed))?;
        done
    }

    pub(super) fn journal(&mut self, kind: Kind, args: &JournalArgs) -> Outcome<()> {
        let id = self.id(kind, &args.id)?;
        let entries = journal(&self.api, kind, &id, args.since, args.limit.map(|limit| limit as usize))?;
        Ok(output::journal(self.out, &self.shape, &entries)?)
    }

    /// Makes something and prints it.
    pub(super) fn create(&mut self, kind: Kind, body: &Map<String, Value>, wait: Option<&WaitArgs>) -> Outcome<()> {
        let made = self.api.post(kind.path(), &Value::Object(body.clone()))?;
        self.finish(kind, "", made, wait)
    }

    /// Changes the fields that `body` names and prints the resource.
    pub(super) fn update(&mut self, kind: Kind, typed: &str, body: Map<String, Value>) -> Outcome<()> {
        let id = self.id(kind, typed)?;
        let changed = self.api.put(&kind.path_of(&id), &Value::Object(body))?;
        self.finish(kind, &id, changed, None)
    }

    pub(super) fn rename(&mut self, kind: Kind, args: &RenameArgs) -> Outcome<()> {
        let mut body = Map::new();
        put(&mut body, "name", args.naming.name.as_ref());
        put(&mut body, "description", args.naming.description.as_ref());
        self.update(kind, &args.id, body)
    }

    /// Waits for the end of what answered with `body`, if asked to, and prints the resource as it is then.
    ///
    /// The id is told before the wait: an interrupted wait must not lose what was made. `known` is empty for what is new.
    pub(super) fn finish(&mut self, kind: Kind, known: &str, body: Value, wait: Option<&WaitArgs>) -> Outcome<()> {
        if self.api.is_trial() {
            return Ok(output::rehearsed(self.out, self.shape.format, kind, &[(known.to_owned(), body)], false)?);
        }
        let id = id_in(&body)?;
        let body = match wait.filter(|wait| wait.wait) {
            Some(wait) => {
                let status = output::clean(body["status"].as_str().unwrap_or("asked for"));
                writeln!(self.messages, "{} is {status}; waiting", kind.describe(&body, &id))?;
                self.settle(kind, &id, Aim::of_answer(&body), wait)?
            }
            None => body,
        };
        Ok(output::changed(self.out, &self.shape, kind, &[body], false)?)
    }

    pub(super) fn settle(&self, kind: Kind, id: &str, aim: Aim, wait: &WaitArgs) -> Outcome<Value> {
        let (is_watched, pace, timeout) = (self.is_watched, self.pace, wait.timeout);
        Wait { api: &self.api, kind, id, aim, timeout, was_there: true, is_watched, pace }.run()
    }

    /// Posts `verb` to each, waits if asked to, and prints them.
    pub(super) fn again(&mut self, kind: Kind, verb: &str, args: &Again) -> Outcome<()> {
        self.each_settled(kind, &args.of, Query::new(), &args.wait, |session, id| {
            let answer = session.api.post(&format!("{}/{verb}", kind.path_of(id)), &json!({}))?;
            let aim = if verb == "recover" { Aim::Recovered } else { Aim::of_answer(&answer) };
            Ok((answer, aim))
        })
    }

    /// Deletes each, waits if asked to, and prints them as they are then. `only` narrows what `--all` means.
    pub(super) fn delete(&mut self, kind: Kind, which: &Which, only: Query, query: &Query, wait: &WaitArgs) -> Outcome<()> {
        self.each_settled(kind, which, only, wait, |session, id| {
            let answer = session.api.delete(&kind.path_of(id), query)?;
            // The answer to DELETE is empty; where nobody waits, this is what tells how far it is.
            let now = match wait.wait || session.api.is_trial() {
                true => answer,
                false => present(session, kind, id)?,
            };
            Ok((now, Aim::Gone))
        })
    }

    /// Deletes what is gone at once.
    pub(super) fn remove(&mut self, kind: Kind, args: &Ids) -> Outcome<()> {
        let typed = self.typed(&args.ids)?;
        let (rows, done) = self.each(&typed, |session, typed| {
            let id = session.id(kind, typed)?;
            let answer = session.api.delete(&kind.path_of(&id), &[])?;
            Ok((id, answer))
        });
        let many = is_many(&args.ids, &typed);
        if self.api.is_trial() {
            output::rehearsed(self.out, self.shape.format, kind, &rows, many)?;
            return done;
        }
        let rows: Vec<_> = rows.into_iter().map(|(id, _)| json!({"id": id, "status": "deleted"})).collect();
        if self.shape.format != Format::Table {
            output::changed(self.out, &self.shape, kind, &rows, many)?;
        }
        for row in &rows {
            writeln!(self.messages, "{} deleted", kind.describe(row, row["id"].as_str().unwrap_or_default()))?;
        }
        done
    }

    /// Tells what would come of a trial that is about no resource of a kind.
    pub(super) fn tried_one(&mut self, name: &str, answer: Value, line: &str) -> Outcome<()> {
        match self.shape.format {
            Format::Table => writeln!(self.out, "{line}")?,
            format => output::rehearsed(self.out, format, Kind::Pool, &[(name.to_owned(), answer)], false)?,
        }
        Ok(())
    }

    /// Asks each, then waits for all together if asked to, then prints all.
    fn each_settled(
        &mut self,
        kind: Kind,
        which: &Which,
        only: Query,
        wait: &WaitArgs,
        mut ask: impl FnMut(&Self, &str) -> Outcome<(Value, Aim)>,
    ) -> Outcome<()> {
        let typed = self.chosen(kind, which, only)?;
        let many = which.all || is_many(&which.ids, &typed);
        let mut named = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let (asked, done) = self.each(&typed, |session, typed| {
            let id = session.id(kind, typed)?;
            // Twice the same, once by its name: the second would be refused for what the first has begun.
            if !seen.insert(id.clone()) {
                return Ok(None);
            }
            named.insert(id.clone(), typed.clone());
            ask(session, &id).map(|(body, aim)| Some((id, body, aim)))
        });
        let asked: Vec<_> = asked.into_iter().flatten().collect();
        if self.api.is_trial() {
            let rows: Vec<_> = asked.into_iter().map(|(id, body, _)| (id, body)).collect();
            output::rehearsed(self.out, self.shape.format, kind, &rows, many)?;
            return done;
        }
        let (mut rows, settled) = match wait.wait {
            true => self.all_settled(kind, &asked, wait),
            false => (asked.into_iter().map(|(_, body, _)| body).collect(), Ok(())),
        };
        if self.shape.format == Format::Table {
            rows.iter_mut().for_each(|row| call(kind, row, &named));
        }
        output::changed(self.out, &self.shape, kind, &rows, many)?;
        done.and(settled)
    }

    /// Waits for what was asked of each; every failure is told.
    fn all_settled(&mut self, kind: Kind, asked: &[(String, Value, Aim)], wait: &WaitArgs) -> (Vec<Value>, Outcome<()>) {
        if let [(id, _, aim)] = asked {
            return self.each(&[()], |session, ()| session.settle(kind, id, aim.clone(), wait));
        }
        let (is_watched, pace, timeout) = (self.is_watched, self.pace, wait.timeout);
        let one = |(id, _, aim): &'_ (String, Value, Aim)| (id.clone(), aim.clone());
        let targets: Vec<_> = asked.iter().map(one).collect();
        let ended = Several { api: &self.api, kind, targets: &targets, timeout, was_there: true, is_watched, pace }.run(false);
        self.each(&ended, |_, (_, ended)| ended.clone())
    }

    /// Does `act` for each; every failure is told at once, and the first one's exit code is returned without a message.
    pub(super) fn each<T, R>(&mut self, items: &[T], mut act: impl FnMut(&Self, &T) -> Outcome<R>) -> (Vec<R>, Outcome<()>) {
        let mut results = Vec::new();
        let mut first = None;
        for item in items {
            match act(self, item) {
                Ok(result) => results.push(result),
                Err(failure) => {
                    tell(self.messages, &failure);
                    first.get_or_insert(failure.exit);
                }
            }
        }
        (results, first.map_or(Ok(()), |exit| Err(Failure::new(exit, ""))))
    }
}

/// Gives what is gone, and so has no name any more, the name that it was typed by.
fn call(kind: Kind, row: &mut Value, named: &BTreeMap<String, String>) {
    let name = row["id"].as_str().and_then(|id| named.get(id).filter(|typed| *typed != id));
    if let (Some(field), Some(name)) = (kind.name_field(), name)
        && row[field].is_null()
    {
        row[field] = name.as_str().into();
    }
}

/// The resource as it is now; one that is not found after an accepted deletion is deleted.
fn present(session: &Session<'_>, kind: Kind, id: &str) -> Outcome<Value> {
    match session.api.get(&kind.path_of(id), &[]) {
        Err(failure) if failure.exit == Exit::NotFound => Ok(json!({"id": id, "status": "deleted"})),
        answer => answer,
    }
}

fn id_in(body: &Value) -> Outcome<String> {
    let id = body["id"].as_str().filter(|id| !id.is_empty());
    id.map(Into::into).ok_or_else(|| Failure::new(Exit::Server, "the server answered without an id; look with list at what it did"))
}
