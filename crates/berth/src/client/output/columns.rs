//! The columns of tables: those that a kind has by itself, and those that were asked for (`--columns`).
//!
//! - A column is asked for by its heading in any case, or by a field of the JSON as `statusReason.code`. A heading wins.
//! - What no row of the kind can have is refused before anything is asked of the server: a verb must not be done and then fail to print.
//!   The fields are those of the API document, so that there is no second list of them.

use super::{cell, clean, dash, operation, plain, reason_message, since, size};
use crate::client::exit::{Failure, Outcome};
use crate::client::kind::Kind;
use serde_json::Value;

/// What a command prints as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tabled {
    /// Resources of this kind.
    Of(Kind),
    /// Entries of a journal.
    Journal,
    /// Nothing that has columns.
    Nothing,
}

/// A column that was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Chosen {
    /// One that the kind has by itself.
    Known(&'static Column),
    /// A field, by its path.
    Field(String),
}

impl Chosen {
    /// Its heading.
    pub(super) fn heading(&self) -> String {
        match self {
            Self::Known((heading, _)) => (*heading).to_owned(),
            Self::Field(path) => clean(path).to_uppercase(),
        }
    }

    /// Its text in a row.
    pub(super) fn text(&self, row: &Value) -> String {
        match self {
            Self::Known((_, text)) => text(row),
            Self::Field(path) => cell(path.split('.').fold(row, |value, field| &value[field])),
        }
    }
}

/// The columns that `asked` names.
///
/// # Errors
/// A usage failure that lists what there is.
pub(crate) fn choose(tabled: Tabled, asked: &[String]) -> Outcome<Vec<Chosen>> {
    let (known, schema) = match tabled {
        Tabled::Of(kind) => (of(kind), schema(kind)),
        Tabled::Journal => (JOURNAL, "JournalEntry"),
        Tabled::Nothing => return Err(Failure::usage("this command prints no table, so it has no columns; leave --columns out")),
    };
    let document = api_opensds::openapi();
    let fields = document["components"]["schemas"][schema]["properties"].as_object();
    let one = |asked: &String| {
        let column = known.iter().find(|(heading, _)| heading.eq_ignore_ascii_case(asked));
        let is_field = || fields.is_some_and(|fields| fields.contains_key(asked.split('.').next().unwrap_or_default()));
        match column {
            Some(column) => Ok(Chosen::Known(column)),
            None if is_field() => Ok(Chosen::Field(asked.clone())),
            None => {
                let headings: Vec<_> = known.iter().map(|(heading, _)| heading.to_lowercase()).collect();
                let fields: Vec<_> = fields.into_iter().flat_map(|fields| fields.keys().map(String::as_str)).collect();
                Err(Failure::usage(format!(
                    "there is no column {asked:?}; there are {}, and the fields {}",
                    headings.join(", "),
                    fields.join(", ")
                )))
            }
        }
    };
    asked.iter().map(one).collect()
}

/// Where the API document tells the fields of a kind.
pub(crate) const fn schema(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => "Volume",
        Kind::Snapshot => "Snapshot",
        Kind::Attachment => "Attachment",
        Kind::Host => "Host",
        Kind::Profile => "Profile",
        Kind::Pool => "Pool",
    }
}

/// A column: its heading, and its text in a row.
pub(super) type Column = (&'static str, fn(&Value) -> String);

pub(super) const JOURNAL: &[Column] = &[
    ("REVISION", |row| cell(&row["revision"])),
    ("AT", |row| cell(&row["at"])),
    ("FROM", |row| cell(&row["from"])),
    ("TO", |row| cell(&row["to"])),
    ("CAUSE", |row| cell(&row["cause"])),
    ("ENDED", ended),
    ("ACTOR", |row| cell(&row["actor"])),
    ("REASON", |row| dash(reason_message(row))),
];

pub(super) const fn of(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Volume => &[
            ("ID", |row| cell(&row["id"])),
            ("NAME", |row| cell(&row["name"])),
            ("SIZE", |row| size(&row["size"])),
            ("STATUS", |row| cell(&row["status"])),
            ("REASON", reason_code),
            ("OPERATION", |row| dash(operation(row))),
            ("CREATED", |row| cell(&row["createdAt"])),
        ],
        Kind::Snapshot => &[
            ("ID", |row| cell(&row["id"])),
            ("NAME", |row| cell(&row["name"])),
            ("VOLUME", |row| cell(&row["volumeId"])),
            ("SIZE", |row| size(&row["size"])),
            ("STATUS", |row| cell(&row["status"])),
            ("REASON", reason_code),
            ("OPERATION", |row| dash(operation(row))),
        ],
        Kind::Attachment => &[
            ("ID", |row| cell(&row["id"])),
            ("VOLUME", |row| cell(&row["volumeId"])),
            ("HOST", |row| cell(&row["hostId"])),
            ("MODE", |row| cell(&row["attachMode"])),
            ("STATUS", |row| cell(&row["status"])),
            ("REASON", reason_code),
            ("OPERATION", |row| dash(operation(row))),
            ("CONNECTION", connection),
        ],
        Kind::Host => &[
            ("ID", |row| cell(&row["id"])),
            ("NAME", |row| cell(&row["hostName"])),
            ("IP", |row| cell(&row["ip"])),
            ("OS", |row| cell(&row["osType"])),
            ("ACCESS", |row| cell(&row["accessMode"])),
        ],
        Kind::Profile => &[
            ("ID", |row| cell(&row["id"])),
            ("NAME", |row| cell(&row["name"])),
            ("STORAGE", |row| cell(&row["storageType"])),
            ("DESCRIPTION", |row| cell(&row["description"])),
        ],
        Kind::Pool => &[
            ("ID", |row| cell(&row["id"])),
            ("NAME", |row| cell(&row["name"])),
            ("STATUS", |row| cell(&row["status"])),
            ("BACKEND", |row| dash(since(&row["availability"]))),
            ("ZONE", |row| cell(&row["availabilityZone"])),
            ("TOTAL", |row| size(&row["totalCapacity"])),
            ("FREE", |row| size(&row["freeCapacity"])),
        ],
    }
}

/// Why a status is what it is; without a reason, why it may not be so any more.
fn reason_code(row: &Value) -> String {
    let code = &row["statusReason"]["code"];
    cell(if code.is_null() { &row["health"]["code"] } else { code })
}

fn ended(row: &Value) -> String {
    let ended = &row["ended"];
    match (ended["operation"].as_str(), ended["how"].as_str()) {
        (Some(operation), Some(how)) => clean(&format!("{operation} {how}")),
        _ => "-".into(),
    }
}

fn connection(row: &Value) -> String {
    let data = &row["connectionInfo"]["data"];
    match data["uri"].as_str() {
        Some(uri) => clean(uri),
        None => dash(plain(data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::exit::Exit;
    use serde_json::json;

    fn row(tabled: Tabled, asked: &str, row: &Value) -> Outcome<Vec<(String, String)>> {
        let asked: Vec<_> = asked.split(',').map(str::to_owned).collect();
        let chosen = choose(tabled, &asked)?;
        Ok(chosen.iter().map(|column| (column.heading(), column.text(row))).collect())
    }

    #[test]
    fn a_column_is_a_heading_or_a_field() {
        let volume =
            json!({"id": "v", "size": 10, "sizeBytes": 7, "statusReason": {"code": "refused"}, "metadata": {"a": "b\u{1b}"}});
        let got = row(Tabled::Of(Kind::Volume), "Size,sizeBytes,statusReason.code,metadata.a,poolId", &volume).unwrap();
        let want = [
            ("SIZE", "10 GiB"),
            ("SIZEBYTES", "7"),
            ("STATUSREASON.CODE", "refused"),
            ("METADATA.A", "b\u{fffd}"),
            ("POOLID", "-"),
        ];
        assert_eq!(got, want.map(|(heading, text)| (heading.to_owned(), text.to_owned())));
        let entry = json!({"requestId": "r", "ended": {"operation": "extend", "how": "done"}});
        let got = row(Tabled::Journal, "ended,requestId", &entry).unwrap();
        assert_eq!(
            got,
            [("ENDED", "extend done"), ("REQUESTID", "r")].map(|(heading, text)| (heading.to_owned(), text.to_owned()))
        );
    }

    #[test]
    fn what_no_row_can_have_is_refused_with_what_there_is() {
        for asked in ["nonsense", "", "id,,name", "status.x.y,zzz"] {
            let failure = row(Tabled::Of(Kind::Volume), asked, &json!({})).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{asked}");
            assert!(failure.message.contains("operation") && failure.message.contains("sizeBytes"), "{failure}");
        }
        assert_eq!(row(Tabled::Nothing, "id", &json!({})).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn every_kind_has_a_schema() {
        for kind in [Kind::Volume, Kind::Snapshot, Kind::Attachment, Kind::Host, Kind::Profile, Kind::Pool] {
            assert!(row(Tabled::Of(kind), "createdAt", &json!({})).is_ok(), "{kind:?}");
        }
    }
}
