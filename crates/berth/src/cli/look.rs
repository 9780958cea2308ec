//! Commands that look at what is there: one resource, what happens, waiting, the diagnosis.

use super::values::{Goal, duration, event_id, goal};
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
    #[arg(long, default_value = "5m", allow_negative_numbers = true, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// The diagnosis.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look at everything first, instead of telling what the last looks have shown
    #[arg(long)]
    pub(crate) look: bool,
}

/// The kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnyKind {
    /// A volume.
    Volume,
    /// A snapshot.
    Snapshot,
    /// An attachment.
    Attachment,
    /// A host.
    Host,
    /// A profile.
    Profile,
    /// A pool.
    Pool,
}

/// Everything about one resource.
#[derive(Clone, Debug, Args)]
pub(crate) struct DescribeArgs {
    /// What kind of resource
    #[arg(value_enum)]
    pub(crate) kind: AnyKind,
    /// Its id, or a name that only one has
    pub(crate) id: String,
    /// How many of the last transitions to show
    #[arg(long, default_value_t = 20, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(0..=1000), value_name = "N")]
    pub(crate) transitions: u16,
    /// Draw it anew every second, as long as something runs on it; for terminals
    #[arg(long, short)]
    pub(crate) follow: bool,
}

/// The full-screen view.
#[cfg(feature = "top")]
#[derive(Clone, Debug, Args)]
pub(crate) struct TopArgs {
    /// Only of these kinds
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,...")]
    pub(crate) kind: Vec<WatchKind>,
    /// Only attachments to this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
}

/// The kinds whose changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchKind {
    /// Volumes.
    Volume,
    /// Snapshots.
    Snapshot,
    /// Attachments.
    Attachment,
    /// Hosts.
    Host,
    /// Pools.
    Pool,
}

/// Telling what happens, as it happens.
#[derive(Clone, Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only of this kind; with ids, what kind they are of
    #[arg(value_enum, value_name = "KIND")]
    pub(crate) of: Option<WatchKind>,
    /// Only these, by id or a name that only one has; of a volume also its snapshots and attachments
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Only of these kinds
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,...")]
    pub(crate) kind: Vec<WatchKind>,
    /// Only what has, or has just left, one of these statuses
    #[arg(long, value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Only attachments to this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Begin behind this event or revision, rather than with what comes: the eventId of -o json
    #[arg(long, value_parser = event_id, value_name = "EVENT")]
    pub(crate) since: Option<String>,
    /// Begin with what is now, a line each
    #[arg(long, conflicts_with = "since")]
    pub(crate) present: bool,
    /// Every transition: without this, what comes faster than it can be told is told by its last one
    #[arg(long)]
    pub(crate) all_transitions: bool,
    /// Tell how far operations are, too
    #[arg(long)]
    pub(crate) progress: bool,
    /// End once each of the ids has this status, or without ids anything; fails at once on an error status of an id
    #[arg(long, visible_alias = "for", value_parser = goal, conflicts_with = "since", value_name = "STATUS")]
    pub(crate) until: Option<Goal>,
    /// How long to watch at most; without it for ever
    #[arg(long, allow_negative_numbers = true, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
}
