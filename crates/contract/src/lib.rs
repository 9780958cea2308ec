//! What every [`Store`](engine::store::Store) and every [`Driver`](engine::ports::Driver) promises, as tests.
//!
//! A crate that implements a port takes this one as a dev-dependency, says in a `Subject` how to open what it made, and gets one
//! test for each promise, named like it, so that a failure tells which promise is broken:
//!
//! ```text
//! fn holds(promise: &str) {
//!     contract::driver::check(promise, &MyBackend::empty());
//! }
//! contract::driver_tests!(holds);
//! ```
//!
//! - The suites know the ports and nothing of who implements them: what is peculiar to one stays in its own tests.
//! - A promise has its reason beside it, and fails for somebody: the tests of this crate run it against implementations that
//!   break it on purpose.
//! - Nothing here sleeps for a time; a promise that is not decided within [`LIMIT`] is broken.
//!
//! Deliberately not here: exporters, whose clients speak protocols of their own.

#![forbid(unsafe_code)]

mod cuts;
pub mod driver;
pub mod store;

pub use cuts::Cuts;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

/// How long one promise may take to be decided: ten times what it takes on a slow disk. Who takes longer hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A promise while it is tried.
type Trial<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Decides one promise on a runtime of its own, with more than one thread, as the controller has.
fn decide(trial: Trial<'_>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime needs two threads");
    let trial = AssertUnwindSafe(|| runtime.block_on(async { tokio::time::timeout(LIMIT, trial).await }).expect("it hangs"));
    if let Err(broken) = std::panic::catch_unwind(trial) {
        // What still hangs is not waited for.
        runtime.shutdown_background();
        std::panic::resume_unwind(broken);
    }
}

/// Whether the promise is broken, which is what the tests of these suites ask of those who break one on purpose.
fn is_broken(check: impl FnOnce()) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(check)).is_err()
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
