//! README's five minutes, as they stand there: each command is run, and what it prints is compared.
//!
//! `…` stands for anything within a line; lines that consist of it alone for any lines. `cargo run --release -- serve` starts the server on
//! a free port and a temporary folder, `pkill` kills that one alone.

use crate::server::Server;
use std::path::Path;
use std::process::{Command, Stdio};

const SERVE: &str = "cargo run --release -- serve";

/// The commands of the five-minute start, each with the lines that it is said to print.
fn commands() -> Vec<(String, Vec<String>)> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md")).unwrap();
    let start = readme.split("## Five-minute start").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for block in start.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => commands.push((command.to_owned(), Vec::new())),
                None => commands.last_mut().expect("a command comes first").1.push(line.to_owned()),
            }
        }
    }
    commands
}

/// Whether `text` has the parts of `pattern`, which `…` separates, in order.
fn fits(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    pattern.split('…').map(str::trim).all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[track_caller]
fn compare(command: &str, said: &[String], printed: &str) {
    let mut printed_lines = printed.lines();
    for line in said.iter().filter(|line| line.trim() != "…") {
        let found = printed_lines.any(|now| fits(line, now));
        assert!(found, "{command}\nis said to print\n{line}\nbut prints\n{printed}");
    }
    assert!(!said.is_empty() || printed.is_empty(), "{command} prints {printed}, and README says nothing of it");
}

/// Runs a command with the binary in the path and the server as its endpoint; gives both its streams.
fn shell(command: &str, endpoint: &str) -> String {
    let binaries = Path::new(env!("CARGO_BIN_EXE_berth")).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("({command}) 2>&1")])
        .env("PATH", format!("{binaries}:{path}"))
        .env("BERTH_ENDPOINT", endpoint)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_five_minutes_are_as_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut server: Option<Server> = None;
    let all = commands();
    assert!(all.len() > 12, "README has lost its commands: {all:?}");
    for (command, said) in all {
        if command == SERVE {
            assert_eq!(said, ["listening on http://127.0.0.1:50040"]);
            server = Some(Server::start(folder.path(), &[]));
        } else if command.starts_with("pkill") {
            server.take().expect("it was started").kill();
        } else {
            let endpoint = server.as_ref().expect("it was started").base().to_owned();
            compare(&command, &said, &shell(&command, &endpoint));
        }
    }
}
