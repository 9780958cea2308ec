//! The door for fuzzing: what may lie in a store that something else has written to, given to the real readers.
//!
//! The targets in `fuzz/` call these functions and nothing else; the tests here replay what they found, on the stable toolchain.
//! Nothing in the server calls them. A broken promise is a panic.

use crate::read;
use crate::record::{AttachmentRow, OtherRow, SnapshotRow, VolumeRow};
use crate::schema::{migrate, version};
use engine::records::{Key, VolumeRecord};
use engine::store::{Child, JournalQuery, Mark, StoreError};
use lifecycle::{
    AttachmentId, Capabilities, Command, Context, HostId, Input, PoolId, ProfileId, SnapshotId, Subject, Timestamp, VolumeId,
};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The id of whatever is stored.
const ID: Uuid = Uuid::from_u128(0x10);
/// The id of what it belongs to, where that is another thing.
const OWNER: Uuid = Uuid::from_u128(0x20);

/// Reads `input` as the body of a stored record: its first byte says of which kind. A volume's is followed by a line with a snapshot's
/// body and one with an attachment's, if it has them. Returns whether it could be read.
///
/// # Panics
/// If reading does, or what is read is another record once it is written and read again, or cannot be asked about itself.
pub fn body(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else { return false };
    let Ok(text) = std::str::from_utf8(rest) else { return false };
    match kind % 4 {
        0 => volume(text, kind & 4 != 0),
        1 => again(other(text), OtherRow::decode_host, OtherRow::encode_host),
        2 => again(other(text), OtherRow::decode_profile, OtherRow::encode_profile),
        _ => again(other(text), OtherRow::decode_pool, OtherRow::encode_pool),
    }
}

fn other(body: &str) -> OtherRow {
    OtherRow { id: ID, tenant: String::new(), name: "name".into(), created: 1, version: 0, body: body.to_owned() }
}

/// What must hold of whatever decodes: it encodes to something that decodes to the same.
fn again<R: PartialEq + std::fmt::Debug>(
    row: OtherRow,
    decode: impl Fn(OtherRow) -> Result<R, String>,
    encode: impl Fn(&R) -> OtherRow,
) -> bool {
    let Ok(record) = explained(decode(row)) else { return false };
    assert_eq!(decode(encode(&record)).as_ref(), Ok(&record), "it is another one when it is read again");
    true
}

/// What must hold of a refusal: it says what is wrong.
fn explained<T>(read: Result<T, String>) -> Result<T, String> {
    assert!(read.as_ref().err().is_none_or(|why| !why.is_empty()), "it is refused without a word");
    read
}

fn volume(text: &str, cloned: bool) -> bool {
    let mut lines = text.split('\n');
    let body = lines.next().unwrap_or_default().to_owned();
    let row = VolumeRow {
        id: OWNER,
        tenant: "tenant".into(),
        name: "name".into(),
        status: String::new(),
        pool: ID,
        profile: ID,
        source: cloned.then_some(ID),
        created: 1,
        owes: false,
        version: 0,
        revision: 0,
        body,
        has_snapshots: false,
        has_attachments: false,
    };
    let snapshot = lines.next().filter(|line| !line.is_empty()).map(|line| explained(snapshot(line).decode()));
    let attachment = lines.next().filter(|line| !line.is_empty()).map(|line| explained(attachment(line).decode()));
    let (Ok(snapshot), Ok(attachment)) = (snapshot.transpose(), attachment.transpose()) else { return false };
    let Ok(record) = explained(row.decode(snapshot.into_iter().collect(), attachment.into_iter().collect())) else { return false };
    let snapshots = record.state.snapshots().keys().filter_map(|id| SnapshotRow::encode(&record, *id));
    let attachments = record.state.attachments().keys().filter_map(|id| AttachmentRow::encode(&record, *id));
    let snapshots = snapshots.map(|row| row.decode().expect("it was written just now")).collect();
    let attachments = attachments.map(|row| row.decode().expect("it was written just now")).collect();
    assert_eq!(VolumeRow::encode(&record).decode(snapshots, attachments).as_ref(), Ok(&record), "it is another one");
    asked(&record);
    true
}

fn snapshot(body: &str) -> SnapshotRow {
    SnapshotRow {
        id: ID,
        volume: OWNER,
        tenant: "tenant".into(),
        name: "name".into(),
        status: String::new(),
        profile: ID,
        created: 1,
        revision: 0,
        body: body.to_owned(),
    }
}

fn attachment(body: &str) -> AttachmentRow {
    AttachmentRow {
        id: ID,
        volume: OWNER,
        tenant: "tenant".into(),
        status: String::new(),
        host: ID,
        created: 1,
        revision: 0,
        body: body.to_owned(),
    }
}

/// Asks a record what the engine asks of it as soon as it is read: none of that may rely on what only the rules would have written.
fn asked(record: &VolumeRecord) {
    let state = &record.state;
    let capabilities = Capabilities { attached_snapshot: false, online_extend: false };
    let context = Context { now: Timestamp(2), capabilities, retired: false };
    let (snapshot, attachment) = (SnapshotId(ID), AttachmentId(ID));
    for subject in [Subject::Volume(VolumeId(OWNER)), Subject::Snapshot(snapshot), Subject::Attachment(attachment)] {
        let _ = (state.word(subject), state.operation(subject), state.reason(subject), state.allowed(subject, &context));
        for command in [Command::Retry(subject), Command::Recover(subject)] {
            step(record, Input::Command(command), &context);
        }
    }
    let _ = (state.status(), state.owes_work(), state.owed(capabilities), state.reserved(), state.tombstone_ends(i64::MAX));
    step(record, Input::Command(Command::Delete { cascade: true }), &context);
    step(record, Input::Command(Command::Detach { id: attachment, force: true }), &context);
    step(record, Input::Exports(BTreeMap::new()), &context);
}

fn step(record: &VolumeRecord, input: Input, context: &Context) {
    if let Ok(transitions) = record.state.decide(&input, context) {
        let _ = record.state.apply(&transitions, context.now);
    }
}

/// A value of a column, of any type that SQLite has.
#[derive(Clone, Debug)]
enum Cell<'a> {
    /// As a sound row has it.
    Sound(&'static str),
    Id(Uuid),
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Blob(&'a [u8]),
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Sound(text) => ValueRef::Text(text.as_bytes()),
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A table: its columns, each with what stands there in a sound row.
type Table = (&'static str, &'static [(&'static str, Cell<'static>)]);

const WORD: Cell<'static> = Cell::Sound("t");
const NUMBER: Cell<'static> = Cell::Integer(1);
const VOLUME: Cell<'static> = Cell::Sound(r#"{"v":1,"size":1073741824,"phase":"ready","since":1}"#);
const SNAPSHOT: Cell<'static> = Cell::Sound(r#"{"v":1,"size":1073741824,"phase":"available","since":1}"#);
const ATTACHMENT: Cell<'static> = Cell::Sound(r#"{"v":1,"protocol":"nbd","mode":"readWrite","phase":{"attaching":{}},"since":1}"#);
const HOST: Cell<'static> = Cell::Sound(r#"{"v":1,"ip":"192.0.2.7","accessMode":"agent","osType":"linux"}"#);
const PROFILE: Cell<'static> = Cell::Sound(r#"{"v":1,"storageType":"block"}"#);
const POOL: Cell<'static> = Cell::Sound(r#"{"v":1}"#);
const ENTRY: Cell<'static> = Cell::Sound(r#"{"to":"available","cause":"done"}"#);
const REQUEST: Cell<'static> = Cell::Blob(&[0; 32]);

/// What a row may lie in.
const TABLES: [Table; 9] = [
    (
        "volumes",
        &[
            ("id", Cell::Id(ID)),
            ("tenant", WORD),
            ("name", WORD),
            ("status", WORD),
            ("pool", Cell::Id(ID)),
            ("profile", Cell::Id(ID)),
            ("source", Cell::Null),
            ("created", NUMBER),
            ("owes", NUMBER),
            ("version", NUMBER),
            ("revision", NUMBER),
            ("body", VOLUME),
            ("has_snapshots", NUMBER),
            ("has_attachments", NUMBER),
        ],
    ),
    (
        "snapshots",
        &[
            ("id", Cell::Id(ID)),
            ("volume", Cell::Id(OWNER)),
            ("tenant", WORD),
            ("name", WORD),
            ("status", WORD),
            ("profile", Cell::Id(ID)),
            ("created", NUMBER),
            ("revision", NUMBER),
            ("body", SNAPSHOT),
        ],
    ),
    (
        "attachments",
        &[
            ("id", Cell::Id(ID)),
            ("volume", Cell::Id(OWNER)),
            ("tenant", WORD),
            ("status", WORD),
            ("host", Cell::Id(ID)),
            ("created", NUMBER),
            ("revision", NUMBER),
            ("body", ATTACHMENT),
        ],
    ),
    ("hosts", &small(HOST)),
    ("profiles", &small(PROFILE)),
    ("pools", &small(POOL)),
    ("counters", &[("kind", Cell::Integer(0)), ("id", Cell::Id(ID)), ("count", NUMBER)]),
    (
        "journal",
        &[
            ("revision", NUMBER),
            ("seq", NUMBER),
            ("at", NUMBER),
            ("tenant", WORD),
            ("volume", Cell::Id(ID)),
            ("kind", Cell::Integer(0)),
            ("subject", Cell::Id(ID)),
            ("body", ENTRY),
        ],
    ),
    (
        "idempotency",
        &[
            ("tenant", WORD),
            ("key", WORD),
            ("request", REQUEST),
            ("kind", Cell::Integer(0)),
            ("made", Cell::Id(ID)),
            ("at", NUMBER),
        ],
    ),
];

const fn small(body: Cell<'static>) -> [(&'static str, Cell<'static>); 6] {
    [("id", Cell::Id(ID)), ("tenant", WORD), ("name", WORD), ("created", NUMBER), ("version", NUMBER), ("body", body)]
}

/// A store in memory, into which rows are put past every rule.
pub struct Rows(Connection);

impl Rows {
    /// Makes an empty one, with the volume that snapshots and attachments belong to.
    ///
    /// # Panics
    /// If SQLite cannot.
    #[must_use]
    pub fn new() -> Self {
        let mut connection = Connection::open_in_memory().expect("there is memory");
        let tx = connection.transaction().expect("it is new");
        migrate(&tx, 0, version()).expect("the schema is sound");
        tx.commit().expect("there is memory");
        Self(connection)
    }

    /// Reads `input` as a row, puts it in, reads it as the store does, and takes it out. Its first byte says into which table; then
    /// for each column comes a byte that says which value it has (0 for that of a sound row), and the value. Returns whether
    /// everything could be read.
    ///
    /// # Panics
    /// If reading does, or tells that the store cannot answer: a row that is damaged is damaged for good.
    pub fn hold(&self, input: &[u8]) -> bool {
        let Some((which, rest)) = input.split_first() else { return false };
        let (table, columns) = &TABLES[usize::from(*which) % TABLES.len()];
        let mut rest = rest;
        let cells: Vec<_> = columns.iter().map(|(_, sound)| cell(&mut rest).unwrap_or_else(|| sound.clone())).collect();
        self.clear();
        if *table != "volumes" {
            let sound = TABLES[0].1.iter().map(|(name, sound)| if *name == "id" { Cell::Id(OWNER) } else { sound.clone() });
            self.put(&TABLES[0], &sound.collect::<Vec<_>>()).expect("a sound row can be put in");
        }
        // Not all can be put in: a column may not be empty, a number may not be text.
        self.put(&(table, columns), &cells).is_ok() && self.read()
    }

    fn clear(&self) {
        for (table, _) in TABLES {
            self.0.execute(&format!("DELETE FROM {table}"), []).expect("it is there");
        }
    }

    fn put(&self, (table, columns): &Table, cells: &[Cell<'_>]) -> rusqlite::Result<()> {
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        let sql = format!("INSERT INTO {table}({}) VALUES({})", names.join(", "), vec!["?"; names.len()].join(", "));
        self.0.prepare_cached(&sql)?.execute(params_from_iter(cells)).map(drop)
    }

    /// Everything that the store reads by an id or a key. Returns whether nothing is damaged.
    fn read(&self) -> bool {
        let rows = &self.0;
        let keys = [
            Key::Volume(VolumeId(ID)),
            Key::Volume(VolumeId(OWNER)),
            Key::Host(HostId(ID)),
            Key::Profile(ProfileId(ID)),
            Key::Pool(PoolId(ID)),
        ];
        let records = keys.map(|key| sound(read::record(rows, key)) & sound(read::counted(rows, key)));
        let parts = [Child::Snapshot(SnapshotId(ID)), Child::Attachment(AttachmentId(ID))];
        let parts = parts.map(|child| sound(read::part(rows, child, |_| None)));
        let subject = Some(Subject::Volume(VolumeId(ID)));
        let journals = [None, subject].map(|subject| {
            let query = JournalQuery { since: Mark::behind(0), subject, tenant: None, limit: usize::MAX };
            sound(read::journal(rows, &query))
        });
        let key = sound(read::idempotent(rows, "t", "t"));
        let owing = sound(read::owing(rows, None, usize::MAX));
        records.into_iter().chain(parts).chain(journals).all(|sound| sound) && key && owing
    }
}

impl Default for Rows {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether something could be read; what could not is damaged, and nothing else.
fn sound<T>(read: Result<T, StoreError>) -> bool {
    match read {
        Ok(_) => true,
        Err(StoreError::Corrupt(what, why)) => {
            assert!(!what.is_empty() && !why.is_empty(), "it is damaged without a word");
            false
        }
        Err(error) => panic!("a damaged row is told of as {error:?}"),
    }
}

/// The next value of a row; none for that of a sound one.
fn cell<'a>(rest: &mut &'a [u8]) -> Option<Cell<'a>> {
    let (kind, left) = rest.split_first()?;
    *rest = left;
    match kind % 6 {
        0 => None,
        1 => Some(Cell::Null),
        2 => Some(Cell::Integer(i64::from_be_bytes(eight(rest)))),
        3 => Some(Cell::Real(f64::from_be_bytes(eight(rest)))),
        4 => Some(Cell::Text(counted(rest))),
        _ => Some(Cell::Blob(counted(rest))),
    }
}

/// Eight bytes, zeros behind the end.
fn eight(rest: &mut &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    let (front, left) = rest.split_at(rest.len().min(eight.len()));
    eight[..front.len()].copy_from_slice(front);
    *rest = left;
    eight
}

/// As many bytes as two say, or as there are.
fn counted<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, left)) = rest.split_first_chunk::<2>() else { return std::mem::take(rest) };
    let (front, left) = left.split_at(left.len().min(usize::from(u16::from_be_bytes(*length))));
    *rest = left;
    front
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
mod tests {
    use super::*;
    use ground::corpus::replay;
    use std::cell::Cell as Counter;

    #[test]
    fn kept_bodies_are_survived() {
        let read = Counter::new(0);
        replay("store_body", 30, |input| read.set(read.get() + usize::from(body(input))));
        assert!(read.get() >= 15, "only {} kept bodies are read: has their form changed?", read.get());
    }

    #[test]
    fn kept_rows_are_survived() {
        let (rows, read) = (Rows::new(), Counter::new(0));
        replay("store_rows", 20, |input| read.set(read.get() + usize::from(rows.hold(input))));
        assert!(read.get() >= TABLES.len(), "only {} kept rows are read: has the schema changed?", read.get());
    }
}
