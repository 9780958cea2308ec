//! What goes to standard output: tables for people, the server's JSON for programs, ids for scripts.
//!
//! - Whatever a server sent is cleaned before a terminal sees it: a name must not move the cursor. JSON is escaped instead.
//! - No colours, so there is nothing for `NO_COLOR` to switch off.
//! - What is absent or empty takes no room: `-` in a column, no line in the long form.

use super::kind::Kind;
use crate::cli::Format;
use columns::{Chosen, Column, JOURNAL};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::{self, Write};

mod columns;
mod page;

pub(crate) use columns::{Tabled, choose, schema};
#[cfg(feature = "top")]
pub(crate) use page::bar;
pub(crate) use page::{Page, whole};

/// How a command prints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// As what.
    pub(crate) format: Format,
    /// The columns of a table, where they were asked for.
    pub(crate) columns: Option<Vec<Chosen>>,
    /// Whether a table goes without its headings.
    pub(crate) no_headers: bool,
    /// How wide the terminal is, where one is written to.
    pub(crate) width: Option<usize>,
}

impl From<Format> for Shape {
    fn from(format: Format) -> Self {
        Self { format, ..Self::default() }
    }
}

/// How many spaces stand between two columns.
const COLUMN_GAP: u16 = 2;
/// What a table on a narrow terminal goes without first: `show` and `describe` tell it.
const MISSED_FIRST: &[&str] = &["CREATED", "ZONE", "ACTOR"];
/// What the long form shows first, in this order; everything else follows by name.
const FIRST_FIELDS: &[&str] = &[
    "id",
    "name",
    "hostName",
    "description",
    "status",
    "statusReason",
    "availability",
    "operation",
    "allowed",
    "health",
    "size",
    "sizeBytes",
];

/// Writes `rows` of one kind, as a list.
///
/// # Errors
/// What the writer says.
pub(crate) fn list(out: &mut dyn Write, shape: &Shape, kind: Kind, rows: &[Value]) -> io::Result<()> {
    match shape.format {
        Format::Table => table(out, shape, columns::of(kind), rows),
        Format::Json => json(out, &Value::Array(rows.to_vec())),
        Format::Name => names(out, rows),
    }
}

/// Writes what a command made or changed: a line each as a table; as JSON one object, or an array where `many` were asked for.
///
/// # Errors
/// What the writer says.
pub(crate) fn changed(out: &mut dyn Write, shape: &Shape, kind: Kind, rows: &[Value], many: bool) -> io::Result<()> {
    match (shape.format, rows) {
        (Format::Json, [one]) if !many => json(out, one),
        // An array all the same: what reads it gets one for several ids, also where none of them was found.
        (Format::Json, []) if many => json(out, &Value::Array(Vec::new())),
        (_, []) => Ok(()),
        _ => list(out, shape, kind, rows),
    }
}

/// Writes everything about `rows`, in the long form as a table; else, and where columns were asked for, as [`changed`].
///
/// # Errors
/// What the writer says.
pub(crate) fn show(out: &mut dyn Write, shape: &Shape, kind: Kind, rows: &[Value], many: bool) -> io::Result<()> {
    if shape.format != Format::Table || shape.columns.is_some() {
        return changed(out, shape, kind, rows, many);
    }
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let mut table = plain_table();
        // Clients have a table of their own, below.
        let clients = row["clients"].as_array().filter(|_| kind == Kind::Attachment);
        for field in fields(row).into_iter().filter(|field| clients.is_none() || *field != "clients") {
            table.add_row([field.to_owned(), text_of(field, &row[field])]);
        }
        write_table(out, &mut table)?;
        if let Some(clients) = clients {
            writeln!(out)?;
            show_clients(out, clients, &row["sizeBytes"])?;
        }
    }
    Ok(())
}

/// Writes a diagnosis for programs: as the server sent it, or the ids and names of what was found.
///
/// # Errors
/// What the writer says.
pub(crate) fn diagnosis(out: &mut dyn Write, format: Format, body: &Value) -> io::Result<()> {
    if format != Format::Name {
        return json(out, body);
    }
    let findings = body["findings"].as_array().into_iter().flatten();
    let name = |finding: &Value| {
        let names = [&finding["resource"]["id"], &finding["object"]["name"], &finding["poolId"], &finding["exporter"]];
        names.into_iter().find_map(Value::as_str).map(clean)
    };
    findings.filter_map(name).try_for_each(|name| writeln!(out, "{name}"))
}

/// Who is connected to an export of `size_now` bytes.
fn show_clients(out: &mut dyn Write, clients: &[Value], size_now: &Value) -> io::Result<()> {
    if clients.is_empty() {
        return writeln!(out, "no client is connected");
    }
    let mut table = plain_table();
    table.set_header(["ADDRESS", "IDENTITY", "SINCE", "LAST SEEN", "SIZE SEEN", "READ", "WRITTEN", "IN FLIGHT"]);
    for client in clients {
        let text = |field: &str| cell(&client[field]);
        let (read, written) = (bytes(&client["bytesRead"]), bytes(&client["bytesWritten"]));
        let seen = size_seen(&client["sizeBytesSeen"], size_now);
        table.add_row([text("address"), text("identity"), text("since"), text("lastSeen"), seen, read, written, text("inFlight")]);
    }
    write_table(out, &mut table)
}

/// The size that a client was told; beside it the present one, if it has missed a growth.
fn size_seen(seen: &Value, now: &Value) -> String {
    if seen.is_u64() && now.is_u64() && seen != now { format!("{} of {}", bytes(seen), bytes(now)) } else { bytes(seen) }
}

/// Writes the entries of a journal.
///
/// # Errors
/// What the writer says.
pub(crate) fn journal(out: &mut dyn Write, shape: &Shape, entries: &[Value]) -> io::Result<()> {
    match shape.format {
        Format::Table => table(out, shape, JOURNAL, entries),
        Format::Json => json(out, &Value::Array(entries.to_vec())),
        Format::Name => names(out, entries),
    }
}

/// One entry of a journal as a line of a message.
#[must_use]
pub(crate) fn journal_line(entry: &Value) -> String {
    let reason = reason_message(entry);
    let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
    let text = |field: &str| cell(&entry[field]);
    let from = entry["from"].as_str().filter(|from| !from.is_empty()).map_or_else(|| "new".to_owned(), clean);
    format!("{} {from} -> {} ({}){reason}", text("at"), text("to"), text("cause"))
}

/// What is going on, in a few words: `extend 40%, attempt 2, waiting for a place in the pool`; empty if nothing is.
#[must_use]
pub(crate) fn operation(body: &Value) -> String {
    let operation = &body["operation"];
    let Some(kind) = operation["kind"].as_str() else { return String::new() };
    let mut words = clean(kind);
    if let Some(percent) = operation["progress"].as_f64() {
        words += &format!(" {percent:.0}%");
    }
    if let Some(attempt) = operation["attempt"].as_u64().filter(|attempt| *attempt > 1) {
        words += &format!(", attempt {attempt}");
    }
    if let Some(waited) = operation["waitingFor"].as_str().filter(|waited| !waited.is_empty()) {
        words += &format!(", waiting for {}", clean(waited));
    }
    if let Some(next) = operation["nextTryAt"].as_str() {
        words += &format!(", next try at {}", clean(next));
    }
    words
}

/// The reason of a status in words; empty if it has none. Both a resource's `statusReason` and a journal entry's `reason`.
#[must_use]
pub(crate) fn reason_message(body: &Value) -> String {
    let reason = if body["statusReason"].is_object() { &body["statusReason"] } else { &body["reason"] };
    match (reason["code"].as_str(), reason["message"].as_str()) {
        (Some(code), Some(message)) => format!("{} ({})", clean(message), clean(code)),
        (Some(words), None) | (None, Some(words)) => clean(words),
        (None, None) => String::new(),
    }
}

/// `text` without what a terminal would obey: control characters, and marks that turn the direction of writing.
#[must_use]
pub(crate) fn clean(text: &str) -> String {
    let obeyed =
        |c: char| c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| {
            if c == '\n' || c == '\t' {
                ' '
            } else if obeyed(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn table(out: &mut dyn Write, shape: &Shape, own: &[Column], rows: &[Value]) -> io::Result<()> {
    let mut table = plain_table();
    let Some(chosen) = &shape.columns else {
        let headings: Vec<_> = own.iter().map(|(heading, _)| *heading).collect();
        let rows: Vec<Vec<_>> = rows.iter().map(|row| own.iter().map(|(_, text)| text(row)).collect()).collect();
        let kept = fitting(&headings, &rows, shape.width);
        if !shape.no_headers {
            table.set_header(kept.iter().map(|column| headings[*column]));
        }
        for row in &rows {
            table.add_row(kept.iter().map(|column| &row[*column]));
        }
        return write_table(out, &mut table);
    };
    if !shape.no_headers {
        table.set_header(chosen.iter().map(Chosen::heading));
    }
    for row in rows {
        table.add_row(chosen.iter().map(|column| column.text(row)));
    }
    write_table(out, &mut table)
}

/// The columns of a table on a terminal of `width`. Where not all have room, those in which nothing stands are left out, and then those that can be
/// missed most easily: a row that goes on in the next line is hard to read. What is left may still be wider.
fn fitting(headings: &[&str], rows: &[Vec<String>], width: Option<usize>) -> Vec<usize> {
    let mut kept: Vec<_> = (0..headings.len()).collect();
    let Some(width) = width else { return kept };
    let wide = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or_default()
    };
    let gap = usize::from(COLUMN_GAP);
    let fits = |kept: &[usize]| kept.iter().map(|column| wide(*column) + gap).sum::<usize>() <= width + gap;
    if !rows.is_empty() && !fits(&kept) {
        kept.retain(|column| rows.iter().any(|row| row[*column] != "-"));
    }
    for missed in MISSED_FIRST {
        if !rows.is_empty() && !fits(&kept) {
            kept.retain(|column| headings[*column] != *missed);
        }
    }
    kept
}

/// Writes what would come of a dry run: a sentence each, or the server's answers.
///
/// # Errors
/// What the writer says.
pub(crate) fn rehearsed(out: &mut dyn Write, format: Format, kind: Kind, rows: &[(String, Value)], many: bool) -> io::Result<()> {
    let bodies: Vec<_> = rows.iter().map(|(_, body)| body.clone()).collect();
    match (format, &bodies[..]) {
        (Format::Json, [one]) if !many => json(out, one),
        (Format::Json, _) => json(out, &Value::Array(bodies)),
        // What is new has no id yet.
        (Format::Name, _) => rows.iter().filter(|(id, _)| !id.is_empty()).try_for_each(|(id, _)| writeln!(out, "{}", clean(id))),
        (Format::Table, _) => rows.iter().try_for_each(|(id, body)| writeln!(out, "{}", would_be(kind, id, body))),
    }
}

/// What would come of it, as a sentence. An empty `id` is of something new.
fn would_be(kind: Kind, id: &str, body: &Value) -> String {
    let object = &body["object"];
    let status = body["status"].as_str().map(clean).filter(|status| !status.is_empty());
    if id.is_empty() {
        let name = kind.name_field().map(|field| plain(&object[field])).filter(|name| !name.is_empty());
        let what = name.map_or_else(|| kind.word().to_owned(), |name| format!("{} {name}", kind.word()));
        return status.map_or_else(|| format!("{what} would be made"), |status| format!("{what} would be made, and be {status}"));
    }
    let what = kind.describe(object, id);
    let runs = operation(object);
    match status {
        _ if object.is_null() => format!("{what} would be deleted at once"),
        Some(status) if runs.is_empty() => format!("{what} would be {status}"),
        Some(status) => format!("{what} would be {status}, while this runs: {runs}"),
        None => format!("{what} would be changed"),
    }
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn write_table(out: &mut dyn Write, table: &mut Table) -> io::Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn json(out: &mut dyn Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

fn names(out: &mut dyn Write, rows: &[Value]) -> io::Result<()> {
    rows.iter().try_for_each(|row| writeln!(out, "{}", cell(&row["id"])))
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

fn cell(value: &Value) -> String {
    dash(plain(value))
}

fn size(gib: &Value) -> String {
    gib.as_u64().map_or_else(|| "-".into(), |gib| format!("{gib} GiB"))
}

/// Bytes in the largest unit of which there is one, with a tenth where it is not whole. Rounded down: what is shown was moved.
fn bytes(count: &Value) -> String {
    let Some(count) = count.as_u64() else { return "-".into() };
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let step = count.max(1).ilog2() / 10;
    let unit = 1_u64 << (10 * step);
    let (whole, tenth) = (count / unit, count % unit * 10 / unit);
    let name = units[usize::try_from(step).expect("at most 6")];
    if tenth == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenth} {name}") }
}

/// The fields of the long form that say something, in the order of [`FIRST_FIELDS`] and then by name.
fn fields(row: &Value) -> Vec<&str> {
    let Some(all) = row.as_object() else { return Vec::new() };
    let first = FIRST_FIELDS.iter().copied().filter(|field| all.contains_key(*field));
    let rest = all.keys().map(String::as_str).filter(|field| !FIRST_FIELDS.contains(field));
    first.chain(rest).filter(|field| !plain(&row[*field]).is_empty()).collect()
}

fn text_of(field: &str, value: &Value) -> String {
    match field {
        "size" => size(value),
        "statusReason" => format!("{}, since {}", reason_message(&serde_json::json!({ "reason": value })), cell(&value["since"])),
        "operation" => {
            let mut text = operation(&serde_json::json!({ "operation": value }));
            for (label, field) in [("since", "startedAt"), ("deadline", "deadline"), ("last error", "lastError")] {
                let said = plain(&value[field]);
                if !said.is_empty() {
                    text += &format!(", {label} {said}");
                }
            }
            text
        }
        "availability" => explained(since(value), &value["message"]),
        "health" => {
            let mut text = plain(&value["state"]);
            if value["message"].is_string() {
                text += &format!(": {}, since {}", reason_message(&serde_json::json!({ "reason": value })), cell(&value["since"]));
            }
            explained(text, &value["checkedAt"].as_str().map(|at| format!("checked at {at}")).into())
        }
        _ => plain(value),
    }
}

/// Whether a backend answers, and since when, in three words.
fn since(availability: &Value) -> String {
    let (state, since) = (plain(&availability["state"]), plain(&availability["since"]));
    if since.is_empty() { state } else { format!("{state} since {since}") }
}

fn explained(text: String, more: &Value) -> String {
    let more = plain(more);
    if more.is_empty() { text } else { format!("{text}, {more}") }
}

/// Any value on one line: words joined by commas, objects as `key=value`, nothing for what says nothing.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => {
            let said = entries.iter().filter(|(_, value)| !plain(value).is_empty());
            let pairs = said.map(|(key, value)| match value {
                Value::Object(_) | Value::Array(_) => format!("{}=({})", clean(key), plain(value)),
                _ => format!("{}={}", clean(key), plain(value)),
            });
            pairs.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume() -> Value {
        json!({
            "id": "7f3a", "name": "data\u{1b}[31m", "size": 10, "status": "extending", "AttachStatus": "", "metadata": {"a": "b"},
            "createdAt": "2026-11-23T12:00:00Z", "allowed": ["detach"],
            "operation": {"kind": "extend", "progress": 40, "attempt": 2, "startedAt": "2026-11-23T12:04:00Z", "waitingFor": "a place"},
        })
    }

    fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_is_a_table() {
        let failed =
            json!({"id": "9", "name": "b", "size": 1, "status": "error", "statusReason": {"code": "refused", "message": "full"}});
        let got = text(|out| list(out, &Format::Table.into(), Kind::Volume, &[volume(), failed]));
        let want = "\
ID    NAME       SIZE    STATUS     REASON   OPERATION                                 CREATED
7f3a  data\u{fffd}[31m  10 GiB  extending  -        extend 40%, attempt 2, waiting for a place  2026-11-23T12:00:00Z
9     b          1 GiB   error      refused  -                                           -
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&got), squeeze(want));
        let at = got.lines().next().unwrap().find("STATUS").unwrap();
        assert!(got.lines().nth(2).unwrap()[at..].starts_with("error"), "columns line up:\n{got}");
        assert!(got.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn columns_are_chosen_and_headings_left_out() {
        let columns = choose(Tabled::Of(Kind::Volume), &["status".into(), "id".into(), "operation.attempt".into()]).unwrap();
        let mut shape = Shape { format: Format::Table, columns: Some(columns), ..Shape::default() };
        let got = |shape: &Shape| text(|out| list(out, shape, Kind::Volume, &[volume()]));
        assert_eq!(got(&shape), "STATUS     ID    OPERATION.ATTEMPT\nextending  7f3a  2\n");
        shape.no_headers = true;
        assert_eq!(got(&shape), "extending  7f3a  2\n");
        assert_eq!(text(|out| show(out, &shape, Kind::Volume, &[volume()], false)), "extending  7f3a  2\n");
        shape.columns = None;
        assert_eq!(text(|out| list(out, &shape, Kind::Volume, &[])), "");
    }

    #[test]
    fn what_would_be_is_told_in_sentences() {
        let rows = [
            (
                Kind::Volume,
                "",
                json!({"status": "creating", "object": {"name": "data"}}),
                "volume data would be made, and be creating",
            ),
            (Kind::Attachment, "", json!({"status": "attaching", "object": {}}), "attachment would be made, and be attaching"),
            (Kind::Host, "", json!({"object": {"hostName": "db\u{7}"}}), "host db\u{fffd} would be made"),
            (Kind::Host, "h", json!({"object": {"hostName": "db"}}), "host db (h) would be changed"),
            (Kind::Host, "h", json!({"status": "deleted", "object": null}), "host h would be deleted at once"),
            (Kind::Volume, "v", json!({"status": "available", "object": {"name": "data"}}), "volume data (v) would be available"),
            (
                Kind::Attachment,
                "a",
                json!({"status": "attached", "object": {"operation": {"kind": "detach"}}}),
                "attachment a would be attached, while this runs: detach",
            ),
        ];
        for (kind, id, body, want) in rows {
            assert_eq!(would_be(kind, id, &body), want);
        }
    }

    #[test]
    fn a_narrow_terminal_gets_what_says_something() {
        let shape = |width| Shape { width: Some(width), ..Shape::default() };
        let row = |status: &str| json!({"id": "11111111-1111-4111-8111-111111111111", "name": "data", "size": 1, "status": status, "createdAt": "2026-11-23T12:00:00Z"});
        let heading = |width: usize, rows: &[Value]| {
            let mut out = Vec::new();
            list(&mut out, &shape(width), Kind::Volume, rows).unwrap();
            let text = String::from_utf8(out).unwrap();
            text.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(heading(200, &[row("error")]), "ID NAME SIZE STATUS REASON OPERATION CREATED");
        assert_eq!(heading(85, &[row("error")]), "ID NAME SIZE STATUS CREATED");
        assert_eq!(heading(80, &[row("error")]), "ID NAME SIZE STATUS CREATED");
        assert_eq!(heading(80, &[row("available")]), "ID NAME SIZE STATUS");
        assert_eq!(heading(70, &[row("error")]), "ID NAME SIZE STATUS");
        assert_eq!(heading(5, &[row("error")]), "ID NAME SIZE STATUS");
        assert_eq!(heading(5, &[]), "ID NAME SIZE STATUS REASON OPERATION CREATED");
        let mut failed = row("error");
        failed["statusReason"] = json!({"code": "refused"});
        assert_eq!(heading(70, &[row("available"), failed]), "ID NAME SIZE STATUS REASON");
    }

    #[test]
    fn an_empty_list_is_a_heading_an_empty_array_and_nothing() {
        assert!(text(|out| list(out, &Format::Table.into(), Kind::Pool, &[])).starts_with("ID"));
        assert_eq!(text(|out| list(out, &Format::Json.into(), Kind::Pool, &[])), "[]\n");
        assert_eq!(text(|out| list(out, &Format::Name.into(), Kind::Pool, &[])), "");
    }

    #[test]
    fn the_long_form_says_what_there_is_to_say() {
        let got = text(|out| show(out, &Format::Table.into(), Kind::Volume, &[volume()], false));
        let field = |name: &str| got.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(field("operation "), Some("extend 40%, attempt 2, waiting for a place, since 2026-11-23T12:04:00Z"));
        assert_eq!(field("allowed "), Some("detach"));
        assert_eq!(field("metadata "), Some("a=b"));
        assert_eq!(field("size "), Some("10 GiB"));
        assert_eq!(field("AttachStatus"), None);
        assert!(got.starts_with("id "), "{got}");
    }

    #[test]
    fn a_backend_that_is_down_is_told() {
        let pool = json!({"id": "p", "name": "slow", "status": "unavailable", "totalCapacity": 9, "whenDown": "refuse",
            "availability": {"state": "down", "since": "T", "message": "a probe has had no answer for 10 s"}});
        let row = text(|out| list(out, &Format::Table.into(), Kind::Pool, std::slice::from_ref(&pool)));
        assert!(row.contains("BACKEND") && row.contains("unavailable  down since T  -"), "{row}");
        let shown = text(|out| show(out, &Format::Table.into(), Kind::Pool, &[pool], false));
        let field =
            |text: &str, name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned);
        assert_eq!(field(&shown, "availability "), Some("down since T, a probe has had no answer for 10 s".into()));
        assert_eq!(field(&shown, "whenDown "), Some("refuse".into()));
        let volume = json!({"id": "v", "status": "creating", "health": {"state": "unknown", "checkedAt": "C",
            "code": "backendUnreachable", "message": "it does not answer", "since": "T"}, "operation": {"kind": "create",
            "attempt": 3, "nextTryAt": "N", "deadline": "D", "lastError": "broken", "startedAt": "S"}});
        let row = text(|out| list(out, &Format::Table.into(), Kind::Volume, std::slice::from_ref(&volume)));
        assert!(row.contains("backendUnreachable") && row.contains("create, attempt 3, next try at N"), "{row}");
        let shown = text(|out| show(out, &Format::Table.into(), Kind::Volume, &[volume], false));
        let operation = "create, attempt 3, next try at N, since S, deadline D, last error broken";
        assert_eq!(field(&shown, "operation "), Some(operation.into()));
        let health = "unknown: it does not answer (backendUnreachable), since T, checked at C";
        assert_eq!(field(&shown, "health "), Some(health.into()));
    }

    #[test]
    fn an_attachment_is_followed_by_who_is_connected() {
        let client = |seen: Value| {
            json!({"address": "10.0.0.5:41234", "identity": "db\u{1b}-1", "since": "S", "lastSeen": "L", "sizeBytesSeen": seen,
                "bytesRead": 0, "bytesWritten": 1_610_612_736, "inFlight": 2})
        };
        let shown = |clients: Value| {
            let row = json!({"id": "a", "status": "attached", "sizeBytes": 2_147_483_648_u64, "clients": clients});
            text(|out| show(out, &Format::Table.into(), Kind::Attachment, &[row], false))
        };
        let got = shown(json!([client(json!(1 << 30)), client(json!(null)), client(json!(1_u64 << 31)), 5]));
        let (attachment, table) = got.split_once("\n\n").unwrap();
        assert!(attachment.starts_with("id") && !attachment.contains("clients"), "{attachment}");
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
        assert_eq!(rows[0], ["ADDRESS", "IDENTITY", "SINCE", "LAST SEEN", "SIZE SEEN", "READ", "WRITTEN", "IN FLIGHT"]);
        assert_eq!(rows[1], ["10.0.0.5:41234", "db\u{fffd}-1", "S", "L", "1 GiB of 2 GiB", "0 B", "1.5 GiB", "2"]);
        assert_eq!((rows[2][4], rows[3][4], rows[4].as_slice()), ("-", "2 GiB", ["-"; 8].as_slice()));
        assert!(shown(json!([])).ends_with("\n\nno client is connected\n"));
        // It is not exported, or the exporter cannot tell: then nothing is claimed.
        assert!(!shown(json!(null)).contains("client"), "{}", shown(json!(null)));
    }

    #[test]
    fn bytes_are_rounded_down_to_a_tenth() {
        let rows = [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (2047, "1.9 KiB"), (1 << 40, "1 TiB"), (u64::MAX, "15.9 EiB")];
        for (count, want) in rows {
            assert_eq!(bytes(&json!(count)), want);
        }
        assert_eq!(bytes(&json!(-1)), "-");
    }

    #[test]
    fn json_is_what_the_server_sent() {
        let one = text(|out| show(out, &Format::Json.into(), Kind::Volume, &[volume()], false));
        assert_eq!(serde_json::from_str::<Value>(&one).unwrap(), volume());
        let many = text(|out| changed(out, &Format::Json.into(), Kind::Volume, &[volume()], true));
        assert_eq!(serde_json::from_str::<Value>(&many).unwrap(), json!([volume()]));
        assert!(!one.contains('\u{1b}'));
    }

    #[test]
    fn names_are_ids() {
        assert_eq!(text(|out| list(out, &Format::Name.into(), Kind::Volume, &[volume(), json!({"id": "b"})])), "7f3a\nb\n");
    }

    #[test]
    fn a_journal_tells_what_happened() {
        let entry = json!({
            "revision": 7, "at": "2026-11-23T12:04:00Z", "from": "extending", "to": "errorExtending", "cause": "extend",
            "ended": {"operation": "extend", "how": "failed"}, "reason": {"code": "refused", "message": "pool full"},
        });
        let got = text(|out| journal(out, &Format::Table.into(), std::slice::from_ref(&entry)));
        assert!(got.contains("extend failed") && got.contains("pool full (refused)"), "{got}");
        let first = json!({"at": "T", "from": null, "to": "creating", "cause": "create"});
        assert_eq!(journal_line(&first), "T new -> creating (create)");
        assert_eq!(journal_line(&entry), "2026-11-23T12:04:00Z extending -> errorExtending (extend): pool full (refused)");
    }

    #[test]
    fn hostile_answers_are_printed_all_the_same() {
        for row in [json!(null), json!([1]), json!("x"), json!({"status": {"a": [{}]}, "operation": 5, "allowed": "x", "size": -1})]
        {
            for format in [Format::Table, Format::Json, Format::Name] {
                text(|out| list(out, &format.into(), Kind::Attachment, std::slice::from_ref(&row)));
                text(|out| show(out, &format.into(), Kind::Volume, std::slice::from_ref(&row), false));
                text(|out| journal(out, &format.into(), std::slice::from_ref(&row)));
            }
        }
        assert_eq!(clean("a\u{202e}b\nc\u{9b}"), "a\u{fffd}b c\u{fffd}");
    }
}
