//! Commands on volumes.

use super::shared::{Again, Ids, JournalArgs, PageArgs, Trial, WaitArgs, Which};
use super::values::{pair, size_gib};
use clap::{Args, Subcommand};

/// Commands on volumes.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Create a volume
    Create(VolumeCreateArgs),
    /// List volumes
    List(VolumeListArgs),
    /// Show volumes
    Show(Ids),
    /// Change a volume's name, description or metadata
    Update(VolumeUpdateArgs),
    /// Grow a volume
    Extend(ExtendArgs),
    /// Delete volumes
    Delete(VolumeDeleteArgs),
    /// Do again what failed
    Retry(Again),
    /// Ask the backend what is true, and follow the evidence
    Recover(Again),
    /// Show every transition of a volume
    Journal(JournalArgs),
}

/// A new volume.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeCreateArgs {
    /// Its name: letters, digits, space, - and _
    pub(crate) name: String,
    /// Its size in GiB: 10, 10GiB or 2TiB
    #[arg(long, allow_negative_numbers = true, value_parser = size_gib, value_name = "GIB")]
    pub(crate) size: u64,
    /// Make it from this snapshot
    #[arg(long, value_name = "ID")]
    pub(crate) snapshot: Option<String>,
    /// Under this profile; without it under the default one
    #[arg(long, value_name = "ID")]
    pub(crate) profile: Option<String>,
    /// In this pool; without it in the one that fits best
    #[arg(long, value_name = "ID")]
    pub(crate) pool: Option<String>,
    /// In this availability zone
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Option<String>,
    /// Allow more than one attachment at a time
    #[arg(long)]
    pub(crate) multi_attach: bool,
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

/// Which volumes to list.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeListArgs {
    /// Only with this name
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) name: Option<String>,
    /// Only in this status; several are alternatives
    #[arg(long, value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Only in this pool
    #[arg(long, value_name = "ID")]
    pub(crate) pool: Option<String>,
    /// Only under this profile
    #[arg(long, value_name = "ID")]
    pub(crate) profile: Option<String>,
    /// Only made from this snapshot
    #[arg(long, value_name = "ID")]
    pub(crate) snapshot: Option<String>,
    /// Which page.
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Changes one volume.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeUpdateArgs {
    /// Its id, or a name that only one has
    pub(crate) id: String,
    /// What changes.
    #[command(flatten)]
    pub(crate) changes: VolumeChanges,
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// What a user may change about a volume.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct VolumeChanges {
    /// The new name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The new description
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Words to keep with it; merged into those it has
    #[arg(long, value_parser = pair, value_name = "KEY=VALUE")]
    pub(crate) metadata: Vec<(String, String)>,
}

/// Growing a volume.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExtendArgs {
    /// Its id, or a name that only one has
    pub(crate) id: String,
    /// The new size in GiB, larger than the present one: 20, 20GiB or 2TiB
    #[arg(long, allow_negative_numbers = true, value_parser = size_gib, value_name = "GIB")]
    pub(crate) size: u64,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Deleting volumes.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeDeleteArgs {
    /// Which ones.
    #[command(flatten)]
    pub(crate) of: Which,
    /// Delete their snapshots first
    #[arg(long)]
    pub(crate) cascade: bool,
    /// Drop the record although data may be left; for administrators, and only on a pool marked retired
    #[arg(long, conflicts_with = "cascade")]
    pub(crate) forget: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
