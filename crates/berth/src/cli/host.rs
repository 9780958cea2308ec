//! Commands on hosts.

use super::shared::{Ids, NamedListArgs, RemoveArgs, Trial};
use super::values::{Initiator, initiator};
use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;

/// Commands on hosts.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Register a host
    Create(HostCreateArgs),
    /// List hosts
    List(NamedListArgs),
    /// Show hosts
    Show(Ids),
    /// Change a host
    Update(HostUpdateArgs),
    /// Remove hosts
    Delete(RemoveArgs),
}

/// A new host.
#[derive(Clone, Debug, Args)]
pub(crate) struct HostCreateArgs {
    /// Its name: labels of letters, digits and -, with dots between
    pub(crate) name: String,
    /// Its IP address: exports are served to it alone
    #[arg(long)]
    pub(crate) ip: IpAddr,
    /// What it runs
    #[arg(long, value_enum, default_value_t = OsType::Linux)]
    pub(crate) os_type: OsType,
    /// How it is reached
    #[arg(long, value_enum, default_value_t = AccessMode::Agentless)]
    pub(crate) access_mode: AccessMode,
    /// The port of its agent
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The availability zones it can reach
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Vec<String>,
    /// A name that its clients prove or use with a protocol: nbd:NAME is one that a TLS certificate proves
    #[arg(long, value_parser = initiator, value_name = "PROTOCOL:NAME")]
    pub(crate) initiator: Vec<Initiator>,
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// What a user may change about a host.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct HostChanges {
    /// The new name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The new IP address
    #[arg(long)]
    pub(crate) ip: Option<IpAddr>,
    /// What it runs
    #[arg(long, value_enum)]
    pub(crate) os_type: Option<OsType>,
    /// How it is reached
    #[arg(long, value_enum)]
    pub(crate) access_mode: Option<AccessMode>,
    /// The port of its agent
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The availability zones it can reach, all of them
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Vec<String>,
    /// The names that its clients prove or use with a protocol, all of them
    #[arg(long, value_parser = initiator, value_name = "PROTOCOL:NAME")]
    pub(crate) initiator: Vec<Initiator>,
}

/// Changes one host.
#[derive(Clone, Debug, Args)]
pub(crate) struct HostUpdateArgs {
    /// Its id or name
    pub(crate) id: String,
    /// What changes.
    #[command(flatten)]
    pub(crate) changes: HostChanges,
    /// Whether it is only tried.
    #[command(flatten)]
    pub(crate) trial: Trial,
}

/// The systems that a host may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OsType {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
    /// VMware ESXi.
    Esxi,
}

/// How a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccessMode {
    /// An agent runs on it.
    Agent,
    /// No agent runs on it.
    Agentless,
}
