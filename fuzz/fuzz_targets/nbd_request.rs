//! A request's header on an export of any size, to the parser and the check alone.

#![no_main]

use exporter::fuzzing::request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| request(input));
