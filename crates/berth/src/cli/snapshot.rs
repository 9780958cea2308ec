//! Commands on snapshots.

use super::shared::{Again, Ids, JournalArgs, PageArgs, RenameArgs, WaitArgs, Which};
use super::values::pair;
use clap::{Args, Subcommand};

/// Commands on snapshots.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Take a snapshot of a volume
    Create(SnapshotCreateArgs),
    /// List snapshots
    List(SnapshotListArgs),
    /// Show snapshots
    Show(Ids),
    /// Change a snapshot's name or description
    Update(RenameArgs),
    /// Delete snapshots
    Delete(SnapshotDeleteArgs),
    /// Do again what failed
    Retry(Again),
    /// Ask the backend what is true, and follow the evidence
    Recover(Again),
    /// Show every transition of a snapshot
    Journal(JournalArgs),
}

/// A new snapshot.
#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotCreateArgs {
    /// The volume's id, or a name that only one has
    pub(crate) volume: String,
    /// The snapshot's name
    #[arg(long)]
    pub(crate) name: String,
    /// A description
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Words to keep with it
    #[arg(long, value_parser = pair, value_name = "KEY=VALUE")]
    pub(crate) metadata: Vec<(String, String)>,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Which snapshots to list.
#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotListArgs {
    /// Only of this volume
    #[arg(long, value_name = "ID")]
    pub(crate) volume: Option<String>,
    /// Only with this name
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Only in this status; several are alternatives
    #[arg(long, value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Which page.
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Deleting snapshots.
#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotDeleteArgs {
    /// Which ones.
    #[command(flatten)]
    pub(crate) of: Which,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
