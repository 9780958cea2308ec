//! The project's own commands.
//!
//! `cargo xtask check` is the inner loop: format, lint, tests. `cargo xtask test` is everything, and what CI runs. `gen` rewrites what is
//! generated from the code, `model` explores the rules deeper, `sim` plays the engine against faults, `bench` measures, `fuzz` says
//! what no client would, `schemathesis` what any could, `page` uses the page as a person does.

#![expect(clippy::print_stdout, reason = "a command prints")]

mod bench;
mod fuzz;
mod page;
mod schemathesis;
mod sim;
mod tally;
#[cfg(test)]
mod tidy;
mod torture;

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;
use tally::{Tally, shown};

/// The project's own commands.
#[derive(Parser)]
enum Task {
    /// The inner loop: format, lint, tests without packages.
    Check,
    /// Everything, with real components: what CI runs.
    Test,
    /// Rewrites what is generated from the code: the lifecycle page, the API document, golden files. Read the diff like code.
    Gen {
        /// Change nothing; fail if something is stale.
        #[arg(long)]
        check: bool,
    },
    /// Explores the deep scopes of the model: minutes, and some GiB of memory.
    Model,
    /// Plays the real engine on simulated ports against all that can go wrong, from seeds: `--seed N`, `--minutes M`, `--help`.
    #[command(disable_help_flag = true)]
    Sim(sim::Options),
    /// Measures a running controller beside what the machine could do, and its data plane beside other NBD servers.
    Bench(bench::Options),
    /// Feeds what no client would say to the code that hears clients. Needs a nightly toolchain and cargo-fuzz.
    Fuzz(fuzz::Fuzz),
    /// Makes up requests from the API document and holds a running controller to its answers.
    Schemathesis(schemathesis::Options),
    /// Uses the page in a real browser, on a running controller: `--images` takes the pictures of the documents anew.
    Page(page::Options),
    /// Tortures a running controller: every fail point, then faults at random under load; compares all it said with all there is.
    Torture(torture::Options),
    /// The hours-long runs: an hour of torture, and fuzzing if it is asked for.
    Soak(torture::Soak),
}

fn main() -> ExitCode {
    // Not by returning the error: that would bury what failed under a trace of this program's own calls.
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Check => {
            house()?;
            tests(&["test", "--workspace"])?.verdict()
        }
        Task::Test => {
            packages();
            house()?;
            tests(&["test", "--workspace", "--release"])?
                .and(shared_keys()?)
                .and(document())
                .and(looked_at())
                .and(sim::test())
                .and(tortured())
                .verdict()
        }
        Task::Gen { check } => generate(check),
        Task::Model => {
            let mut model = Command::new("cargo");
            model.args(["test", "--release", "-p", "lifecycle", "--test", "model", "--", "--nocapture", "--test-threads=1"]);
            step("model", model.env("BERTH_MODEL", "deep"))
        }
        Task::Sim(options) => options.run(),
        Task::Bench(options) => bench::run(&options),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Schemathesis(options) => options.run(),
        Task::Page(options) => {
            packages();
            options.run()
        }
        Task::Torture(options) => {
            packages();
            options.run()
        }
        Task::Soak(soak) => {
            packages();
            soak.run()
        }
    }
}

/// The tests that compare something generated with what is kept; with `UPDATE_GOLDEN=1` they write it.
const GENERATED: &[&[&str]] = &[
    &["-p", "lifecycle", "--test", "page"],
    &["-p", "store-sqlite", "--lib", "golden"],
    &["-p", "store-sqlite", "--lib", "seeds"],
    &["-p", "berth", "--lib", "the_seeds_are_kept"],
    &["-p", "api-opensds", "--test", "golden"],
    &["-p", "exporter", "--lib", "seeds"],
    &["-p", "api-opensds", "--lib", "seeds"],
];

fn generate(check: bool) -> Result<()> {
    for args in GENERATED {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet"]).args(*args);
        if !check {
            command.env("UPDATE_GOLDEN", "1");
        }
        step(&args.join(" "), &mut command)?;
    }
    Ok(())
}

/// The Debian packages of the real-component tests, each with a program that shows it is there.
const PACKAGES: &[(&str, &str)] = &[
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdsh", "python3-libnbd"),
    ("nbdkit", "nbdkit"),
    ("qemu-io", "qemu-utils"),
    ("fio", "fio"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("valgrind", "valgrind"),
    ("openssl", "openssl"),
    ("pkg-config", "pkg-config"),
    (OPENSSL_HEADER, "libssl-dev"),
    (PYTHON_VENV, "python3-venv"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    (FONT, "fonts-dejavu-core"),
];

/// What the page's arrows are drawn with in a browser on a machine without fonts.
const FONT: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";

/// Shows that OpenSSL's headers are there, which the feature `tls-psk` is built with.
const OPENSSL_HEADER: &str = "/usr/include/openssl/ssl.h";

/// Shows that Python can make environments: the package has no program of its own.
const PYTHON_VENV: &str = "/var/lib/dpkg/info/python3-venv.list";

/// Holds a running controller to the API document. Where schemathesis cannot be had that is told as skipped.
fn document() -> Tally {
    Tally::of("schemathesis", schemathesis::test())
}

/// Uses the page in a browser. Where that cannot be done it is told as skipped.
fn looked_at() -> Tally {
    Tally::of("page", page::test())
}

/// Tortures a running controller: every fail point, and a few minutes at random.
fn tortured() -> Tally {
    if let Some(missing) = ["nbdsh", "qemu-io"].into_iter().find(|program| !is_there(program)) {
        return Tally::skip("torture", &format!("{missing} is missing"));
    }
    let mut tally = Tally::default();
    match torture::test() {
        Ok(found) if found.is_empty() => tally.passed += 1,
        Ok(found) => tally.fail(format!("torture: {} violations: {}", found.len(), found[0])),
        Err(why) => tally.fail(format!("torture: {why:#}")),
    }
    tally
}

/// Lints the one feature that is off by default, and runs its tests.
fn shared_keys() -> Result<Tally> {
    if !is_there(OPENSSL_HEADER) {
        return Ok(Tally::skip("pre-shared keys", "OpenSSL's headers (libssl-dev) are missing"));
    }
    let feature = ["-p", "exporter", "--features", "tls-psk,fuzzing"];
    step("lint features", Command::new("cargo").arg("clippy").args(feature).args(["--all-targets", "--", "-D", "warnings"]))?;
    let psk = ["test", "--release", "-p", "exporter", "--features", "tls-psk", "--test", "suite", "psk"];
    tests(&psk)
}

/// Installs what is missing where that can be done; elsewhere the tests that need it tell that they are skipped.
fn packages() {
    let missing: Vec<&str> = PACKAGES.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return;
    }
    if !is_there("apt-get") {
        println!("== packages: {} are missing and there is no apt-get; tests that need them are skipped", missing.join(", "));
        return;
    }
    let noninteractive = |command: &mut Command| {
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let updated = noninteractive(Command::new("apt-get").args(["update", "-qq"]));
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    if !updated || !noninteractive(Command::new("apt-get").args(install).args(&missing)) {
        println!("== packages: {} could not be installed (are you root?); tests that need them are skipped", missing.join(", "));
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(more).any(|folder| folder.join(program).is_file())
}

fn house() -> Result<()> {
    step("format", Command::new("cargo").args(["fmt", "--all", "--check"]))?;
    step("lint", Command::new("cargo").args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // With the features that the tests need, all is linted above and built below; what is shipped has fewer.
    step("lint what is shipped", Command::new("cargo").args(["clippy", "-p", "berth", "--", "-D", "warnings"]))
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    let begun = Instant::now();
    println!("== {name}");
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    println!("== {name}: {} s", begun.elapsed().as_secs());
    if !status.success() {
        bail!("{name} failed");
    }
    Ok(())
}

/// Runs cargo's tests, shows what they print, and adds up what they tell.
fn tests(args: &[&str]) -> Result<Tally> {
    let begun = Instant::now();
    println!("== tests");
    let mut tally = Tally::default();
    let mut command = Command::new("cargo");
    command.args(args).args(["--no-fail-fast", "--", "--show-output"]);
    let succeeded = shown(&mut command, |line| tally.hear(line)).context("cannot run the tests")?;
    println!("== tests: {} s", begun.elapsed().as_secs());
    if !succeeded && !tally.has_failures() {
        // One that does not build, or died without a word.
        bail!("the tests could not be run");
    }
    Ok(tally)
}
