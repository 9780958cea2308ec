//! What all that a run of the tests started told: what passed, what failed and why, what was skipped.
//!
//! The last lines of a run tell all that failed, each with its why: of a run elsewhere they may be all that is kept.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// How many lines of a panic, and of any other why, are repeated at the end.
const WHY_LINES: usize = 6;

/// What was told.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    /// By name.
    failed: Vec<String>,
    /// How many of these are of test binaries that have ended.
    ended: usize,
    skipped: Vec<String>,
    /// Of what failed, and of expected panics, too.
    whys: Vec<Why>,
}

/// Why a test failed.
pub(crate) struct Why {
    /// Its name, which its thread has.
    pub(crate) of: String,
    /// The first lines of what it said.
    lines: Vec<String>,
    /// Whether more of it may come.
    is_open: bool,
}

impl Why {
    pub(crate) fn new(of: &str, first: &str) -> Self {
        Self { of: of.to_owned(), lines: vec![first.to_owned()], is_open: true }
    }

    /// Another line of it, unless it is over or that is enough of it.
    pub(crate) fn hear(&mut self, line: &str) {
        let is_over = line.is_empty() || line.starts_with("stack backtrace:") || line.starts_with("note: ");
        if is_over || self.lines.len() == WHY_LINES {
            self.end();
        }
        if self.is_open {
            self.lines.push(line.to_owned());
        }
    }

    /// What comes is of something else.
    pub(crate) const fn end(&mut self) {
        self.is_open = false;
    }
}

impl Tally {
    /// What one step told: nothing that failed, what failed, or why it could not be tried.
    pub(crate) fn of(step: &str, told: Result<Vec<Why>>) -> Self {
        let mut tally = Self::default();
        match told {
            Ok(whys) if whys.is_empty() => tally.passed += 1,
            Ok(whys) => {
                tally.failed.extend(whys.iter().map(|why| why.of.clone()));
                tally.whys = whys;
            }
            Err(why) => return Self::skip(step, &format!("{why:#}")),
        }
        tally
    }

    /// A step that was left out.
    pub(crate) fn skip(step: &str, why: &str) -> Self {
        println!("skipped: {step}: {why}");
        Self { skipped: vec![format!("{step}: {why}")], ..Self::default() }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.failed.push(what);
    }

    pub(crate) const fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// A line of what cargo's tests print.
    pub(crate) fn hear(&mut self, line: &str) {
        if let Some(skipped) = line.trim_start().strip_prefix("skipped:") {
            self.skipped.push(skipped.trim().to_owned());
        }
        if let Some(failed) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
            self.failed.push(failed.to_owned());
        }
        let thread = line.strip_prefix("thread '").filter(|line| line.contains(" panicked at "));
        if let Some((name, _)) = thread.and_then(|thread| thread.split_once('\'')) {
            self.whys.push(Why::new(name, line));
        } else if let Some(why) = self.whys.last_mut() {
            why.hear(line);
        }
        if line.starts_with("test result:") {
            let count = |what: &str| -> usize {
                let before = line.split(what).next().unwrap_or_default();
                before.split_whitespace().next_back().and_then(|number| number.parse().ok()).unwrap_or_default()
            };
            self.passed += count(" passed") as u64;
            // A process that a test starts may write into the line that names it.
            let all = self.failed.len().max(self.ended + count(" failed"));
            self.failed.resize(all, "a test whose name could not be read".to_owned());
            self.ended = all;
        }
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.whys.extend(other.whys);
        self
    }

    /// What failed, each with why.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for failed in &self.failed {
            lines.push(format!("failed: {failed}"));
            let whys = self.whys.iter().filter(|why| why.of == *failed).flat_map(|why| &why.lines);
            lines.extend(whys.map(|line| format!("    {line}")));
        }
        lines
    }

    /// Tells all of it.
    ///
    /// # Errors
    /// Something failed, or was skipped in CI.
    pub(crate) fn verdict(self) -> Result<()> {
        self.failures().iter().for_each(|line| println!("{line}"));
        println!("{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len());
        if self.has_failures() {
            bail!("{} tests failed: {}", self.failed.len(), self.failed.join(", "));
        }
        if std::env::var_os("CI").is_some() && !self.skipped.is_empty() {
            bail!("skipped in CI: {}", self.skipped.join("; "));
        }
        Ok(())
    }
}

/// Runs a command, shows what it prints as it comes and tells it line by line. Whether it succeeded.
///
/// # Errors
/// It cannot be run, or its output cannot be read.
pub(crate) fn shown(command: &mut Command, mut hear: impl FnMut(&str)) -> Result<bool> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start it")?;
    let output = child.stdout.take().context("its output was asked for")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read its output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        hear(&line);
    }
    Ok(child.wait().context("cannot await it")?.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up_and_what_failed_is_named_with_why() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.08s",
            "test drift::one ... FAILED",
            "test drift::other ... ok",
            "---- drift::one stdout ----",
            "thread 'drift::one' (7) panicked at crates/a.rs:1:2:",
            "assertion failed",
            "stack backtrace:",
            "   0: far",
            "thread 'drift::other' (8) panicked at crates/b.rs:1:2:",
            "scripted",
            "test drift::third ... something that it started saysFAILED",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.08s",
            "skipped: no mount here",
        ] {
            tally.hear(line);
        }
        assert_eq!((tally.passed, tally.failed.len(), tally.skipped.len()), (13, 2, 1));
        let why = [
            "failed: drift::one",
            "    thread 'drift::one' (7) panicked at crates/a.rs:1:2:",
            "    assertion failed",
            "failed: a test whose name could not be read",
        ];
        assert_eq!(tally.failures(), why);
    }
}
