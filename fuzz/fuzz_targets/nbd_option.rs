//! The client's flags, an option's header and its data, to the parsers alone.

#![no_main]

use exporter::fuzzing::option;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| option(input));
