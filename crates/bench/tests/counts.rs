//! A guard against getting slower: fixed workloads take about as many instructions as when their counts were last kept.
//!
//! Time is noise on a shared machine; instructions hardly are. Valgrind counts them in the release build. Kept in `counts.toml`, which
//! `UPDATE_COUNTS=1 cargo test --workspace --release --test counts` writes anew: read the difference like code.

#![expect(clippy::print_stderr, reason = "it tells what it counted")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.toml");
const WORKS: [&str; 3] = ["decide", "commit", "request"];
/// How much more, or less, is let pass without a word.
const PART: f64 = 0.1;

#[test]
#[cfg_attr(debug_assertions, ignore = "it counts the release build")]
fn each_work_takes_as_many_instructions_as_before() {
    if !has_valgrind() {
        assert!(std::env::var_os("CI").is_none(), "valgrind is not installed, and in CI nothing is skipped");
        eprintln!("skipped: valgrind is not installed");
        return;
    }
    let found: BTreeMap<&str, u64> = WORKS.into_iter().map(|work| (work, count(work))).collect();
    if std::env::var_os("UPDATE_COUNTS").is_some() {
        let lines: String = found.iter().map(|(work, count)| format!("{work} = {count}\n")).collect();
        std::fs::write(FILE, format!("# Instructions of each work of `bench work`, counted by tests/counts.rs.\n{lines}")).unwrap();
    }
    let kept = kept();
    let mut wrong = Vec::new();
    for (work, count) in &found {
        let before = kept[*work];
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let ratio = *count as f64 / before as f64;
        eprintln!("{work}: {count} instructions, {ratio:.3} of what was kept");
        if (ratio - 1.0).abs() > PART {
            wrong.push(format!("{work} takes {ratio:.2} of the instructions that it took ({count}, {before} before)"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}: if this is meant, keep the new counts: see the head of this file");
}

fn has_valgrind() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn kept() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(FILE).expect("the counts are kept");
    let line = |line: &str| {
        let (work, count) = line.split_once(" = ")?;
        Some((work.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn count(work: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("callgrind");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env!("CARGO_BIN_EXE_bench"))
        .args(["work", work, "--folder"])
        .arg(folder.path().join("store"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    total(&out)
}

/// The sum that callgrind writes at the end.
fn total(out: &Path) -> u64 {
    let text = std::fs::read_to_string(out).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    line.and_then(|counts| counts.split_whitespace().next()).and_then(|count| count.parse().ok()).expect("a total")
}
