//! Tests over the repository itself: what keeps the house in shape and no compiler holds.
//!
//! - arrows between crates point inward, and the core depends on nothing but its ids;
//! - every Rust file says what lives in it; every crate is on the map;
//! - links between documents lead somewhere;
//! - nothing unfinished, skipped, or of one machine is committed.

use std::path::{Path, PathBuf};

/// What each crate may depend on besides other people's crates. Source: ARCHITECTURE.md, "Code map".
const ARROWS: &[(&str, &[&str])] = &[
    ("lifecycle", &[]),
    ("failpoint", &[]),
    ("folder-lock", &[]),
    ("engine", &["failpoint", "lifecycle"]),
    ("sim", &["engine", "lifecycle"]),
    ("ground", &[]),
    ("contract", &["engine", "lifecycle"]),
    ("store-sqlite", &["engine", "failpoint", "folder-lock", "lifecycle"]),
    ("driver-file", &["engine", "failpoint", "lifecycle"]),
    ("driver-template", &["engine", "lifecycle"]),
    ("exporter", &["engine", "failpoint", "folder-lock", "lifecycle"]),
    ("exporter-local", &["engine", "lifecycle"]),
    ("api-opensds", &["engine", "lifecycle"]),
    ("ui", &[]),
    ("bench", &["api-opensds", "driver-file", "engine", "lifecycle", "sim", "store-sqlite"]),
    (
        "berth",
        &["api-opensds", "driver-file", "engine", "exporter", "exporter-local", "failpoint", "lifecycle", "store-sqlite", "ui"],
    ),
];
/// All that the core may depend on.
const CORE: &[&str] = &["uuid"];
/// A file longer than this has two subjects, whatever its author thinks.
const LINES_MAX: usize = 950;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file below the root that could be committed.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let is_ours = !["target", ".git", "berth-data"].contains(&name.as_str());
            if path.is_dir() && is_ours {
                folders.push(path);
            } else if name.ends_with(ending) && path.is_file() {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no {ending} in {}", root().display());
    found.sort();
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The dependencies that a crate's manifest names; without those of its tests.
fn dependencies(name: &str) -> Vec<String> {
    let manifest: toml::Table = read(&root().join("crates").join(name).join("Cargo.toml")).parse().unwrap();
    assert!(manifest.get("target").is_none(), "{name}: dependencies of one platform are not looked at");
    manifest.get("dependencies").and_then(toml::Value::as_table).map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

#[test]
fn arrows_point_inward() {
    let mut crates: Vec<_> = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    crates.sort();
    let mut known: Vec<_> = ARROWS.iter().map(|(name, _)| std::ffi::OsString::from(name)).collect();
    known.sort();
    assert_eq!(crates, known, "a crate is missing in the list of arrows, or gone");
    for (name, allowed) in ARROWS {
        for dependency in dependencies(name) {
            let is_ours = ARROWS.iter().any(|(ours, _)| *ours == dependency);
            assert!(!is_ours || allowed.contains(&dependency.as_str()), "{name} must not know {dependency}");
        }
    }
}

#[test]
fn the_core_is_pure() {
    assert_eq!(dependencies("lifecycle"), CORE);
    let lib = read(&root().join("crates/lifecycle/src/lib.rs"));
    assert!(lib.contains("#![no_std]") && lib.contains("#![forbid(unsafe_code)]"));
    assert!(read(&root().join("crates/engine/src/lib.rs")).contains("#![forbid(unsafe_code)]"));
}

#[test]
fn every_fail_point_is_listed() {
    let list = read(&root().join("crates/berth/src/fail_points.rs"));
    for (name, allowed) in ARROWS.iter().filter(|(name, _)| *name != "berth") {
        let module = name.replace('-', "_");
        let has_points = allowed.contains(&"failpoint");
        assert_eq!(has_points, list.contains(&format!("&{module}::FAIL_POINTS")), "the points of {name}");
    }
    for path in files("points.rs").into_iter().filter(|path| path.starts_with(root().join("crates"))) {
        let text = read(&path);
        let steps = text.matches("step!(\"").count();
        assert!(text.contains(&format!("FAIL_POINTS: [Step; {steps}]")), "{} does not list its {steps} steps", short(&path));
    }
}

#[test]
fn every_crate_is_on_the_map() {
    let map = read(&root().join("ARCHITECTURE.md"));
    for (name, _) in ARROWS {
        assert!(map.contains(&format!("`crates/{name}`")), "ARCHITECTURE.md does not name crates/{name}");
    }
}

#[test]
fn every_rust_file_says_what_lives_in_it() {
    for path in files(".rs") {
        let text = read(&path);
        assert!(text.starts_with("//!"), "{} does not open with //!", short(&path));
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines: find its two subjects", short(&path));
    }
}

#[test]
fn nothing_unfinished_or_of_one_machine_is_committed() {
    // In two halves, so that this file does not find itself.
    let halves = [
        ("todo", "!("),
        ("unimplemented", "!("),
        ("#[ign", "ore"),
        ("dbg", "!("),
        ("FIX", "ME"),
        ("/work", "/"),
        ("/home", "/"),
        ("index.cra", "tes.io"),
        ("static.cra", "tes.io"),
        ("fn set_", "status"),
    ];
    for path in [files(".rs"), files(".md"), files(".toml")].concat() {
        let text = read(&path);
        for (front, back) in halves {
            assert!(!text.contains(&format!("{front}{back}")), "{} contains {front}{back}", short(&path));
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in files(".md") {
        let text = read(&path);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(path.parent().unwrap().join(target).exists(), "{} links to {target}, which is not there", short(&path));
        }
    }
}
