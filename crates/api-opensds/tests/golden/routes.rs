//! The document and the routes are the same set.

use crate::exchange::golden;
use api_opensds::{openapi, statemachine_svg};
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
                let line = rest.lines().next().and_then(|line| line.split(".route(").next()).unwrap();
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
fn the_pictures_that_are_kept_are_those_that_are_served() {
    for resource in lifecycle::Resource::ALL {
        let file = format!("../../docs/images/lifecycle-{}.svg", resource.word());
        golden(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file), &statemachine_svg(*resource, None));
    }
}

/// Bytes in base64, as a policy names a style by its sum.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let word = (0..3).fold(0_u32, |word, at| word << 8 | u32::from(three.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[test]
fn the_pictures_policy_names_their_style() {
    assert_eq!([base64(b"a"), base64(b"ab"), base64(b"abc")], ["YQ==", "YWI=", "YWJj"]);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/machine");
    let style = std::fs::read(folder.join("style.css")).expect("a style");
    let sum = base64(ring::digest::digest(&ring::digest::SHA256, &style).as_ref());
    golden(folder.join("style.sha256"), &format!("sha256-{sum}"));
    let picture = statemachine_svg(lifecycle::Resource::Volume, None);
    let of_it = picture.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
    assert_eq!(of_it.map(str::as_bytes), Some(style.as_slice()), "the policy is of the very bytes between the tags");
}

#[test]
fn every_reference_leads_to_a_schema() {
    let document = openapi();
    let text = document.to_string();
    for name in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(name).is_some(), "{name}");
    }
}
