//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, by hand, for a while.
//!
//! What is found new is tried from the kept corpus but written beside it, below the build folder: what is kept is chosen by hand.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::Path;
use std::process::{Command, Stdio};

/// Every target, and the longest input worth trying: a conversation may be long, a header is not.
const TARGETS: &[(&str, usize)] = &[("nbd_handshake", 4096), ("nbd_option", 8192), ("nbd_request", 64)];
/// How long one input may take. The slowest conversation takes a tenth of a second without the sanitizer.
const TIMEOUT_SECONDS: u32 = 25;
/// The most memory that one allocation may take: twice a request's payload, of which one is the bound.
const ALLOCATION_MAX_MIB: u32 = 64;
/// The most memory of the process. A connection holds two payloads at most; the sanitizer takes several times that.
const MEMORY_MAX_MIB: u32 = 1024;

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The target; without it each of them.
    #[arg(value_parser = TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>())]
    target: Option<String>,
}

impl Fuzz {
    pub(crate) fn run(self) -> Result<()> {
        present()?;
        for (name, length_max) in TARGETS {
            if self.target.as_deref().is_none_or(|wanted| wanted == *name) {
                run(name, *length_max, self.seconds)?;
            }
        }
        Ok(())
    }
}

fn present() -> Result<()> {
    if !answers(&["+nightly", "--version"]) {
        bail!("fuzzing needs a nightly toolchain; install one with: rustup toolchain install nightly");
    }
    if !answers(&["+nightly", "fuzz", "--version"]) {
        bail!("fuzzing needs cargo-fuzz; install it with: cargo install cargo-fuzz");
    }
    Ok(())
}

fn answers(args: &[&str]) -> bool {
    Command::new("cargo").args(args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn run(target: &str, length_max: usize, seconds: u64) -> Result<()> {
    println!("== fuzz {target}: {seconds} s");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    let fuzz = root.join("fuzz");
    let found = fuzz.join("target/found").join(target);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let fuzzing = |verb: &str| {
        let mut command = Command::new("cargo");
        command.current_dir(root).args(["+nightly", "fuzz", verb, "--fuzz-dir", "fuzz", target]);
        command
    };
    if !fuzzing("build").status().context("cannot run cargo fuzz")?.success() {
        bail!("{target} cannot be built");
    }
    let mut command = fuzzing("run");
    command.arg(&found);
    command.arg(fuzz.join("corpus").join(target)).arg("--").arg(format!("-dict={}", fuzz.join("nbd.dict").display()));
    command.args([format!("-max_total_time={seconds}"), format!("-max_len={length_max}"), format!("-timeout={TIMEOUT_SECONDS}")]);
    // The session's workers end after whoever waited for them goes on, and until then look like leaks. A real one meets the limit.
    command.arg("-detect_leaks=0");
    command.args([format!("-malloc_limit_mb={ALLOCATION_MAX_MIB}"), format!("-rss_limit_mb={MEMORY_MAX_MIB}")]);
    if !command.status().context("cannot run cargo fuzz")?.success() {
        bail!("{target} found something; the input stands above, and below fuzz/artifacts/{target}");
    }
    println!("== what reached something new: {}", found.display());
    Ok(())
}
