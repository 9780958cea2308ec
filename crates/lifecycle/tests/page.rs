//! The page `docs/lifecycle.md` is what the rules say today, and so are the edges that are built in.
//! `UPDATE_GOLDEN=1 cargo test -p lifecycle --test page` rewrites both.

use lifecycle::{Edge, Resource, table};
use std::path::PathBuf;

fn is_kept(path: &str, now: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, now).unwrap_or_else(|error| panic!("{path} cannot be written: {error}"));
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("{path} is there; UPDATE_GOLDEN=1 writes it"));
    let differs = kept.lines().zip(now.lines()).position(|(kept, now)| kept != now);
    assert!(kept == now, "{path} is stale (from line {differs:?}); UPDATE_GOLDEN=1 rewrites it, read the diff like code");
}

#[test]
fn the_page_and_the_edges_that_are_kept_are_what_the_rules_say() {
    let tables = table::Tables::new();
    let edges = tables.edges();
    is_kept("src/table/edges.txt", &table::edges_to_keep(&edges));
    // What is built in was read before it could be rewritten.
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        assert_eq!(table::kept_edges(), edges);
    }
    is_kept("../../docs/lifecycle.md", &tables.markdown());
}

#[test]
fn edges_start_and_end_where_the_lifecycle_says() {
    let edges = table::kept_edges();
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
