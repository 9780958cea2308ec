//! The one thread that writes: groups waiting commits into one transaction, so that they share a sync.
//!
//! - every waiting commit is answered after the transaction is on the disk, never before;
//! - a full disk fails nothing that frees space: the ballast is let go of and those commits are tried again;
//! - what is acknowledged was written to the file that is in its place: if that was removed or replaced meanwhile, the writer stops;
//! - what is acknowledged was confirmed by the witness: a sync alone is not believed;
//! - any other failure at the end of a transaction stops the writer: the disk may hold it or not, and a failed fsync is not retried.

use crate::apply::{self, Failure};
use crate::folder::Ballast;
use crate::keeper::{self, Keeper};
use crate::points::{ANSWER, BEGIN, COMMIT, INCARNATION, injected};
use crate::read;
use crate::schema::{Role, connect};
use crate::witness::Witness;
use engine::store::{Commit, CommitError, Committed, Expected};
use rusqlite::{Connection, ErrorCode};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{mpsc, oneshot};

/// How many commits may wait: some rounds of group commit; beyond it callers wait to be heard.
const QUEUE: usize = 4096;
/// How many commits share a transaction: beyond this the sync's share in each is small, and the first would wait too long.
const GROUP_MAX: usize = 512;
/// How long idempotency keys are kept, in seconds.
const KEY_LIFE_S: i64 = 24 * 3600;
/// How long journal entries are kept, in milliseconds, and how many at the most.
const JOURNAL_LIFE_MS: i64 = 30 * 24 * 3_600_000;
const JOURNAL_MAX: i64 = 1_000_000;
/// How many journal entries one sweep removes: small enough not to be felt by commits that wait behind it.
const SWEEP_MAX: i64 = 2000;

/// What the thread is asked to do.
pub(crate) enum Job {
    Commit(Box<Commit>, oneshot::Sender<Result<Committed, CommitError>>),
    Incarnation(oneshot::Sender<Result<u64, CommitError>>),
    /// Begin the log anew.
    Truncate,
    /// Make the ballast again if the disk has room, and take ordinary commits again.
    LookForRoom,
    /// Remove old keys and journal entries.
    Sweep,
}

/// The handle of the thread. It ends when this is dropped.
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    state: Arc<State>,
}

/// What those who write share.
#[derive(Default)]
pub(crate) struct State {
    transactions: AtomicU64,
    full: AtomicBool,
    /// Why nothing is written any more.
    stopped: OnceLock<String>,
}

impl State {
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Ends all writing, for good: whoever was first says why.
    pub(crate) fn stop(&self, error: &rusqlite::Error) -> &str {
        self.stopped.get_or_init(|| {
            tracing::error!(%error, "the store stops writing");
            format!("a write to its disk failed ({error}); nothing more is written until the server is started again")
        })
    }
}

impl Writer {
    pub(crate) fn start(file: &Path, ballast: Ballast, witness: Witness) -> rusqlite::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(State::default());
        let connection = connect(file, Role::Writer)?;
        let revision = read::meta(&connection, "revision")?.cast_unsigned();
        let identity = identity(file);
        let witness = Arc::new(witness);
        let keeper = Keeper::new(file, witness.clone(), state.clone())?;
        let thread = Thread { connection, ballast, witness, state: state.clone(), revision, file: file.to_owned(), identity };
        std::thread::Builder::new().name("berth-writer".into()).spawn(move || thread.run(queue)).expect("a thread can be started");
        let weak = jobs.downgrade();
        std::thread::Builder::new().name("berth-keeper".into()).spawn(move || keeper.run(&weak)).expect("a thread can be started");
        Ok(Self { jobs, state })
    }

    pub(crate) async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let (sender, receiver) = oneshot::channel();
        self.send(Job::Commit(Box::new(commit), sender)).await?;
        receiver.await.unwrap_or_else(|_| Err(CommitError::Unknown("the writer is gone".into())))
    }

    pub(crate) async fn send(&self, job: Job) -> Result<(), CommitError> {
        self.jobs.send(job).await.map_err(|_| CommitError::Unavailable("the writer is gone".into()))
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.state.transactions.load(Ordering::Relaxed)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.state.is_full()
    }
}

type Waiting = (Box<Commit>, oneshot::Sender<Result<Committed, CommitError>>);

struct Thread {
    connection: Connection,
    ballast: Ballast,
    witness: Arc<Witness>,
    state: Arc<State>,
    revision: u64,
    file: PathBuf,
    /// Which file was opened there.
    identity: Option<(u64, u64)>,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Commit(commit, answer) => group.push((commit, answer)),
                    other => {
                        self.group(std::mem::take(&mut group));
                        self.other(other);
                    }
                }
                next = if group.len() < GROUP_MAX { queue.try_recv().ok() } else { None };
            }
            self.group(group);
        }
    }

    fn other(&mut self, job: Job) {
        match job {
            Job::Commit(..) => {}
            Job::Incarnation(answer) => {
                let mut begun = self.begin_incarnation();
                if begun.as_ref().is_err_and(is_disk_full) {
                    self.release_ballast();
                    begun = self.begin_incarnation();
                }
                let _ = answer.send(begun.map_err(|error| CommitError::Unavailable(error.to_string())));
            }
            Job::Truncate | Job::LookForRoom | Job::Sweep if self.state.stopped().is_some() => {}
            Job::Truncate => keeper::begin_log_anew(&self.connection, &self.witness, &self.state),
            Job::LookForRoom => self.look_for_room(),
            Job::Sweep => self.sweep(),
        }
    }

    fn begin_incarnation(&self) -> rusqlite::Result<u64> {
        let sql = "UPDATE meta SET value = value + 1 WHERE key = 'incarnation' RETURNING value";
        INCARNATION.before.try_pass().map_err(|error| injected(&error))?;
        let begun = self.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)?;
        INCARNATION.after.try_pass().map_err(|error| injected(&error))?;
        self.witness.confirm().map_err(|error| not_confirmed(&error))?;
        Ok(begun)
    }

    fn group(&mut self, group: Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        if let Some(why) = self.state.stopped() {
            for (_, answer) in group {
                let _ = answer.send(Err(CommitError::Unavailable(why.to_owned())));
            }
            return;
        }
        let (group, refused): (Vec<_>, Vec<_>) = group.into_iter().partition(|(commit, _)| !self.is_full() || frees(commit));
        for (_, answer) in refused {
            let _ = answer.send(Err(CommitError::DiskFull));
        }
        if let Some(unwritten) = self.transact(group) {
            self.without_ballast(unwritten);
        }
    }

    fn is_full(&self) -> bool {
        self.state.full.load(Ordering::Relaxed)
    }

    /// The disk is full: lets go of the ballast, and tries those commits again that free space.
    fn without_ballast(&mut self, group: Vec<Waiting>) {
        self.release_ballast();
        let (freeing, others): (Vec<_>, Vec<_>) = group.into_iter().partition(|(commit, _)| frees(commit));
        let unwritten = if freeing.is_empty() { None } else { self.transact(freeing) };
        for (_, answer) in others.into_iter().chain(unwritten.unwrap_or_default()) {
            let _ = answer.send(Err(CommitError::DiskFull));
        }
    }

    fn release_ballast(&self) {
        tracing::error!("the disk of the store is full; only deletes and detaches are committed until there is room");
        self.state.full.store(true, Ordering::Relaxed);
        if let Err(error) = self.ballast.release() {
            tracing::error!(%error, "the ballast could not be let go of");
        }
    }

    fn look_for_room(&self) {
        if self.is_full() && self.ballast.make(true).unwrap_or(false) {
            tracing::info!("there is room on the store's disk again");
            self.state.full.store(false, Ordering::Relaxed);
        }
    }

    /// Commits a group in one transaction and answers it. Gives it back if the disk was full; then nothing was written.
    fn transact(&mut self, group: Vec<Waiting>) -> Option<Vec<Waiting>> {
        if group.is_empty() {
            return None;
        }
        let before = self.revision;
        match self.write(&group) {
            Ok(answers) => {
                self.state.transactions.fetch_add(1, Ordering::Relaxed);
                ANSWER.before.pass();
                for ((_, waiting), answer) in group.into_iter().zip(answers) {
                    // A caller that gave up reads what became of it.
                    let _ = waiting.send(answer);
                }
                ANSWER.after.pass();
                None
            }
            Err((error, at_commit)) => {
                self.revision = before;
                let _ = self.connection.execute_batch("ROLLBACK");
                if is_disk_full(&error) {
                    return Some(group);
                }
                self.fail(group, &error, at_commit);
                None
            }
        }
    }

    fn write(&mut self, group: &[Waiting]) -> Result<Vec<Result<Committed, CommitError>>, (rusqlite::Error, bool)> {
        let early = |error| (error, false);
        BEGIN.before.try_pass().map_err(|error| early(injected(&error)))?;
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(early)?;
        BEGIN.after.try_pass().map_err(|error| early(injected(&error)))?;
        let mut answers = Vec::with_capacity(group.len());
        for (commit, _) in group {
            let revision = self.revision + 1;
            match apply::apply(&self.connection, commit, revision) {
                Ok(()) => {
                    self.revision = revision;
                    answers.push(Ok(Committed { revision }));
                }
                Err(Failure::Refused(error)) => answers.push(Err(error)),
                Err(Failure::Database(error)) => return Err((error, false)),
            }
        }
        let sql = "UPDATE meta SET value = ?1 WHERE key = 'revision'";
        self.connection.prepare_cached(sql).and_then(|mut set| set.execute([self.revision.cast_signed()])).map_err(early)?;
        COMMIT.before.try_pass().map_err(|error| (injected(&error), true))?;
        self.connection.execute_batch("COMMIT").map_err(|error| (error, true))?;
        COMMIT.after.try_pass().map_err(|error| (injected(&error), true))?;
        self.witness.confirm().map_err(|error| (not_confirmed(&error), true))?;
        if identity(&self.file) != self.identity {
            return Err((lost(&self.file), true));
        }
        Ok(answers)
    }

    fn fail(&self, group: Vec<Waiting>, error: &rusqlite::Error, at_commit: bool) {
        let io = matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt));
        let why = if io { self.state.stop(error).to_owned() } else { error.to_string() };
        for (_, answer) in group {
            let why = why.clone();
            let _ = answer.send(Err(if io && at_commit { CommitError::Unknown(why) } else { CommitError::Unavailable(why) }));
        }
    }

    fn sweep(&mut self) {
        let swept = self
            .connection
            .execute("DELETE FROM idempotency WHERE at < unixepoch() - ?1", [KEY_LIFE_S])
            .and_then(|_| self.compact());
        if let Err(error) = swept {
            tracing::warn!(%error, "old journal entries could not be removed");
        }
    }

    /// Removes the oldest entries, and notes up to where the journal is no longer whole.
    fn compact(&self) -> rusqlite::Result<()> {
        let old = "SELECT revision, seq FROM journal WHERE at < unixepoch() * 1000 - ?1
                       OR revision <= (SELECT value FROM meta WHERE key = 'revision') - ?2
                   ORDER BY revision, seq LIMIT ?3";
        let noted =
            format!("UPDATE meta SET value = max(value, coalesce((SELECT max(revision) FROM ({old})), 0)) WHERE key = 'compacted'");
        let swept = format!("DELETE FROM journal WHERE (revision, seq) IN ({old})");
        let sweep = self.connection.unchecked_transaction()?;
        for sql in [noted, swept] {
            sweep.prepare_cached(&sql)?.execute([JOURNAL_LIFE_MS, JOURNAL_MAX, SWEEP_MAX])?;
        }
        sweep.commit()
    }
}

/// Which file is there. It tells a file from another that took its place.
fn identity(file: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(file).ok().map(|there| (there.dev(), there.ino()))
}

/// What was written went to a file without a name, which nobody will find again.
fn lost(file: &Path) -> rusqlite::Error {
    let message = format!("{} was removed or replaced while it was in use", file.display());
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR), Some(message))
}

/// What a sync that the witness does not confirm amounts to: it failed.
pub(crate) fn not_confirmed(error: &io::Error) -> rusqlite::Error {
    let message = format!("its file system gave up while it was written to: {error}");
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), Some(message))
}

fn is_disk_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Whether a commit frees space in the end: it makes nothing new, and moves no counter up.
fn frees(commit: &Commit) -> bool {
    commit.changes.iter().all(|change| change.expected != Expected::Absent) && commit.counters.iter().all(|counter| counter.by <= 0)
}
