//! What can be typed: every subcommand, flag, default and environment variable of the binary.
//!
//! Definitions only; how their values are read stands in [`values`]. What the client commands do lives in `client`; what `serve` and `demo` do
//! lives in modules of their own.
//!
//! - Every default and every environment variable stands in the help text.
//! - A secret is never a flag, since every user of the machine can read those: the token comes from the environment.
//!
//! Source: architecture page, "Command line"; the manual is `docs/cli.md`.

mod data;
mod values;

pub(crate) use data::{DataArgs, DataCommand, DataFolderArgs, DataRunArgs, DataStopArgs, NbdArgs};
pub(crate) use values::{Goal, Initiator};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use values::{duration, goal, initiator, pair, size_gib};

/// A block-storage controller whose statuses are always true.
#[derive(Debug, Parser)]
#[command(name = "berth", version, propagate_version = true, after_help = EXIT_HELP)]
pub(crate) struct Cli {
    /// What every client command shares.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_HELP: &str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 not authorised, 5 not allowed now, 6 ended in an error \
                         status, 10 trouble in the server, 20 cannot connect, 124 timed out, 130 interrupted.";

/// What every client command shares. `serve`, `demo` and `completion` do not read it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GlobalArgs {
    /// The controller's address [env: BERTH_ENDPOINT, then OPENSDS_ENDPOINT] [default: http://127.0.0.1:50040]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// The tenant to act as [env: BERTH_TENANT, then OPENSDS_TENANT_ID] [default: the administrator's]
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) tenant: Option<String>,
    /// How to print: a table for people, json for programs, or name: one id a line for scripts
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// How answers are printed on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people; they may change from release to release.
    #[default]
    Table,
    /// The bodies as the server sent them.
    Json,
    /// One id a line: what every command takes.
    Name,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the controller
    Serve(ServeArgs),
    /// Run the data plane, which serves attached volumes; look at it, or end it
    Data(DataArgs),
    /// Show a volume's whole life in a temporary folder
    Demo(DemoArgs),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: CompletionShell,
    },
    /// List the points at which `serve` and `data` can be made to fail, for tests: `crates/failpoint` tells how
    #[command(hide = true)]
    FailPoints,
    /// What talks to a running controller.
    #[command(flatten)]
    Client(ClientCommand),
}

/// The shells that completion is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompletionShell {
    /// GNU bash.
    Bash,
    /// Z shell.
    Zsh,
    /// Fish.
    Fish,
}

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
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) slow_ms: u64,
}

/// How the demonstration is run: it asks nothing.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {}

/// What talks to a running controller.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Create, list, show, change and delete volumes
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Take, list, show, change and delete snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// List and show attachments
    #[command(subcommand)]
    Attachment(AttachmentCommand),
    /// Export a volume to a host
    Attach(AttachArgs),
    /// End attachments
    Detach(DetachArgs),
    /// Create, list, show, change and delete hosts
    #[command(subcommand)]
    Host(HostCommand),
    /// Create, list, show, change and delete profiles
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// List and show pools
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Tell everything that does not agree, what it means, and the command that mends it
    Doctor(DoctorArgs),
    /// Wait until a resource has a status; fails at once on an error status
    Wait(WaitForArgs),
}

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
    Delete(Ids),
}

/// Commands on profiles.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Create a profile
    Create(ProfileCreateArgs),
    /// List profiles
    List(NamedListArgs),
    /// Show profiles
    Show(Ids),
    /// Change a profile's name or description
    Update(RenameArgs),
    /// Delete profiles
    Delete(Ids),
}

/// Commands on pools, which come from the configuration.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List pools
    List(NamedListArgs),
    /// Show pools
    Show(Ids),
    /// Remove an object of a pool that no record names, by the name that `berth doctor` tells
    RemoveObject(RemoveObjectArgs),
}

/// Removing what no record names.
#[derive(Clone, Debug, Args)]
pub(crate) struct RemoveObjectArgs {
    /// The pool, by id or name
    #[arg(value_name = "POOL")]
    pub(crate) pool: String,
    /// The object: VOLUME, or VOLUME@SNAPSHOT
    #[arg(value_name = "OBJECT")]
    pub(crate) object: String,
    /// Yes, its data is to be lost: without this nothing is removed
    #[arg(long)]
    pub(crate) yes: bool,
}

/// The diagnosis.
#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Look at everything first, instead of telling what the last looks have shown
    #[arg(long)]
    pub(crate) look: bool,
}

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

/// Changes one volume.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeUpdateArgs {
    /// Its id, or a name that only one has
    pub(crate) id: String,
    /// What changes.
    #[command(flatten)]
    pub(crate) changes: VolumeChanges,
}

/// A new volume.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeCreateArgs {
    /// Its name: letters, digits, space, - and _
    pub(crate) name: String,
    /// Its size in GiB: 10, 10GiB or 2TiB
    #[arg(long, value_parser = size_gib, value_name = "GIB")]
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
    #[arg(long)]
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

/// Growing a volume.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExtendArgs {
    /// Its id, or a name that only one has
    pub(crate) id: String,
    /// The new size in GiB, larger than the present one: 20, 20GiB or 2TiB
    #[arg(long, value_parser = size_gib, value_name = "GIB")]
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
    pub(crate) of: Ids,
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
    #[arg(long)]
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
    pub(crate) of: Ids,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
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
    /// Ids of attachments
    #[arg(required = true, value_name = "ATTACHMENT")]
    pub(crate) ids: Vec<String>,
    /// Cut clients that are still connected, after the writes in flight
    #[arg(long)]
    pub(crate) force: bool,
    /// Whether to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
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
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// The availability zones it can reach
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Vec<String>,
    /// A name that its clients prove or use with a protocol: nbd:NAME is one that a TLS certificate proves
    #[arg(long, value_parser = initiator, value_name = "PROTOCOL:NAME")]
    pub(crate) initiator: Vec<Initiator>,
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
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
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
}

/// A new profile.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProfileCreateArgs {
    /// Its name
    pub(crate) name: String,
    /// A description
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Custom properties
    #[arg(long, value_parser = pair, value_name = "KEY=VALUE")]
    pub(crate) property: Vec<(String, String)>,
}

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
    /// Its id, or a name that only one has
    pub(crate) id: String,
    /// What to wait for: status=available, or deleted; several alternatives with commas
    #[arg(long = "for", value_parser = goal, value_name = "STATUS")]
    pub(crate) goal: Goal,
    /// How long to wait at most: 90, 90s, 5m, 1h
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
}

/// The word that clap shows for a value, which is also the wire's.
pub(crate) fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().into()
}

/// The completion script of `shell`.
#[must_use]
pub(crate) fn completion(shell: CompletionShell) -> Vec<u8> {
    use clap::CommandFactory;
    let shell = match shell {
        CompletionShell::Bash => clap_complete::Shell::Bash,
        CompletionShell::Zsh => clap_complete::Shell::Zsh,
        CompletionShell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "berth", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_missing_is_a_usage_error() {
        let lines = ["volume create v", "volume show", "volume update v", "host update h", "snapshot create v", "attach v"];
        let wrong = [
            "volume create v --size 0",
            "volume delete v --cascade --forget",
            "attach v --host h --mode wo",
            "host create h --ip 10.0.0.1 --initiator db-1",
            "wait pool p --for x",
        ];
        for line in lines.into_iter().chain(wrong) {
            let error = Cli::try_parse_from(std::iter::once("berth").chain(line.split(' '))).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_lines_of_the_reference_page_can_be_typed() {
        let mut count = 0;
        for line in api_opensds::command_lines() {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
            count += 1;
        }
        assert!(count > 30, "{count} lines");
    }

    #[test]
    fn shared_flags_may_stand_anywhere() {
        for line in ["-o json volume list", "volume -o json list", "volume list -o json"] {
            let cli = Cli::try_parse_from(std::iter::once("berth").chain(line.split(' '))).expect(line);
            assert_eq!(cli.global.output, Format::Json, "{line}");
        }
    }

    #[test]
    fn completion_knows_the_commands() {
        for shell in [CompletionShell::Bash, CompletionShell::Zsh, CompletionShell::Fish] {
            let script = String::from_utf8(completion(shell)).unwrap();
            assert!(script.contains("multi-attach"), "{shell:?}");
        }
    }
}
