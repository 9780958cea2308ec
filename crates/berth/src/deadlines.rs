//! Deadlines as the configuration tells them: `[times.deadline]` for every pool, `[pool.deadline]` for one.
//!
//! What is not set here is as the pools' common times say; which of them wins is the engine's affair.

use anyhow::{Result, bail};
use engine::Deadlines;
use serde::Deserialize;
use std::time::Duration;

/// The longest deadline, in seconds: a week without any progress is no operation any more.
const DEADLINE_MAX: u64 = 7 * 24 * 60 * 60;

/// Refuses a deadline that makes no sense; `name` is what it is called where it was said.
///
/// # Errors
/// One of nothing, or one beyond [`DEADLINE_MAX`].
pub(crate) fn check(name: &str, seconds: Option<u64>) -> Result<()> {
    match seconds.filter(|seconds| !(1..=DEADLINE_MAX).contains(seconds)) {
        Some(seconds) => bail!("{name} must be 1 to {DEADLINE_MAX} seconds (a week), not {seconds}"),
        None => Ok(()),
    }
}

/// How long operations of each kind may go without progress, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct DeadlineTimes {
    create: Option<u64>,
    extend: Option<u64>,
    snapshot: Option<u64>,
    delete: Option<u64>,
    attach: Option<u64>,
    detach: Option<u64>,
    look: Option<u64>,
}

impl DeadlineTimes {
    /// Refuses what makes no sense; `of` is where it was said, for example `times.deadline`.
    ///
    /// # Errors
    /// A deadline of nothing, or one beyond [`DEADLINE_MAX`], by its name.
    pub fn check(&self, of: &str) -> Result<()> {
        let all = [
            ("create", self.create),
            ("extend", self.extend),
            ("snapshot", self.snapshot),
            ("delete", self.delete),
            ("attach", self.attach),
            ("detach", self.detach),
            ("look", self.look),
        ];
        for (kind, seconds) in all {
            check(&format!("{of}.{kind}"), seconds)?;
        }
        Ok(())
    }

    /// As the engine takes them.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        let time = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        Deadlines {
            create: time(self.create),
            extend: time(self.extend),
            snapshot: time(self.snapshot),
            delete: time(self.delete),
            attach: time(self.attach),
            detach: time(self.detach),
            look: time(self.look),
        }
    }
}
