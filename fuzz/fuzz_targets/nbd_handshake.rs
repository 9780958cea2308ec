//! Everything that a client sends, to the real handshake and session, with a file behind it.

#![no_main]

use exporter::fuzzing::Volume;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tempfile::TempDir;

/// One file for all inputs of this process; each finds it as it was made.
static VOLUME: LazyLock<(TempDir, Volume)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let volume = Volume::new(&folder.path().join("volume"));
    (folder, volume)
});

fuzz_target!(|input: &[u8]| VOLUME.1.converse(input));
