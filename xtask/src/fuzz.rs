//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, by hand, for a while.
//!
//! What is found new is tried from the kept corpus but written beside it, below the build folder: what is kept is chosen by hand.

use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::Path;
use std::process::{Command, Stdio};

/// A target, and what is worth trying and allowed there.
struct Target {
    name: &'static str,
    /// What its inputs must spell, beside `Cargo.toml`.
    dictionary: &'static str,
    /// The longest input: a conversation may be long, a header is not.
    length_max: usize,
    /// The most memory that one allocation may take, in MiB.
    allocation_max: u32,
}

/// Twice a request's payload, of which one is the bound.
const NBD_ALLOCATION_MAX: u32 = 64;
/// A frame takes memory as it arrives, and none is longer here than an input; one that believed its length would take 64 MiB. Less
/// is not possible: the fuzzer's own table takes 20.
const CONTROL_ALLOCATION_MAX: u32 = 32;
/// A body is 1 MiB at most, and read whole; what is made of it is a few times as large. The fuzzer's own table as above.
const REST_ALLOCATION_MAX: u32 = 32;
/// A body is read whole, and SQLite keeps a few MiB. The fuzzer's own table as above.
const STORE_ALLOCATION_MAX: u32 = 32;
/// A file is read whole, and is small. The fuzzer's own table as above.
const CONFIG_ALLOCATION_MAX: u32 = 32;
/// What is fuzzed.
const TARGETS: &[Target] = &[
    Target { name: "nbd_handshake", dictionary: "nbd.dict", length_max: 4096, allocation_max: NBD_ALLOCATION_MAX },
    Target { name: "nbd_option", dictionary: "nbd.dict", length_max: 8192, allocation_max: NBD_ALLOCATION_MAX },
    Target { name: "nbd_request", dictionary: "nbd.dict", length_max: 64, allocation_max: NBD_ALLOCATION_MAX },
    Target { name: "control_session", dictionary: "control.dict", length_max: 4096, allocation_max: CONTROL_ALLOCATION_MAX },
    Target { name: "control_words", dictionary: "control.dict", length_max: 4096, allocation_max: CONTROL_ALLOCATION_MAX },
    Target { name: "rest_body", dictionary: "rest.dict", length_max: 4096, allocation_max: REST_ALLOCATION_MAX },
    Target { name: "rest_query", dictionary: "rest.dict", length_max: 2048, allocation_max: REST_ALLOCATION_MAX },
    Target { name: "rest_head", dictionary: "rest.dict", length_max: 1024, allocation_max: REST_ALLOCATION_MAX },
    Target { name: "store_body", dictionary: "store.dict", length_max: 4096, allocation_max: STORE_ALLOCATION_MAX },
    Target { name: "store_rows", dictionary: "store.dict", length_max: 1024, allocation_max: STORE_ALLOCATION_MAX },
    Target { name: "config", dictionary: "config.dict", length_max: 2048, allocation_max: CONFIG_ALLOCATION_MAX },
];
/// How long one input may take. The slowest conversation takes a tenth of a second without the sanitizer.
const TIMEOUT_SECONDS: u32 = 25;
/// The most memory of the process. A connection holds two payloads at most; the sanitizer takes several times that.
const MEMORY_MAX_MIB: u32 = 1024;

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The target; without it each of them.
    #[arg(value_parser = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>())]
    target: Option<String>,
}

impl Fuzz {
    /// Every target for so long.
    pub(crate) const fn each_for(seconds: u64) -> Self {
        Self { seconds, target: None }
    }

    pub(crate) fn run(self) -> Result<()> {
        present()?;
        for target in TARGETS {
            if self.target.as_deref().is_none_or(|wanted| wanted == target.name) {
                run(target, self.seconds)?;
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

fn run(target: &Target, seconds: u64) -> Result<()> {
    let Target { name, dictionary, length_max, allocation_max } = target;
    println!("== fuzz {name}: {seconds} s");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")?;
    let fuzz = root.join("fuzz");
    let found = fuzz.join("target/found").join(name);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let fuzzing = |verb: &str| {
        let mut command = Command::new("cargo");
        command.current_dir(root).args(["+nightly", "fuzz", verb, "--fuzz-dir", "fuzz", name]);
        command
    };
    if !fuzzing("build").status().context("cannot run cargo fuzz")?.success() {
        bail!("{name} cannot be built");
    }
    let mut command = fuzzing("run");
    command.arg(&found);
    command.arg(fuzz.join("corpus").join(name)).arg("--").arg(format!("-dict={}", fuzz.join(dictionary).display()));
    command.args([format!("-max_total_time={seconds}"), format!("-max_len={length_max}"), format!("-timeout={TIMEOUT_SECONDS}")]);
    // The session's workers end after whoever waited for them goes on, and until then look like leaks. A real one meets the limit.
    command.arg("-detect_leaks=0");
    command.arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"));
    // The fuzzer's own limit of an allocation does nothing without its leak detection; the sanitizer's holds for every thread.
    command.env("ASAN_OPTIONS", format!("max_allocation_size_mb={allocation_max}"));
    if !command.status().context("cannot run cargo fuzz")?.success() {
        bail!("{name} found something; the input stands above, and below fuzz/artifacts/{name}");
    }
    println!("== what reached something new: {}", found.display());
    Ok(())
}
