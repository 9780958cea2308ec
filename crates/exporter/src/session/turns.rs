//! Who reads a connection's requests: one thread leads, and does small things itself that hardly ever wait for a disk; a second
//! stands by, and leads on if the first is stuck in one of them.
//!
//! That way a write into the page cache costs no change of threads, and a hung disk does not keep requests from being read.
//!
//! Invariants:
//! - a turn is odd while the leader is in something that may be stuck, and whoever makes it even leads;
//! - nothing that may be stuck begins unless somebody stands by, awake.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the one that stands by looks: a thousand times a copy into the page cache, a fraction of what a client would notice.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// After how many looks without a turn it sleeps until it is woken.
const LOOKS: u32 = 25;
/// For how long it sleeps until it leaves.
const QUIET: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Turns {
    turn: AtomicU64,
    /// Whether the one that stands by looks.
    is_awake: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stands_by: bool,
    /// There is a second thread.
    is_pair: bool,
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
        if state.stands_by {
            self.is_awake.store(true, Ordering::SeqCst);
            self.changed.notify_one();
        }
        state.stands_by
    }

    /// Whether a second thread is to be started.
    pub(super) fn wants_second(&self) -> bool {
        let mut state = self.lock();
        !state.closed && !std::mem::replace(&mut state.is_pair, true)
    }

    /// The second thread could not be started.
    pub(super) fn stay_alone(&self) {
        self.lock().is_pair = false;
    }

    /// Nobody leads any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Stands by. Returns whether the caller leads now; if not, the connection is closed, or the caller is not needed any more.
    pub(super) fn stand_by(&self, is_second: bool) -> bool {
        let mut state = self.lock();
        state.stands_by = true;
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
            if !waited.1.timed_out() || turn != seen {
                (seen, looks) = (turn, 0);
            } else if turn % 2 == 1 && self.end(turn) {
                self.is_awake.store(false, Ordering::SeqCst);
                state.stands_by = false;
                return true;
            } else if is_awake {
                looks += 1;
                self.doze(looks, turn);
            } else if is_second && !self.is_awake.load(Ordering::SeqCst) {
                (state.stands_by, state.is_pair) = (false, false);
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
        assert!(turns.wants_second() && !turns.wants_second());
    }

    #[test]
    fn who_stands_by_leads_once_the_leader_is_stuck() {
        let turns = Turns::default();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.stand_by(true));
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
    fn a_leader_that_goes_on_keeps_leading() {
        let turns = Turns::default();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| turns.stand_by(true));
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
