//! Commands on attachments: `attach` makes them and `detach` ends them.

use super::shared::{Again, Ids, JournalArgs, PageArgs, WaitArgs, Which};
use clap::{Args, Subcommand, ValueEnum};

/// Commands on attachments; `attach` makes them and `detach` ends them.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AttachmentCommand {
    /// List attachments
    List(AttachmentListArgs),
    /// Show attachments and who is connected to them
    Show(Ids),
    /// Attach again what could not be attached
    Retry(Again),
    /// Ask the data plane what is true, and follow the evidence
    Recover(Again),
    /// Show every transition of an attachment
    Journal(JournalArgs),
}

/// Which attachments to list.
#[derive(Clone, Debug, Args)]
pub(crate) struct AttachmentListArgs {
    /// Only of this volume
    #[arg(long, value_name = "ID")]
    pub(crate) volume: Option<String>,
    /// Only to this host
    #[arg(long, value_name = "ID")]
    pub(crate) host: Option<String>,
    /// Only in this status; several are alternatives
    #[arg(long, value_delimiter = ',')]
    pub(crate) status: Vec<String>,
    /// Which page.
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Exporting a volume to a host.
#[derive(Clone, Debug, Args)]
pub(crate) struct AttachArgs {
    /// The volume's id, or a name that only one has
    pub(crate) volume: String,
    /// The host's id or name
    #[arg(long, value_name = "HOST")]
    pub(crate) host: String,
    /// Whether the host may write
    #[arg(long, value_enum, default_value_t = AttachMode::Rw)]
    pub(crate) mode: AttachMode,
    /// How the host reaches it: nbd over the network, local as a device of the controller's own machine [default: the profile's, else nbd]
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) protocol: Option<String>,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Whether the host may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachMode {
    /// Reads only.
    Ro,
    /// Reads and writes.
    Rw,
}

/// Ending attachments.
#[derive(Clone, Debug, Args)]
pub(crate) struct DetachArgs {
    /// Which ones.
    #[command(flatten)]
    pub(crate) of: Which,
    /// With --all: only those to this host, as of one that is dead
    #[arg(long, requires = "all", conflicts_with = "ids", value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// With --all: only those of this volume
    #[arg(long, requires = "all", conflicts_with = "ids", value_name = "VOLUME")]
    pub(crate) volume: Option<String>,
    /// Cut clients that are still connected, after the writes in flight
    #[arg(long)]
    pub(crate) force: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
