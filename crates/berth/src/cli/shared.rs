//! What the commands on several kinds of resource share: ids, waiting, lists, journals, names.

use super::values::{duration, pair};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// One or more resources.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ids {
    /// Ids, or names that only one has; - reads them from standard input, one a line
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

/// Resources by their ids, or all that a list shows.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Which {
    /// Ids, or names that only one has; - reads them from standard input, one a line
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// All that a list with the same conditions shows; without any condition only together with --yes
    #[arg(long)]
    pub(crate) all: bool,
    /// With --all: only in this status; several are alternatives
    #[arg(long, requires = "all", conflicts_with = "ids", value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// With --all: only where a field has this value; several of one field are alternatives
    #[arg(long, requires = "all", conflicts_with = "ids", value_parser = pair, value_name = "FIELD=VALUE")]
    pub(crate) filter: Vec<(String, String)>,
    /// With --all: yes, really all, where there is no condition
    #[arg(long, requires = "all", conflicts_with = "ids")]
    pub(crate) yes: bool,
}

/// Whether it is only tried.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Trial {
    /// Change nothing: tell what would come of it, or why it would be refused
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Resources that are removed at once.
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Which ones.
    #[command(flatten)]
    pub(crate) of: Ids,
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// Whether to wait for the end of what was asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait for the end; fails with 6 if that is an error status
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// How long to wait at most: 90, 90s, 5m, 1h
    #[arg(long, default_value = "5m", allow_negative_numbers = true, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// `retry` and `recover`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Again {
    /// Which ones.
    #[command(flatten)]
    pub(crate) of: Which,
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
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Skip this many rows
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
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
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
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
    #[arg(long, allow_negative_numbers = true, default_value_t = 0, value_name = "REVISION")]
    pub(crate) since: u64,
    /// At most this many, from the oldest; without it all of them
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
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
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}
