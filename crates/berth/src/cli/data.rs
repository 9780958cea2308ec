//! What can be typed after `berth data`: the process that serves attached volumes.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The data plane: to run it, to look at it, to end it.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DataArgs {
    /// What to do; without it, the data plane is run.
    #[command(subcommand)]
    pub(crate) command: Option<DataCommand>,
    /// How it is run.
    #[command(flatten)]
    pub(crate) run: DataRunArgs,
}

/// What is asked of a data plane that runs.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Show what it serves, and to whom
    Status(DataFolderArgs),
    /// End it; a controller that runs starts a new one at once, and clients connect again
    Stop(DataStopArgs),
}

/// How the data plane is run. `berth serve` does that itself, unless it is told `--no-data-plane-spawn`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataRunArgs {
    /// The folder, and where it serves.
    #[command(flatten)]
    pub(crate) nbd: NbdArgs,
    /// Begin a session of its own, so that signals to the starter's group do not reach it
    #[arg(long, hide = true)]
    pub(crate) own_session: bool,
}

/// What `berth serve` and `berth data` must agree on.
#[derive(Clone, Debug, Args)]
pub(crate) struct NbdArgs {
    /// The folder of the records, made if missing; one controller and one data plane at a time
    #[arg(long, default_value = "./berth-data", value_name = "FOLDER")]
    pub(crate) data: PathBuf,
    /// The configuration file (TOML); without it there is one pool in the data folder
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to serve attached volumes; port 0 picks a free one once and keeps it
    #[arg(long, default_value = "127.0.0.1:10809", value_name = "ADDRESS")]
    pub(crate) nbd_listen: SocketAddr,
    /// Serve on other than loopback addresses although nobody is asked who they are
    #[arg(long)]
    pub(crate) insecure_no_auth: bool,
}

/// Which data plane.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataFolderArgs {
    /// The folder whose data plane is meant
    #[arg(long, default_value = "./berth-data", value_name = "FOLDER")]
    pub(crate) data: PathBuf,
}

/// How a data plane is ended.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataStopArgs {
    /// Which one.
    #[command(flatten)]
    pub(crate) folder: DataFolderArgs,
    /// Even while clients are connected: writes in flight are awaited, then they are cut and must connect again
    #[arg(long)]
    pub(crate) force: bool,
}
