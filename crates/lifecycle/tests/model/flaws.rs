//! The model bites: without any one of these rules it finds a counterexample, and this is the promise that it sees broken.

use crate::graph::explore;
use crate::world::{Flaws, Scope, World};
use crate::{LEAST, UNABLE};

#[track_caller]
fn breaks(promise: &'static str, scope: Scope, flaws: Flaws) {
    let mut world = World::new(scope, flaws);
    world.only = promise;
    match explore(&mut world) {
        Ok(explored) => panic!("{flaws:?} broke nothing in {explored:?}"),
        Err(found) => assert!(found.promise.contains(promise), "another promise broke: {}", found.path),
    }
}

#[test]
fn without_fencing_an_old_call_acts_after_its_negation() {
    let flaws = Flaws { calls_unfenced: true, ..Flaws::default() };
    breaks("no call can remove, make or grow it", LEAST, flaws);
    breaks("no call can bring it back", LEAST, flaws);
    breaks("gone: no volume", LEAST, flaws);
    breaks("detached: not exported", Scope { attachments: 1, ..LEAST }, flaws);
    breaks("at most one export may exist", Scope { attachments: 2, ..LEAST }, flaws);
}

#[test]
fn an_absence_that_was_not_fenced_is_no_proof() {
    breaks("no call can make it", LEAST, Flaws { looks_unfenced: true, ..Flaws::default() });
}

#[test]
fn a_creation_that_is_not_idempotent_makes_two() {
    breaks("at most one backend object", LEAST, Flaws { creates_twice: true, ..Flaws::default() });
}

#[test]
fn a_refused_export_may_have_exported_before() {
    breaks(
        "errorAttaching: provably not exported",
        Scope { attachments: 1, ..LEAST },
        Flaws { believes_refusals: true, ..Flaws::default() },
    );
}

#[test]
fn what_a_crash_forgets_never_settles() {
    breaks("progress", LEAST, Flaws { forgets: true, ..Flaws::default() });
}

#[test]
fn a_writer_let_in_early_tears_the_copy() {
    let scope = Scope { attachments: 1, snapshots: 1, capabilities: UNABLE, ..LEAST };
    breaks("complete point-in-time copy", scope, Flaws { never_waits: true, ..Flaws::default() });
}

#[test]
fn a_source_let_go_of_early_is_deleted_under_its_clone() {
    let scope = Scope { snapshots: 1, clones: true, ghosts: 1, ..LEAST };
    breaks("a clone's source stays", scope, Flaws { unpins_early: true, ..Flaws::default() });
}
