//! Who reads a connection's requests: one thread leads, and does things itself that hardly ever wait for a disk; others stand by,
//! and one of them leads on if the first is stuck in such a thing, or passes the lead on because it will take a while.
//!
//! That way a write into the page cache costs no change of threads, a large one is made by the thread whose processor has its
//! bytes at hand, and a hung disk does not keep requests from being read.
//!
//! Invariants:
//! - a turn is odd while the leader is in something that may be stuck, and whoever makes it even leads;
//! - nothing that may be stuck begins unless somebody stands by, awake.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the one that stands by looks: a thousand times a copy into the page cache, a fraction of what a client would notice.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// After how many looks without a turn it sleeps until it is woken.
const LOOKS: u32 = 10;
/// How many threads may lead in turn: more large writes at once than these are left to workers.
const THREADS_MAX: usize = 4;
/// For how long it sleeps until it leaves.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Turns {
    turn: AtomicU64,
    /// Whether one of those that stand by looks.
    is_awake: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stand_by: usize,
    /// How many threads there are beside the connection's first.
    more: usize,
    /// The leader passes the lead on.
    passed: bool,
    closed: bool,
}

impl Turns {
    /// Begins something that may be stuck, and gives its turn; `None` if nobody stands by.
    pub(super) fn begin(&self) -> Option<u64> {
        let turn = self.turn.load(Ordering::SeqCst) + 1;
        self.turn.store(turn, Ordering::SeqCst);
        if self.is_awake.load(Ordering::SeqCst) || self.wake() {
            return Some(turn);
        }
        // If this fails, somebody stood by until just now, and leads: then the caller will see that when it ends the turn.
        if self.end(turn) { None } else { Some(turn) }
    }

    /// Ends it. Returns whether the caller leads still.
    pub(super) fn end(&self, turn: u64) -> bool {
        self.turn.compare_exchange(turn, turn + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn wake(&self) -> bool {
        let state = self.lock();
        if state.stand_by > 0 {
            self.is_awake.store(true, Ordering::SeqCst);
            self.changed.notify_one();
        }
        state.stand_by > 0
    }

    /// Lets somebody else lead before the turn is ended, as it will take a while.
    pub(super) fn pass(&self) {
        self.lock().passed = true;
        self.changed.notify_one();
    }

    /// Whether one more thread is to be started.
    pub(super) fn wants_more(&self) -> bool {
        let mut state = self.lock();
        let wants = !state.closed && state.more + 1 < THREADS_MAX;
        state.more += usize::from(wants);
        wants
    }

    /// It could not be started.
    pub(super) fn not_started(&self) {
        self.lock().more -= 1;
    }

    /// Nobody leads any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Stands by. Returns whether the caller leads now; if not, the connection is closed, or the caller, unless it `stays`, is not
    /// needed any more.
    pub(super) fn stand_by(&self, stays: bool) -> bool {
        let mut state = self.lock();
        state.stand_by += 1;
        let (mut seen, mut looks) = (self.turn.load(Ordering::SeqCst), 0);
        loop {
            if state.closed {
                return false;
            }
            let is_awake = self.is_awake.load(Ordering::SeqCst);
            let patience = if is_awake { LOOK_EVERY } else { QUIET };
            let waited = self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            let turn = self.turn.load(Ordering::SeqCst);
            let is_stuck = waited.1.timed_out() && turn == seen;
            if turn % 2 == 1 && (is_stuck || state.passed) && self.end(turn) {
                self.is_awake.store(false, Ordering::SeqCst);
                state.passed = false;
                state.stand_by -= 1;
                return true;
            }
            if !is_stuck {
                (seen, looks) = (turn, 0);
            } else if is_awake {
                looks += 1;
                self.doze(looks, turn);
            } else if !stays && !self.is_awake.load(Ordering::SeqCst) {
                state.stand_by -= 1;
                state.more -= 1;
                return false;
            }
        }
    }

    /// Sleeps if there was nothing to see for long. The leader tells of a turn first and looks whether anybody is awake then; here it
    /// is the other way round, so that one of both sees the other.
    fn doze(&self, looks: u32, seen: u64) {
        if looks >= LOOKS {
            self.is_awake.store(false, Ordering::SeqCst);
            if self.turn.load(Ordering::SeqCst) != seen {
                self.is_awake.store(true, Ordering::SeqCst);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_begins_while_nobody_stands_by() {
        let turns = Turns::default();
        assert_eq!(turns.begin(), None);
        assert_eq!((0..9).filter(|_| turns.wants_more()).count(), THREADS_MAX - 1);
    }

    #[test]
    fn who_stands_by_leads_once_the_leader_is_stuck() {
        let turns = Turns::default();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.stand_by(false));
            let turn = loop {
                match turns.begin() {
                    Some(turn) => break turn,
                    None => std::thread::yield_now(),
                }
            };
            assert!(second.join().expect("it ends"), "it leads");
            assert!(!turns.end(turn), "who was stuck leads no longer");
            assert_eq!(turns.begin(), None, "and nobody stands by until it does");
        });
    }

    #[test]
    fn who_stands_by_leads_when_the_lead_is_passed_on() {
        let turns = Turns::default();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.stand_by(false));
            let turn = loop {
                match turns.begin() {
                    Some(turn) => break turn,
                    None => std::thread::yield_now(),
                }
            };
            turns.pass();
            assert!(second.join().expect("it ends") && !turns.end(turn));
        });
    }

    #[test]
    fn a_leader_that_goes_on_keeps_leading() {
        let turns = Turns::default();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.stand_by(false));
            let mut done = 0;
            while done < 100_000 {
                if let Some(turn) = turns.begin() {
                    // Its own thread may be kept from the processor for longer than a look: then the other leads.
                    if !turns.end(turn) {
                        break;
                    }
                    done += 1;
                }
            }
            turns.close();
            assert_eq!(second.join().expect("it ends"), done < 100_000);
        });
    }
}
