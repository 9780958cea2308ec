//! `cargo xtask schemathesis`: requests made up from the API document, to a real running controller, each answer held to the document.
//!
//! - schemathesis comes from PyPI into an environment of its own below the build folder, every package pinned;
//! - `schemathesis/hooks.py` tells it what the document cannot: which ids there are, who asks;
//! - a run is told its seed first. Being bounded by time it does not repeat to the letter; a failure shows the request that made it.
//!
//! Not checked: that whatever breaks a schema is refused, as OpenSDS' clients rely on leniency (unknown fields, empty filters); that
//! whatever fits one is done, as there must also be room, a host, a free volume; that what was deleted is gone at once, as deleting
//! takes its time and leaves a tombstone.

use crate::bench::controller::{Server, build, target};
use crate::tally::{Why, shown};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long it runs within `cargo xtask test`: some ten thousand requests.
const TEST_SECONDS: u64 = 60;
/// The seed there: a run that fails there fails for its change, not for its luck.
const TEST_SEED: u64 = 1;
/// How long one answer may take, in seconds. None waits: see the hooks.
const ANSWER_TIMEOUT: &str = "20";
/// What every answer is held to.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
response_schema_conformance,unsupported_method,allow_header_conformance,tenants_are_apart,errors_are_explained";
/// The pinned packages.
const REQUIREMENTS: &str = include_str!("../schemathesis/requirements.txt");

/// How long, and from which seed.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// For how many minutes.
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// What the requests are made up from; another one each time if it is left out.
    #[arg(long)]
    seed: Option<u64>,
}

impl Options {
    pub(crate) fn run(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let tool = installed()?;
        build()?;
        if attacked(&tool, self.minutes * 60, self.seed.unwrap_or(now))?.is_empty() {
            Ok(())
        } else {
            bail!("schemathesis found something")
        }
    }
}

/// The bounded run of `cargo xtask test`. What was found.
///
/// # Errors
/// Why it could not be run.
pub(crate) fn test() -> Result<Vec<Why>> {
    attacked(&installed()?, TEST_SECONDS, TEST_SEED)
}

/// The program, installed if it is not there yet in these versions.
fn installed() -> Result<PathBuf> {
    let folder = target().join("schemathesis");
    let (program, installed) = (folder.join("bin/schemathesis"), folder.join("installed.txt"));
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == REQUIREMENTS) {
        return Ok(program);
    }
    println!("== schemathesis: installing it into {}", folder.display());
    done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), "make a Python environment (python3-venv)")?;
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).context("cannot write the requirements")?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    done(Command::new(folder.join("bin/python")).args(install).arg(&requirements), "install schemathesis from PyPI")?;
    std::fs::rename(&requirements, &installed).context("cannot note what is installed")?;
    Ok(program)
}

fn done(command: &mut Command, what: &str) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot {what}"))?;
    if status.success() { Ok(()) } else { bail!("cannot {what}") }
}

/// Runs it against a controller of its own. What was found: the first lines of each of its failures.
fn attacked(program: &Path, seconds: u64, seed: u64) -> Result<Vec<Why>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let server = Server::start(&folder.path().join("data"))?;
    println!("== schemathesis: {seconds} s from seed {seed} (again: cargo xtask schemathesis --seed {seed})");
    let mut command = Command::new(program.canonicalize().context("schemathesis is not there")?);
    command.current_dir(folder.path()).env("BERTH_SEED", seed.to_string());
    command.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", hooks()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg("run").arg(format!("{}/openapi.json", server.base())).args(["--checks", CHECKS, "--seed", &seed.to_string()]);
    command.args(["--max-time", &seconds.to_string(), "--request-timeout", ANSWER_TIMEOUT, "--generation-database", "none"]);
    // A stream of events has no end to be awaited; tests of its own hold it to the document.
    command.args(["--exclude-path", "/v1beta/{tenant}/block/events"]);
    // What is tried fits a request, not a schema: how much of it is refused says nothing of the server.
    command.args(["--warnings", "off", "--suppress-health-check", "all", "--continue-on-failure", "--no-shrink", "--no-color"]);
    let mut whys: Vec<Why> = Vec::new();
    let succeeded = shown(command.stdin(Stdio::null()), |line| hear(&mut whys, line)).context("cannot run schemathesis")?;
    if !succeeded && whys.is_empty() {
        whys.push(Why::new("schemathesis", "it failed without naming an operation"));
    }
    Ok(if succeeded { Vec::new() } else { whys })
}

/// A line of what it prints: one of underscores has the name of the operation that failed, as pytest's have.
fn hear(whys: &mut Vec<Why>, line: &str) {
    let name = line.strip_prefix("__").map(|rest| rest.trim_matches(['_', ' ']));
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        whys.push(Why::new(&format!("schemathesis: {name}"), name));
    } else if let Some(why) = whys.last_mut().filter(|_| !line.is_empty()) {
        if line.starts_with("==") { why.end() } else { why.hear(line) }
    }
}

fn hooks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_with_why() {
        let mut whys = Vec::new();
        let lines = [
            "=== FAILURES ===",
            "____ GET /v1beta/{tenant}/pools ____",
            "1. Test Case ID: x1",
            "",
            "- Server error",
            "=== SUMMARY ===",
            "all",
        ];
        lines.iter().for_each(|line| hear(&mut whys, line));
        let told = crate::tally::Tally::of("schemathesis", Ok(whys)).failures();
        let operation = "GET /v1beta/{tenant}/pools";
        let lines = [format!("failed: schemathesis: {operation}"), format!("    {operation}"), "    1. Test Case ID: x1".into()];
        assert_eq!(told[..3], lines);
        assert_eq!(told[3..], ["    - Server error"]);
    }
}
