//! The API document: `/openapi.json`, OpenAPI 3.1.
//!
//! One table of operations; the bodies' schemas are in [`schemas`]. Tests hold it to the routes and to every body that they see:
//! a route, a status code or a field that is not here fails them.

mod events;
mod schemas;

use crate::caller::TENANT_PATTERN;
use crate::query::filters;
use engine::store::Kind;
use serde_json::{Map, Value, json};

/// One operation of the API.
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// What may stand in the query, besides filters.
    query: &'static [&'static str],
    /// What is read from the request's headers.
    headers: &'static [&'static str],
    /// The schema of the request's body.
    body: &'static str,
    /// Codes of success with the schema of their body; no schema for an empty body.
    answers: &'static [(u16, &'static str)],
    /// Codes of errors.
    errors: &'static [u16],
}

const PAGE: &[&str] = &["limit", "offset", "marker", "sortKey", "sortDir"];
const PLAIN_PAGE: &[&str] = &["limit", "offset", "sortKey", "sortDir"];
const WAIT: &[&str] = &["waitFor", "timeout"];
const JOURNAL: &[&str] = &["since", "limit"];
const MACHINE: &[&str] = &["format", "resource", "state"];
const NONE: &[&str] = &[];
const ONCE: &[&str] = &["Idempotency-Key"];
const MATCH: &[&str] = &["If-Match"];
const NEWER: &[&str] = &["If-None-Match"];

/// Errors of reading, of making, and of changing.
const READ: &[u16] = &[400, 404, 503];
const ADMIN: &[u16] = &[400, 403, 503];
const LIST: &[u16] = &[400, 422, 503];
const MAKE: &[u16] = &[400, 409, 413, 422, 503];
const REGISTER: &[u16] = &[400, 403, 409, 413, 503];
const CHANGE: &[u16] = &[400, 403, 404, 409, 412, 413, 503];
const END: &[u16] = &[400, 403, 404, 409, 412, 503];
/// Errors of every request.
const ALWAYS: &[u16] = &[414];
/// Errors of every request with a body.
const WITH_BODY: &[u16] = &[415];
/// The error of a stream that cannot go on where it was.
const NO_PLACE: &[u16] = &[410];
/// The error of a method that is not served: it belongs to no operation, and stands in the document once.
const NO_METHOD: &[u16] = &[405];

const fn read(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    schema: &'static [(u16, &'static str)],
) -> Operation {
    Operation { method: "get", path, summary, query, headers: NEWER, body: "", answers: schema, errors: READ }
}

const fn list(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    schema: &'static [(u16, &'static str)],
) -> Operation {
    Operation { method: "get", path, summary, query, headers: NONE, body: "", answers: schema, errors: LIST }
}

const fn make(path: &'static str, summary: &'static str, body: &'static str, schema: &'static [(u16, &'static str)]) -> Operation {
    Operation { method: "post", path, summary, query: NONE, headers: ONCE, body, answers: schema, errors: MAKE }
}

const fn register(
    path: &'static str,
    summary: &'static str,
    body: &'static str,
    schema: &'static [(u16, &'static str)],
) -> Operation {
    Operation { method: "post", path, summary, query: NONE, headers: NONE, body, answers: schema, errors: REGISTER }
}

const fn ask(path: &'static str, summary: &'static str, body: &'static str, schema: &'static [(u16, &'static str)]) -> Operation {
    Operation { method: "post", path, summary, query: NONE, headers: MATCH, body, answers: schema, errors: CHANGE }
}

const fn change(
    path: &'static str,
    summary: &'static str,
    body: &'static str,
    schema: &'static [(u16, &'static str)],
) -> Operation {
    Operation { method: "put", path, summary, query: NONE, headers: MATCH, body, answers: schema, errors: CHANGE }
}

const fn end(
    path: &'static str,
    summary: &'static str,
    query: &'static [&'static str],
    code: &'static [(u16, &'static str)],
) -> Operation {
    Operation { method: "delete", path, summary, query, headers: MATCH, body: "", answers: code, errors: END }
}

const fn admin(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    answers: &'static [(u16, &'static str)],
) -> Operation {
    Operation { method, path, summary, query: NONE, headers: NONE, body: "", answers, errors: ADMIN }
}

const GONE: &[(u16, &str)] = &[(200, "")];

/// Routes below the tenant are written without `/v1beta/{tenant}`, the others begin with `//`.
const OPERATIONS: &[Operation] = &[
    read("//", "The versions of the API", NONE, &[(200, "Versions")]),
    read("//{version}", "One version of the API", NONE, &[(200, "Version")]),
    read("//livez", "Whether the process lives", NONE, &[(200, "")]),
    read("//readyz", "Whether the store answers and recovery has been started", NONE, &[(200, "Ready")]),
    read("//version", "The release of the server", NONE, &[(200, "Release")]),
    read("//openapi.json", "This document", NONE, &[(200, "Document")]),
    read("//docs", "This document as a page that people read", NONE, &[(200, "Page"), (304, "")]),
    read("//docs/style.css", "How that page looks", NONE, &[(200, "Style"), (304, "")]),
    read("//v1beta/statemachine", "What every status promises, and what leads where", MACHINE, &[(200, "StateMachine"), (304, "")]),
    list("/block/volumes", "Volumes; any field filters", PAGE, &[(200, "Volumes")]),
    make("/block/volumes", "Create a volume, also from a snapshot", "NewVolume", &[(202, "Volume")]),
    read("/block/volumes/{id}", "One volume; waits for a status if asked", WAIT, &[(200, "VolumeOrGone"), (304, "")]),
    change("/block/volumes/{id}", "Change what a volume is called", "Relabel", &[(200, "Volume")]),
    end("/block/volumes/{id}", "Delete a volume", &["cascade", "forget"], &[(202, "Volume")]),
    ask("/block/volumes/{id}/resize", "Grow a volume", "Resize", &[(202, "Volume")]),
    ask("/block/volumes/{id}/retry", "Do again what failed", "", &[(202, "Volume")]),
    ask("/block/volumes/{id}/recover", "Ask the backend and follow the evidence", "", &[(202, "Volume")]),
    read("/block/volumes/{id}/journal", "What happened to a volume, also to one that is gone", JOURNAL, &[(200, "Journal")]),
    list("/block/snapshots", "Snapshots; any field filters", PAGE, &[(200, "Snapshots")]),
    make("/block/snapshots", "Take a snapshot", "NewSnapshot", &[(202, "Snapshot")]),
    read("/block/snapshots/{id}", "One snapshot; waits for a status if asked", WAIT, &[(200, "SnapshotOrGone"), (304, "")]),
    change("/block/snapshots/{id}", "Change what a snapshot is called", "Relabel", &[(200, "Snapshot")]),
    end("/block/snapshots/{id}", "Delete a snapshot", NONE, &[(202, "Snapshot")]),
    ask("/block/snapshots/{id}/retry", "Do again what failed", "", &[(202, "Snapshot")]),
    ask("/block/snapshots/{id}/recover", "Ask the backend and follow the evidence", "", &[(202, "Snapshot")]),
    read("/block/snapshots/{id}/journal", "What happened to a snapshot", JOURNAL, &[(200, "Journal")]),
    list("/block/attachments", "Attachments; any field filters", PAGE, &[(200, "Attachments")]),
    make("/block/attachments", "Export a volume to a host", "NewAttachment", &[(202, "Attachment")]),
    read("/block/attachments/{id}", "One attachment; waits for a status if asked", WAIT, &[(200, "AttachmentOrGone"), (304, "")]),
    change("/block/attachments/{id}", "Change the mount point and metadata", "Relabel", &[(200, "Attachment")]),
    end("/block/attachments/{id}", "Detach; by force if asked", &["force"], &[(202, "Attachment")]),
    ask("/block/attachments/{id}/retry", "Do again what failed", "", &[(202, "Attachment")]),
    ask("/block/attachments/{id}/recover", "Ask the exporter and follow the evidence", "", &[(202, "Attachment")]),
    read("/block/attachments/{id}/journal", "What happened to an attachment", JOURNAL, &[(200, "Journal")]),
    list("/block/replications", "None: replication is not supported", NONE, &[(200, "Nothing")]),
    list("/block/volumeGroups", "None: groups are not supported", NONE, &[(200, "Nothing")]),
    list("/host/hosts", "Hosts; any field filters", PAGE, &[(200, "Hosts")]),
    register("/host/hosts", "Make a host known", "NewHost", &[(200, "Host")]),
    read("/host/hosts/{id}", "One host", NONE, &[(200, "Host"), (304, "")]),
    change("/host/hosts/{id}", "Change a host", "HostChange", &[(200, "Host")]),
    end("/host/hosts/{id}", "Forget a host that nothing is attached to", NONE, GONE),
    list("/profiles", "Profiles; any field filters", PAGE, &[(200, "Profiles")]),
    register("/profiles", "Make a profile", "NewProfile", &[(200, "Profile")]),
    read("/profiles/{id}", "One profile", NONE, &[(200, "Profile"), (304, "")]),
    change("/profiles/{id}", "Change a profile", "ProfileChange", &[(200, "Profile")]),
    end("/profiles/{id}", "Delete a profile that nothing uses", NONE, GONE),
    read("/profiles/{id}/customProperties", "A profile's custom properties", NONE, &[(200, "Custom")]),
    ask("/profiles/{id}/customProperties", "Add or change custom properties", "Custom", &[(200, "Custom")]),
    end("/profiles/{id}/customProperties/{key}", "Remove a custom property", NONE, GONE),
    list("/pools", "Pools, as the configuration names them", PLAIN_PAGE, &[(200, "Pools")]),
    read("/pools/{id}", "One pool", NONE, &[(200, "Pool")]),
    end("/pools/{id}/objects/{name}", "Remove an object of a pool that no record names", NONE, GONE),
    admin("get", "/doctor", "What records, backends and exporters disagree on", &[(200, "Diagnosis")]),
    admin("post", "/doctor/look", "Look at everything now; 202 if that takes long", &[(200, "Diagnosis"), (202, "Diagnosis")]),
    list("/docks", "Docks: one a pool", PLAIN_PAGE, &[(200, "Docks")]),
    read("/docks/{id}", "One dock", NONE, &[(200, "Dock")]),
    list("/availabilityZones", "The pools' availability zones", NONE, &[(200, "Zones")]),
];

/// What holds of all operations.
const ABOUT: &str = "Every error is a JSON body of schema `Error` under the request's id. A method that a path does not serve is \
    405 with `Allow`. What is no HTTP request at all (400), has too many or too long headers (431) or an address of more than \
    64 KiB (414) is refused below the API, with no body.";

/// The document.
#[must_use]
pub fn openapi() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = match operation.path.strip_prefix("//") {
            Some(rest) => format!("/{rest}"),
            None => format!("/v1beta/{{tenant}}{}", operation.path),
        };
        let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
        item[operation.method] = described(operation, &path);
    }
    paths.insert("/v1beta/{tenant}/block/events".into(), events::path());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Berth",
            "summary": "Block storage whose statuses are always true: OpenSDS v1beta and what stands beside it.",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas::all(), "responses": errors()},
    })
}

/// The answers that tell of errors, by their codes.
fn errors() -> Value {
    let codes = [READ, LIST, MAKE, REGISTER, CHANGE, END, ALWAYS, WITH_BODY, NO_METHOD, NO_PLACE].concat();
    Value::Object(codes.into_iter().map(|code| (code.to_string(), answer(code, "Error"))).collect())
}

fn described(operation: &Operation, path: &str) -> Value {
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let text = json!({"type": "string"});
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "description": about(name), "schema": in_path_as(name)}))
        .collect();
    let in_query = |name: &&str| json!({"name": name, "in": "query", "description": about(name), "schema": query(name)});
    parameters.extend(operation.query.iter().map(in_query));
    if waits(operation) {
        parameters.extend(WAIT.iter().map(in_query));
    }
    if has_dry_run(operation) {
        parameters.push(in_query(&"dryRun"));
    }
    parameters.extend(listed(operation).into_iter().map(
        |name| json!({"name": name, "in": "query", "description": "only those with this value; several are alternatives", "schema": text}),
    ));
    let headers = operation.headers.iter().chain(&["X-Request-Id"]);
    parameters.extend(
        headers.map(|name| json!({"name": name, "in": "header", "description": about(name), "schema": {"type": "string"}})),
    );
    let mut responses = Map::new();
    for (code, schema) in operation.answers {
        responses.insert(code.to_string(), success(*code, schema, operation));
    }
    if has_dry_run(operation) {
        let done = responses.remove("200");
        responses.insert("200".into(), rehearsed(done));
    }
    let with_body = WITH_BODY.iter().filter(|_| !operation.body.is_empty());
    for code in operation.errors.iter().chain(ALWAYS).chain(with_body) {
        responses.insert(code.to_string(), json!({"$ref": format!("#/components/responses/{code}")}));
    }
    let mut described = json!({"summary": operation.summary, "parameters": parameters, "responses": responses});
    if !operation.body.is_empty() {
        described["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": reference(operation.body)}}});
    }
    described
}

/// Whether nothing but an answer comes of an operation with `dryRun`.
fn has_dry_run(operation: &Operation) -> bool {
    operation.method != "get" && operation.path != "/doctor/look"
}

/// Whether the answer to a change can wait for what comes of it.
fn waits(operation: &Operation) -> bool {
    operation.method != "get" && operation.path.starts_with("/block/") && operation.answers.iter().any(|(code, _)| *code == 202)
}

/// What a dry run answers, beside what the real request does with the same code.
fn rehearsed(done: Option<Value>) -> Value {
    let dry = reference("DryRun");
    match done {
        None => answer(200, "DryRun"),
        // A code whose answer has a body at times and at times has none cannot be told as either.
        Some(mut answer) if answer.get("content").is_none() => {
            answer["description"] = ONLY_DRY.into();
            answer
        }
        Some(mut answer) => {
            let schema = &mut answer["content"]["application/json"]["schema"];
            *schema = json!({"anyOf": [schema.take(), dry]});
            answer
        }
    }
}

/// What a success means that has a body only where nothing was done.
const ONLY_DRY: &str = "done; a body, of schema `DryRun`, only with `dryRun`";

fn answer(code: u16, schema: &str) -> Value {
    let mut answer = json!({"description": meaning(code), "headers": {"X-Request-Id": header(about("X-Request-Id"))}});
    match code {
        503 => answer["headers"]["Retry-After"] = header("seconds after which to ask again"),
        405 => answer["headers"]["Allow"] = header("the methods that are served there"),
        _ => {}
    }
    if !schema.is_empty() && !TEXTS.contains(&schema) {
        answer["content"] = json!({"application/json": {"schema": reference(schema)}});
    }
    for (_, kind) in OTHER_TYPES.iter().filter(|(of, _)| *of == schema) {
        answer["content"][*kind] = json!({"schema": {"type": "string"}});
    }
    answer
}

/// The bodies that come with a tag; a resource that is gone has none.
const TAGGED: &[&str] =
    &["Volume", "VolumeOrGone", "Snapshot", "SnapshotOrGone", "Attachment", "AttachmentOrGone", "Host", "Profile"];

/// The bodies that are answered in other types than JSON.
const OTHER_TYPES: &[(&str, &str)] =
    &[("StateMachine", "image/svg+xml"), ("StateMachine", "text/vnd.mermaid"), ("Page", "text/html"), ("Style", "text/css")];
/// Those that are never JSON: they have no schema.
const TEXTS: &[&str] = &["Page", "Style"];
/// Those that are the same until the next release: their tag is of what they say.
const KEPT: &[&str] = &["StateMachine", "Page", "Style"];

/// The keys that filter a list.
fn listed(operation: &Operation) -> Vec<&'static str> {
    match operation.answers {
        [(_, "Volumes")] => filters(Kind::Volume),
        [(_, "Snapshots")] => filters(Kind::Snapshot),
        [(_, "Attachments")] => filters(Kind::Attachment),
        [(_, "Hosts")] => filters(Kind::Host),
        [(_, "Profiles")] => filters(Kind::Profile),
        [(_, "Pools")] => vec!["id", "name", "status", "availabilityZone", "dockId"],
        [(_, "Docks")] => vec!["id", "name", "status", "driverName"],
        _ => Vec::new(),
    }
}

/// What a success tells in its headers besides what every answer does.
fn success(code: u16, schema: &str, operation: &Operation) -> Value {
    let mut answer = if waits(operation) && code == 202 { waited(schema, operation) } else { answer(code, schema) };
    if operation.query == WAIT && code == 200 {
        answer["headers"]["X-Wait"] = header("`reached` or `timeout`, if a status was waited for");
    }
    if operation.answers.iter().any(|(_, body)| KEPT.contains(body)) {
        answer["headers"]["ETag"] = header("names what is answered: for If-None-Match");
    } else if code == 304 || TAGGED.contains(&schema) {
        answer["headers"]["ETag"] = header("the resource's revision: for If-Match and If-None-Match");
    }
    if operation.method == "post" && !operation.path.contains('{') {
        answer["headers"]["Location"] = header("where what was made is found");
    }
    answer
}

/// An acceptance whose answer may have waited for what came of it: the resource may be gone by then.
fn waited(schema: &str, operation: &Operation) -> Value {
    let told = format!("{schema}OrGone");
    let mut answer = match operation.method {
        // Its code has a body at times.
        "delete" => {
            let mut answer = answer(202, "");
            answer["description"] = format!("{}; a body, of schema `{told}`, only with `waitFor`", meaning(202)).into();
            answer
        }
        _ => answer(202, &told),
    };
    answer["headers"]["X-Wait"] = header("`reached`, `timeout` or `gone`, if a status was waited for");
    answer
}

fn header(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "string"}})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

const fn meaning(code: u16) -> &'static str {
    match code {
        200 => "done",
        202 => "accepted: durable, and being done",
        304 => "not changed since",
        400 => "malformed, or refers to what does not exist; the message names it",
        403 => "for administrators",
        404 => "there is no such resource for this tenant",
        409 => "not allowed now; the message tells what stands in the way, `allowed` what can be done",
        410 => "the journal is not whole any more behind that place",
        412 => "changed since the revision in If-Match",
        405 => "there is no such method there",
        413 => "the body is too large",
        414 => "the path and the query are too long",
        415 => "the body is of another type than JSON",
        422 => "the idempotency key was used for another request, or the list would look at too much",
        _ => "the store or the backend cannot answer now",
    }
}

/// What a parameter means.
fn about(name: &str) -> &'static str {
    match name {
        "tenant" => "the tenant's id; the default one is the administrator",
        "id" => "the resource's id",
        "key" => "the property's name",
        "version" => "`v1beta`",
        "limit" => "how many at most",
        "offset" => "how many to leave out first, at most 10,000; beyond that use `marker`",
        "marker" => "go on behind the resource with this id",
        "sortKey" => "the field to sort by",
        "sortDir" => "`asc` or `desc`",
        "waitFor" => "answer when the status is one of these, separated by commas or given several times",
        "timeout" => {
            "how long to wait at most, in seconds, from the beginning of the request; 30 by default, and more than 60 are 60"
        }
        "since" => "only entries of later revisions",
        "cascade" => "delete its snapshots first",
        "forget" => "drop the record of a volume in a retired pool and leave its data",
        "force" => "cut clients off",
        "format" => "as what it is shown; `json` is the default",
        "resource" => "of which kind of resource; all are the default, of a picture or a text `volume`",
        "state" => "the status that is lit in the picture",
        "dryRun" => "change nothing: answer 200 with what would be, or the error that the real request would get",
        "Idempotency-Key" => "a request with the same key and body is done once",
        "If-Match" => "only if the resource still has this revision",
        "If-None-Match" => "304 if the resource still has this revision",
        _ => "names the request in the log and the journal; made up if it is not given, and always answered",
    }
}

fn in_path_as(name: &str) -> Value {
    match name {
        "tenant" => json!({"type": "string", "pattern": TENANT_PATTERN}),
        _ => json!({"type": "string"}),
    }
}

fn query(name: &str) -> Value {
    match name {
        "limit" | "offset" | "timeout" | "since" => json!({"type": "integer", "minimum": 0}),
        "cascade" | "forget" | "force" | "dryRun" => json!({"type": "boolean"}),
        "sortDir" => json!({"enum": ["asc", "desc"]}),
        "format" => json!({"enum": crate::machine::FORMATS}),
        "resource" => json!({"enum": lifecycle::Resource::ALL.iter().map(|resource| resource.word()).collect::<Vec<_>>()}),
        _ => json!({"type": "string"}),
    }
}
