//! The model: every reachable state of the rules, against a backend that fails in every way it may.
//!
//! - Each scope is explored whole, and the exact number of its states is asserted: it moves when a rule is added or lost, and
//!   the commit that moves it says why.
//! - `cargo test` explores the small scopes, `cargo test --release` the usual ones too, and `BERTH_MODEL=deep cargo test
//!   --release` those that take minutes.
//! - `flaws` takes one rule away at a time and demands a counterexample: a model that finds nothing must be able to find something.
//!
//! What is bounded: two attachments, two snapshots, one clone, three sizes, one controller at a time; where a scope says so, one
//! kind of ghost a slot. What is not: the number of commands, crashes, faults and retries.

#![expect(clippy::print_stdout, reason = "a long exploration tells how far it came")]

mod deeds;
mod flaws;
mod graph;
mod promises;
mod rules;
mod state;
mod words;
mod world;

use graph::explore;
use lifecycle::Capabilities;
use world::{Flaws, Scope, World};

/// A pool that can do all: copies at once, grows while attached.
const ABLE: Capabilities = Capabilities { attached_snapshot: true, online_extend: true };
/// A pool that can do neither.
const UNABLE: Capabilities = Capabilities { attached_snapshot: false, online_extend: false };
/// The least: one volume that does not grow.
const LEAST: Scope = Scope {
    attachments: 0,
    multi_attach: false,
    snapshots: 0,
    clones: false,
    largest: 1,
    capabilities: ABLE,
    retired: false,
    meddled: false,
    watched: false,
    ghosts: 0,
};

/// How much to explore.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Small,
    Usual,
    Deep,
}

impl Depth {
    fn wanted() -> Self {
        match std::env::var("BERTH_MODEL").as_deref() {
            Ok("deep") => Self::Deep,
            Ok("usual") => Self::Usual,
            Ok("small") => Self::Small,
            Ok(other) => panic!("BERTH_MODEL is {other}; it may be small, usual or deep"),
            Err(_) if cfg!(debug_assertions) => Self::Small,
            Err(_) => Self::Usual,
        }
    }
}

/// Explores `scope` if that depth is wanted: no promise is broken, everything settles, and it has exactly so many states.
#[track_caller]
fn check(depth: Depth, states: usize, scope: Scope) {
    if depth > Depth::wanted() {
        return;
    }
    let begun = std::time::Instant::now();
    match explore(&mut World::new(scope, Flaws::default())) {
        Ok(explored) => {
            println!("{explored:?} in {:?}: {scope:?}", begun.elapsed());
            assert_eq!(explored.states, states, "the number of reachable states moved: say why in the commit that changes it");
        }
        Err(found) => panic!("{}", found.path),
    }
}

#[test]
fn a_volume_alone() {
    check(Depth::Small, 1_427, Scope { largest: 3, ..LEAST });
    check(Depth::Small, 22_577, Scope { largest: 2, attachments: 1, retired: true, ..LEAST });
}

#[test]
fn single_attach() {
    check(Depth::Small, 2_683, Scope { attachments: 2, watched: true, ..LEAST });
    check(Depth::Small, 23_568, Scope { attachments: 1, largest: 2, watched: true, ..LEAST });
    check(Depth::Usual, 578_926, Scope { attachments: 2, largest: 3, watched: true, ..LEAST });
    check(Depth::Usual, 6_216, Scope { attachments: 2, largest: 2, watched: true, capabilities: UNABLE, ..LEAST });
}

#[test]
fn multi_attach() {
    check(Depth::Small, 76_193, Scope { attachments: 2, multi_attach: true, ghosts: 1, ..LEAST });
    check(Depth::Usual, 115_579, Scope { attachments: 2, multi_attach: true, watched: true, ..LEAST });
    check(Depth::Deep, 7_328_528, Scope { attachments: 2, multi_attach: true, watched: true, largest: 2, ..LEAST });
}

#[test]
fn snapshots_and_clones() {
    check(Depth::Small, 3_325, Scope { snapshots: 1, watched: true, ..LEAST });
    check(Depth::Usual, 454_898, Scope { snapshots: 2, ..LEAST });
    check(Depth::Usual, 325_903, Scope { snapshots: 1, clones: true, ..LEAST });
    check(Depth::Deep, 10_352_052, Scope { snapshots: 2, clones: true, ghosts: 1, ..LEAST });
    check(Depth::Deep, 11_504_157, Scope { attachments: 1, snapshots: 1, clones: true, capabilities: UNABLE, ghosts: 1, ..LEAST });
}

#[test]
fn a_backend_that_is_meddled_with() {
    check(Depth::Small, 17_484, Scope { attachments: 1, capabilities: UNABLE, watched: true, meddled: true, ..LEAST });
    check(Depth::Usual, 43_264, Scope { attachments: 1, largest: 2, capabilities: UNABLE, watched: true, meddled: true, ..LEAST });
    check(Depth::Usual, 421_067, Scope { snapshots: 1, largest: 2, capabilities: UNABLE, watched: true, meddled: true, ..LEAST });
}

#[test]
fn attachments_beside_snapshots() {
    check(Depth::Small, 105_950, Scope { attachments: 1, snapshots: 1, capabilities: UNABLE, ghosts: 1, ..LEAST });
    check(Depth::Usual, 230_894, Scope { attachments: 1, snapshots: 1, capabilities: UNABLE, ..LEAST });
    check(Depth::Usual, 1_870_629, Scope { attachments: 1, snapshots: 1, largest: 2, ghosts: 1, watched: true, ..LEAST });
}
