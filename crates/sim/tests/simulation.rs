//! The simulation itself: it repeats, it reaches everything, it notices ports that break their promises, and seeds that found a bug
//! pass since. The long runs are `cargo xtask sim`.
//!
//! Unoptimised a seed takes twenty times as long, so that fewer are played and what they must reach is not asked of them.

use lifecycle::Resource;
use sim::simulation::{Flaws, KEPT, Plan, Tally, Walked, run};

/// How many seeds are played here: with the whole number every edge but the rarest and every kind of fault is reached.
const SEEDS: u64 = if IS_OPTIMISED { 200 } else { 8 };
/// Within so many seeds a flaw of the ports must be noticed.
const NOTICED_WITHIN: u64 = if IS_OPTIMISED { 60 } else { 40 };
/// Edges that need three rare things at once: a thousand seeds and more reach them (`cargo xtask sim` prints how many), these few need not.
const RARE: &[Walked] = &[
    // A volume is forgotten while it is being created, or while a snapshot of it is stuck in its deletion.
    (Resource::Volume, "creating", ""),
    (Resource::Snapshot, "errorDeleting", ""),
    // Somebody unknown uses a volume before it is known to be there.
    (Resource::Volume, "creating", "inUse"),
    // A volume that was missing is found whole again while an attachment of it is being made.
    (Resource::Volume, "error", "attaching"),
];
const IS_OPTIMISED: bool = !cfg!(debug_assertions);

#[test]
fn a_seed_plays_the_same_story_again() {
    let hash = |seed| run(&Plan::new(seed)).hash;
    for seed in 1..4 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
        let told = run(&Plan { is_told: true, ..Plan::new(seed) });
        assert_eq!(hash(seed), told.hash, "telling it changes nothing");
    }
    assert_ne!(hash(1), hash(2));
}

#[test]
fn everything_is_reached_and_no_promise_is_broken() {
    let mut tally = Tally::default();
    for seed in 1..=SEEDS {
        let plan = Plan::new(seed);
        let ran = run(&plan);
        assert_eq!(ran.violation, None, "replay: {}", plan.command());
        tally.add(&ran.tally);
    }
    if !IS_OPTIMISED {
        return;
    }
    let mut missed = tally.edges_missed();
    missed.retain(|edge| !RARE.contains(edge));
    assert_eq!(missed, [], "changes of status that no run made; of the others:\n{}", tally.report());
    assert_eq!(tally.faults_missed(), [], "faults that never struck");
}

#[test]
fn seeds_that_found_a_bug_pass() {
    for kept in KEPT {
        let plan = Plan { steps: kept.steps, ..Plan::new(kept.seed) };
        assert_eq!(run(&plan).violation, None, "it found: {}; replay: {}", kept.found, plan.command());
    }
}

#[test]
fn ports_that_break_a_promise_are_noticed() {
    for (name, flaws) in Flaws::EACH {
        let is_noticed = |seed| run(&Plan { flaws: *flaws, ..Plan::new(seed) }).violation.is_some();
        assert!((1..=NOTICED_WITHIN).any(is_noticed), "nobody notices that {name}");
    }
}
