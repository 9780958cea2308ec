//! What the commands on several kinds of resource share: ids, waiting, lists, journals, names.

use super::values::{duration, pair};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// One or more resources.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ids {
    /// Ids, or names that only one has
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// Whether to wait for the end of what was asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait for the end; fails with 6 if that is an error status
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most: 90, 90s, 5m, 1h
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// `retry` and `recover`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Again {
    /// Which ones.
    #[command(flatten)]
    pub(crate) of: Ids,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// A page of a list.
#[derive(Clone, Debug, Args)]
pub(crate) struct PageArgs {
    /// Only rows where a field has this value; several of one field are alternatives
    #[arg(long, value_parser = pair, value_name = "FIELD=VALUE")]
    pub(crate) filter: Vec<(String, String)>,
    /// At most this many rows
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Skip this many rows
    #[arg(long, value_name = "N")]
    pub(crate) offset: Option<u32>,
    /// The field to sort by
    #[arg(long, value_name = "FIELD")]
    pub(crate) sort_key: Option<String>,
    /// Upwards or downwards
    #[arg(long, value_enum, value_name = "DIRECTION")]
    pub(crate) sort_dir: Option<Direction>,
}

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// Upwards.
    Asc,
    /// Downwards.
    Desc,
}

/// A list by name.
#[derive(Clone, Debug, Args)]
pub(crate) struct NamedListArgs {
    /// Only with this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Which page.
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// The journal of one resource.
#[derive(Clone, Debug, Args)]
pub(crate) struct JournalArgs {
    /// Its id, or a name that only one has; the id also of one that is gone
    pub(crate) id: String,
    /// Only transitions after this revision
    #[arg(long, default_value_t = 0, value_name = "REVISION")]
    pub(crate) since: u64,
    /// At most this many, from the oldest; without it all of them
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub(crate) limit: Option<u32>,
}

/// A new name, a new description.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Naming {
    /// The new name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The new description
    #[arg(long)]
    pub(crate) description: Option<String>,
}

/// Renames one resource.
#[derive(Clone, Debug, Args)]
pub(crate) struct RenameArgs {
    /// Its id, or a name that only one has
    pub(crate) id: String,
    /// What changes.
    #[command(flatten)]
    pub(crate) naming: Naming,
}
