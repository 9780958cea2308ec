//! Configuration files, to what reads and checks them.

#![no_main]

use berth::fuzzing::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = config(input);
});
