//! A wall clock that can be stepped from outside, without stepping the machine's.

use std::path::PathBuf;
use std::sync::OnceLock;

/// The environment variable that names a file with how many milliseconds the wall clock is off, signed. It is read whenever the
/// clock is, so that the clock can be stepped under a running process.
pub const CLOCK_VARIABLE: &str = "BERTH_CLOCK_STEP_FILE";

/// How many milliseconds the wall clock is to be off: nothing, unless the environment says so.
#[must_use]
pub fn clock_step() -> i64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os(CLOCK_VARIABLE).map(PathBuf::from));
    let Some(file) = file else { return 0 };
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
