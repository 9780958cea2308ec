//! Bodies of stored records, to the readers of each kind.

#![no_main]

use libfuzzer_sys::fuzz_target;
use store_sqlite::fuzzing::body;

fuzz_target!(|input: &[u8]| {
    let _ = body(input);
});
