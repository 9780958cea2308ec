//! What every store promises. See the trait [`Store`] for the promises in words.

mod counters;
mod durable;
mod journal;
mod lists;
mod records;
mod versions;

use counters::*;
use durable::*;
use journal::*;
use lists::*;
use versions::*;

use crate::{Cuts, Trial};
use async_trait::async_trait;
use engine::store::Store;
use std::sync::Arc;

/// A store under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens the store: an empty one at first, later what the one before it left. That one was dropped without a word, as by a crash.
    async fn open(&self) -> Arc<dyn Store>;

    /// Where commits can be interrupted: the store calls [`Cuts::pass`] before and after each step that outlives a crash.
    fn cuts(&self) -> Option<&Cuts> {
        None
    }
}

/// One promise, tried on an empty store.
pub type Promise = for<'a> fn(&'a dyn Subject) -> Trial<'a>;

/// The names of all promises, given to the macro that is named first. They stand here once.
#[doc(hidden)]
#[macro_export]
macro_rules! store_promises {
    ([$($then:tt)*] $($argument:tt)*) => {
        $($then)* ! { { $($argument)* }
            a_commit_is_all_or_nothing
            a_commit_on_a_stale_version_is_refused
            of_concurrent_commits_on_one_version_one_wins
            commits_of_different_records_all_go_through
            the_version_is_the_revision_and_revisions_grow
            only_what_was_touched_gets_the_new_revision
            what_is_removed_is_gone_with_its_parts
            names_are_unique_within_a_kind
            what_was_acknowledged_is_there_after_reopening
            a_commit_that_nobody_waits_for_is_all_or_nothing
            a_commit_cut_off_at_any_step_is_all_or_nothing
            an_idempotency_key_is_used_once
            every_start_is_another_incarnation
            what_is_unknown_is_told_as_nothing
            counters_never_pass_their_limit
            counters_belong_to_records_that_exist
            a_counter_never_goes_below_nothing
            the_journal_is_whole_and_in_order
            who_follows_the_journal_misses_nothing
            lists_page_through_everything_in_order
            a_list_goes_on_where_a_vanished_marker_was
            lists_filter_exactly
            tenants_are_apart
            tombstones_are_listed_by_status_only
            volumes_are_listed_whole_and_parts_with_an_excerpt
            the_work_owed_is_found_in_order
        }
    };
}

/// Makes one test of each promise that a store makes; `$run` is called with the promise's name and gives it to [`check`].
#[macro_export]
macro_rules! store_tests {
    ($run:path) => {
        $crate::store_promises! { [$crate::promise_tests] $run }
    };
}

/// Makes the tests.
#[doc(hidden)]
#[macro_export]
macro_rules! promise_tests {
    ({ $run:path } $($promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                $run(stringify!($promise));
            }
        )*
    };
}

macro_rules! table {
    ({} $($promise:ident)*) => {
        /// Every promise with its name.
        pub const PROMISES: &[(&str, Promise)] = &[$((stringify!($promise), |subject| Box::pin($promise(subject)))),*];
    };
}

crate::store_promises! { [table] }

/// Tries one promise on an empty store.
///
/// # Panics
/// If it is broken, or there is no promise of that name.
pub fn check(promise: &str, subject: &dyn Subject) {
    let (_, holds) = PROMISES.iter().find(|(name, _)| *name == promise).expect("a promise of that name");
    crate::decide(holds(subject));
}

/// The promises that are broken by what `make` makes, each tried on a new one: for tests that these suites notice.
pub fn broken<S: Subject>(make: impl Fn() -> S) -> Vec<&'static str> {
    let broken = PROMISES.iter().filter(|(promise, _)| crate::is_broken(|| check(promise, &make())));
    broken.map(|(promise, _)| *promise).collect()
}
