//! The simulated store keeps what every store promises, and whoever breaks one promise on purpose is noticed.

use crate::broken_store::{Flaw, Memory};
use std::collections::BTreeSet;

fn holds(promise: &str) {
    contract::store::check(promise, &Memory::default());
}

contract::store_tests!(holds);

#[test]
fn each_flaw_of_a_store_is_noticed() {
    let rows = [
        (Flaw::LosesACommit, "what_was_acknowledged_is_there_after_reopening"),
        (Flaw::ComparesNoVersions, "a_commit_on_a_stale_version_is_refused"),
        (Flaw::SplitsCommits, "a_commit_cut_off_at_any_step_is_all_or_nothing"),
        (Flaw::SkipsJournalEntries, "the_journal_is_whole_and_in_order"),
        (Flaw::ForgetsCounters, "counters_belong_to_records_that_exist"),
        (Flaw::IgnoresLimits, "counters_never_pass_their_limit"),
        (Flaw::ForgetsWhenOpenedAgain, "what_was_acknowledged_is_there_after_reopening"),
        (Flaw::AcceptsUsedKeys, "an_idempotency_key_is_used_once"),
        (Flaw::ListsEveryTenant, "tenants_are_apart"),
        (Flaw::ForgetsOffsets, "lists_page_through_everything_in_order"),
        (Flaw::RepeatsIncarnations, "every_start_is_another_incarnation"),
        (Flaw::OwesNothing, "the_work_owed_is_found_in_order"),
        (Flaw::TouchesEverything, "only_what_was_touched_gets_the_new_revision"),
        (Flaw::ListsTheDead, "tombstones_are_listed_by_status_only"),
        (Flaw::ListsNoSnapshots, "volumes_are_listed_whole_and_parts_with_an_excerpt"),
        (Flaw::ListsPartsAlone, "volumes_are_listed_whole_and_parts_with_an_excerpt"),
        (Flaw::FindsAnything, "what_is_unknown_is_told_as_nothing"),
        (Flaw::FindsTheWhole, "volumes_are_listed_whole_and_parts_with_an_excerpt"),
    ];
    let tried: Vec<_> = rows.iter().map(|(flaw, _)| *flaw).collect();
    assert_eq!(tried, Flaw::ALL);
    let mut kept: BTreeSet<_> = contract::store::PROMISES.iter().map(|(promise, _)| *promise).collect();
    for (flaw, promise) in rows {
        let broken = contract::store::broken(|| Memory::with(flaw));
        assert!(broken.contains(&promise), "{flaw:?} breaks {promise}, but only these fail: {broken:?}");
        kept.retain(|promise| !broken.contains(promise));
    }
    assert_eq!(kept, BTreeSet::new(), "nobody breaks these, so their tests say nothing");
}
