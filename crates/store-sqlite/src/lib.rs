//! The default store: SQLite with one writer thread and group commit.
//!
//! - `schema`: tables, migrations, what refuses to open; `record` and `form`: the stored form of the records;
//! - `folder`: the lock and the ballast; `apply`: one commit inside a transaction; `writer`: the thread that groups them;
//! - `keeper`: the thread that moves the log into the database; `witness`: whether a sync can be believed;
//! - `read` and `list`: reading; `at_once`: single things that are in the system's memory; `readers`: the threads that read what is not;
//!   `recent`: the volumes committed last, and those read again and again; `weight`: how much memory records take.
//!
//! Invariants:
//! - a commit is durable (WAL, synchronous=FULL) before its caller hears of it; many share one sync;
//! - preconditions of a commit are checked in the transaction that writes it, before anything of it is written;
//! - an I/O error in a commit stops the writer for good: a failed fsync is never retried;
//! - readers never wait for the writer.

mod apply;
mod at_once;
mod folder;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(test)]
mod golden;
mod keeper;
mod list;
mod listers;
#[cfg(test)]
mod older;
mod points;
mod read;
mod readers;
mod recent;
mod record;
mod schema;
mod weight;
mod witness;
mod writer;

pub use points::FAIL_POINTS;

use async_trait::async_trait;
use at_once::AtOnce;
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{
    Child, Commit, CommitError, Committed, Head, Idempotent, Item, JournalEntry, JournalQuery, ListQuery, Store, StoreError,
    Versioned,
};
use lifecycle::VolumeId;
use readers::Readers;
use recent::Found;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tokio::sync::{mpsc, oneshot};

/// The size of the ballast: enough log for some thousands of commits of deletes and detaches.
const BALLAST_BYTES: u64 = 16 << 20;
/// The database's file in the data folder.
const DATABASE: &str = "berth.db";

/// What a store can be told when it is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of the ballast in bytes.
    pub ballast: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { ballast: BALLAST_BYTES }
    }
}

/// Why a data folder cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works in it.
    #[error("data folder {} is used by another server{}; stop that one, or name another folder with --data", folder.display(), holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who holds it, if that could be read.
        holder: Option<u32>,
    },
    /// It cannot be written.
    #[error("{} cannot be written; make it writable for this user, or name another folder with --data", path.display())]
    ReadOnly {
        /// What could not be written.
        path: PathBuf,
    },
    /// Its disk is full.
    #[error("the disk of {} is full; free some space on it and start again", path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// The store was written by a newer release.
    #[error("store {} is of version {found}, and this release knows version {known}; use the release that wrote it", path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version of this release.
        known: u32,
    },
    /// The file is some other program's.
    #[error("{} is a database of another program; move it away, or name another folder with --data", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The store is damaged. It is left as it is.
    #[error("store {} is damaged ({what}); it is left as it is: restore it from a backup, or move it away to begin anew", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The system failed.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// SQLite failed.
    #[error("cannot open store {}: {error}", path.display())]
    Database {
        /// The store.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// The SQLite in this binary has a bug that loses data.
    #[error("this binary was built with SQLite {found}, which can lose committed data; build it with its bundled one")]
    OldLibrary {
        /// Its version.
        found: String,
    },
}

/// A store in a folder, locked for as long as it lives.
pub struct SqliteStore {
    file: PathBuf,
    writer: writer::Writer,
    at_once: AtOnce,
    readers: Readers,
    listers: listers::Listers,
    _lock: folder_lock::Lock,
}

/// Looks at the store, or makes one, and begins to write to it.
fn open_writer(file: &Path, ballast: &folder::Ballast, is_full: bool) -> Result<writer::Writer, OpenError> {
    if file.exists() {
        schema::prepare(file)?;
    } else {
        schema::create(file, &uuid::Uuid::new_v4().to_string())?;
    }
    let witness = witness::Witness::of(file.parent().unwrap_or(Path::new(".")))?;
    keeper::sync_log(file, &witness).map_err(|error| OpenError::from_io("put on the disk the log of", file, error))?;
    writer::Writer::start(file, ballast.clone(), witness, is_full).map_err(|error| OpenError::from_sqlite(file, error))
}

impl SqliteStore {
    /// Opens the store in `folder`, or makes one.
    ///
    /// # Errors
    /// [`OpenError`]; the folder is as it was, but for an empty lock file.
    pub fn open(folder: &Path, options: Options) -> Result<Self, OpenError> {
        schema::check_library()?;
        at_once::install();
        let lock = folder::lock(folder)?;
        let file = folder.join(DATABASE);
        let ballast = folder::Ballast::of(folder, options.ballast);
        let mut is_full = false;
        let writer = match open_writer(&file, &ballast, is_full) {
            // Also a start needs some room: what is let go of for it is taken again when there is more.
            Err(OpenError::Full { .. }) if ballast.release().unwrap_or(false) => {
                tracing::error!("the disk of the store is full; only deletes and detaches are committed until there is room");
                is_full = true;
                open_writer(&file, &ballast, is_full)?
            }
            other => other?,
        };
        if !is_full && let Err(error) = ballast.make(false) {
            tracing::warn!(%error, "there is no ballast: if the disk fills, deletes may not be recorded");
        }
        let sqlite = |error| OpenError::from_sqlite(&file, error);
        let readers = Readers::start(&file).map_err(sqlite)?;
        let at_once = AtOnce::open(&file).map_err(sqlite)?;
        Ok(Self { file, writer, at_once, readers, listers: listers::Listers::default(), _lock: lock })
    }

    /// How many transactions were committed: fewer than commits, as they are grouped.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.writer.transactions()
    }

    /// Whether the disk is full, so that only work that frees space is committed.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.writer.is_full()
    }

    /// A single thing: at once if that can be.
    async fn read_one<T: Send + 'static>(
        &self,
        read: impl Fn(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let_others_run().await;
        let Some(found) = self.at_once.read(&read) else { return self.read_with(read).await };
        self.believed()?;
        Ok(found)
    }

    /// What may be long, or not at hand.
    async fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let answer = self.readers.read(read).await;
        // Asked after it was read: what it read may be what came into doubt meanwhile.
        self.believed()?;
        answer
    }

    /// # Errors
    /// What was committed last may be lost, and can be read.
    fn believed(&self) -> Result<(), StoreError> {
        self.writer.state().doubt().map_or(Ok(()), |why| Err(StoreError::Unavailable(why.to_owned())))
    }
}

/// What reads one thing after the other lets others run in between.
async fn let_others_run() {
    tokio::task::coop::consume_budget().await;
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        self.writer.commit(commit).await
    }

    async fn read(&self, key: Key) -> Result<Option<Versioned<Record>>, StoreError> {
        let_others_run().await;
        let recent = self.writer.state().recent();
        let miss = match recent.find(key) {
            Found::Kept(kept) => {
                self.believed()?;
                return Ok(Some(*kept));
            }
            Found::Not(miss) => miss,
        };
        let read = self.read_one(move |connection| read::record(connection, key)).await?;
        read.iter().for_each(|read| recent.offer(miss, read));
        Ok(read)
    }

    async fn find(&self, child: Child) -> Result<Option<VolumeRecord>, StoreError> {
        let state = self.writer.state().clone();
        self.read_one(move |connection| read::part(connection, child, |volume| state.recent().part(volume, child))).await
    }

    async fn counted(&self, key: Key) -> Result<u64, StoreError> {
        self.read_one(move |connection| read::counted(connection, key)).await
    }

    async fn list(&self, query: ListQuery) -> Result<mpsc::Receiver<Result<Vec<Item>, StoreError>>, StoreError> {
        self.believed()?;
        let (sender, receiver) = mpsc::channel(2);
        self.listers.list(&self.file, query, sender)?;
        Ok(receiver)
    }

    async fn owes_work(&self, after: Option<VolumeId>, limit: usize) -> Result<Vec<VolumeId>, StoreError> {
        self.read_with(move |connection| read::owing(connection, after, limit)).await
    }

    async fn journal(&self, query: JournalQuery) -> Result<Vec<JournalEntry>, StoreError> {
        let state = self.writer.state().clone();
        let read = move |connection: &Connection| {
            let mut entries = read::journal(connection, &query)?;
            // What is not on the disk for certain may be another commit after a restart.
            entries.retain(|entry| entry.mark.revision <= state.confirmed());
            Ok(entries)
        };
        self.read_with(read).await
    }

    async fn idempotent(&self, tenant: &str, key: &str) -> Result<Option<Idempotent>, StoreError> {
        let (tenant, key) = (tenant.to_owned(), key.to_owned());
        self.read_one(move |connection| read::idempotent(connection, &tenant, &key)).await
    }

    async fn head(&self) -> Result<Head, StoreError> {
        let state = self.writer.state().clone();
        let head = self.read_one(read::head).await?;
        Ok(Head { revision: head.revision.min(state.confirmed()), ..head })
    }

    async fn begin_incarnation(&self) -> Result<u64, CommitError> {
        let (sender, receiver) = oneshot::channel();
        self.writer.send(writer::Job::Incarnation(sender)).await?;
        receiver.await.unwrap_or_else(|_| Err(CommitError::Unknown("the writer is gone".into())))
    }
}
