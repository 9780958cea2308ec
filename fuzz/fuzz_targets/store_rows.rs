//! Rows with values of any type, put into a store in memory past every rule, and read as the store reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use store_sqlite::fuzzing::Rows;

thread_local! {
    static ROWS: Rows = Rows::new();
}

fuzz_target!(|input: &[u8]| {
    let _ = ROWS.with(|rows| rows.hold(input));
});
