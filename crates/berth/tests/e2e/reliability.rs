//! `docs/reliability.md` and the rows name each other: a line without a test is a claim, a test without a line is not found.

use std::collections::BTreeSet;
use std::process::Command;

/// What stands before a test's name in the last column. An alias: `.cargo/config.toml`.
const COMMAND: &str = "`cargo row ";

/// The tests of the table.
fn told() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reliability.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.split("\n## ").find(|part| part.starts_with("Beside the peers")).expect("the page has its first part");
    let lines = table.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---") && !line.ends_with("| shown by |"));
    let last = |line: &str| {
        let cell = line.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let name = cell.strip_prefix(COMMAND).and_then(|cell| cell.strip_suffix('`'));
        name.unwrap_or_else(|| panic!("a line of the table ends with no command: {line}")).to_owned()
    };
    lines.map(last).collect()
}

/// The tests that there are, asked of this very program.
fn tests() -> BTreeSet<String> {
    let listed = Command::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

#[test]
fn every_line_of_the_table_names_its_test_and_every_row_has_a_line() {
    let (told, tests) = (told(), tests());
    for name in &told {
        // As a newcomer runs it: a part of a name is enough.
        let run: Vec<_> = tests.iter().filter(|test| test.contains(name.as_str())).collect();
        assert_eq!(run, [name], "the command of the line runs something else");
    }
    let rows: BTreeSet<_> = tests.iter().filter(|test| test.starts_with("rows::")).collect();
    assert_eq!(rows, told.iter().collect(), "rows without a line, or told twice");
    assert_eq!(told.len(), rows.len(), "a row is told twice");
}
