//! Tenants, ids and headers, to what reads conditions and keys in them.

#![no_main]

use api_opensds::fuzzing::head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = head(input);
});
