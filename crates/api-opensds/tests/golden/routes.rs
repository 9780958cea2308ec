//! The document and the routes are the same set.

use crate::exchange::golden;
use api_opensds::openapi;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every route that the source adds, as `method path`.
fn routes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut entries = entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    while let Some(entry) = entries.pop() {
        if entry.path().is_dir() {
            entries.extend(self::entries(&entry.path()));
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let prefix = if entry.file_name() == "lib.rs" { "" } else { "/v1beta/{tenant}" };
        for call in [".route(\"", "collection(\""] {
            for rest in text.split(call).skip(1) {
                let (path, rest) = rest.split_once('"').unwrap();
                let line = rest.lines().next().unwrap();
                for (word, method) in
                    [("get(", "get"), ("post(", "post"), ("command(", "post"), ("put(", "put"), ("delete(", "delete")]
                {
                    if line.contains(word) {
                        found.insert(format!("{method} {prefix}{path}"));
                    }
                }
            }
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<std::fs::DirEntry> {
    std::fs::read_dir(folder).unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_route_is_in_the_document_and_the_other_way_round() {
    let document = openapi();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        described.extend(item.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
    }
    let routes = routes();
    assert!(routes.len() > 40, "the source is read in vain: {routes:?}");
    assert_eq!(described.difference(&routes).collect::<Vec<_>>(), Vec::<&String>::new(), "described, but no route");
    assert_eq!(routes.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "a route, but not described");
}

#[test]
fn the_document_that_is_kept_is_the_one_that_is_served() {
    let text = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    golden(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json"), &text);
}

#[test]
fn every_reference_leads_to_a_schema() {
    let document = openapi();
    let text = document.to_string();
    for name in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(name).is_some(), "{name}");
    }
}
