//! The simulated driver keeps what every driver promises, and whoever breaks one promise on purpose is noticed.

use crate::broken_driver::{Flaw, Memory};
use std::collections::BTreeSet;

fn holds(promise: &str) {
    contract::driver::check(promise, &Memory::default());
}

contract::driver_tests!(holds);

#[test]
fn each_flaw_of_a_driver_is_noticed() {
    let rows = [
        (Flaw::IgnoresTokens, "an_older_call_after_a_newer_one_does_nothing"),
        (Flaw::IgnoresFences, "a_fenced_look_ends_older_calls_for_good"),
        (Flaw::ForgetsSnapshots, "each_call_twice_is_the_call_once"),
        (Flaw::CallsPartialWhole, "a_call_cut_off_at_any_step_leaves_the_truth"),
        (Flaw::ListsNoLeftovers, "a_call_cut_off_at_any_step_leaves_the_truth"),
        (Flaw::ShrinksOnExtend, "growing_keeps_what_was_written"),
        (Flaw::ListsNoSnapshots, "a_list_is_complete"),
        (Flaw::ClonesNothing, "a_clone_has_the_content_of_its_source"),
        (Flaw::RoundsSizes, "sizes_are_exact_or_refused"),
        (Flaw::ForgetsWhenOpenedAgain, "everything_is_there_when_opened_again"),
        (Flaw::FailsToDeleteWhatIsAbsent, "ids_of_nobody_are_told_as_absent_and_refused"),
        (Flaw::ClaimsDoneBeforeItIs, "each_call_twice_is_the_call_once"),
        (Flaw::DeletesWithSnapshots, "any_order_of_calls_ends_in_the_truth"),
        (Flaw::LeavesHalfWhenFull, "a_full_backend_does_it_or_leaves_nothing"),
        (Flaw::CallsFullBroken, "a_full_backend_still_works_and_deletes"),
        (Flaw::LeavesItsProbe, "what_it_can_do_and_whether_it_works_is_told"),
        (Flaw::WaitsToBeHeard, "a_list_that_nobody_hears_ends"),
    ];
    let tried: Vec<_> = rows.iter().map(|(flaw, _)| *flaw).collect();
    assert_eq!(tried, Flaw::ALL);
    let mut kept: BTreeSet<_> = contract::driver::PROMISES.iter().map(|(promise, _)| *promise).collect();
    for (flaw, promise) in rows {
        let broken = contract::driver::broken(|| Memory::with(flaw));
        assert!(broken.contains(&promise), "{flaw:?} breaks {promise}, but only these fail: {broken:?}");
        kept.retain(|promise| !broken.contains(promise));
    }
    assert_eq!(kept, BTreeSet::new(), "nobody breaks these, so their tests say nothing");
}

#[test]
fn the_guide_names_every_promise() {
    let guide = include_str!("../../../../docs/writing-a-driver.md");
    for (promise, _) in contract::driver::PROMISES {
        assert!(guide.contains(&format!("`{promise}`")), "docs/writing-a-driver.md does not name {promise}");
    }
}
