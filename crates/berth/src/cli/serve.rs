//! How the controller and the demonstration are run.

use super::NbdArgs;
use clap::Args;
use std::net::SocketAddr;

/// How the controller is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen for REST; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:50040", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// What it shares with the data plane.
    #[command(flatten)]
    pub(crate) nbd: NbdArgs,
    /// Leave starting and ending the data plane (`berth data`) to somebody else, such as systemd
    #[arg(long)]
    pub(crate) no_data_plane_spawn: bool,
    /// Make every backend call take this long, in milliseconds: to watch the statuses pass
    #[arg(long, allow_negative_numbers = true, default_value_t = 0, value_name = "N")]
    pub(crate) slow_ms: u64,
}

/// How the demonstration is run: it asks nothing.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {}
