//! The one binary: flags, configuration, wiring, shutdown. Nothing else.
//!
//! What can be typed is in [`cli`], what talks to a running controller in [`client`]. `serve` and `demo` are not wired here yet:
//! they say so and fail.

mod cli;
mod client;

use clap::Parser;
use std::io::Write;

fn main() {
    let cli = cli::Cli::parse();
    let code = match cli.command {
        cli::Command::Client(command) => client::run(&cli.global, command),
        cli::Command::Completion { shell } => client::print(&cli::completion(shell)),
        cli::Command::Serve(_) => not_built("serve"),
        cli::Command::Demo(_) => not_built("demo"),
    };
    std::process::exit(code);
}

fn not_built(command: &str) -> i32 {
    // Nobody is left to tell that standard error cannot be written.
    drop(writeln!(std::io::stderr(), "berth: {command} is not built yet"));
    1
}
