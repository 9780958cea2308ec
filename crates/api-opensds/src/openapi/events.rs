//! The stream of events in the document: its parameters are its own, and its body has no end.

use super::{ALWAYS, about, header, in_path_as, reference};
use crate::events::{KINDS, PARAMETERS};
use serde_json::{Map, Value, json};

/// What stands at the path of the stream.
pub(super) fn path() -> Value {
    let mut parameters = vec![json!({
        "name": "tenant", "in": "path", "required": true, "description": about("tenant"), "schema": in_path_as("tenant"),
    })];
    parameters
        .extend(PARAMETERS.map(|name| json!({"name": name, "in": "query", "description": meaning(name), "schema": schema(name)})));
    let last = "the id of the last event seen: go on behind it; wins over `since`";
    for (name, meaning) in [("Last-Event-ID", last), ("X-Request-Id", about("X-Request-Id"))] {
        parameters.push(json!({"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}));
    }
    let mut responses = Map::new();
    responses.insert("200".into(), stream());
    for code in [400, 404, 410, 503].iter().chain(ALWAYS) {
        responses.insert(code.to_string(), json!({"$ref": format!("#/components/responses/{code}")}));
    }
    json!({"get": {
        "summary": "What is, and then every change, as it happens",
        "description": ABOUT,
        "parameters": parameters,
        "responses": responses,
    }})
}

const ABOUT: &str = "A stream without an end: server-sent events, or one JSON object a line with the same fields and `event` and \
    `eventId` besides, if `Accept` names `application/x-ndjson`. First what is (`snapshot`, one each; left out when going on behind an id), \
    then `synced`, then `change` for every change. An id is a place in the journal: coming back with the last one seen misses nothing and \
    repeats nothing. Of one resource the revisions strictly increase and the latest always arrives; `coalescedFrom` tells the first \
    revision of those that were passed over. `progress` tells of an operation under way, at most twice a second. Hosts and pools \
    are told at every beginning and when they change, without ids. `bookmark` every 15 s tells up to where everything was told; \
    `resync`: forget what you know, what is follows; `end`: the server stops, come back.";

fn stream() -> Value {
    json!({
        "description": "events, without an end",
        "headers": {"X-Request-Id": header(about("X-Request-Id"))},
        "content": {
            "text/event-stream": {"schema": {"type": "string"}},
            "application/x-ndjson": {"schema": reference("Event")},
        },
    })
}

fn meaning(name: &str) -> &'static str {
    match name {
        "kind" => "only of these kinds, separated by commas",
        "id" => "only these resources, and the snapshots and attachments of these volumes, separated by commas",
        "status" => "only what has, or just left, one of these statuses, separated by commas",
        "host" => "only attachments to this host",
        "since" => "go on behind this event or this revision instead of beginning with what is; `now` begins with what comes",
        "onGap" => "where the journal is not whole any more behind the place: begin with what is, or answer 410",
        _ => "every transition, none passed over",
    }
}

fn schema(name: &str) -> Value {
    match name {
        "kind" => json!({"type": "string", "examples": KINDS}),
        "onGap" => json!({"enum": ["snapshot", "error"]}),
        "all" => json!({"type": "boolean"}),
        _ => json!({"type": "string"}),
    }
}
