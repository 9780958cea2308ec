//! One lane per volume: the lock that its visible steps are taken under, and the newest token seen for it.
//!
//! - A token is raised as soon as a call arrives, before it waits for the lock: so a running older call is fenced at its next
//!   check even while it holds nothing.
//! - The lock is waited for without a thread; only a call that comes back to publish a copy waits for it on its own thread.
//! - A lane that a call still uses is never forgotten, so a call that was ever admitted is fenced for good.
//! - Of idle lanes those of the last [`CALLS_REMEMBERED`] calls are kept. Forgetting one loses its newest token, which matters
//!   only to a call that was made before and is admitted that much later; a call of an earlier process cannot come at all,
//!   because the pool's folder is locked by one process.
//!
//! Source: lifecycle page, "Fencing".

use crate::stop::Stop;
use lifecycle::{Token, VolumeId};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OwnedMutexGuard;

/// For how many calls an idle lane is remembered: far more than any engine has under way, at about 10 MB at most.
const CALLS_REMEMBERED: usize = 65_536;

/// How many entries are looked at for each call admitted: more than one, so that entries put back while their call ran do not
/// add up.
const FORGOTTEN_PER_CALL: usize = 4;

/// Numbers calls, so that the same call delivered twice is told apart.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

/// The lanes of a pool.
pub(crate) struct Lanes {
    inner: Mutex<Inner>,
    remembered: usize,
}

#[derive(Default)]
struct Inner {
    lanes: HashMap<VolumeId, (Arc<Lane>, u64)>,
    /// Who was called when, oldest first. An entry whose number is not the lane's own is out of date.
    calls: VecDeque<(VolumeId, u64)>,
    count: u64,
}

/// What calls for one volume share.
#[derive(Default)]
struct Lane {
    lock: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    newest: Token,
    /// The calls that are making something now, by token and number: their temporary files are no leftovers.
    making: BTreeSet<(Token, u64)>,
}

/// Proof that a volume's lock is held. Visible steps ask for it.
pub(crate) struct Held(#[expect(dead_code, reason = "held for its drop alone")] OwnedMutexGuard<()>);

/// One call's place in its volume's lane. Dropping it says that the call ended.
pub(crate) struct Ticket {
    lane: Arc<Lane>,
    token: Token,
    sequence: u64,
    abandoned: Arc<AtomicBool>,
}

/// Kept by whoever waits for a call: when it is dropped, the call is abandoned and stops at its next check.
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Lanes {
    /// No lanes yet.
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::default(), remembered: CALLS_REMEMBERED }
    }

    /// Takes a call in: from now on calls with older tokens are superseded. Without a token it fences nobody.
    pub(crate) fn admit(&self, volume: VolumeId, token: Option<Token>) -> (Ticket, Waiting) {
        let lane = self.lane(volume);
        let token = {
            let mut state = lock(&lane.state);
            let token = token.unwrap_or(state.newest);
            state.newest = state.newest.max(token);
            token
        };
        let abandoned = Arc::new(AtomicBool::new(false));
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        (Ticket { lane, token, sequence, abandoned: Arc::clone(&abandoned) }, Waiting(abandoned))
    }

    fn lane(&self, volume: VolumeId) -> Arc<Lane> {
        let mut inner = lock(&self.inner);
        inner.count += 1;
        let number = inner.count;
        inner.calls.push_back((volume, number));
        let entry = inner.lanes.entry(volume).or_default();
        entry.1 = number;
        let lane = Arc::clone(&entry.0);
        inner.forget_oldest(self.remembered);
        lane
    }
}

impl Inner {
    /// Forgets what was called longest ago, unless it was called again since, or the call still runs.
    fn forget_oldest(&mut self, remembered: usize) {
        for _ in 0..FORGOTTEN_PER_CALL {
            if self.calls.len() <= remembered {
                return;
            }
            let Some((volume, number)) = self.calls.pop_front() else { return };
            match self.lanes.get(&volume) {
                Some((lane, newest)) if *newest == number && Arc::strong_count(lane) > 1 => self.calls.push_back((volume, number)),
                Some((_, newest)) if *newest == number => drop(self.lanes.remove(&volume)),
                Some(_) | None => {}
            }
        }
    }
}

impl Ticket {
    /// Waits for the volume's lock, without a thread.
    pub(crate) async fn hold(&self) -> Held {
        Held(Arc::clone(&self.lane.lock).lock_owned().await)
    }

    /// Waits for the volume's lock on this thread. For blocking work only.
    pub(crate) fn hold_again(&self) -> Held {
        Held(Arc::clone(&self.lane.lock).blocking_lock_owned())
    }

    /// Stops a call that was superseded or abandoned. Between this check and a visible step there must be nothing else.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if lock(&self.lane.state).newest > self.token {
            return Err(Stop::Superseded);
        }
        if self.abandoned.load(Ordering::Relaxed) { Err(Stop::Abandoned) } else { Ok(()) }
    }

    /// The call's token and its number, unique in this process.
    pub(crate) const fn name(&self) -> (Token, u64) {
        (self.token, self.sequence)
    }

    /// Tells that this call makes a temporary file from now until the ticket is dropped.
    pub(crate) fn begin_making(&self) {
        lock(&self.lane.state).making.insert(self.name());
    }

    /// Whether a temporary file of this name belongs to the same call delivered twice, still running: then it is no leftover.
    pub(crate) fn is_twin(&self, token: Token, sequence: u64) -> bool {
        token == self.token && lock(&self.lane.state).making.contains(&(token, sequence))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.lane.state).making.remove(&self.name());
    }
}

/// Takes a lock that is never held across anything that can panic halfway through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn token(counter: u64) -> Option<Token> {
        Some(Token { incarnation: 1, counter })
    }

    fn id(number: u128) -> VolumeId {
        VolumeId(Uuid::from_u128(number))
    }

    #[test]
    fn a_newer_token_supersedes_and_an_equal_one_does_not() {
        let lanes = Lanes::new();
        let (first, _first) = lanes.admit(id(1), token(5));
        let (again, _again) = lanes.admit(id(1), token(5));
        assert!(first.check().is_ok() && again.check().is_ok());
        let (newer, _newer) = lanes.admit(id(1), token(6));
        assert!(matches!(first.check(), Err(Stop::Superseded)));
        assert!(newer.check().is_ok());
        let (older, _older) = lanes.admit(id(1), token(4));
        assert!(matches!(older.check(), Err(Stop::Superseded)));
        assert!(newer.check().is_ok(), "an older call that arrives later supersedes nobody");
        let (other, _other) = lanes.admit(id(2), token(1));
        assert!(other.check().is_ok(), "tokens of one volume say nothing about another");
    }

    #[test]
    fn a_call_that_nobody_waits_for_stops() {
        let lanes = Lanes::new();
        let (ticket, waiting) = lanes.admit(id(1), token(1));
        assert!(ticket.check().is_ok());
        drop(waiting);
        assert!(matches!(ticket.check(), Err(Stop::Abandoned)));
    }

    #[test]
    fn idle_lanes_are_forgotten_and_lanes_in_use_are_not() {
        let lanes = Lanes { inner: Mutex::default(), remembered: 10 };
        let (running, _running) = lanes.admit(id(0), token(1));
        drop(lanes.admit(id(0), token(9)));
        for number in 1..1000 {
            drop(lanes.admit(id(number), token(1)));
        }
        let inner = lock(&lanes.inner);
        assert!(inner.lanes.len() <= 11 && inner.calls.len() <= 11, "{} lanes", inner.lanes.len());
        drop(inner);
        assert!(matches!(running.check(), Err(Stop::Superseded)));
        let (late, _late) = lanes.admit(id(0), token(8));
        assert!(matches!(late.check(), Err(Stop::Superseded)), "the newest token is remembered while a call runs");
    }

    #[test]
    fn twins_know_each_other_while_they_run() {
        let lanes = Lanes::new();
        let (one, _one) = lanes.admit(id(1), token(1));
        let (two, _two) = lanes.admit(id(1), token(1));
        one.begin_making();
        let (token, sequence) = one.name();
        assert!(two.is_twin(token, sequence));
        drop(one);
        assert!(!two.is_twin(token, sequence));
    }
}
