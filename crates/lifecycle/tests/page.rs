//! The page `docs/lifecycle.md` is what the rules say today. `UPDATE_GOLDEN=1 cargo test -p lifecycle --test page` rewrites it.

use lifecycle::{Edge, Resource, edges, table};
use std::path::PathBuf;

#[test]
fn the_page_is_what_the_rules_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/lifecycle.md");
    let page = table::markdown();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("docs/lifecycle.md is there; UPDATE_GOLDEN=1 writes it");
    let differs = kept.lines().zip(page.lines()).position(|(kept, now)| kept != now);
    assert!(
        kept == page,
        "docs/lifecycle.md is stale (from line {differs:?}); UPDATE_GOLDEN=1 rewrites it, read the diff like code"
    );
}

#[test]
fn edges_start_and_end_where_the_lifecycle_says() {
    let edges = edges();
    let of = |resource: Resource, from: &str, to: &str| {
        edges.iter().any(|edge: &Edge| edge.resource == resource && edge.from == from && edge.to == to)
    };
    let rows = [
        (Resource::Volume, "", "creating", true),
        (Resource::Volume, "creating", "available", true),
        (Resource::Volume, "deleting", "", true),
        (Resource::Volume, "errorDeleting", "available", true),
        (Resource::Volume, "deleting", "available", false),
        (Resource::Volume, "error", "creating", true),
        (Resource::Volume, "available", "creating", false),
        (Resource::Snapshot, "errorDeleting", "available", false),
        (Resource::Snapshot, "deleted", "deleting", false),
        (Resource::Attachment, "errorAttaching", "attached", false),
        (Resource::Attachment, "errorDetaching", "detached", true),
        (Resource::Attachment, "detached", "attaching", false),
    ];
    for (resource, from, to, wanted) in rows {
        assert_eq!(of(resource, from, to), wanted, "{resource:?} {from:?} to {to:?}");
    }
}
