//! Frames of the control protocol, to the reader of either side alone.

#![no_main]

use exporter::fuzzing::control::words;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| words(input));
