//! Reading single things: records with their versions, counters, the journal, keys, and where the store is.
//!
//! Everything here takes a connection, so that the writer can ask inside its transaction what readers ask outside of one.

use crate::DATABASE;
use crate::apply::place;
use crate::form::{EndingForm, OperationForm, ReasonForm, subject_columns, subject_from};
use crate::record::{AttachmentPart, AttachmentRow, OtherRow, SnapshotPart, SnapshotRow, VolumeRow, from_json, to_json};
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{Child, Ended, Head, Idempotent, JournalEntry, JournalQuery, Mark, StoreError, Versioned};
use lifecycle::{Timestamp, Volume, VolumeId};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What SQLite's failure means for a reader. A value that is not of its column's type does not get better by asking again.
pub(crate) fn trouble(error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    if matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)) {
        return StoreError::Corrupt("an unnamed row".into(), error.to_string());
    }
    // A file that a broken disk gives back in part reads as damaged.
    let codes = [ErrorCode::SystemIoFailure, ErrorCode::CannotOpen, ErrorCode::DatabaseCorrupt];
    if !error.sqlite_error_code().is_some_and(|code| codes.contains(&code)) {
        return StoreError::Unavailable(error.to_string());
    }
    let remedy = "see to the disk of the data folder and start the server again, or restore the file from a backup";
    StoreError::Unavailable(format!("{DATABASE} cannot be read ({error}); {remedy}"))
}

fn corrupt(what: &'static str, id: Uuid) -> impl FnOnce(String) -> StoreError {
    move |why| StoreError::Corrupt(format!("{what} {id}"), why)
}

/// The columns of a volume's row, in the order that [`volume_row`] takes them.
pub(crate) const VOLUME_COLUMNS: &str =
    "id, tenant, name, status, pool, profile, source, created, owes, version, revision, body, has_snapshots, has_attachments";
/// The columns of a snapshot's row, in the order that [`snapshot_row`] takes them.
pub(crate) const SNAPSHOT_COLUMNS: &str = "id, volume, tenant, name, status, profile, created, revision, body";
/// The columns of the small records' rows.
pub(crate) const OTHER_COLUMNS: &str = "id, tenant, name, created, version, body";

fn id(row: &Row<'_>, at: usize) -> rusqlite::Result<Uuid> {
    row.get::<_, [u8; 16]>(at).map(Uuid::from_bytes)
}

fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at).map(i64::cast_unsigned)
}

pub(crate) fn volume_row(row: &Row<'_>) -> rusqlite::Result<VolumeRow> {
    Ok(VolumeRow {
        id: id(row, 0)?,
        tenant: row.get(1)?,
        name: row.get(2)?,
        status: row.get(3)?,
        pool: id(row, 4)?,
        profile: id(row, 5)?,
        source: row.get::<_, Option<[u8; 16]>>(6)?.map(Uuid::from_bytes),
        created: row.get(7)?,
        owes: row.get(8)?,
        version: number(row, 9)?,
        revision: number(row, 10)?,
        body: row.get(11)?,
        has_snapshots: row.get(12)?,
        has_attachments: row.get(13)?,
    })
}

pub(crate) fn snapshot_row(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    Ok(SnapshotRow {
        id: id(row, 0)?,
        volume: id(row, 1)?,
        tenant: row.get(2)?,
        name: row.get(3)?,
        status: row.get(4)?,
        profile: id(row, 5)?,
        created: row.get(6)?,
        revision: number(row, 7)?,
        body: row.get(8)?,
    })
}

pub(crate) fn other_row(row: &Row<'_>) -> rusqlite::Result<OtherRow> {
    Ok(OtherRow {
        id: id(row, 0)?,
        tenant: row.get(1)?,
        name: row.get(2)?,
        created: row.get(3)?,
        version: number(row, 4)?,
        body: row.get(5)?,
    })
}

/// One record with its version.
pub(crate) fn record(connection: &Connection, key: Key) -> Result<Option<Versioned<Record>>, StoreError> {
    let (table, _, wanted) = place(key);
    if let Key::Volume(id) = key {
        return Ok(
            volume(connection, id.0)?.map(|(record, version)| Versioned { record: Record::Volume(Box::new(record)), version })
        );
    }
    let sql = format!("SELECT {OTHER_COLUMNS} FROM {table} WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql).map_err(|error| trouble(&error))?;
    let row = statement.query_row([wanted.as_bytes()], other_row).optional().map_err(|error| trouble(&error))?;
    let Some(row) = row else { return Ok(None) };
    let version = row.version;
    Ok(Some(Versioned { record: other(table, row)?, version }))
}

/// A small record from its row.
pub(crate) fn other(table: &str, row: OtherRow) -> Result<Record, StoreError> {
    let id = row.id;
    match table {
        "hosts" => row.decode_host().map(Record::Host).map_err(corrupt("host", id)),
        "profiles" => row.decode_profile().map(Record::Profile).map_err(corrupt("profile", id)),
        _ => row.decode_pool().map(Record::Pool).map_err(corrupt("pool", id)),
    }
}

/// A volume's aggregate with its version. Its row's statement is not done until its parts are read too, and until then a connection
/// sees one moment: so they fit together without the statements that begin and end a transaction, which take as long as the reading.
pub(crate) fn volume(connection: &Connection, wanted: Uuid) -> Result<Option<(VolumeRecord, u64)>, StoreError> {
    with_row(connection, wanted, |row| complete(connection, row))
}

/// The volume of a part, with its attachments and without its snapshots.
pub(crate) fn attached(connection: &Connection, wanted: Uuid) -> Result<VolumeRecord, StoreError> {
    let whole = |row| complete(connection, VolumeRow { has_snapshots: false, ..row }).map(|(record, _)| record);
    with_row(connection, wanted, whole)?.ok_or_else(|| corrupt("volume", wanted)("its row is missing".into()))
}

/// An excerpt of a volume with this snapshot of it.
pub(crate) fn with_snapshot(mut excerpt: VolumeRecord, (id, snapshot, about): SnapshotPart) -> VolumeRecord {
    let mut parts = excerpt.state.into_parts();
    parts.snapshots.insert(id, snapshot);
    excerpt.state = Volume::restore(parts);
    excerpt.snapshots.insert(id, about);
    excerpt
}

/// A snapshot or an attachment within an excerpt of its volume, both of one moment, as [`volume`] reads; or what `kept` has of it once it is
/// known whose part it is.
pub(crate) fn part(
    connection: &Connection,
    child: Child,
    kept: impl Fn(Uuid) -> Option<Option<VolumeRecord>>,
) -> Result<Option<VolumeRecord>, StoreError> {
    let (sql, wanted) = match child {
        Child::Snapshot(id) => ("SELECT volume FROM snapshots WHERE id = ?1", id.0),
        Child::Attachment(id) => ("SELECT volume FROM attachments WHERE id = ?1", id.0),
    };
    let mut statement = connection.prepare_cached(sql).map_err(|error| trouble(&error))?;
    let mut rows = statement.query([wanted.as_bytes()]).map_err(|error| trouble(&error))?;
    let Some(row) = rows.next().map_err(|error| trouble(&error))? else { return Ok(None) };
    let volume = id(row, 0).map_err(|error| trouble(&error))?;
    if let Some(kept) = kept(volume) {
        return Ok(kept);
    }
    let attached = attached(connection, volume)?;
    match child {
        Child::Snapshot(id) => {
            let sql = format!("SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE id = ?1");
            let mut statement = connection.prepare_cached(&sql).map_err(|error| trouble(&error))?;
            let row = statement.query_row([wanted.as_bytes()], snapshot_row).map_err(|error| trouble(&error))?;
            Ok(Some(with_snapshot(attached.excerpt(Some(id)), snapshot(row)?)))
        }
        Child::Attachment(_) => Ok(Some(attached.excerpt(None))),
    }
}

/// What `then` makes of a volume's row, in the moment in which that is read.
fn with_row<T>(
    connection: &Connection,
    wanted: Uuid,
    then: impl FnOnce(VolumeRow) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let sql = format!("SELECT {VOLUME_COLUMNS} FROM volumes WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql).map_err(|error| trouble(&error))?;
    let mut rows = statement.query([wanted.as_bytes()]).map_err(|error| trouble(&error))?;
    let Some(row) = rows.next().map_err(|error| trouble(&error))? else { return Ok(None) };
    let row = volume_row(row).map_err(|error| trouble(&error))?;
    then(row).map(Some)
}

/// Adds a volume's parts to its row. The connection is in a transaction, or in the middle of a statement. Most volumes have none, and
/// looking for those was a quarter of the reading.
pub(crate) fn complete(tx: &Connection, row: VolumeRow) -> Result<(VolumeRecord, u64), StoreError> {
    let (id, version) = (row.id, row.version);
    let snapshots = if row.has_snapshots { snapshots(tx, id)? } else { Vec::new() };
    let attachments = if row.has_attachments { attachments(tx, id)? } else { Vec::new() };
    row.decode(snapshots, attachments).map(|record| (record, version)).map_err(corrupt("volume", id))
}

fn snapshots(tx: &Connection, volume: Uuid) -> Result<Vec<SnapshotPart>, StoreError> {
    let sql = format!("SELECT {SNAPSHOT_COLUMNS} FROM snapshots WHERE volume = ?1");
    let mut statement = tx.prepare_cached(&sql).map_err(|error| trouble(&error))?;
    let rows = statement.query_map([volume.as_bytes()], snapshot_row).map_err(|error| trouble(&error))?;
    rows.map(|row| row.map_err(|error| trouble(&error)).and_then(snapshot)).collect()
}

/// A snapshot from its row.
pub(crate) fn snapshot(row: SnapshotRow) -> Result<SnapshotPart, StoreError> {
    let id = row.id;
    row.decode().map_err(corrupt("snapshot", id))
}

fn attachments(tx: &Connection, volume: Uuid) -> Result<Vec<AttachmentPart>, StoreError> {
    let sql = "SELECT id, volume, tenant, status, host, created, revision, body FROM attachments WHERE volume = ?1";
    let row = |row: &Row<'_>| {
        Ok(AttachmentRow {
            id: id(row, 0)?,
            volume: id(row, 1)?,
            tenant: row.get(2)?,
            status: row.get(3)?,
            host: id(row, 4)?,
            created: row.get(5)?,
            revision: number(row, 6)?,
            body: row.get(7)?,
        })
    };
    let mut statement = tx.prepare_cached(sql).map_err(|error| trouble(&error))?;
    let rows = statement.query_map([volume.as_bytes()], row).map_err(|error| trouble(&error))?;
    rows.map(|row| {
        let row = row.map_err(|error| trouble(&error))?;
        let id = row.id;
        row.decode().map_err(corrupt("attachment", id))
    })
    .collect()
}

/// Whether the volume's row tells of its parts what their tables do. One that is not there tells nothing wrong.
pub(crate) fn tells_its_parts(connection: &Connection, volume: VolumeId) -> rusqlite::Result<bool> {
    let sql = "SELECT has_snapshots = EXISTS(SELECT 1 FROM snapshots WHERE volume = ?1)
         AND has_attachments = EXISTS(SELECT 1 FROM attachments WHERE volume = ?1) FROM volumes WHERE id = ?1";
    let told = connection.prepare_cached(sql)?.query_row([volume.0.as_bytes()], |row| row.get(0)).optional()?;
    Ok(told.unwrap_or(true))
}

/// Where a counter stands.
pub(crate) fn count(connection: &Connection, key: Key) -> rusqlite::Result<u64> {
    let (_, kind, wanted) = place(key);
    let mut statement = connection.prepare_cached("SELECT count FROM counters WHERE kind = ?1 AND id = ?2")?;
    let found = statement.query_row(params![kind, wanted.as_bytes()], |row| number(row, 0)).optional()?;
    Ok(found.unwrap_or_default())
}

pub(crate) fn counted(connection: &Connection, key: Key) -> Result<u64, StoreError> {
    count(connection, key).map_err(|error| trouble(&error))
}

/// The volumes that owe work, in id order.
pub(crate) fn owing(connection: &Connection, after: Option<VolumeId>, limit: usize) -> Result<Vec<VolumeId>, StoreError> {
    let found = || {
        let sql = "SELECT id FROM volumes WHERE owes = 1 AND (?1 IS NULL OR id > ?1) ORDER BY id LIMIT ?2";
        let after = after.as_ref().map(|id| id.0.as_bytes());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        connection
            .prepare_cached(sql)?
            .query_map(params![after, limit], |row| id(row, 0).map(VolumeId))?
            .collect::<rusqlite::Result<_>>()
    };
    found().map_err(|error: rusqlite::Error| trouble(&error))
}

/// What an idempotency key was used for.
pub(crate) fn used(connection: &Connection, tenant: &str, key: &str) -> rusqlite::Result<Option<Idempotent>> {
    let sql = "SELECT request, kind, made FROM idempotency WHERE tenant = ?1 AND key = ?2";
    let row = |row: &Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, i64>(1)?, id(row, 2)?));
    let found = connection.prepare_cached(sql)?.query_row(params![tenant, key], row).optional()?;
    let Some((request, kind, made)) = found else { return Ok(None) };
    // A key whose use cannot be told is not unused: what it made would be made twice.
    let made = subject_from(kind, made).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, kind))?;
    Ok(Some(Idempotent { request, made }))
}

pub(crate) fn idempotent(connection: &Connection, tenant: &str, key: &str) -> Result<Option<Idempotent>, StoreError> {
    used(connection, tenant, key).map_err(|error| trouble(&error))
}

/// A number or word of the store itself.
pub(crate) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?.query_row([key], |row| row.get(0))
}

pub(crate) fn head(connection: &Connection) -> Result<Head, StoreError> {
    let found = || {
        let epoch = connection.query_row("SELECT value FROM meta WHERE key = 'epoch'", [], |row| row.get(0))?;
        let number = |key| meta(connection, key).map(i64::cast_unsigned);
        Ok(Head { epoch, revision: number("revision")?, compacted: number("compacted")? })
    };
    found().map_err(|error: rusqlite::Error| trouble(&error))
}

/// What the journal keeps of an entry beside its columns.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryBody {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    to: String,
    cause: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    actor: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    request: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<(OperationForm, EndingForm)>,
    /// How long what ended took, in milliseconds. Since version 0.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    took: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonForm>,
}

/// The body of a journal row.
pub(crate) fn journal_body(entry: &JournalEntry) -> String {
    to_json(&EntryBody {
        from: entry.from.clone(),
        to: entry.to.clone(),
        cause: entry.cause.clone(),
        actor: entry.actor.clone(),
        request: entry.request_id.clone(),
        ended: entry.ended.map(|ended| (ended.operation.into(), ended.how.into())),
        took: entry.ended.and_then(|ended| ended.took_ms),
        reason: entry.reason.clone().map(Into::into),
    })
}

/// Journal entries, oldest first, at most as many as the limit: the last commit's may be cut off there.
pub(crate) fn journal(connection: &Connection, query: &JournalQuery) -> Result<Vec<JournalEntry>, StoreError> {
    let subject = query.subject.map(|subject| subject_columns(subject).1);
    let sql = match (subject, &query.tenant) {
        (Some(_), _) => {
            "SELECT revision, seq, at, tenant, volume, kind, subject, body FROM journal
             WHERE subject = ?2 AND (?3 IS NULL OR tenant = ?3) AND (revision, seq) > (?1, ?5) ORDER BY revision, seq LIMIT ?4"
        }
        (None, Some(_)) => {
            "SELECT revision, seq, at, tenant, volume, kind, subject, body FROM journal
             WHERE ?2 IS NULL AND tenant = ?3 AND (revision, seq) > (?1, ?5) ORDER BY revision, seq LIMIT ?4"
        }
        (None, None) => {
            "SELECT revision, seq, at, tenant, volume, kind, subject, body FROM journal
             WHERE ?2 IS NULL AND ?3 IS NULL AND (revision, seq) > (?1, ?5) ORDER BY revision, seq LIMIT ?4"
        }
    };
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let found = || {
        let Mark { revision, seq } = query.since;
        let values = params![revision.cast_signed(), subject.as_ref().map(Uuid::as_bytes), query.tenant, limit, seq];
        connection.prepare_cached(sql)?.query_map(values, entry_row)?.collect::<rusqlite::Result<Vec<_>>>()
    };
    let rows = found().map_err(|error| trouble(&error))?;
    rows.into_iter().map(|row| row.map_err(|why| StoreError::Corrupt("journal".into(), why))).collect()
}

fn entry_row(row: &Row<'_>) -> rusqlite::Result<Result<JournalEntry, String>> {
    let (mark, at, tenant) = (Mark { revision: number(row, 0)?, seq: row.get(1)? }, Timestamp(row.get(2)?), row.get(3)?);
    let (volume, kind, subject) = (VolumeId(id(row, 4)?), row.get(5)?, id(row, 6)?);
    let body: String = row.get(7)?;
    let decode = move || {
        let body: EntryBody = from_json(&body)?;
        Ok(JournalEntry {
            mark,
            at,
            tenant,
            volume,
            subject: subject_from(kind, subject).ok_or_else(|| format!("its subject is of the unknown kind {kind}"))?,
            from: body.from,
            to: body.to,
            cause: body.cause,
            actor: body.actor,
            request_id: body.request,
            ended: body.ended.map(|(operation, how)| Ended { operation: operation.into(), how: how.into(), took_ms: body.took }),
            reason: body.reason.map(Into::into),
        })
    };
    Ok(decode())
}
