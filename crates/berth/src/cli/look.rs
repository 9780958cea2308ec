//! Commands that look at what is there: the diagnosis, waiting.

use super::values::{Goal, duration, goal};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// The kinds that have statuses to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitKind {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// An attachment.
    Attachment,
}

/// Waiting for a status.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitForArgs {
    /// What kind of resource
    #[arg(value_enum)]
    pub(crate) kind: WaitKind,
    /// Ids, or names that only one has; - reads them from standard input, one a line
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// What to wait for, of each: status=available, or deleted; several alternatives with commas
    #[arg(long = "for", visible_alias = "until", value_parser = goal, value_name = "STATUS")]
    pub(crate) goal: Goal,
    /// How long to wait at most, for all together: 90, 90s, 5m, 1h
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// The diagnosis.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look at everything first, instead of telling what the last looks have shown
    #[arg(long)]
    pub(crate) look: bool,
}
