//! Completion scripts, made of the definitions.
//!
//! What the generator leaves to be wished is mended here: hidden commands are not offered, and fish offers the words that a position takes, rather
//! than files.

use super::{Cli, CompletionShell};
use clap::CommandFactory;
use std::fmt::Write;

/// The completion script of `shell`.
#[must_use]
pub(crate) fn completion(shell: CompletionShell) -> Vec<u8> {
    let generator = match shell {
        CompletionShell::Bash => clap_complete::Shell::Bash,
        CompletionShell::Zsh => clap_complete::Shell::Zsh,
        CompletionShell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(generator, &mut shown(&Cli::command()), "berth", &mut script);
    if shell == CompletionShell::Fish {
        script.extend_from_slice(positions(&shown(&Cli::command())).as_bytes());
    }
    script
}

/// The command without hidden ones. Those that it keeps are as they were.
fn shown(root: &clap::Command) -> clap::Command {
    let mut command = clap::Command::new("berth");
    for argument in root.get_arguments() {
        command = command.arg(argument.clone());
    }
    command = command.version(env!("CARGO_PKG_VERSION")).propagate_version(true).subcommand_required(true);
    command.subcommands(root.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

/// What fish offers where a command takes one of some words; no files where no file can be meant.
fn positions(root: &clap::Command) -> String {
    let mut lines = String::from("complete -c berth -f\n");
    for command in root.get_subcommands() {
        let words = command.get_positionals().next().map(clap::Arg::get_possible_values).unwrap_or_default();
        let words: Vec<_> = words.iter().map(clap::builder::PossibleValue::get_name).collect();
        if !words.is_empty() {
            let (name, words) = (command.get_name(), words.join(" "));
            let condition = format!("__fish_berth_using_subcommand {name}; and not __fish_seen_subcommand_from {words}");
            writeln!(lines, "complete -c berth -n \"{condition}\" -f -a \"{words}\"").expect("a string takes all that is written");
        }
    }
    lines
}
