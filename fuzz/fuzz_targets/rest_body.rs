//! Bodies of requests, to the reader of each.

#![no_main]

use api_opensds::fuzzing::body;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = body(input);
});
