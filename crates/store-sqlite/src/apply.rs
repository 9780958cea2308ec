//! One commit inside a transaction: its preconditions first, then what it writes.
//!
//! A commit whose precondition fails has written nothing, so that others in the same transaction go through.

use crate::form::subject_columns;
use crate::read;
use crate::record::{AttachmentRow, OtherRow, SnapshotRow, VolumeRow};
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{Change, Commit, CommitError, Counter, Expected, JournalEntry};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

/// Why one commit of a batch did not happen: refused by itself, or the database failed and all of the batch with it.
pub(crate) enum Failure {
    Refused(CommitError),
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// The table of a key, its number among counters, and its id.
pub(crate) const fn place(key: Key) -> (&'static str, i64, Uuid) {
    match key {
        Key::Volume(id) => ("volumes", 0, id.0),
        Key::Host(id) => ("hosts", 1, id.0),
        Key::Profile(id) => ("profiles", 2, id.0),
        Key::Pool(id) => ("pools", 3, id.0),
    }
}

/// Applies `commit` as revision `revision`.
pub(crate) fn apply(tx: &Connection, commit: &Commit, revision: u64) -> Result<(), Failure> {
    let held = check(tx, commit)?;
    for (change, held) in commit.changes.iter().zip(held) {
        write(tx, change, held, revision)?;
    }
    for counter in &commit.counters {
        count(tx, counter)?;
    }
    for (seq, entry) in commit.journal.iter().enumerate() {
        journal(tx, entry, revision, seq)?;
    }
    if let Some((tenant, key, used)) = &commit.idempotent {
        let (kind, made) = subject_columns(used.made);
        let sql = "INSERT INTO idempotency(tenant, key, request, kind, made, at) VALUES (?1, ?2, ?3, ?4, ?5, unixepoch())";
        tx.prepare_cached(sql)?.execute(params![tenant, key, used.request, kind, made.as_bytes()])?;
    }
    Ok(())
}

/// What a volume's columns hold before a commit.
struct Held {
    row: i64,
    version: i64,
    tenant: String,
    name: String,
    status: String,
    pool: [u8; 16],
    profile: [u8; 16],
    source: Option<[u8; 16]>,
    owes: bool,
    has_snapshots: bool,
    has_attachments: bool,
}

impl Held {
    const SQL: &str = "SELECT row, version, tenant, name, status, pool, profile, source, owes, has_snapshots, has_attachments
         FROM volumes WHERE id = ?1";

    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            row: row.get(0)?,
            version: row.get(1)?,
            tenant: row.get(2)?,
            name: row.get(3)?,
            status: row.get(4)?,
            pool: row.get(5)?,
            profile: row.get(6)?,
            source: row.get(7)?,
            owes: row.get(8)?,
            has_snapshots: row.get(9)?,
            has_attachments: row.get(10)?,
        })
    }

    /// Whether all stays as it is but what the rules change.
    fn stays(&self, new: &VolumeRow) -> bool {
        let source = new.source.as_ref().map(Uuid::as_bytes);
        (self.tenant == new.tenant && self.name == new.name)
            && (self.pool == *new.pool.as_bytes() && self.profile == *new.profile.as_bytes() && self.source.as_ref() == source)
    }
}

/// Checks every precondition. Returns of each change that is of a volume what is there.
fn check(tx: &Connection, commit: &Commit) -> Result<Vec<Option<Held>>, Failure> {
    // The second change of a record would go by what was there before the first. Nobody makes such a commit.
    for (at, change) in commit.changes.iter().enumerate() {
        if commit.changes[..at].iter().any(|other| other.key == change.key) {
            return Err(Failure::Refused(CommitError::Stale(change.key)));
        }
    }
    if let Some((tenant, key, _)) = &commit.idempotent
        && let Some(used) = read::used(tx, tenant, key)?
    {
        return Err(Failure::Refused(CommitError::Repeated(used)));
    }
    let held = commit.changes.iter().map(|change| check_change(tx, change)).collect::<Result<_, _>>()?;
    for at in 0..commit.counters.len() {
        check_counter(tx, at, commit)?;
    }
    Ok(held)
}

fn check_change(tx: &Connection, change: &Change) -> Result<Option<Held>, Failure> {
    let (table, _, id) = place(change.key);
    let (held, found): (_, Option<i64>) = if matches!(change.key, Key::Volume(_)) {
        let held = tx.prepare_cached(Held::SQL)?.query_row([id.as_bytes()], Held::of).optional()?;
        let version = held.as_ref().map(|held| held.version);
        (held, version)
    } else {
        let sql = format!("SELECT version FROM {table} WHERE id = ?1");
        (None, tx.prepare_cached(&sql)?.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
    };
    let expected = match change.expected {
        Expected::Absent => None,
        Expected::Version(version) => Some(version.cast_signed()),
    };
    if found != expected {
        return Err(Failure::Refused(CommitError::Stale(change.key)));
    }
    if change.unused {
        let counted = read::count(tx, change.key)?;
        if counted > 0 {
            return Err(Failure::Refused(CommitError::InUse { key: change.key, counted }));
        }
    }
    check_name(tx, change)?;
    Ok(held)
}

fn check_name(tx: &Connection, change: &Change) -> Result<(), Failure> {
    let name = match &change.record {
        Some(Record::Host(host)) => &host.about.name,
        Some(Record::Profile(profile)) => &profile.about.name,
        Some(Record::Pool(pool)) => &pool.about.name,
        Some(Record::Volume(_)) | None => return Ok(()),
    };
    let (table, _, id) = place(change.key);
    let sql = format!("SELECT id FROM {table} WHERE name = ?1 AND id <> ?2");
    let holder: Option<[u8; 16]> = tx.prepare_cached(&sql)?.query_row(params![name, id.as_bytes()], |row| row.get(0)).optional()?;
    let Some(holder) = holder.map(Uuid::from_bytes) else { return Ok(()) };
    let key = match change.key {
        Key::Volume(_) => change.key,
        Key::Host(_) => Key::Host(lifecycle::HostId(holder)),
        Key::Profile(_) => Key::Profile(lifecycle::ProfileId(holder)),
        Key::Pool(_) => Key::Pool(lifecycle::PoolId(holder)),
    };
    Err(Failure::Refused(CommitError::NameTaken(key)))
}

/// Checks the commit's counter at this place, with what those before it move already counted.
fn check_counter(tx: &Connection, at: usize, commit: &Commit) -> Result<(), Failure> {
    let counter = &commit.counters[at];
    if counter.by <= 0 {
        return Ok(());
    }
    let made_here = commit.changes.iter().any(|change| change.key == counter.key && change.record.is_some());
    if !made_here && !exists(tx, counter.key)? {
        return Err(Failure::Refused(CommitError::NoSuch(counter.key)));
    }
    let Some(limit) = counter.at_most else { return Ok(()) };
    let before = commit.counters[..at].iter().filter(|other| other.key == counter.key);
    let counted = before.fold(read::count(tx, counter.key)?, |counted, other| counted.saturating_add_signed(other.by));
    if counted.saturating_add_signed(counter.by) > limit {
        return Err(Failure::Refused(CommitError::Full { key: counter.key, counted, by: counter.by, limit }));
    }
    Ok(())
}

fn exists(tx: &Connection, key: Key) -> rusqlite::Result<bool> {
    let (table, _, id) = place(key);
    tx.prepare_cached(&format!("SELECT 1 FROM {table} WHERE id = ?1"))?.exists([id.as_bytes()])
}

fn count(tx: &Connection, counter: &Counter) -> rusqlite::Result<()> {
    let (_, kind, id) = place(counter.key);
    let sql = "INSERT INTO counters(kind, id, count) VALUES (?1, ?2, max(0, ?3)) ON CONFLICT(kind, id) DO UPDATE SET count = max(0, count + ?3)";
    tx.prepare_cached(sql)?.execute(params![kind, id.as_bytes(), counter.by]).map(drop)
}

fn write(tx: &Connection, change: &Change, held: Option<Held>, revision: u64) -> rusqlite::Result<()> {
    match &change.record {
        None => remove(tx, change.key),
        Some(Record::Volume(record)) => write_volume(tx, change, held.as_ref(), record, revision),
        Some(Record::Host(host)) => write_other(tx, "hosts", &OtherRow::encode_host(host), revision),
        Some(Record::Profile(profile)) => write_other(tx, "profiles", &OtherRow::encode_profile(profile), revision),
        Some(Record::Pool(pool)) => write_other(tx, "pools", &OtherRow::encode_pool(pool), revision),
    }
}

fn remove(tx: &Connection, key: Key) -> rusqlite::Result<()> {
    let (table, kind, id) = place(key);
    if table == "volumes" {
        tx.prepare_cached("DELETE FROM snapshots WHERE volume = ?1")?.execute([id.as_bytes()])?;
        tx.prepare_cached("DELETE FROM attachments WHERE volume = ?1")?.execute([id.as_bytes()])?;
    } else {
        tx.prepare_cached("DELETE FROM counters WHERE kind = ?1 AND id = ?2")?.execute(params![kind, id.as_bytes()])?;
    }
    tx.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?.execute([id.as_bytes()]).map(drop)
}

fn write_other(tx: &Connection, table: &str, row: &OtherRow, revision: u64) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO {table}(id, tenant, name, created, version, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT(id) DO UPDATE SET tenant = ?2, name = ?3, version = ?5, body = ?6"
    );
    let values = params![row.id.as_bytes(), row.tenant, row.name, row.created, revision.cast_signed(), row.body];
    tx.prepare_cached(&sql)?.execute(values).map(drop)
}

fn write_volume(
    tx: &Connection,
    change: &Change,
    held: Option<&Held>,
    record: &VolumeRecord,
    revision: u64,
) -> rusqlite::Result<()> {
    let touched = &change.touched;
    match held {
        None => insert_volume(tx, &VolumeRow::encode(record), revision)?,
        Some(held) if touched.volume => update_volume(tx, held, &VolumeRow::encode(record), revision)?,
        Some(held) => {
            let owes = if held.owes == record.state.owes_work() { "" } else { ", owes = NOT owes" };
            let sql = format!("UPDATE volumes SET version = ?2{owes}, has_snapshots = ?3, has_attachments = ?4 WHERE row = ?1");
            let (snapshots, attachments) = (!record.snapshots.is_empty(), !record.attachments.is_empty());
            tx.prepare_cached(&sql)?.execute(params![held.row, revision.cast_signed(), snapshots, attachments])?;
        }
    }
    for row in touched.snapshots.iter().filter_map(|id| SnapshotRow::encode(record, *id)) {
        write_snapshot(tx, &row, revision)?;
    }
    for row in touched.attachments.iter().filter_map(|id| AttachmentRow::encode(record, *id)) {
        write_attachment(tx, &row, revision)?;
    }
    held.map_or(Ok(()), |held| drop_missing(tx, held, record))
}

fn insert_volume(tx: &Connection, row: &VolumeRow, revision: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO volumes(id, tenant, name, status, pool, profile, source, created, owes, version, revision, body,
             has_snapshots, has_attachments)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12, ?13)";
    let (id, pool, profile) = (row.id.as_bytes(), row.pool.as_bytes(), row.profile.as_bytes());
    let source = row.source.as_ref().map(Uuid::as_bytes);
    let values = params![
        id,
        row.tenant,
        row.name,
        row.status,
        pool,
        profile,
        source,
        row.created,
        row.owes,
        revision.cast_signed(),
        row.body,
        row.has_snapshots,
        row.has_attachments
    ];
    tx.prepare_cached(sql)?.execute(values).map(drop)
}

/// Names only the columns that change: each that is named costs the indices that it is in, whether or not its value is another. Those that
/// are in none are always named.
fn update_volume(tx: &Connection, held: &Held, row: &VolumeRow, revision: u64) -> rusqlite::Result<()> {
    let revision = revision.cast_signed();
    if held.stays(row) {
        let status = if held.status == row.status { "" } else { "status = ?3, " };
        let owes = if held.owes == row.owes { "" } else { "owes = ?4, " };
        let sql = format!(
            "UPDATE volumes SET {status}{owes}version = ?2, revision = ?2, body = ?5, has_snapshots = ?6, has_attachments = ?7
             WHERE row = ?1"
        );
        let values = params![held.row, revision, row.status, row.owes, row.body, row.has_snapshots, row.has_attachments];
        return tx.prepare_cached(&sql)?.execute(values).map(drop);
    }
    let sql = "UPDATE volumes SET tenant = ?2, name = ?3, status = ?4, pool = ?5, profile = ?6, source = ?7, owes = ?8,
             version = ?9, revision = ?9, body = ?10, has_snapshots = ?11, has_attachments = ?12 WHERE row = ?1";
    let (pool, profile, source) = (row.pool.as_bytes(), row.profile.as_bytes(), row.source.as_ref().map(Uuid::as_bytes));
    let values = params![
        held.row,
        row.tenant,
        row.name,
        row.status,
        pool,
        profile,
        source,
        row.owes,
        revision,
        row.body,
        row.has_snapshots,
        row.has_attachments
    ];
    tx.prepare_cached(sql)?.execute(values).map(drop)
}

/// As [`update_volume`]: what changes often is tried first.
fn write_snapshot(tx: &Connection, row: &SnapshotRow, revision: u64) -> rusqlite::Result<()> {
    let (id, volume, profile) = (row.id.as_bytes(), row.volume.as_bytes(), row.profile.as_bytes());
    let revision = revision.cast_signed();
    let sql = "UPDATE snapshots SET status = ?4, revision = ?5, body = ?6 WHERE id = ?1 AND name = ?2 AND profile = ?3";
    if tx.prepare_cached(sql)?.execute(params![id, row.name, profile, row.status, revision, row.body])? > 0 {
        return Ok(());
    }
    let sql = "INSERT INTO snapshots(id, volume, tenant, name, status, profile, created, revision, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT(id) DO UPDATE SET name = ?4, status = ?5, profile = ?6, revision = ?8, body = ?9";
    let values = params![id, volume, row.tenant, row.name, row.status, profile, row.created, revision, row.body];
    tx.prepare_cached(sql)?.execute(values).map(drop)
}

fn write_attachment(tx: &Connection, row: &AttachmentRow, revision: u64) -> rusqlite::Result<()> {
    let (id, volume, host) = (row.id.as_bytes(), row.volume.as_bytes(), row.host.as_bytes());
    let revision = revision.cast_signed();
    let sql = "UPDATE attachments SET status = ?3, revision = ?4, body = ?5 WHERE id = ?1 AND host = ?2";
    if tx.prepare_cached(sql)?.execute(params![id, host, row.status, revision, row.body])? > 0 {
        return Ok(());
    }
    let sql =
        "INSERT INTO attachments(id, volume, tenant, status, host, created, revision, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT(id) DO UPDATE SET status = ?4, host = ?5, revision = ?7, body = ?8";
    let values = params![id, volume, row.tenant, row.status, host, row.created, revision, row.body];
    tx.prepare_cached(sql)?.execute(values).map(drop)
}

/// Removes the parts that the record no longer has: expired tombstones.
fn drop_missing(tx: &Connection, held: &Held, record: &VolumeRecord) -> rusqlite::Result<()> {
    let volume = record.state.id().0;
    for (table, had, kept) in [
        ("snapshots", held.has_snapshots, record.snapshots.keys().map(|id| id.0).collect::<std::collections::BTreeSet<_>>()),
        ("attachments", held.has_attachments, record.attachments.keys().map(|id| id.0).collect()),
    ] {
        if !had {
            continue;
        }
        let sql = format!("SELECT id FROM {table} WHERE volume = ?1");
        let found: Vec<[u8; 16]> =
            tx.prepare_cached(&sql)?.query_map([volume.as_bytes()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for id in found.into_iter().map(Uuid::from_bytes).filter(|id| !kept.contains(id)) {
            tx.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1"))?.execute([id.as_bytes()])?;
        }
    }
    Ok(())
}

fn journal(tx: &Connection, entry: &JournalEntry, revision: u64, seq: usize) -> rusqlite::Result<()> {
    let (kind, subject) = subject_columns(entry.subject);
    let sql = "INSERT INTO journal(revision, seq, at, tenant, volume, kind, subject, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let body = read::journal_body(entry);
    let values = params![
        revision.cast_signed(),
        seq as i64,
        entry.at.0,
        entry.tenant,
        entry.volume.0.as_bytes(),
        kind,
        subject.as_bytes(),
        body
    ];
    tx.prepare_cached(sql)?.execute(values).map(drop)
}
