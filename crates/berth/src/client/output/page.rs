//! One resource on one screen: its fields, what runs on it, what belongs to it, what happened to it.

use super::{
    Shape, clean, columns, fields, json, operation, plain, plain_table, reason_message, show_clients, table, text_of, write_table,
};
use crate::client::kind::Kind;
use comfy_table::Table;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{self, Write};

/// How long a bar of progress is, in characters.
const BAR: usize = 24;

/// See the module.
pub(crate) struct Page<'a> {
    kind: Kind,
    all: &'a Value,
    now: Timestamp,
}

/// Writes everything as JSON.
///
/// # Errors
/// What the writer says.
pub(crate) fn whole(out: &mut dyn Write, all: &Value) -> io::Result<()> {
    json(out, all)
}

impl<'a> Page<'a> {
    /// A page of what was gathered; `now` is what deadlines are told against.
    pub(crate) const fn of(kind: Kind, all: &'a Value, now: Timestamp) -> Self {
        Self { kind, all, now }
    }

    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let object = &self.all["object"];
        writeln!(out, "{}", self.kind.describe(object, &plain(&object["id"])))?;
        let mut table = plain_table();
        let elsewhere = ["id", "name", "hostName", "clients"];
        for field in fields(object).into_iter().filter(|field| !elsewhere.contains(field)) {
            match field {
                "operation" => self.operation(&mut table, object),
                field => _ = table.add_row([format!("  {field}"), self.field(field, &object[field])]),
            }
        }
        write_table(out, &mut table)?;
        if let Some(clients) = object["clients"].as_array() {
            writeln!(out, "\nclients")?;
            show_clients(out, clients, &object["sizeBytes"])?;
        }
        self.attachments(out)?;
        for (part, kind) in [("snapshots", Kind::Snapshot), ("volumes", Kind::Volume)] {
            self.part(out, part, kind)?;
        }
        self.timeline(out)
    }

    /// A reference is shown with its name.
    fn field(&self, field: &str, value: &Value) -> String {
        match value.as_str().and_then(|id| self.all["names"][id].as_str()) {
            Some(name) => format!("{} ({})", clean(name), plain(value)),
            None => text_of(field, value),
        }
    }

    fn operation(&self, table: &mut Table, object: &Value) {
        let running = &object["operation"];
        let bar = running["progress"].as_f64().map(|percent| format!("{} ", bar(percent))).unwrap_or_default();
        table.add_row(["  operation".to_owned(), format!("{bar}{}", operation(object))]);
        for (label, field) in [("since", "startedAt"), ("deadline", "deadline"), ("last error", "lastError")] {
            let said = plain(&running[field]);
            if !said.is_empty() {
                let away = self.away(&running[field]);
                table.add_row([format!("    {label}"), format!("{said}{away}")]);
            }
        }
    }

    /// How far away a time is, in words; nothing for what is no time.
    fn away(&self, time: &Value) -> String {
        let Some(time) = time.as_str().and_then(|time| time.parse::<Timestamp>().ok()) else { return String::new() };
        let seconds = time.as_second() - self.now.as_second();
        match seconds {
            0 => " (now)".into(),
            1.. => format!(" (in {})", lasting(seconds.unsigned_abs())),
            _ => format!(" ({} ago)", lasting(seconds.unsigned_abs())),
        }
    }

    fn attachments(&self, out: &mut dyn Write) -> io::Result<()> {
        self.part(out, "attachments", Kind::Attachment)?;
        for row in self.all["attachments"].as_array().into_iter().flatten() {
            if let Some(clients) = row["clients"].as_array().filter(|clients| !clients.is_empty()) {
                writeln!(out, "\nclients of attachment {}", plain(&row["id"]))?;
                show_clients(out, clients, &row["sizeBytes"])?;
            }
        }
        Ok(())
    }

    /// A table of what belongs to it; nothing where it has no such part.
    fn part(&self, out: &mut dyn Write, part: &str, kind: Kind) -> io::Result<()> {
        let Some(rows) = self.all[part].as_array() else { return Ok(()) };
        if rows.is_empty() {
            return writeln!(out, "\nno {part}");
        }
        writeln!(out, "\n{part}")?;
        // A table has no room for both: the name says more.
        let named: Vec<Value> = rows.iter().map(|row| self.named(row)).collect();
        table(out, &Shape::default(), columns::of(kind), &named)?;
        if self.all["more"] == true {
            writeln!(out, "and more: berth {} list", kind.word())?;
        }
        Ok(())
    }

    /// What belongs to it, in short: the name, or the end of an id that stands whole in a table above: ids begin with
    /// the time, and those of one minute begin alike.
    fn short(&self, id: &Value) -> String {
        let rows = self.all["snapshots"].as_array().into_iter().flatten();
        let name = rows.filter(|row| row["id"] == *id).find_map(|row| row["name"].as_str()).filter(|name| !name.is_empty());
        name.map_or_else(|| format!("…{}", last_digits(&plain(id))), clean)
    }

    fn named(&self, row: &Value) -> Value {
        let mut row = row.clone();
        if let Some(fields) = row.as_object_mut() {
            for (_, value) in fields.iter_mut().filter(|(field, _)| field.ends_with("Id")) {
                if let Some(name) = value.as_str().and_then(|id| self.all["names"][id].as_str()) {
                    *value = name.into();
                }
            }
        }
        row
    }

    fn timeline(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(entries) = self.all["journal"].as_array().filter(|entries| !entries.is_empty()) else { return Ok(()) };
        writeln!(out, "\ntimeline, the newest last")?;
        let mut table = plain_table();
        for entry in entries {
            let from = entry["from"].as_str().filter(|from| !from.is_empty()).unwrap_or("new");
            let to = plain(&entry["to"]);
            let way = if clean(from) == to { format!("stays {to}") } else { format!("{} -> {to}", clean(from)) };
            let kind = plain(&entry["kind"]);
            let own = entry["id"] == self.all["object"]["id"];
            let what = if own { kind } else { format!("{kind} {}", self.short(&entry["id"])) };
            table.add_row([plain(&entry["at"]), what, way, plain(&entry["cause"]), ended(entry), reason_message(entry)]);
        }
        write_table(out, &mut table)
    }
}

/// How an operation ended, and how long it took where the server tells.
fn ended(entry: &Value) -> String {
    let ended = &entry["ended"];
    let mut words = format!("{} {}", plain(&ended["operation"]), plain(&ended["how"]));
    if let Some(took) = ended["durationMs"].as_u64() {
        let _ = match took {
            0..1000 => write!(words, " in {took} ms"),
            _ => write!(words, " in {}.{} s", took / 1000, took % 1000 / 100),
        };
    }
    words.trim().to_owned()
}

/// `[############------------] `; whatever a server says is a place on it.
pub(crate) fn bar(percent: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating is what is wanted")]
    let full = (percent.clamp(0.0, 100.0) as usize) * BAR / 100;
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

/// A time in its two largest units.
fn lasting(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut left = seconds;
    let mut words = Vec::new();
    for (unit, size) in units {
        if left >= size {
            words.push(format!("{} {unit}", left / size));
        }
        left %= size;
    }
    words.truncate(2);
    words.join(" ")
}

/// The end of an id, by which it is told from others.
fn last_digits(id: &str) -> String {
    id.chars().skip(id.chars().count().saturating_sub(8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(kind: Kind, all: &Value) -> String {
        let mut out = Vec::new();
        Page::of(kind, all, "2026-11-23T12:05:00Z".parse().unwrap()).write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_volume_is_told_whole() {
        let all = json!({
            "kind": "volume",
            "object": {"id": "v", "name": "da\u{1b}ta", "size": 10, "status": "extending", "poolId": "p", "description": "",
                "statusReason": {"code": "refused", "message": "full", "since": "T"},
                "operation": {"kind": "extend", "progress": 50, "attempt": 2, "startedAt": "2026-11-23T12:04:00Z",
                    "deadline": "2026-11-23T13:06:05Z", "lastError": "no"}},
            "names": {"p": "default", "h": "db-1"},
            "attachments": [{"id": "a", "volumeId": "v", "hostId": "h", "status": "attached", "attachMode": "rw",
                "clients": [{"address": "10.0.0.5:1", "identity": "db", "bytesRead": 1}], "connectionInfo": {"data": {"uri": "nbd://x"}}}],
            "snapshots": [{"id": "5-5", "name": "nightly"}], "more": true,
            "journal": [
                {"revision": 1, "at": "t1", "kind": "volume", "id": "v", "from": null, "to": "creating", "cause": "create"},
                {"revision": 3, "at": "t3", "kind": "snapshot", "id": "5-5", "from": "available", "to": "available", "cause": "create"},
                {"revision": 4, "at": "t4", "kind": "attachment", "id": "01a22574-12bc-75dd-995f-1889623ecd63", "from": "attached", "to": "detached", "cause": "detach"},
                {"revision": 2, "at": "t2", "kind": "attachment", "id": "a", "from": "attaching", "to": "attached", "cause": "export",
                    "ended": {"operation": "attach", "how": "done", "durationMs": 1250}, "reason": {"code": "c", "message": "m"}},
            ],
        });
        let got = page(Kind::Volume, &all);
        let line =
            |start: &str| got.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_else(|| panic!("{start}: {got}"));
        assert_eq!(got.lines().next(), Some("volume da\u{fffd}ta (v)"));
        assert!(line("operation").ends_with("[############------------] extend 50%, attempt 2"), "{got}");
        assert!(line("deadline").ends_with("2026-11-23T13:06:05Z (in 1 h 1 min)"), "{got}");
        assert!(line("since").ends_with("(1 min ago)"), "{got}");
        assert!(line("poolId").ends_with("default (p)"), "{got}");
        assert!(line("statusReason").contains("full (refused), since T"), "{got}");
        assert!(line("a ").contains("db-1") && line("a ").contains("nbd://x"), "{got}");
        assert!(
            got.contains("clients of attachment a\n") && !got.contains("no snapshots\n") && !got.contains("description"),
            "{got}"
        );
        assert!(line("t1").contains("new -> creating") && line("t2").contains("attach done in 1.2 s"), "{got}");
        assert!(line("t3").contains("snapshot nightly ") && line("t3").contains(" stays available"), "{got}");
        assert!(line("t4").contains("attachment …623ecd63") && line("t4").contains("attached -> detached"), "{got}");
        assert!(got.contains("and more: berth attachment list"), "{got}");
        assert!(!got.contains('\u{1b}'));
    }

    #[test]
    fn hostile_answers_are_told_all_the_same() {
        let objects = [
            json!(null),
            json!([]),
            json!("x"),
            json!({"operation": {"progress": -1e300, "deadline": "x", "kind": 5}, "clients": [5]}),
        ];
        for object in objects {
            for kind in [Kind::Volume, Kind::Attachment, Kind::Pool] {
                page(kind, &json!({"object": object, "attachments": [5, null], "journal": [{}, 5], "names": 5}));
            }
        }
        assert_eq!((bar(f64::NAN), bar(1e300)), (format!("[{}]", "-".repeat(24)), format!("[{}]", "#".repeat(24))));
    }

    #[test]
    fn times_are_told_in_two_units() {
        for (seconds, want) in [(5, "5 s"), (65, "1 min 5 s"), (3600, "1 h"), (90_061, "1 d 1 h")] {
            assert_eq!(lasting(seconds), want);
        }
    }
}
