//! All that comes over the control socket, to a data plane that serves.

#![no_main]

use exporter::fuzzing::control::Planes;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tempfile::TempDir;

/// One folder for all inputs of this process; each has a data plane of its own in it.
static PLANES: LazyLock<(TempDir, Planes)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let planes = Planes::new(folder.path());
    (folder, planes)
});

fuzz_target!(|input: &[u8]| PLANES.1.hear(input));
