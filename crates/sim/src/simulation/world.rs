//! The one world of a run: truth, records, calls under way, time, and whether the controller lives.
//!
//! - Everything is behind one lock and on one thread; what happens depends on the seed alone, and is folded into a hash.
//! - A crash freezes every port: whoever calls one waits for ever, so that nothing the controller does after it can be seen; then
//!   the runtime is dropped with all its tasks. As a controller acts through its ports alone, this is a crash at that await.
//! - After each deed and each commit the promises of the aggregate concerned are compared with the truth (`promises`).

use super::dice::Dice;
use super::errand::Errand;
use super::faults::{Fault, Place, Weather};
use super::ledger::Ledger;
use super::promises;
use super::tally::Tally;
use super::truth::{Extent, Name, Object, Truth};
use super::watch::Watched;
use lifecycle::{AttachmentId, VolumeId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A promise that was seen broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise, and what was seen.
    pub promise: String,
    /// At which of the crew's steps.
    pub step: u64,
    /// At which simulated time, in milliseconds.
    pub at: u64,
}

impl Violation {
    /// Which promise it is, without names and numbers: two stories break the same one if this is the same.
    #[must_use]
    pub fn kind(&self) -> String {
        let is_word = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
        let claim = self.promise.split(';').next().unwrap_or_default();
        claim.split_whitespace().filter(is_word).take(KIND_WORDS).collect::<Vec<_>>().join(" ")
    }
}

/// By so many words promises are told apart: what follows is what was seen.
const KIND_WORDS: usize = 9;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (step {}, {}.{:03} s)", self.promise, self.step, self.at / 1000, self.at % 1000)
    }
}

/// A call that reached, or may still reach, whoever acts.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) errand: Errand,
    /// It has acted, or never will.
    pub(crate) is_over: bool,
    /// It has acted half: what it does next is the rest of that.
    pub(crate) is_begun: bool,
    /// It has acted already, and acts again if it comes to that.
    pub(crate) is_repeat: bool,
    /// How much later it acts if its caller goes away before it did.
    pub(crate) late: Option<u64>,
    /// Nobody waits for it: it acts at this time, in milliseconds.
    pub(crate) due: Option<u64>,
}

/// How a backend is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Whatever it is asked hangs until it is back, and then goes on.
    Hangs,
    /// Whatever it is asked fails at once.
    Fails,
}

pub(crate) struct World(Mutex<State>);

pub(crate) struct State {
    pub(crate) dice: Dice,
    pub(crate) weather: Weather,
    pub(crate) truth: Truth,
    pub(crate) ledger: Ledger,
    pub(crate) flights: BTreeMap<u64, Flight>,
    pub(crate) tally: Tally,
    pub(crate) violation: Option<Violation>,
    /// What was changed behind the controller's back and was not seen right since: promises about it hold as of an older look.
    pub(crate) drifted: BTreeSet<Name>,
    /// Objects that are nobody's by this simulation's doing: appeared, or forgotten.
    pub(crate) nobodys: BTreeSet<Name>,
    /// Exports that died with their data plane, as far as nobody has looked since.
    pub(crate) lost: BTreeSet<AttachmentId>,
    /// What vanished, as it was.
    pub(crate) vanished: Vec<(Name, Object)>,
    /// Those who wait for volumes to change, by number, and what each saw last.
    pub(crate) watched: BTreeMap<u64, Watched>,
    /// The controller dies once more while it recovers.
    pub(crate) crashes_again: bool,
    pub(crate) losses: watch::Sender<u64>,
    /// Which backends are down.
    outages: Vec<Option<Outage>>,
    /// Rung when that changes. It wakes those who wait in their order; a watch channel would wake them in any.
    changed: Arc<Notify>,
    /// When the controller is told of losses that it was not told of yet.
    pub(crate) told_at: Option<u64>,
    /// The crew's steps so far.
    pub(crate) step: u64,
    /// How far the wall clock is off, in milliseconds.
    pub(crate) skew: i64,
    is_frozen: bool,
    /// The controller dies at this many more steps of its ports.
    crash_in: Option<u64>,
    bell: Arc<Notify>,
    /// Simulated time before this start of the controller, in milliseconds, and when that was.
    before: u64,
    began: Option<Instant>,
    next_flight: u64,
    next_due: u64,
    hash: u64,
    lines: Option<Vec<String>>,
}

/// So many calls to the ports no story of sensible length makes: whoever makes them is caught in a loop.
const OPERATIONS_MAX: u64 = 3_000_000;

/// FNV-1a's numbers.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_STEP: u64 = 0x0100_0000_01b3;

/// When the wall clock starts, in milliseconds since 1970: any time will do that a clock could show.
const EPOCH: i64 = 1_790_000_000_000;

impl World {
    pub(crate) fn new(dice: Dice, weather: Weather, truth: Truth, is_told: bool) -> Arc<Self> {
        let pools = truth.capabilities.len();
        Arc::new(Self(Mutex::new(State {
            dice,
            weather,
            truth,
            ledger: Ledger::default(),
            flights: BTreeMap::new(),
            tally: Tally::default(),
            violation: None,
            drifted: BTreeSet::new(),
            nobodys: BTreeSet::new(),
            lost: BTreeSet::new(),
            vanished: Vec::new(),
            watched: BTreeMap::new(),
            crashes_again: false,
            losses: watch::Sender::new(0),
            outages: vec![None; pools],
            changed: Arc::default(),
            told_at: None,
            step: 0,
            skew: 0,
            is_frozen: true,
            crash_in: None,
            bell: Arc::default(),
            before: 0,
            began: None,
            next_flight: 0,
            next_due: u64::MAX,
            hash: HASH_START,
            lines: is_told.then(Vec::new),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call arrives at a port: the controller may die here instead.
    pub(crate) async fn arrive(&self) {
        let is_frozen = {
            let mut state = self.lock();
            state.tally.operations += 1;
            if state.tally.operations == OPERATIONS_MAX {
                state.break_promise("L1: it goes on and on".into());
            }
            state.pass();
            state.is_frozen
        };
        if is_frozen {
            std::future::pending::<()>().await;
        }
    }

    /// A call is about to answer: the controller may die here instead.
    pub(crate) async fn leave(&self) {
        let is_frozen = {
            let mut state = self.lock();
            state.pass();
            state.is_frozen
        };
        if is_frozen {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once the backend of this pool can be reached; false if it says that it cannot.
    pub(crate) async fn reach(&self, pool: usize) -> bool {
        loop {
            let changed = {
                let state = self.lock();
                match state.outage(pool) {
                    None => return true,
                    Some(Outage::Fails) => return false,
                    Some(Outage::Hangs) => state.changed.clone().notified_owned(),
                }
            };
            changed.await;
        }
    }

    /// Returns once the controller is dead.
    pub(crate) async fn death(&self) {
        loop {
            let bell = {
                let state = self.lock();
                if state.is_frozen {
                    return;
                }
                state.bell.clone()
            };
            bell.notified().await;
        }
    }

    /// A caller of this call went away, having been answered or not.
    pub(crate) fn land(&self, flight: u64) {
        let mut state = self.lock();
        let now = state.now();
        let Some(held) = state.flights.get_mut(&flight) else { return };
        match (held.is_over && !held.is_repeat, held.late) {
            (false, Some(late)) => {
                let due = now + late;
                held.due = Some(due);
                state.next_due = state.next_due.min(due);
            }
            (true, _) | (false, None) => drop(state.flights.remove(&flight)),
        }
    }
}

impl State {
    /// The controller starts; it dies while it recovers, if it was to.
    pub(crate) fn begin(&mut self, mut dice: Dice) {
        self.is_frozen = self.violation.is_some();
        self.crash_in = std::mem::take(&mut self.crashes_again).then(|| dice.between(1, 60));
        self.bell = Arc::default();
        self.began = Some(Instant::now());
    }

    /// The controller is dead. To be called before its runtime is dropped, whose clock ends with it.
    pub(crate) fn end(&mut self) {
        self.before = self.now();
        self.began = None;
        self.is_frozen = true;
        self.tally.crashes += u64::from(!self.weather.is_calm);
    }

    /// Time passes while no controller runs.
    pub(crate) fn idle(&mut self, milliseconds: u64) {
        self.before += milliseconds;
        self.run_late();
    }

    /// Simulated time, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        let passed = self.began.map_or(0, |began| u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.before + passed
    }

    pub(crate) fn wall(&self) -> i64 {
        EPOCH + i64::try_from(self.now()).unwrap_or(i64::MAX) + self.skew
    }

    /// The controller dies now.
    pub(crate) fn kill(&mut self) {
        self.is_frozen = true;
        self.bell.notify_one();
    }

    /// The controller dies after so many steps of its ports.
    pub(crate) fn kill_in(&mut self, steps: u64) {
        self.crash_in = Some(steps);
    }

    /// From now on nothing goes wrong any more, and what was wrong ends.
    pub(crate) fn be_calm(&mut self) {
        self.weather.is_calm = true;
        self.crash_in = None;
        self.truth.strangers.clear();
        (0..self.pools()).for_each(|pool| self.fail_backend(pool, None));
        self.note("calm", 0, 0);
    }

    /// How many pools there are.
    pub(crate) const fn pools(&self) -> usize {
        self.truth.capabilities.len()
    }

    /// Whether, and how, the backend of this pool is down.
    pub(crate) fn outage(&self, pool: usize) -> Option<Outage> {
        self.outages[pool]
    }

    /// The backend of this pool goes down, or comes back.
    pub(crate) fn fail_backend(&mut self, pool: usize, outage: Option<Outage>) {
        self.outages[pool] = outage;
        self.changed.notify_waiters();
    }

    fn pass(&mut self) {
        self.run_late();
        if let Some(left) = &mut self.crash_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.crash_in = None;
                self.note("crash", 0, 0);
                self.kill();
            }
        }
    }

    /// A fault strikes at this place, or not.
    pub(crate) fn strike(&mut self, place: Place) -> Option<Fault> {
        let struck = self.weather.strike(&mut self.dice, place)?;
        *self.tally.faults.entry((place, struck)).or_default() += 1;
        self.note(struck.word(), 0, 0);
        Some(struck)
    }

    /// Whether this fault of the world happens where it is asked for by name.
    pub(crate) fn happens(&mut self, fault: Fault) -> bool {
        let happens = self.weather.happens(&mut self.dice, fault);
        if happens {
            *self.tally.faults.entry((Place::World, fault)).or_default() += 1;
            self.note(fault.word(), 0, 0);
        }
        happens
    }

    pub(crate) fn take_off(&mut self, flight: Flight) -> u64 {
        self.next_flight += 1;
        self.flights.insert(self.next_flight, flight);
        self.next_flight
    }

    /// The call will never act.
    pub(crate) fn abort(&mut self, flight: u64) {
        self.flights.entry(flight).and_modify(|held| (held.is_over, held.is_repeat) = (true, false));
    }

    /// The call acts, if its token lets it; nothing if it is older than the newest that was seen.
    pub(crate) fn act(&mut self, flight: u64, extent: Extent) -> Option<Result<lifecycle::Facts, String>> {
        let errand = self.flights.get(&flight)?.errand.clone();
        if !errand.admitted(&mut self.truth) {
            self.abort(flight);
            self.note("fenced", errand.volume.0.as_u128(), errand.token.counter);
            return None;
        }
        let is_rest = extent == Extent::Full && self.flights.get(&flight).is_some_and(|held| held.is_begun);
        let extent = if is_rest { Extent::Rest } else { extent };
        let acted = self.truth.act(errand.pool, errand.volume, errand.attachment, &errand.deed, extent);
        self.note(errand.word(), errand.volume.0.as_u128(), u64::from(acted.is_ok()));
        let is_half = extent == Extent::Half && acted.is_ok();
        self.flights.entry(flight).and_modify(|held| (held.is_begun, held.is_over) = (is_half, held.is_over || !is_half));
        self.check(errand.volume);
        Some(acted)
    }

    /// Lets calls act that nobody waits for any more and whose time has come, and tells of losses.
    pub(crate) fn run_late(&mut self) {
        let now = self.now();
        if self.told_at.is_some_and(|at| at <= now) {
            self.told_at = None;
            self.losses.send_modify(|count| *count += 1);
        }
        while self.next_due <= now {
            let due = self.flights.iter().filter_map(|(id, held)| Some((held.due?, *id))).min();
            match due {
                Some((at, id)) if at <= now => {
                    // A message that was delivered twice cannot undo what was done behind everybody's back in between.
                    let is_stale = self
                        .flights
                        .get(&id)
                        .is_some_and(|held| held.is_repeat && held.is_over && self.has_drifted(held.errand.volume));
                    if !is_stale {
                        let is_half = self.dice.chance(100);
                        self.act(id, if is_half { Extent::Half } else { Extent::Full });
                    }
                    self.flights.remove(&id);
                }
                Some((at, _)) => self.next_due = at,
                None => self.next_due = u64::MAX,
            }
        }
    }

    pub(crate) fn has_drifted(&self, volume: VolumeId) -> bool {
        self.drifted.range((volume, None)..).next().is_some_and(|(of, _)| *of == volume)
    }

    /// Compares the promises of one aggregate with the truth.
    pub(crate) fn check(&mut self, volume: VolumeId) {
        if let Err(promise) = promises::kept(self, volume) {
            self.break_promise(format!("volume {volume}: {promise}"));
        }
    }

    /// Notes that a promise is broken: the first one ends the run.
    pub(crate) fn break_promise(&mut self, promise: String) {
        self.note("violation", 0, 0);
        if self.violation.is_none() {
            self.say(|| format!("VIOLATION {promise}"));
            self.violation = Some(Violation { promise, step: self.step, at: self.now() });
        }
        self.kill();
    }

    /// Folds something that happened into the hash of the run.
    pub(crate) fn note(&mut self, what: &'static str, about: u128, more: u64) {
        let now = self.now();
        let mut hash = self.hash;
        let words = [now, (about >> 64) as u64, about as u64, more];
        for byte in what.bytes().map(u64::from).chain(words) {
            hash = (hash ^ byte).wrapping_mul(HASH_STEP);
        }
        self.hash = hash;
        self.say(|| format!("{what} {:08x} {more}", (about >> 96) as u32));
    }

    /// Keeps a line of the story, if anybody wants to read it.
    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9}.{:03} {}", now / 1000, now % 1000, line()));
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
