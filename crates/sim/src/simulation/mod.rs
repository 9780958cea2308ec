//! The simulation: the real engine, unchanged, on a simulated clock, store, backend, exporter and users, everything from one seed.
//!
//! - [`run`] plays one seed on one thread: users give commands, faults strike, the controller dies and starts again; then all is calm,
//!   and everything must settle, be told truthfully, and be deleted without a trace.
//! - The same [`Plan`] plays the same story, down to the hash of everything that happened ([`Ran::hash`]).
//! - After each step that changes a record or the backend, what the records promise is compared with the backend's truth (`promises`).
//!
//! Who does what: `world` holds everything that outlives a controller; `truth` is what is really there; `ports`, `keeper` and `errand`
//! stand between the engine and both; `ledger` checks commits; `crew` are the users, `watch` those who wait; `mischief` is what goes wrong unasked; `calm`
//! is the end; `game` plays them all; `shrink` makes a failing plan smaller.
//!
//! Source: reliability page, "Invariants" and "Fault kinds".

mod calm;
mod crew;
mod dice;
mod errand;
mod faults;
mod flaws;
mod game;
mod keeper;
mod kept;
mod ledger;
mod mischief;
mod ports;
mod promises;
mod shrink;
mod tally;
mod truth;
mod watch;
mod world;

pub use faults::{EXPECTED, Fault, Place};
pub use flaws::Flaws;
pub use game::run;
pub use kept::{KEPT, Kept};
pub use shrink::shrink;
pub use tally::{Tally, UNREACHED, Walked};
pub use world::Violation;

use std::collections::BTreeSet;

/// How many steps the crew takes where nobody says otherwise: enough for some deaths of the controller and a life of every resource,
/// few enough that a failing story can be read.
pub const STEPS: u64 = 400;

/// What is to be played.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Everything random is drawn from it.
    pub seed: u64,
    /// How many steps the crew takes before all is calm.
    pub steps: u64,
    /// Faults that never strike.
    pub without: BTreeSet<Fault>,
    /// Ports that are broken on purpose: for tests of the simulation itself.
    pub flaws: Flaws,
    /// Whether the story is told.
    pub is_told: bool,
}

impl Plan {
    /// This seed, with everything that can go wrong.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, steps: STEPS, ..Self::default() }
    }

    /// The command that plays it.
    #[must_use]
    pub fn command(&self) -> String {
        let words = |faults: &mut dyn Iterator<Item = &Fault>| faults.map(|fault| fault.word()).collect::<Vec<_>>().join(",");
        let mut only = Fault::ALL.iter().filter(|fault| !self.without.contains(fault));
        // Whichever is shorter to read.
        let faults = match self.without.len() {
            0 => String::new(),
            left_out if left_out * 2 < Fault::ALL.len() => format!(" --without {}", words(&mut self.without.iter())),
            _ => format!(" --only {}", words(&mut only)),
        };
        format!("cargo xtask sim --seed {} --steps {}{faults}", self.seed, self.steps)
    }
}

/// What came of a plan.
#[derive(Clone, Debug)]
pub struct Ran {
    /// A hash of everything that happened, in order.
    pub hash: u64,
    /// What was done.
    pub tally: Tally,
    /// The promise that was seen broken, if any.
    pub violation: Option<Violation>,
    /// What happened, a line each, if it was to be told.
    pub story: Vec<String>,
}
