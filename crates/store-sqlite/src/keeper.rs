//! The keeper: the thread that moves the log into the database, off the commit path, and reminds the writer of its chores.
//!
//! Invariants:
//! - nothing is moved into the database before the witness has confirmed that it is in the log: else the database could hold pages of a commit
//!   that the log has lost, which is neither the state before it nor the one after. A reader, the guard, begins before the witness is
//!   asked: SQLite moves nothing that came after a reader;
//! - the log is not begun anew before the witness has confirmed the sync of the database that its pages were moved to: SQLite begins no
//!   log anew that the guard reads. (A guard that finds all moved reads the database alone. Then the log may be begun anew, as all of it
//!   was confirmed, and nothing can be moved before the guard ends.) If the witness does not confirm, the guard stays, and all writing ends:
//!   at the next start the log is whole, and tells what was committed.

use crate::points::{CHECKPOINT, injected};
use crate::read;
use crate::schema::{BUSY_TIMEOUT, Role, connect};
use crate::witness::Witness;
use crate::writer::{Job, State, not_confirmed};
use rusqlite::Connection;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long after one move of the log into the database the next one comes. Source: reliability page, "The embedded store".
const CHECKPOINT_EVERY: Duration = Duration::from_millis(200);
/// It comes sooner where so much is in the log that the last one did not leave there. Less is not worth the syncs.
const CHECKPOINT_AT: u64 = 4 << 20;
/// How often it is looked whether it is time for one.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// When this much is in the log the writer pauses, so that it begins anew. What comes until then may be as much again.
const LOG_MAX: u64 = 8 << 20;
/// What a page takes in the log: itself, and 24 bytes. Source: SQLite file format, "WAL frames".
const FRAME_BYTES: u64 = 4096 + 24;
/// How often what came meanwhile is moved before the writer pauses: each time it is less, and the pause is as long as what is left takes.
const ROUNDS_BEFORE_PAUSE: u32 = 3;
/// How long the writer waits for those who read the log: whoever reads a long list slowly must not hold up commits.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How often a full disk is looked at for room: whoever frees some waits for this.
const LOOK_FOR_ROOM_EVERY: Duration = Duration::from_secs(1);
/// How often old keys and journal entries are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The connections of the thread.
pub(crate) struct Keeper {
    connection: Connection,
    /// Reads while the log is moved.
    guard: Connection,
    witness: Arc<Witness>,
    state: Arc<State>,
}

impl Keeper {
    pub(crate) fn new(file: &Path, witness: Arc<Witness>, state: Arc<State>) -> rusqlite::Result<Self> {
        let (connection, guard) = (connect(file, Role::Keeper)?, connect(file, Role::Reader)?);
        Ok(Self { connection, guard, witness, state })
    }

    /// Works until the writer is gone.
    pub(crate) fn run(self, jobs: &mpsc::WeakSender<Job>) {
        let (mut swept, mut looked) = (Instant::now(), Instant::now());
        // What a former process left in the log is moved, too.
        let (mut seen, mut is_stuck, mut pace) = (None, false, Pace::new(Instant::now()));
        loop {
            std::thread::sleep(LOOK_EVERY);
            let Some(jobs) = jobs.upgrade() else { return };
            if self.state.stopped().is_some() {
                continue;
            }
            let job = if self.state.is_full() && looked.elapsed() >= LOOK_FOR_ROOM_EVERY {
                looked = Instant::now();
                Some(Job::LookForRoom)
            } else if swept.elapsed() >= SWEEP_EVERY {
                swept = Instant::now();
                Some(Job::Sweep)
            } else {
                None
            };
            let now = Some(self.state.transactions());
            let mut begins_anew = false;
            if (now != seen || is_stuck) && pace.is_due(Instant::now(), || self.unmoved()) {
                let mut moved = self.checkpoint();
                begins_anew =
                    moved.as_ref().is_ok_and(|log| pace.may_begin_anew(Instant::now(), log.bytes(), self.state.begun_anew()));
                let more_rounds = if begins_anew { ROUNDS_BEFORE_PAUSE - 1 } else { 0 };
                for _ in 0..more_rounds {
                    moved = self.checkpoint();
                }
                if let Err(error) = &moved
                    && !is_stuck
                {
                    tracing::warn!(%error, "what was committed is not moved out of the log, which grows until it is");
                }
                is_stuck = moved.is_err();
                pace.note(Instant::now(), moved.as_ref().ok());
                seen = now;
            }
            for job in begins_anew.then_some(Job::BeginLogAnew).into_iter().chain(job) {
                // A full queue will have room at the next round.
                let _ = jobs.try_send(job);
            }
        }
    }

    /// Moves what the log holds into the database, under the guard. One that the witness does not confirm stops all writing, and nothing is
    /// moved from then on. Returns what is in the log, whose file is as long as it ever was.
    fn checkpoint(&self) -> rusqlite::Result<Moved> {
        if self.state.stopped().is_some() {
            return Ok(Moved::default());
        }
        CHECKPOINT.before.try_pass().map_err(|error| injected(&error))?;
        if !self.guard.is_autocommit() {
            // The last time could not end.
            self.guard.execute_batch("ROLLBACK")?;
        }
        self.guard.execute_batch("BEGIN")?;
        read::meta(&self.guard, "revision")?;
        let moved = match self.witness.confirm() {
            Ok(()) => move_log(&self.connection, "PASSIVE"),
            Err(error) => {
                self.give_up(&error);
                return Ok(Moved::default());
            }
        };
        if moved.is_ok()
            && let Err(error) = self.witness.confirm()
        {
            self.give_up(&error);
            return Ok(Moved::default());
        }
        self.guard.execute_batch("COMMIT")?;
        let moved = moved?;
        CHECKPOINT.after.try_pass().map_err(|error| injected(&error))?;
        Ok(moved)
    }

    /// How much is in the log alone, in bytes.
    fn unmoved(&self) -> u64 {
        move_log(&self.connection, "NOOP").map_or(0, |log| log.left())
    }

    /// Ends all writing; the guard stays.
    fn give_up(&self, error: &io::Error) {
        self.state.stop(&not_confirmed(error));
    }
}

/// Puts the log that a former process left on the disk, before anything of it is told or moved: it may have been killed before it did.
pub(crate) fn sync_log(file: &Path, witness: &Witness) -> io::Result<()> {
    match File::open(log_of(file)) {
        Ok(log) => log.sync_all().and_then(|()| witness.confirm()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Has the log begin anew, which has grown large because commits came faster than it was moved. For the writer, who waits meanwhile.
///
/// Two steps, with the witness before, between and behind them: the first leaves the log as it is. What it does not confirm stops all writing,
/// and so does a log that could not be begun anew. Its file keeps its length: a sync of one that grows takes twice as long.
pub(crate) fn begin_log_anew(connection: &Connection, witness: &Witness, state: &State) {
    let waits = |length| connection.busy_timeout(length);
    if let Err(error) = waits(PAUSE_MAX).map(|()| move_all(connection, witness, state)).and_then(|()| waits(BUSY_TIMEOUT)) {
        state.stop(&error);
    }
}

fn move_all(connection: &Connection, witness: &Witness, state: &State) {
    if let Err(error) = witness.confirm() {
        state.stop(&not_confirmed(&error));
        return;
    }
    match move_log(connection, "FULL") {
        Ok(moved) if moved.is_all => {}
        // Somebody reads it, for longer than was waited for: the next time, then.
        Ok(_) => return,
        Err(error) => return tracing::warn!(%error, "the log could not be begun anew"),
    }
    if let Err(error) = witness.confirm() {
        state.stop(&not_confirmed(&error));
        return;
    }
    match move_log(connection, "RESTART") {
        Ok(moved) if moved.is_all => state.note_begun_anew(),
        Ok(_) => {}
        Err(error) => {
            state.stop(&error);
        }
    }
}

/// When the log is moved, and when the writer is asked to have it begun anew.
///
/// Who reads for long holds up what came after: it stays in the log however often that is moved, and the writer would wait for the reader
/// each time. So what a move left there is no reason for the next, and a writer that was asked in vain is not asked again so soon.
struct Pace {
    moved_at: Instant,
    /// What the last move left in the log alone, in bytes; nothing is known if it failed.
    left: Option<u64>,
    /// When the writer was asked last, and how often the log had begun anew by then.
    asked: Option<(Instant, u64)>,
}

impl Pace {
    const fn new(now: Instant) -> Self {
        Self { moved_at: now, left: None, asked: None }
    }

    fn is_due(&self, now: Instant, unmoved: impl FnOnce() -> u64) -> bool {
        now - self.moved_at >= CHECKPOINT_EVERY || self.left.is_some_and(|left| unmoved() >= left + CHECKPOINT_AT)
    }

    /// Notes that the log was moved, or that it failed.
    fn note(&mut self, now: Instant, moved: Option<&Moved>) {
        self.moved_at = now;
        self.left = moved.map(Moved::left);
    }

    /// Whether the writer is asked now, with so much in the log, which has begun anew so often.
    fn may_begin_anew(&mut self, now: Instant, log: u64, begun: u64) -> bool {
        let is_in_vain = |(at, then)| begun == then && now - at < CHECKPOINT_EVERY;
        let may = log > LOG_MAX && !self.asked.is_some_and(is_in_vain);
        if may {
            self.asked = Some((now, begun));
        }
        may
    }
}

/// How many pages a log holds, and how many of them are in the database: readers may hold some up.
#[derive(Default)]
struct Moved {
    pages: u64,
    moved: u64,
    is_all: bool,
}

impl Moved {
    /// How much is in the log, moved or not, in bytes.
    const fn bytes(&self) -> u64 {
        self.pages * FRAME_BYTES
    }

    /// How much of it is there alone.
    const fn left(&self) -> u64 {
        self.pages.saturating_sub(self.moved) * FRAME_BYTES
    }
}

/// Moves what the log holds into the database, as far as readers let it: what they hold up, the next time moves.
fn move_log(connection: &Connection, how: &str) -> rusqlite::Result<Moved> {
    // A query and no pragma of rusqlite's, which quotes what stands in brackets.
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| {
        let many = |at| row.get::<_, i64>(at).map(|many| many.max(0).cast_unsigned());
        let (is_busy, pages, moved) = (row.get::<_, bool>(0)?, many(1)?, many(2)?);
        Ok(Moved { pages, moved, is_all: !is_busy && pages == moved })
    })
}

fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    struct Bench {
        folder: tempfile::TempDir,
        writer: Connection,
        state: Arc<State>,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("berth.db");
            schema::create(&file, "epoch").unwrap();
            let writer = connect(&file, Role::Writer).unwrap();
            Self { folder, writer, state: Arc::default() }
        }

        fn file(&self) -> PathBuf {
            self.folder.path().join("berth.db")
        }

        fn keeper(&self, witness: Witness) -> Keeper {
            Keeper::new(&self.file(), Arc::new(witness), self.state.clone()).unwrap()
        }

        fn witness(&self) -> Witness {
            Witness::of(self.folder.path()).unwrap()
        }

        fn write(&self) {
            self.writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision'", []).unwrap();
        }

        /// What tells one beginning of the log from another: its salts.
        fn beginning(&self) -> Vec<u8> {
            std::fs::read(log_of(&self.file())).unwrap().get(16..24).map(<[u8]>::to_vec).unwrap_or_default()
        }
    }

    #[test]
    fn a_log_that_was_moved_is_begun_anew() {
        let bench = Bench::new();
        let keeper = bench.keeper(bench.witness());
        bench.write();
        let first = bench.beginning();
        keeper.checkpoint().unwrap();
        bench.write();
        assert_ne!(bench.beginning(), first);
        assert_eq!(bench.state.stopped(), None);
    }

    #[test]
    fn a_log_stays_whole_and_writing_ends_if_the_witness_does_not_confirm() {
        let bench = Bench::new();
        let keeper = bench.keeper(Witness::refusing_after(bench.folder.path(), 1));
        bench.write();
        let first = bench.beginning();
        keeper.checkpoint().unwrap();
        assert!(bench.state.stopped().is_some_and(|why| why.contains("started again")));
        bench.write();
        assert_eq!(bench.beginning(), first, "a commit that came before the writer knew is written behind the others");
        let file = bench.file();
        let Bench { folder, writer, .. } = bench;
        drop((keeper, writer));
        let found = log_of(&file);
        assert_eq!(std::fs::read(found).unwrap().get(16..24), Some(first.as_slice()), "closing leaves it, too");
        drop(folder);
    }

    #[test]
    fn nothing_is_moved_that_may_not_be_in_the_log() {
        let bench = Bench::new();
        let keeper = bench.keeper(Witness::refusing_after(bench.folder.path(), 0));
        bench.write();
        let database = || std::fs::read(bench.file()).unwrap();
        let before = database();
        keeper.checkpoint().unwrap();
        assert!(bench.state.stopped().is_some());
        keeper.checkpoint().unwrap();
        assert!(!keeper.guard.is_autocommit(), "the guard stays, though the witness would confirm now");
        assert!(database() == before, "pages of a commit that may be lost are in the database");
    }

    #[test]
    fn a_large_log_is_begun_anew_only_if_the_witness_confirms() {
        let bench = Bench::new();
        let first = {
            bench.write();
            bench.beginning()
        };
        for times in [0, 1] {
            let state = State::default();
            // Who reads the log keeps it from being begun anew by the next commit, which is not what is looked at.
            let reader = connect(&bench.file(), Role::Reader).unwrap();
            reader.execute_batch("BEGIN").unwrap();
            read::meta(&reader, "revision").unwrap();
            begin_log_anew(&bench.writer, &Witness::refusing_after(bench.folder.path(), times), &state);
            bench.write();
            assert_eq!(bench.beginning(), first);
            assert!(state.stopped().is_some());
        }
        begin_log_anew(&bench.writer, &bench.witness(), &State::default());
        let length = || std::fs::metadata(log_of(&bench.file())).unwrap().len();
        let before = length();
        bench.write();
        assert_ne!(bench.beginning(), first);
        assert_eq!(length(), before, "it is written over");
    }

    #[test]
    fn who_reads_for_long_does_not_hold_up_the_writer() {
        let bench = Bench::new();
        let reader = connect(&bench.file(), Role::Reader).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        read::meta(&reader, "revision").unwrap();
        bench.write();
        let begun = Instant::now();
        begin_log_anew(&bench.writer, &bench.witness(), &bench.state);
        assert!(begun.elapsed() < BUSY_TIMEOUT / 2, "{:?}", begun.elapsed());
        assert_eq!(bench.state.begun_anew(), 0);
        assert_eq!(bench.state.stopped(), None, "it is tried again, once nobody reads");
        let timeout: i64 = bench.writer.pragma_query_value(None, "busy_timeout", |row| row.get(0)).unwrap();
        assert_eq!(timeout, 5000);
    }

    #[test]
    fn what_is_in_the_log_is_told_and_not_how_long_it_once_was() {
        let bench = Bench::new();
        let keeper = bench.keeper(bench.witness());
        let many = "CREATE TABLE filler(word); WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                    INSERT INTO filler SELECT hex(zeroblob(2000)) FROM n";
        bench.writer.execute_batch(many).unwrap();
        let unmoved = keeper.unmoved();
        let large = keeper.checkpoint().unwrap().bytes();
        assert_eq!((unmoved, keeper.unmoved()), (large, 0));
        let length = std::fs::metadata(log_of(&bench.file())).unwrap().len();
        assert!((1 << 20..=length).contains(&large), "{large} of {length}");
        begin_log_anew(&bench.writer, &bench.witness(), &bench.state);
        assert_eq!(bench.state.begun_anew(), 1);
        bench.write();
        assert!(keeper.checkpoint().unwrap().pages < 10);
    }

    /// What a move found in the log, and left there alone, in bytes.
    fn moved(log: u64, left: u64) -> Moved {
        let (pages, left) = (log.div_ceil(FRAME_BYTES), left / FRAME_BYTES);
        Moved { pages, moved: pages - left, is_all: left == 0 }
    }

    #[test]
    fn the_log_is_moved_by_the_clock_and_by_what_has_come_since() {
        let begun = Instant::now();
        let soon = begun + LOOK_EVERY;
        let mut pace = Pace::new(begun);
        assert!(pace.is_due(begun + CHECKPOINT_EVERY, || 0));
        // What the last move left, what is unmoved now, and whether it is time.
        let rows = [
            (Some(0), 0, false),
            (Some(0), CHECKPOINT_AT - 1, false),
            (Some(0), CHECKPOINT_AT, true),
            (Some(2 * CHECKPOINT_AT), 2 * CHECKPOINT_AT, false),
            (Some(2 * CHECKPOINT_AT), 3 * CHECKPOINT_AT, true),
            (None, 9 * CHECKPOINT_AT, false),
        ];
        for (left, unmoved, is_due) in rows {
            pace.note(begun, left.map(|left| moved(9 * CHECKPOINT_AT, left)).as_ref());
            assert_eq!(pace.is_due(soon, || unmoved), is_due, "{left:?} {unmoved}");
        }
    }

    #[test]
    fn the_writer_is_not_asked_in_vain_again_and_again() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        assert!(!pace.may_begin_anew(now, LOG_MAX, 0));
        let mut asked = 0;
        // For four seconds somebody reads all of it, and at each look there is more.
        for turn in 1..=80 {
            now += LOOK_EVERY;
            asked += u32::from(pace.may_begin_anew(now, LOG_MAX + turn * CHECKPOINT_AT, 0));
        }
        assert_eq!(asked, 20);
        // It has begun anew: the next time is the next time.
        assert!(pace.may_begin_anew(now + LOOK_EVERY, 2 * LOG_MAX, 1));
    }
}
