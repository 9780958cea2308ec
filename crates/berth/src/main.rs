//! The one binary: flags, configuration, wiring, shutdown. Nothing else.
//!
//! What can be typed is in [`cli`], what talks to a running controller in [`client`]; [`serve`] joins the rooms into a server, [`data`]
//! runs its data plane.

mod cli;
mod client;
mod data;
mod demo;
mod fail_points;
mod folders;
mod http;
mod kept;
mod late;
mod mark;
mod serve;

use berth::config;
use clap::Parser;
use std::io::{IsTerminal, Write};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

fn main() {
    let cli = cli::Cli::parse();
    let code = match cli.command {
        cli::Command::Client(command) => client::run(&cli.global, command),
        cli::Command::Completion { shell } => client::print(&cli::completion(shell)),
        cli::Command::Man(args) => match cli::man(&args) {
            Ok(page) => client::print(&page),
            // What cannot be written is a failure; a command that there is not, a slip of the pen.
            Err(error) => told(Err(error)).max(if args.dir.is_none() { 2 } else { 1 }),
        },
        cli::Command::Serve(args) => {
            log_to_stderr("info");
            told(armed().and_then(|()| serve::run(&args)))
        }
        cli::Command::Data(args) => {
            log_to_stderr("info");
            told(armed().and_then(|()| data::run(&args, cli.global.output)))
        }
        cli::Command::FailPoints => client::print(fail_points::listed().as_bytes()),
        cli::Command::Demo(args) => {
            log_to_stderr("error");
            told(demo::run(&args))
        }
    };
    std::process::exit(code);
}

/// Logs as text on a terminal, as JSON elsewhere. `RUST_LOG` says how much (`debug`, `warn,engine=debug`); without it, `level`.
fn log_to_stderr(level: &str) {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty()).and_then(|asked| asked.parse().ok());
    let filter: Targets = asked.unwrap_or_else(|| level.parse().expect("a level"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = if std::io::stderr().is_terminal() { log.boxed() } else { log.json().boxed() };
    tracing_subscriber::registry().with(filter).with(log).init();
}

/// Arms the fail points that the environment names, if it does.
fn armed() -> anyhow::Result<()> {
    Ok(failpoint::arm(&fail_points::all())?)
}

fn told(result: anyhow::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            // Nobody is left to tell that standard error cannot be written.
            let _ = writeln!(std::io::stderr(), "berth: {error:#}");
            1
        }
    }
}
