//! The state machine as JSON.

use super::drawing::{Arrow, Drawing};
use super::layout::{Anchor, HALF, Point};
use super::svg::{UNIT_X, UNIT_Y};
use lifecycle::{CommandKind, Edge, Resource};
use serde_json::{Value, json};

/// The version of the document's form: it moves when a field goes or means something else.
const VERSION: u32 = 1;

/// What a user can ask for, and how. Source: `openapi.rs`, whose routes a test holds these to.
struct Request {
    word: &'static str,
    method: &'static str,
    path: &'static str,
    says: &'static str,
}

const fn request(word: &'static str, method: &'static str, path: &'static str, says: &'static str) -> Request {
    Request { word, method, path, says }
}

const VOLUME: &[Request] = &[
    request("create", "POST", "/block/volumes", "makes a volume, empty or from a snapshot"),
    request("extend", "POST", "/block/volumes/{id}/resize", "grows it to a larger size; no data is lost"),
    request("attach", "POST", "/block/attachments", "exports it to one host, and tells how the host reaches it"),
    request("detach", "DELETE", "/block/attachments/{attachmentId}", "ends one export; with force=true its clients are cut off"),
    request("snapshot", "POST", "/block/snapshots", "takes a copy of one point in time"),
    request("retry", "POST", "/block/volumes/{id}/retry", "does again what failed, if it is still allowed"),
    request("recover", "POST", "/block/volumes/{id}/recover", "asks the backend what is true, and follows the evidence"),
    request("delete", "DELETE", "/block/volumes/{id}", "removes it and its data; with cascade=true its snapshots first"),
    request(
        "forget",
        "DELETE",
        "/block/volumes/{id}?forget=true",
        "drops the record of a volume in a retired pool, and leaves its data",
    ),
];

const SNAPSHOT: &[Request] = &[
    request("snapshot", "POST", "/block/snapshots", "takes a copy of one point in time"),
    request("clone", "POST", "/block/volumes", "makes a volume from it (snapshotId)"),
    request("retry", "POST", "/block/snapshots/{id}/retry", "does again what failed, if it is still allowed"),
    request("recover", "POST", "/block/snapshots/{id}/recover", "asks the backend what is true, and follows the evidence"),
    request("delete", "DELETE", "/block/snapshots/{id}", "removes the copy"),
    request(
        "forget",
        "DELETE",
        "/block/volumes/{volumeId}?forget=true",
        "drops its volume's record and its own, and leaves the data",
    ),
];

const ATTACHMENT: &[Request] = &[
    request("attach", "POST", "/block/attachments", "exports a volume to one host, and tells how the host reaches it"),
    request("detach", "DELETE", "/block/attachments/{id}", "ends the export; with force=true its clients are cut off"),
    request("retry", "POST", "/block/attachments/{id}/retry", "does again what failed, if it is still allowed"),
    request("recover", "POST", "/block/attachments/{id}/recover", "asks the exporter what is true, and follows the evidence"),
    request("delete", "DELETE", "/block/volumes/{volumeId}", "deletes its volume, which failed attachments do not hinder"),
    request(
        "forget",
        "DELETE",
        "/block/volumes/{volumeId}?forget=true",
        "drops its volume's record and its own, and leaves the data",
    ),
];

const fn requests(resource: Resource) -> &'static [Request] {
    match resource {
        Resource::Volume => VOLUME,
        Resource::Snapshot => SNAPSHOT,
        Resource::Attachment => ATTACHMENT,
    }
}

/// Whether a cause is a command: making a volume is one too, which no volume decides.
pub(super) fn is_command(cause: &str) -> bool {
    cause == "create" || CommandKind::ALL.iter().any(|kind| kind.word() == cause)
}

/// The document of these kinds of resources.
pub(super) fn document(resources: &[Resource]) -> Value {
    let of = |resource: &Resource| one(Drawing::of(*resource));
    json!({"version": VERSION, "resources": resources.iter().map(of).collect::<Vec<_>>()})
}

fn one(drawing: &Drawing) -> Value {
    let layout = drawing.layout;
    let statuses = drawing.statuses.iter().map(|status| {
        let at = layout.boxes.iter().find(|(word, _)| *word == status.word).map_or(layout.start, |(_, at)| *at);
        json!({"word": status.word, "class": status.class.word(), "promise": status.promise.replace('`', ""), "column": grid(at.x), "row": grid(at.y)})
    });
    let drawn = drawing.arrows.iter().flat_map(|arrow| arrow.edges.iter().map(move |edge| transition(edge, Some(arrow))));
    let left_out = drawing.left_out.iter().map(|edge| transition(edge, None));
    let commands = requests(layout.resource)
        .iter()
        .map(|Request { word, method, path, says }| json!({"word": word, "method": method, "path": path, "says": says}));
    json!({
        "kind": layout.resource.word(),
        "statuses": statuses.collect::<Vec<_>>(),
        "transitions": drawn.chain(left_out).collect::<Vec<_>>(),
        "commands": commands.collect::<Vec<_>>(),
        "layout": {
            "from": point(layout.from),
            "to": point(layout.to),
            "start": point(layout.start),
            "end": point(layout.end),
            "box": [grid(2 * HALF.x), grid(2 * HALF.y)],
            "unit": [UNIT_X * 100.0, UNIT_Y * 100.0],
        },
    })
}

fn transition(edge: &Edge, arrow: Option<&Arrow>) -> Value {
    let commands: Vec<_> = edge.causes.iter().filter(|cause| is_command(cause)).collect();
    let drawn = match arrow {
        None => "no",
        Some(Arrow { from: None, .. }) => "stub",
        Some(Arrow { from: Some(_), .. }) => "line",
    };
    let path: Vec<_> = arrow.map_or(&[][..], |arrow| arrow.path).iter().map(|at| point(*at)).collect();
    let mut shown = json!({
        "from": edge.from, "to": edge.to, "causes": edge.causes, "commands": commands, "drawn": drawn, "path": path,
    });
    if let Some(arrow) = arrow {
        let anchor = match arrow.label.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        shown["label"] = json!({"text": arrow.label.text(), "at": point(arrow.label.at), "anchor": anchor});
    }
    shown
}

fn point(at: Point) -> Value {
    json!([grid(at.x), grid(at.y)])
}

fn grid(hundredths: i32) -> f64 {
    f64::from(hundredths) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::table;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_is_a_described_operation_and_every_cause_that_is_one_is_listed() {
        let document = crate::openapi();
        for resource in Resource::ALL {
            for Request { word, method, path, .. } in requests(*resource) {
                let path = path.split('?').next().unwrap().replace("{attachmentId}", "{id}").replace("{volumeId}", "{id}");
                let operation = &document["paths"][format!("/v1beta/{{tenant}}{path}")][method.to_lowercase()];
                assert!(operation.is_object(), "{word}: there is no {method} {path}");
            }
            let edges = table::kept_edges();
            let causes = edges.iter().filter(|edge| edge.resource == *resource).flat_map(|edge| &edge.causes);
            let listed: BTreeSet<_> = requests(*resource).iter().map(|request| request.word).collect();
            for cause in causes.filter(|cause| is_command(cause)) {
                assert!(listed.contains(cause.as_str()), "{cause} of a {resource:?} is not told");
            }
            assert!(listed.iter().all(|word| is_command(word)), "{listed:?}");
        }
    }
}
