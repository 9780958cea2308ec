//! The tables, their indices, and the migrations that lead to them; how a connection is opened; what refuses to open.
//!
//! Not here: the locks on the folder (`folder`), and what is in the rows (`record`). Invariants:
//! - a database comes to be under another name and is renamed when it is whole, so `berth.db` is never half-made;
//! - nothing is written to a database that is newer, foreign or damaged: it is looked at first, and closing it does not even move
//!   its write-ahead log;
//! - migrations run in one transaction, oldest first: a database is at one version or at the next, never between.
//!
//! Indices are few, because each costs the writer some microseconds a commit: every list order (id, name, creation) and every
//! indexed filter has one, and ids are in them so that a page can be continued behind its last row.

use crate::OpenError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::{Duration, Instant};

/// Marks a database as Berth's ("BRTH").
const APPLICATION_ID: i32 = 0x4252_5448;

/// The oldest SQLite without the "WAL-reset" bug, which lost committed data when a checkpoint raced with a writer. One older than 3.51.0 would also
/// take `wal_checkpoint(NOOP)` for an order to move the log.
const SQLITE_OLDEST: i32 = 3_051_003;

/// How long a statement waits for a lock that somebody else holds (an operator's shell, a backup) before it gives up.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Above this the log file is cut back when it starts again from its beginning, in bytes; below, its blocks are reused, which
/// makes a commit's sync twice as fast as growing a file.
const JOURNAL_SIZE_LIMIT: i64 = 64 << 20;

/// Page cache of the writer, in KiB: holds the inner pages of the indices of about a million volumes.
const WRITER_CACHE_KIB: i64 = 64 << 10;

/// Page cache of one reader, in KiB.
const READER_CACHE_KIB: i64 = 8 << 10;

/// Prepared statements that a connection keeps: more than there are different ones in this crate for one kind of list.
const STATEMENTS_KEPT: usize = 128;

/// One step from a schema version to the next: the SQL that makes it. The first makes the schema from nothing.
const MIGRATIONS: &[&str] = &[VERSION_1, VERSION_2];

const VERSION_1: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY NOT NULL, value NOT NULL) WITHOUT ROWID;

CREATE TABLE volumes(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
    pool BLOB NOT NULL, profile BLOB NOT NULL, source BLOB, created INTEGER NOT NULL, owes INTEGER NOT NULL,
    version INTEGER NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX volumes_id ON volumes(id);
CREATE INDEX volumes_name ON volumes(name, id);
CREATE INDEX volumes_created ON volumes(created, id);
CREATE INDEX volumes_status ON volumes(status, id);
CREATE INDEX volumes_tenant_id ON volumes(tenant, id);
CREATE INDEX volumes_tenant_name ON volumes(tenant, name, id);
CREATE INDEX volumes_tenant_created ON volumes(tenant, created, id);
CREATE INDEX volumes_tenant_status ON volumes(tenant, status, id);
CREATE INDEX volumes_pool ON volumes(pool, id);
CREATE INDEX volumes_profile ON volumes(profile, id);
CREATE INDEX volumes_source ON volumes(source, id) WHERE source IS NOT NULL;
CREATE INDEX volumes_owes ON volumes(id) WHERE owes = 1;

CREATE TABLE snapshots(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, volume BLOB NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL,
    status TEXT NOT NULL, profile BLOB NOT NULL, created INTEGER NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX snapshots_id ON snapshots(id);
CREATE INDEX snapshots_name ON snapshots(name, id);
CREATE INDEX snapshots_created ON snapshots(created, id);
CREATE INDEX snapshots_status ON snapshots(status, id);
CREATE INDEX snapshots_tenant_id ON snapshots(tenant, id);
CREATE INDEX snapshots_tenant_name ON snapshots(tenant, name, id);
CREATE INDEX snapshots_tenant_created ON snapshots(tenant, created, id);
CREATE INDEX snapshots_tenant_status ON snapshots(tenant, status, id);
CREATE INDEX snapshots_profile ON snapshots(profile, id);
CREATE INDEX snapshots_volume ON snapshots(volume, id);

CREATE TABLE attachments(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, volume BLOB NOT NULL, tenant TEXT NOT NULL, status TEXT NOT NULL,
    host BLOB NOT NULL, created INTEGER NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX attachments_id ON attachments(id);
CREATE INDEX attachments_created ON attachments(created, id);
CREATE INDEX attachments_status ON attachments(status, id);
CREATE INDEX attachments_tenant_id ON attachments(tenant, id);
CREATE INDEX attachments_tenant_created ON attachments(tenant, created, id);
CREATE INDEX attachments_tenant_status ON attachments(tenant, status, id);
CREATE INDEX attachments_host ON attachments(host, id);
CREATE INDEX attachments_volume ON attachments(volume, id);

CREATE TABLE hosts(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL,
    version INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX hosts_id ON hosts(id);
CREATE UNIQUE INDEX hosts_name ON hosts(name);
CREATE INDEX hosts_created ON hosts(created, id);
CREATE INDEX hosts_tenant_id ON hosts(tenant, id);
CREATE INDEX hosts_tenant_name ON hosts(tenant, name, id);
CREATE INDEX hosts_tenant_created ON hosts(tenant, created, id);

CREATE TABLE profiles(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL,
    version INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX profiles_id ON profiles(id);
CREATE UNIQUE INDEX profiles_name ON profiles(name);
CREATE INDEX profiles_created ON profiles(created, id);

CREATE TABLE pools(
    row INTEGER PRIMARY KEY, id BLOB NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, created INTEGER NOT NULL,
    version INTEGER NOT NULL, body TEXT NOT NULL);
CREATE UNIQUE INDEX pools_id ON pools(id);
CREATE UNIQUE INDEX pools_name ON pools(name);
CREATE INDEX pools_created ON pools(created, id);

CREATE TABLE counters(kind INTEGER NOT NULL, id BLOB NOT NULL, count INTEGER NOT NULL, PRIMARY KEY(kind, id)) WITHOUT ROWID;

CREATE TABLE journal(
    revision INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, tenant TEXT NOT NULL, volume BLOB NOT NULL,
    kind INTEGER NOT NULL, subject BLOB NOT NULL, body TEXT NOT NULL, PRIMARY KEY(revision, seq)) WITHOUT ROWID;
CREATE INDEX journal_subject ON journal(subject);
CREATE INDEX journal_tenant ON journal(tenant);

CREATE TABLE idempotency(
    row INTEGER PRIMARY KEY, tenant TEXT NOT NULL, key TEXT NOT NULL, request BLOB NOT NULL, kind INTEGER NOT NULL,
    made BLOB NOT NULL, at INTEGER NOT NULL);
CREATE UNIQUE INDEX idempotency_key ON idempotency(tenant, key);
";

/// A volume's row tells whether it has snapshots or attachments, tombstones too, so that who reads it does not look for what is not there.
///
/// Rows that have none stay as they are written. The others are written in the order of their table, each page once: in any other, what does
/// not fit into the page cache would be written to the log again and again. `OR ROLLBACK`, as all ends with it in any case: without that SQLite
/// keeps each page in memory as it was before, to undo this statement alone.
/// Measured with a million volumes, each with two snapshots: 6 seconds, 400 MB of log, 83 MB of memory.
const VERSION_2: &str = "
ALTER TABLE volumes ADD COLUMN has_snapshots INTEGER NOT NULL DEFAULT 0;
ALTER TABLE volumes ADD COLUMN has_attachments INTEGER NOT NULL DEFAULT 0;
UPDATE OR ROLLBACK volumes SET
    has_snapshots = EXISTS(SELECT 1 FROM snapshots WHERE volume = volumes.id),
    has_attachments = EXISTS(SELECT 1 FROM attachments WHERE volume = volumes.id)
WHERE EXISTS(SELECT 1 FROM snapshots WHERE volume = volumes.id) OR EXISTS(SELECT 1 FROM attachments WHERE volume = volumes.id);
";

/// Every table that a whole database has.
const TABLES: &[&str] =
    &["meta", "volumes", "snapshots", "attachments", "hosts", "profiles", "pools", "counters", "journal", "idempotency"];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one connection that commits.
    Writer,
    /// A connection that only reads.
    Reader,
    /// The connection that moves the log into the database.
    Keeper,
}

/// The schema version that this release reads and writes.
pub(crate) const fn version() -> u32 {
    MIGRATIONS.len() as u32
}

/// Opens one more connection to a database that [`prepare`] has accepted.
pub(crate) fn connect(file: &Path, role: Role) -> rusqlite::Result<Connection> {
    let access = match role {
        Role::Writer | Role::Keeper => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    match role {
        Role::Writer | Role::Keeper => {
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
            connection.pragma_update(None, "journal_size_limit", JOURNAL_SIZE_LIMIT)?;
            connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
            // Or the last one closed would move the log and remove it, without asking the witness.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        Role::Reader => connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?,
    }
    Ok(connection)
}

/// Asserts that the SQLite in this binary is new enough.
pub(crate) fn check_library() -> Result<(), OpenError> {
    let found = rusqlite::version_number();
    if found < SQLITE_OLDEST {
        return Err(OpenError::OldLibrary { found: rusqlite::version().to_owned() });
    }
    Ok(())
}

/// Makes a new, empty store at `file`: under another name first, renamed when it is whole and on the disk.
///
/// `epoch` names the new store. Leaves at worst a file `berth.db.new`, which the next attempt removes.
pub(crate) fn create(file: &Path, epoch: &str) -> Result<(), OpenError> {
    let fresh = file.with_extension("db.new");
    remove_leftovers(&fresh).map_err(|error| OpenError::Io { what: "remove an unfinished store", path: fresh.clone(), error })?;
    make(&fresh, epoch, version()).map_err(|error| OpenError::from_sqlite(&fresh, error))?;
    let publish = || {
        std::fs::File::open(&fresh)?.sync_all()?;
        std::fs::rename(&fresh, file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    };
    publish().map_err(|error| OpenError::Io { what: "put the new store in place", path: file.to_owned(), error })
}

fn remove_leftovers(fresh: &Path) -> std::io::Result<()> {
    for name in ["db.new", "db.new-wal", "db.new-shm", "db.new-journal"] {
        match std::fs::remove_file(fresh.with_extension(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Makes an empty database of this version.
pub(crate) fn make(fresh: &Path, epoch: &str, version: u32) -> rusqlite::Result<()> {
    let mut connection = Connection::open(fresh)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let tx = connection.transaction()?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    migrate(&tx, 0, version)?;
    tx.execute(
        "INSERT INTO meta(key, value) VALUES ('epoch', ?1), ('revision', 0), ('incarnation', 0), ('compacted', 0)",
        [epoch],
    )?;
    tx.commit()?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    debug_assert_eq!(mode, "wal", "a plain file takes write-ahead logging");
    connection.close().map_err(|(_, error)| error)
}

pub(crate) fn migrate(tx: &rusqlite::Transaction<'_>, from: u32, to: u32) -> rusqlite::Result<()> {
    for step in &MIGRATIONS[from as usize..to as usize] {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", to)
}

/// Looks at an existing database, and brings it to this release's version if it is older.
///
/// Errors: every way in which it may be none of ours, newer, or damaged; then it is as it was before.
pub(crate) fn prepare(file: &Path) -> Result<(), OpenError> {
    check_header(file)?;
    let found = look(file).map_err(|error| OpenError::from_sqlite(file, error))?;
    accept(file, &found)?;
    if found.version < version() {
        let (from, to, begun) = (found.version, version(), Instant::now());
        tracing::info!(from, to, "the store is being brought to this release's version");
        connect(file, Role::Writer)
            .and_then(|mut connection| upgrade(&mut connection, from))
            .map_err(|error| OpenError::from_sqlite(file, error))?;
        tracing::info!(from, to, took = ?begun.elapsed(), "the store is of this release's version");
    }
    Ok(())
}

/// What a look at a database found.
struct Found {
    application: i32,
    version: u32,
    tables: Vec<String>,
    meta: u32,
}

/// Reads what tells whose database it is. The connection neither writes nor, when closed, moves the log.
fn look(file: &Path) -> rusqlite::Result<Found> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let meta = if tables.iter().any(|table| table == "meta") {
        connection.query_row("SELECT count(*) FROM meta WHERE key IN ('epoch', 'revision', 'incarnation')", [], |row| row.get(0))?
    } else {
        0
    };
    Ok(Found { application, version, tables, meta })
}

fn accept(file: &Path, found: &Found) -> Result<(), OpenError> {
    let path = file.to_owned();
    if found.application != APPLICATION_ID {
        return Err(OpenError::Foreign { path });
    }
    if found.version > version() {
        return Err(OpenError::Newer { path, found: found.version, known: version() });
    }
    // A migration may add tables, so only a database of this very version must have all of them.
    let missing = TABLES.iter().find(|table| !found.tables.iter().any(|have| have == *table));
    match missing {
        Some(table) if found.version == version() => {
            Err(OpenError::Damaged { path, what: format!("its table `{table}` is missing") })
        }
        Some(_) | None if found.meta < 3 => Err(OpenError::Damaged { path, what: "its table `meta` is incomplete".to_owned() }),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn upgrade(connection: &mut Connection, from: u32) -> rusqlite::Result<()> {
    let tx = connection.transaction()?;
    migrate(&tx, from, version())?;
    tx.commit()
}

/// Looks at the first bytes of the file itself, before SQLite does: what is not a database is never opened as one.
///
/// Source: SQLite file format, "The database header": magic at 0, user version at 60, application id at 68, all big-endian.
fn check_header(file: &Path) -> Result<(), OpenError> {
    use std::io::Read as _;
    const HEADER_BYTES: u64 = 100;
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let io = |error| OpenError::Io { what: "read", path: file.to_owned(), error };
    let mut header = Vec::new();
    std::fs::File::open(file).map_err(io)?.take(HEADER_BYTES).read_to_end(&mut header).map_err(io)?;
    let path = file.to_owned();
    if (header.len() as u64) < HEADER_BYTES {
        return Err(OpenError::Damaged { path, what: format!("it is only {} bytes long", header.len()) });
    }
    if !header.starts_with(MAGIC) {
        return Err(OpenError::Damaged { path, what: "it does not begin as a database does".to_owned() });
    }
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if word(68).cast_signed() != APPLICATION_ID {
        return Err(OpenError::Foreign { path });
    }
    if word(60) > version() {
        return Err(OpenError::Newer { path, found: word(60), known: version() });
    }
    Ok(())
}

impl OpenError {
    /// The error that a failure of SQLite at `path` amounts to.
    pub(crate) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, what: error.to_string() },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            // The log's index could not grow.
            _ if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => {
                Self::Full { path }
            }
            _ => Self::Database { path, error },
        }
    }
}
