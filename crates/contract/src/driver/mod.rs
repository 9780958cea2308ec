//! What every driver promises. See the trait [`Driver`] for the promises in words, and `docs/writing-a-driver.md` for the way to a
//! driver that keeps them.

mod acts;
mod alone;
mod bench;
mod content;
mod fencing;
mod interrupted;
mod model;
mod room;
mod running;
mod together;

use alone::*;
use content::*;
use fencing::*;
use interrupted::*;
use room::*;
pub use running::list;
use together::*;

use crate::{Cuts, Trial, skipped};
use async_trait::async_trait;
use engine::ports::{Backing, Driver};
use lifecycle::VolumeId;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A driver under test, with its backend.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens the driver: on an empty backend at first, later on what the driver before it left there. That one was dropped without
    /// a word, as by a crash.
    async fn open(&self) -> Arc<dyn Driver>;

    /// Where calls can be interrupted: the driver calls [`Cuts::pass`] before and after each step that outlives a crash. Without
    /// it the suite cannot try what matters most, and says that it is skipped.
    fn cuts(&self) -> Option<&Cuts> {
        None
    }

    /// How the backend is filled up, if it can be.
    fn room(&self) -> Option<&dyn Room> {
        None
    }

    /// Writes into a volume, as a client does who reaches it by an export.
    async fn write(&self, driver: &dyn Driver, volume: VolumeId, at: u64, bytes: &[u8]) {
        file(driver, volume).await.write_all_at(bytes, at).expect("a volume can be written");
    }

    /// Reads what a client would read there.
    async fn read(&self, driver: &dyn Driver, volume: VolumeId, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        file(driver, volume).await.read_exact_at(&mut bytes, at).expect("a volume can be read");
        bytes
    }
}

async fn file(driver: &dyn Driver, volume: VolumeId) -> File {
    let Backing::File(path) = driver.backing(volume).await.expect("the volume is there");
    OpenOptions::new().read(true).write(true).open(path).expect("its backing can be opened")
}

/// A backend that can be filled up.
pub trait Room: Send + Sync {
    /// Takes whatever is free, as others on the same disk do.
    fn fill(&self);

    /// Gives it back.
    fn empty(&self);
}

/// One promise, tried on an empty backend.
pub type Promise = for<'a> fn(&'a dyn Subject) -> Trial<'a>;

/// The names of all promises, given to the macro that is named first. They stand here once.
#[doc(hidden)]
#[macro_export]
macro_rules! driver_promises {
    ([$($then:tt)*] $($argument:tt)*) => {
        $($then)* ! { { $($argument)* }
            each_call_twice_is_the_call_once
            any_order_of_calls_ends_in_the_truth
            sizes_are_exact_or_refused
            a_size_beyond_all_bounds_is_refused
            ids_of_nobody_are_told_as_absent_and_refused
            a_list_is_complete
            a_list_that_nobody_hears_ends
            everything_is_there_when_opened_again
            what_it_can_do_and_whether_it_works_is_told
            progress_only_grows
            a_new_volume_reads_as_zeroes
            a_snapshot_is_one_point_in_time
            a_clone_has_the_content_of_its_source
            growing_keeps_what_was_written
            an_older_call_after_a_newer_one_does_nothing
            a_newer_start_counts_anew
            a_fenced_look_ends_older_calls_for_good
            a_call_overtaken_at_any_step_stops
            a_call_cut_off_at_any_step_leaves_the_truth
            a_call_cut_off_at_any_step_can_be_repeated
            what_a_cut_off_call_left_can_be_removed
            a_call_that_nobody_waits_for_leaves_the_truth
            a_call_that_hangs_keeps_no_other_volume_waiting
            calls_of_different_volumes_all_go_through
            the_same_call_delivered_many_times_is_one_call
            any_two_calls_at_once_end_in_the_truth
            a_full_backend_does_it_or_leaves_nothing
            a_full_backend_still_works_and_deletes
        }
    };
}

/// Makes one test of each promise that a driver makes; `$run` is called with the promise's name and gives it to [`check`].
#[macro_export]
macro_rules! driver_tests {
    ($run:path) => {
        $crate::driver_promises! { [$crate::promise_tests] $run }
    };
}

macro_rules! table {
    ({} $($promise:ident)*) => {
        /// Every promise with its name.
        pub const PROMISES: &[(&str, Promise)] = &[$((stringify!($promise), |subject| Box::pin($promise(subject)))),*];
    };
}

crate::driver_promises! { [table] }

/// Tries one promise on an empty backend.
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
