//! What can be typed: every subcommand, flag, default and environment variable of the binary.
//!
//! Definitions only, a module for each kind of resource; how their values are read stands in [`values`]. What the client commands
//! do lives in `client`; what `serve` and `demo` do lives in modules of their own.
//!
//! - Every default and every environment variable stands in the help text.
//! - A secret is never a flag, since every user of the machine can read those: the token comes from the environment.
//!
//! Source: architecture page, "Command line"; the manual is `docs/cli.md`.

mod attachment;
mod catalog;
mod completion;
mod data;
mod host;
mod look;
mod man;
mod serve;
mod shared;
mod snapshot;
mod trial;
mod values;
mod volume;

pub(crate) use attachment::{AttachArgs, AttachmentCommand, AttachmentListArgs, DetachArgs};
pub(crate) use catalog::{PoolCommand, ProfileCommand, ProfileCreateArgs, RemoveObjectArgs};
pub(crate) use completion::completion;
pub(crate) use data::{DataArgs, DataCommand, DataFolderArgs, DataRunArgs, DataStopArgs, NbdArgs};
pub(crate) use host::{HostChanges, HostCommand, HostCreateArgs};
#[cfg(feature = "top")]
pub(crate) use look::TopArgs;
pub(crate) use look::{AnyKind, DescribeArgs, DoctorArgs, WaitForArgs, WaitKind, WatchArgs, WatchKind};
pub(crate) use man::{ManArgs, man};
pub(crate) use serve::{DemoArgs, ServeArgs};
pub(crate) use shared::{Again, Ids, JournalArgs, NamedListArgs, PageArgs, RenameArgs, WaitArgs, Which};
pub(crate) use snapshot::{SnapshotCommand, SnapshotCreateArgs, SnapshotListArgs};
pub(crate) use values::EVENT_ID_MAX;
pub(crate) use volume::{ExtendArgs, VolumeCommand, VolumeCreateArgs, VolumeDeleteArgs, VolumeListArgs, VolumeUpdateArgs};

use clap::{Args, Parser, Subcommand, ValueEnum};

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
#[command(next_help_heading = "Options of all client commands")]
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
    /// The columns of tables, in this order: headings, or fields of the JSON such as statusReason.code
    #[arg(long, global = true, value_delimiter = ',', value_name = "A,B,C")]
    pub(crate) columns: Vec<String>,
    /// Leave the headings of tables out
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
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
    /// Print the manual page of a command, or write all of them into a folder
    Man(ManArgs),
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
    /// Wait until resources have a status; fails at once on an error status
    Wait(WaitForArgs),
    /// Show everything about one resource on one screen
    Describe(DescribeArgs),
    /// Tell every change as it happens, also across restarts of the controller
    Watch(WatchArgs),
    /// Show on the whole terminal what is wrong, what runs and what happens
    #[cfg(feature = "top")]
    Top(TopArgs),
}

/// The word that clap shows for a value, which is also the wire's.
pub(crate) fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().expect("no value is hidden").get_name().into()
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
    fn a_number_below_zero_is_a_wrong_number_and_no_flag() {
        let lines = [
            "volume create v --size -1",
            "volume list --limit -1",
            "volume list --offset -1",
            "wait volume v --for x --timeout -5",
        ];
        for line in lines.into_iter().chain(["volume journal v --since -1", "describe volume v --transitions -1"]) {
            let error = Cli::try_parse_from(std::iter::once("berth").chain(line.split(' '))).expect_err(line).to_string();
            assert!(error.contains("invalid value '-") && !error.contains("tip:"), "{line}: {error}");
        }
    }

    #[test]
    fn help_begins_with_what_is_the_commands_own() {
        for line in ["berth volume create --help", "berth serve --help"] {
            let help = Cli::try_parse_from(line.split(' ')).expect_err(line).to_string();
            let place = |word: &str| help.find(word).unwrap_or_else(|| panic!("{word}: {help}"));
            let shared = place("Options of all client commands:");
            assert!(["--endpoint", "--columns", "--no-headers"].into_iter().all(|flag| place(flag) > shared), "{help}");
            assert!(
                ["--size", "--nbd-listen", "--help"].into_iter().all(|flag| help.find(flag).is_none_or(|at| at < shared)),
                "{help}"
            );
        }
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
            assert!(script.contains("multi-attach") && !script.contains("fail-points"), "{shell:?}");
        }
    }
}
