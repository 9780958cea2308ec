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
use crate::recent::Recent;
use crate::schema::{Role, connect};
use crate::witness::Witness;
use engine::records::Key;
use engine::store::{Commit, CommitError, Committed, Expected};
use rusqlite::{Connection, ErrorCode};
use std::fs::OpenOptions;
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

/// The size of the log's index: 8 bytes for each page of 4 KiB, of 256 MiB of log, ten times what the keeper lets it become.
const INDEX_BYTES: u64 = 512 << 10;

/// What the thread is asked to do.
pub(crate) enum Job {
    Commit(Box<Commit>, oneshot::Sender<Result<Committed, CommitError>>),
    Incarnation(oneshot::Sender<Result<u64, CommitError>>),
    /// Begin the log anew.
    BeginLogAnew,
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
    /// How often the writer has had the log begin anew.
    begun_anew: AtomicU64,
    full: AtomicBool,
    /// Why nothing is written any more.
    stopped: OnceLock<String>,
    /// The newest revision that is on the disk for certain: nothing later is told of the journal.
    confirmed: AtomicU64,
    /// Whether what was written last can be read and may not be on the disk.
    is_in_doubt: AtomicBool,
    recent: Recent,
}

impl State {
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    pub(crate) fn begun_anew(&self) -> u64 {
        self.begun_anew.load(Ordering::Relaxed)
    }

    pub(crate) fn note_begun_anew(&self) {
        self.begun_anew.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) const fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Why nothing may be read: what was committed last can be seen, and may be lost.
    pub(crate) fn doubt(&self) -> Option<&str> {
        let reason = || self.stopped().unwrap_or("what was written last may not be on its disk");
        self.is_in_doubt.load(Ordering::Acquire).then(reason)
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
    /// Begins to write. `is_full` takes only what frees space until there is room.
    pub(crate) fn start(file: &Path, ballast: Ballast, witness: Witness, is_full: bool) -> rusqlite::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(State { full: AtomicBool::new(is_full), ..State::default() });
        let connection = connect(file, Role::Writer)?;
        let revision = read::meta(&connection, "revision")?.cast_unsigned();
        let identity = identity(file);
        state.confirmed.store(revision, Ordering::Release);
        reserve_index(file)?;
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
        self.state.transactions()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.state.is_full()
    }

    pub(crate) const fn state(&self) -> &Arc<State> {
        &self.state
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
            Job::BeginLogAnew | Job::LookForRoom | Job::Sweep if self.state.stopped().is_some() => {}
            Job::BeginLogAnew => keeper::begin_log_anew(&self.connection, &self.witness, &self.state),
            Job::LookForRoom => self.look_for_room(),
            Job::Sweep => self.sweep(),
        }
        self.leave_mark();
    }

    /// Reads, which leaves in the log's index that somebody does up to here: so no reader has to write that ([`crate::at_once`]).
    fn leave_mark(&self) {
        let _ = read::meta(&self.connection, "revision");
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
                let (commits, waiting): (Vec<_>, Vec<_>) = group.into_iter().unzip();
                let mut kept = Vec::new();
                // All of it before anybody is answered, so that whoever is reads what was committed.
                for (commit, answer) in commits.into_iter().zip(&answers) {
                    if let Ok(Committed { revision }) = answer {
                        if cfg!(debug_assertions) {
                            kept.extend(commit.changes.iter().map(|change| change.key));
                        }
                        self.state.recent.keep(*commit, *revision);
                    }
                }
                self.state.recent.settle();
                debug_assert!(kept.iter().all(|key| self.is_kept_as_stored(*key)), "what is kept in memory is what is stored");
                debug_assert!(kept.iter().all(|key| self.tells_its_parts(*key)), "a volume's row tells whether it has parts");
                for (waiting, answer) in waiting.into_iter().zip(answers) {
                    // A caller that gave up reads what became of it.
                    let _ = waiting.send(answer);
                }
                ANSWER.after.pass();
                None
            }
            Err((error, stage)) => {
                self.revision = before;
                let _ = self.connection.execute_batch("ROLLBACK");
                if is_disk_full(&error) {
                    return Some(group);
                }
                self.fail(group, &error, stage);
                None
            }
        }
    }

    /// Whether what is kept of a record is what the database has of it, as far as that can be read.
    fn is_kept_as_stored(&self, key: Key) -> bool {
        read::record(&self.connection, key).map_or(true, |stored| self.state.recent.agrees(key, stored.as_ref()))
    }

    /// Whether a volume's row tells what the tables of its parts do, as far as that can be read.
    fn tells_its_parts(&self, key: Key) -> bool {
        let Key::Volume(id) = key else { return true };
        read::tells_its_parts(&self.connection, id).unwrap_or(true)
    }

    fn write(&mut self, group: &[Waiting]) -> Result<Vec<Result<Committed, CommitError>>, (rusqlite::Error, Stage)> {
        let early = |error| (error, Stage::Before);
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
                Err(Failure::Database(error)) => return Err(early(error)),
            }
        }
        let sql = "UPDATE meta SET value = ?1 WHERE key = 'revision'";
        self.connection.prepare_cached(sql).and_then(|mut set| set.execute([self.revision.cast_signed()])).map_err(early)?;
        self.state.recent.forget(group.iter().map(|(commit, _)| &**commit));
        COMMIT.before.try_pass().map_err(|error| (injected(&error), Stage::Commit))?;
        self.connection.execute_batch("COMMIT").map_err(|error| (error, Stage::Commit))?;
        COMMIT.after.try_pass().map_err(|error| (injected(&error), Stage::After))?;
        self.leave_mark();
        self.witness.confirm().map_err(|error| (not_confirmed(&error), Stage::After))?;
        if identity(&self.file) != self.identity {
            return Err((lost(&self.file), Stage::After));
        }
        self.state.confirmed.store(self.revision, Ordering::Release);
        Ok(answers)
    }

    fn fail(&self, group: Vec<Waiting>, error: &rusqlite::Error, stage: Stage) {
        let io = matches!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure | ErrorCode::DatabaseCorrupt));
        if stage == Stage::After {
            // Everybody can read it, and nobody may be told of it.
            self.state.is_in_doubt.store(true, Ordering::Release);
        }
        let why = if io { self.state.stop(error).to_owned() } else { error.to_string() };
        for (_, answer) in group {
            let why = why.clone();
            let _ = answer.send(Err(if io && stage != Stage::Before {
                CommitError::Unknown(why)
            } else {
                CommitError::Unavailable(why)
            }));
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

    /// Removes the oldest commits' entries, and notes up to where the journal is no longer whole.
    fn compact(&self) -> rusqlite::Result<()> {
        let sweep = self.connection.unchecked_transaction()?;
        let kept_since = sweep.query_row("SELECT unixepoch() * 1000", [], |row| row.get::<_, i64>(0))? - JOURNAL_LIFE_MS;
        let newest = read::meta(&sweep, "revision")?;
        let is_old = |revision: i64, at: i64| at < kept_since || revision <= newest - JOURNAL_MAX;
        let oldest: Vec<(i64, bool)> = sweep
            .prepare_cached("SELECT revision, at FROM journal ORDER BY revision, seq LIMIT ?1")?
            .query_map([SWEEP_MAX], |row| Ok((row.get(0)?, is_old(row.get(0)?, row.get(1)?))))?
            .collect::<rusqlite::Result<_>>()?;
        let Some(swept) = sweepable(&oldest, oldest.len() as i64 == SWEEP_MAX) else { return Ok(()) };
        sweep.execute("UPDATE meta SET value = max(value, ?1) WHERE key = 'compacted'", [swept])?;
        sweep.execute("DELETE FROM journal WHERE revision <= ?1", [swept])?;
        sweep.commit()
    }
}

/// Up to which commit the journal can be swept: the commits at its beginning of which every entry is old. `entries` are its first ones, by
/// revision, each with whether it is old; `is_cut` if there are more, so that the last commit may not be all here. It is swept
/// all the same if there is no other, as it is larger than a sweep.
fn sweepable(entries: &[(i64, bool)], is_cut: bool) -> Option<i64> {
    let (first, last) = (entries.first()?, entries.last()?);
    let end = match entries.iter().find(|(_, is_old)| !is_old) {
        Some((young, _)) => *young,
        None if is_cut && first.0 < last.0 => last.0,
        None => return Some(last.0),
    };
    entries.iter().map(|(revision, _)| *revision).take_while(|revision| *revision < end).last()
}

/// Has the log's index (`-shm`) have its blocks from the beginning: on a full disk it could not grow, and a commit that is in the log already
/// and not in the index is neither done nor undone. The first connection empties it, so that this comes after that.
fn reserve_index(file: &Path) -> rusqlite::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push("-shm");
    let full = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
    let Ok(index) = OpenOptions::new().write(true).open(&name) else { return Ok(()) };
    match rustix::fs::fallocate(&index, rustix::fs::FallocateFlags::empty(), 0, INDEX_BYTES) {
        Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Err(full()),
        // Where it cannot be had, it grows as it must.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing of it is there.
    Before,
    /// It may be on the disk or not.
    Commit,
    /// So it is, and it can be read.
    After,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_commits_are_swept_from_the_oldest_on() {
        let old = |revision| (revision, true);
        let young = |revision| (revision, false);
        type Row<'a> = (&'a [(i64, bool)], bool, Option<i64>);
        let rows: [Row<'_>; 8] = [
            (&[], false, None),
            (&[young(1)], false, None),
            (&[old(1), old(1), old(2)], false, Some(2)),
            (&[old(1), old(2), young(2), old(3)], false, Some(1)),
            (&[old(1), young(1)], false, None),
            (&[old(1), old(2), old(2)], true, Some(1)),
            (&[old(4), old(4)], true, Some(4)),
            (&[old(1), young(3), old(4)], true, Some(1)),
        ];
        for (entries, is_cut, swept) in rows {
            assert_eq!(sweepable(entries, is_cut), swept, "{entries:?} {is_cut}");
        }
    }
}
