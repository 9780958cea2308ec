//! A guard: what an event costs does not depend on how many read who are not interested.
//!
//! Counted is the processor time of the one thread in which everything but the store happens. An event costs a look at an index. Beside twenty
//! thousand readers it costs at most 1.7 times what it does beside a hundred, as little of what it touches is in the cache; to ask each of them
//! costs 12 times as much.

#![expect(clippy::print_stderr, reason = "it tells what it counted")]

use bench::readers::{By, Readers, busy};
use std::time::Duration;

/// How many read.
const MANY: usize = 20_000;
/// How many events are counted at a time; the best of some such times is taken, as now and then every reader is told that nothing was.
const EVENTS: u32 = 100;
const TIMES: u32 = 5;

fn event(many: usize, by: By) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut readers = Readers::open(folder.path(), many, by).await.unwrap();
        let mut least = Duration::MAX;
        for _ in 0..TIMES {
            let before = busy().unwrap();
            for _ in 0..EVENTS {
                readers.tell().await.unwrap();
            }
            least = least.min((busy().unwrap() - before) / EVENTS);
        }
        eprintln!("{many} readers by {by:?}: an event costs {least:?} of the processor");
        least
    })
}

#[test]
#[cfg_attr(debug_assertions, ignore = "it counts the release build")]
fn an_event_costs_no_more_when_many_read_who_are_not_interested() {
    for by in [By::Id, By::Host, By::Kind] {
        let (few, many) = (event(100, by), event(MANY, by));
        assert!(many < few * 4, "by {by:?}: {few:?} beside a hundred readers, {many:?} beside {MANY}");
    }
}
