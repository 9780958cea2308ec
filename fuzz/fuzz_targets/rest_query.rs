//! Query strings, to the readers of lists, long polls and flags.

#![no_main]

use api_opensds::fuzzing::query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = query(input);
});
