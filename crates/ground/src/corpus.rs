//! The inputs that are kept for fuzzing, below `fuzz/corpus`: replayed by tests on the stable toolchain, the seeds among them rewritten.

use std::path::{Path, PathBuf};

/// Inputs that fuzzing begins with, by their names.
pub type Seeds = Vec<(&'static str, Vec<u8>)>;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// Gives every kept input of a target to `replay`; the last file that is told is the one that made it panic.
///
/// # Panics
/// If fewer than `least` are left: a folder that is moved must not look like one in which all is well.
#[expect(clippy::print_stdout, reason = "the last path told is the input that broke a promise")]
pub fn replay(target: &str, least: usize, replay: impl Fn(&[u8])) {
    let folder = folder(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= least, "{} inputs of {target} are left", paths.len());
    for path in paths {
        println!("{}", path.display());
        replay(&std::fs::read(&path).expect("it can be read"));
    }
}

/// Compares the seeds of a target with those that are kept, or keeps them if `UPDATE_GOLDEN` says so.
///
/// # Panics
/// If one is not what is kept.
pub fn keep(target: &str, seeds: Seeds) {
    let folder = folder(target);
    for (name, bytes) in seeds {
        let path = folder.join(format!("seed-{name}"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(&folder).expect("the folder can be made");
            std::fs::write(&path, &bytes).expect("it can be written");
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{} is stale (UPDATE_GOLDEN=1 rewrites it)", path.display());
    }
}
