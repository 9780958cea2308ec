//! `berth describe`: everything about one resource on one screen.
//!
//! - It is put together from what the server shows anyway: the resource, what belongs to it, its journal. What cannot be had beside the
//!   resource itself (it may go meanwhile) is left out.
//! - Every part has a bound, and says how much more there is.
//! - It is drawn anew (`--follow`) on a terminal alone, and then no larger than that is: what changes stands at its top. The last one is whole.
//! - A controller that restarts meanwhile is waited for, and that is said.

use crate::cli::{AnyKind, DescribeArgs, Format};
use crate::client::Session;
use crate::client::exit::{Exit, Failure, Outcome};
use crate::client::kind::Kind;
use crate::client::output::{self, Page};
use crate::client::wait::{is_passing, journal};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How many rows of a part are shown: a screen's worth, and of attachments one request each.
const ROWS_MAX: usize = 20;
/// How often a screen is drawn anew.
const REDRAW: Duration = Duration::from_secs(1);
/// What clears a terminal: to the first place, and everything behind it.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
/// To the first place, with lines that are cut where the terminal ends, instead of going on below.
const BEGIN: &str = "\u{1b}[?7l\u{1b}[H";
/// Clears the rest of a line, and goes to the next.
const NEXT: &str = "\u{1b}[K\r\n";
/// Clears everything below; lines go on below again.
const END: &str = "\u{1b}[J\u{1b}[?7h";
/// How many rows and columns a terminal has that does not say.
const SIZE: (usize, usize) = (24, 80);

/// The references that are shown with their names.
const NAMED: &[(&str, Kind)] = &[
    ("poolId", Kind::Pool),
    ("profileId", Kind::Profile),
    ("volumeId", Kind::Volume),
    ("hostId", Kind::Host),
    ("snapshotId", Kind::Snapshot),
];

/// Shows it; with `--follow` as long as something runs.
///
/// # Errors
/// There is no such resource, or the server does not answer.
pub(super) fn run(session: &mut Session<'_>, args: &DescribeArgs) -> Outcome<()> {
    let kind = kind(args.kind);
    if args.follow && !(std::io::stdout().is_terminal() && session.shape.format == Format::Table) {
        return Err(Failure::usage("--follow draws on a terminal; for anything else there is berth watch"));
    }
    let id = session.id(kind, &args.id)?;
    let transitions = usize::from(args.transitions);
    if args.follow {
        return follow(session, kind, &id, transitions);
    }
    let all = gather(session, kind, &id, transitions)?;
    match session.shape.format {
        Format::Json => output::whole(session.out, &all)?,
        Format::Name => writeln!(session.out, "{}", output::clean(&id))?,
        Format::Table => Page::of(kind, &all, jiff::Timestamp::now()).write(session.out)?,
    }
    Ok(session.out.flush()?)
}

/// Draws it anew until nothing runs on it any more.
fn follow(session: &mut Session<'_>, kind: Kind, id: &str, transitions: usize) -> Outcome<()> {
    let mut last: Option<Value> = None;
    write!(session.out, "{CLEAR}")?;
    loop {
        let (all, trouble) = match (gather(session, kind, id, transitions), last.take()) {
            (Ok(all), _) => (all, None),
            (Err(failure), Some(last)) if failure.exit == Exit::NotFound => {
                writeln!(session.out, "{CLEAR}{} was deleted", kind.describe(&last["object"], &output::clean(id)))?;
                return Ok(session.out.flush()?);
            }
            (Err(failure), Some(last)) if is_passing(failure.exit) => (last, Some(failure)),
            (Err(failure), _) => return Err(failure),
        };
        let page = Page::of(kind, &all, jiff::Timestamp::now());
        if trouble.is_none() && !is_busy(&all) {
            write!(session.out, "{CLEAR}")?;
            page.write(session.out)?;
            return Ok(session.out.flush()?);
        }
        let mut text = Vec::new();
        if let Some(trouble) = trouble {
            writeln!(text, "as it was before this: {}; asking again", output::clean(&trouble.message))?;
        }
        page.write(&mut text)?;
        session.out.write_all(frame(&String::from_utf8_lossy(&text), size()).as_bytes())?;
        session.out.flush()?;
        last = Some(all);
        std::thread::sleep(REDRAW);
    }
}

/// The rows and columns of the terminal now.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or(SIZE, |size| (usize::from(size.ws_row), usize::from(size.ws_col)))
}

/// As much of `text` as a terminal of so many rows and columns has room for, and how much that leaves out.
fn frame(text: &str, (rows, columns): (usize, usize)) -> String {
    // The cursor stands in the last row.
    let room = rows.saturating_sub(1).max(1);
    let count = text.lines().count();
    let shown = if count > room { room - 1 } else { count };
    // What is wider than its characters are many is cut by the terminal.
    let lines: String = text.lines().take(shown).map(|line| line.chars().take(columns).collect::<String>() + NEXT).collect();
    let more = if count > shown { format!("and {} more lines{NEXT}", count - shown) } else { String::new() };
    format!("{BEGIN}{lines}{more}{END}")
}

/// Whether something runs on it or on what belongs to it.
fn is_busy(all: &Value) -> bool {
    let parts = ["snapshots", "attachments"].into_iter().flat_map(|part| all[part].as_array().into_iter().flatten());
    parts.chain([&all["object"]]).any(|body| body["operation"].is_object())
}

/// Everything, as `-o json` prints it.
fn gather(session: &Session<'_>, kind: Kind, id: &str, transitions: usize) -> Outcome<Value> {
    let object = session.api.get(&kind.path_of(id), &[])?;
    let mut all = Map::new();
    all.insert("kind".into(), kind.word().into());
    let parts: &[(&str, Kind, &str)] = match kind {
        Kind::Volume => &[("attachments", Kind::Attachment, "volumeId"), ("snapshots", Kind::Snapshot, "volumeId")],
        Kind::Snapshot => &[("volumes", Kind::Volume, "snapshotId")],
        Kind::Host => &[("attachments", Kind::Attachment, "hostId")],
        Kind::Profile => &[("volumes", Kind::Volume, "profileId")],
        Kind::Pool => &[("volumes", Kind::Volume, "poolId")],
        Kind::Attachment => &[],
    };
    for (part, of, field) in parts {
        let (rows, is_more) = rows(session, *of, field, id)?;
        all.insert((*part).into(), rows.into());
        if is_more {
            all.insert("more".into(), true.into());
        }
    }
    if matches!(kind, Kind::Volume | Kind::Snapshot | Kind::Attachment) {
        all.insert("journal".into(), timeline(session, kind, id, &all, transitions)?.into());
    }
    all.insert("names".into(), names(session, &object, &all));
    all.insert("object".into(), object);
    Ok(Value::Object(all))
}

/// What belongs to it, and whether there is more. Attachments come with their clients, which no list shows.
fn rows(session: &Session<'_>, kind: Kind, field: &str, id: &str) -> Outcome<(Vec<Value>, bool)> {
    let query = [(field, id.to_owned()), ("limit", (ROWS_MAX + 1).to_string()), ("sortKey", "createdAt".to_owned())];
    let Value::Array(mut rows) = session.api.get(kind.path(), &query)? else { return Ok((Vec::new(), false)) };
    let is_more = rows.len() > ROWS_MAX;
    rows.truncate(ROWS_MAX);
    if kind == Kind::Attachment {
        for row in &mut rows {
            let path = row["id"].as_str().map(|id| kind.path_of(id));
            // It may be gone since it was listed.
            if let Some(Ok(whole)) = path.map(|path| session.api.get(&path, &[])) {
                *row = whole;
            }
        }
    }
    Ok((rows, is_more))
}

/// The last transitions of it and of what belongs to it, oldest first.
fn timeline(session: &Session<'_>, kind: Kind, id: &str, parts: &Map<String, Value>, last: usize) -> Outcome<Vec<Value>> {
    let mut entries = journal(&session.api, kind, id, 0, None)?;
    for (part, of) in [("attachments", Kind::Attachment), ("snapshots", Kind::Snapshot)] {
        let ids = parts.get(part).and_then(Value::as_array).into_iter().flatten().filter_map(|row| row["id"].as_str());
        for id in ids {
            entries.extend(journal(&session.api, of, id, 0, None).unwrap_or_default());
        }
    }
    entries.sort_by_key(|entry| entry["revision"].as_u64());
    Ok(entries.split_off(entries.len().saturating_sub(last)))
}

/// The names of what it and its parts refer to, by id. Only a convenience: what has none, or is gone, is left out.
fn names(session: &Session<'_>, object: &Value, parts: &Map<String, Value>) -> Value {
    let mut names = Map::new();
    let rows = parts.values().filter_map(Value::as_array).flatten();
    for body in rows.chain([object]) {
        for (field, kind) in NAMED {
            let Some(id) = body[field].as_str().filter(|id| !id.is_empty() && !names.contains_key(*id)) else { continue };
            let Some(name_field) = kind.name_field() else { continue };
            let found = session.api.get(&kind.path_of(id), &[]).unwrap_or_default();
            names.insert(id.to_owned(), json!(found[name_field].as_str().unwrap_or_default()));
        }
    }
    names.retain(|_, name| name != "");
    Value::Object(names)
}

const fn kind(kind: AnyKind) -> Kind {
    match kind {
        AnyKind::Volume => Kind::Volume,
        AnyKind::Snapshot => Kind::Snapshot,
        AnyKind::Attachment => Kind::Attachment,
        AnyKind::Host => Kind::Host,
        AnyKind::Profile => Kind::Profile,
        AnyKind::Pool => Kind::Pool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_no_higher_than_the_terminal() {
        let text = "a\nb\nc\nd\n";
        let lines = |rows| frame(text, (rows, 80)).trim_start_matches(BEGIN).trim_end_matches(END).replace(NEXT, "|");
        assert_eq!(lines(24), "a|b|c|d|");
        assert_eq!(lines(5), "a|b|c|d|");
        assert_eq!(lines(4), "a|b|and 2 more lines|");
        assert_eq!(lines(2), "and 4 more lines|");
        for rows in [0, 1] {
            assert_eq!(lines(rows), "and 4 more lines|", "{rows}");
        }
        assert!(frame("abcd\n", (9, 2)).contains(&format!("ab{NEXT}")));
    }
}
