//! The schemas of bodies. What is not in `properties` is not sent: the schemas are closed.

use crate::health::{AVAILABILITY_WORDS, DOUBTS, HEALTH_WORDS};
use engine::WhenDown;
use engine::doctor::FindingKind;
use engine::store::Ending;
use lifecycle::{AttachmentStatus, CommandKind, OperationKind, ReasonCode, SnapshotStatus, VolumeStatus};
use serde_json::{Map, Value, json};

/// Every schema by its name.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for part in [resources(), requests(), catalogue(), doctor(), machine(), system()] {
        let Value::Object(part) = part else { continue };
        all.extend(part);
    }
    for (list, item) in LISTS {
        all.insert((*list).into(), json!({"type": "array", "items": {"$ref": format!("#/components/schemas/{item}")}}));
    }
    Value::Object(all)
}

const LISTS: &[(&str, &str)] = &[
    ("Versions", "Version"),
    ("Volumes", "Volume"),
    ("Snapshots", "Snapshot"),
    ("Attachments", "Attachment"),
    ("Hosts", "Host"),
    ("Profiles", "Profile"),
    ("Pools", "Pool"),
    ("Docks", "Dock"),
    ("Journal", "JournalEntry"),
];

/// An object of these properties; those whose name ends in `?` may be absent.
fn object(properties: &[(&str, Value)]) -> Value {
    let required: Vec<_> = properties.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?')).collect();
    let all: Map<_, _> = properties.iter().map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone())).collect();
    json!({"type": "object", "properties": all, "required": required, "additionalProperties": false})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn id() -> Value {
    json!({"type": "string", "format": "uuid"})
}

fn time() -> Value {
    json!({"type": "string", "description": "RFC 3339, UTC; empty for never"})
}

fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn gib() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 8_589_934_591_u64, "description": "GiB"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

fn words() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": crate::body::METADATA_MAX})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9 _-]*$"})
}

/// What every resource with a status shows besides it.
fn truth() -> Vec<(&'static str, Value)> {
    vec![
        ("statusReason?", reference("Reason")),
        ("operation?", reference("Operation")),
        ("allowed", commands()),
        ("revision", number()),
        (
            "health",
            object(&[
                ("state", one_of(&HEALTH_WORDS)),
                ("checkedAt?", time()),
                ("code?", one_of(&DOUBTS)),
                ("since?", time()),
                ("message?", text()),
            ]),
        ),
        ("id", id()),
        ("createdAt", time()),
        ("updatedAt", time()),
        ("tenantId", text()),
        // Unbounded: each change sets some words, and those not named stay.
        ("metadata?", json!({"type": "object", "additionalProperties": {"type": "string"}})),
    ]
}

fn reasons() -> Value {
    one_of(&words_of(ReasonCode::ALL, crate::wire::reason_code))
}

fn operations() -> Value {
    one_of(&words_of(OperationKind::ALL, OperationKind::word))
}

fn commands() -> Value {
    json!({"type": "array", "items": one_of(&words_of(CommandKind::ALL, CommandKind::word))})
}

fn with_truth(own: Vec<(&'static str, Value)>) -> Value {
    object(&[own, truth()].concat())
}

fn resources() -> Value {
    let volume = words_of(VolumeStatus::ALL, |status| status.word());
    let snapshot = words_of(SnapshotStatus::ALL, |status| status.word());
    let attachment = words_of(AttachmentStatus::ALL, |status| status.word());
    let all_attachment = [attachment.as_slice(), &crate::wire::LEGACY_WORDS].concat();
    let endings = one_of(&words_of(Ending::ALL, Ending::word));
    let gone = object(&[("id", id()), ("status", one_of(&["deleted", "detached"]))]);
    let or_gone = |name: &str| json!({"anyOf": [reference(name), reference("Gone")]});
    json!({
        "Volume": with_truth(vec![
            ("name", name()), ("description?", text()), ("size?", gib()), ("sizeBytes", number()), ("availabilityZone", text()),
            ("status", one_of(&volume)), ("poolId?", id()), ("profileId", id()), ("snapshotId?", id()), ("AttachStatus", text()),
            ("multiAttach?", flag()),
        ]),
        "Snapshot": with_truth(vec![
            ("name?", name()), ("description?", text()), ("size?", gib()), ("status", one_of(&snapshot)), ("profileId", id()),
            ("volumeId", id()),
        ]),
        "Attachment": with_truth(vec![
            ("hostId", id()), ("volumeId", id()), ("status", one_of(&all_attachment)),
            ("mountpoint?", text()), ("attachMode", one_of(&["ro", "rw"])), ("accessProtocol", text()),
            ("connectionInfo", json!({"type": "object", "properties": {"driverVolumeType": text(), "data": {"type": "object"}}})),
            ("sizeBytes?", number()), ("clients?", json!({"type": "array", "items": reference("Client")})),
        ]),
        "Client": object(&[
            ("address", text()), ("identity", text()), ("since", time()), ("lastSeen", time()),
            ("sizeBytesSeen?", json!({"type": "integer", "minimum": 0, "description": "what it was told when it connected"})),
            ("bytesRead", number()), ("bytesWritten", number()), ("inFlight", number()),
        ]),
        "Reason": object(&[("code", reasons()), ("message", text()), ("since", time())]),
        "Operation": object(&[
            ("kind", operations()), ("startedAt", time()), ("attempt", number()), ("nextTryAt?", time()), ("deadline?", time()), ("progress?", number()),
            ("waitingFor?", text()), ("lastError?", text()),
        ]),
        "Gone": gone,
        "DryRun": object(&[
            ("dryRun", json!({"type": "boolean", "enum": [true]})),
            ("status?", json!({"type": "string", "description": "what its status would be; absent of what has none"})),
            ("object", json!({"type": ["object", "null"], "description": "what it would be, without an id if it is new; null for gone"})),
        ]),
        "VolumeOrGone": or_gone("Volume"),
        "SnapshotOrGone": or_gone("Snapshot"),
        "AttachmentOrGone": or_gone("Attachment"),
        "Event": json!({
            "type": "object",
            "required": ["event"],
            "properties": {
                "event": one_of(&["snapshot", "synced", "change", "progress", "bookmark", "resync", "end"]),
                "eventId": json!({"type": "string", "description": "for Last-Event-ID; of synced, change and bookmark"}),
                "kind": one_of(&crate::events::KINDS), "id": id(), "revision": number(),
                "coalescedFrom": number(), "object": json!({"type": ["object", "null"]}), "deleted": json!({"const": true}),
                "transition": reference("JournalEntry"), "operation": reference("Operation"), "reason": text(),
            },
        }),
        "JournalEntry": object(&[
            ("revision", number()), ("at", time()), ("kind", one_of(&["volume", "snapshot", "attachment"])), ("id", id()),
            ("volumeId", id()), ("from", or_null(text())), ("to", or_null(text())), ("cause", text()), ("actor", text()), ("requestId", text()),
            ("ended", or_null(object(&[("operation", operations()), ("how", endings), ("durationMs", or_null(number()))]))),
            ("reason", json!({"anyOf": [reference("Reason"), {"type": "null"}]})),
        ]),
    })
}

/// Bodies of requests. Other fields are ignored, as OpenSDS does, so these schemas are open.
fn requests() -> Value {
    let open = |properties: &[(&str, Value)]| {
        let mut schema = object(properties);
        schema["additionalProperties"] = json!(true);
        schema
    };
    let custom = json!({"type": "object"});
    let host = |required: bool| {
        let end = if required { "" } else { "?" };
        let names = ["hostName", "ip", "accessMode", "osType"].map(|field| format!("{field}{end}"));
        let schemas = [
            text(),
            json!({"type": "string", "format": "ipv4"}),
            one_of(&["agent", "agentless"]),
            one_of(&["linux", "windows", "esxi"]),
        ];
        let mut all: Vec<_> = names.iter().map(String::as_str).zip(schemas).collect();
        all.extend([
            ("port?", json!({"type": "integer", "minimum": 1, "maximum": 65535})),
            ("username?", text()),
            ("password?", json!({"type": "string", "description": "accepted and never kept"})),
            ("availabilityZones?", or_null(json!({"type": "array", "items": text()}))),
            ("initiators?", or_null(json!({"type": "array", "items": object(&[("portName", text()), ("protocol", text())])}))),
        ]);
        open(&all)
    };
    let profile = |end: &str| {
        let names = [format!("name{end}"), format!("storageType{end}")];
        let mut all =
            vec![(names[0].as_str(), name()), (names[1].as_str(), one_of(&["block", "file", "object"])), ("description?", text())];
        let groups = ["provisioningProperties?", "replicationProperties?", "snapshotProperties?", "dataProtectionProperties?"];
        all.extend(groups.map(|group| (group, json!({"type": "object"}))));
        all.push(("customProperties?", custom.clone()));
        open(&all)
    };
    json!({
        "NewVolume": open(&[
            ("name", name()), ("size", gib()), ("description?", text()), ("availabilityZone?", text()), ("profileId?", id()), ("poolId?", id()),
            ("snapshotId?", id()), ("multiAttach?", flag()), ("metadata?", words()),
        ]),
        "NewSnapshot": open(&[("volumeId", id()), ("name?", name()), ("description?", text()), ("profileId?", id()), ("metadata?", words())]),
        "NewAttachment": open(&[
            ("volumeId", id()), ("hostId", id()), ("attachMode?", one_of(&["ro", "rw"])), ("mountpoint?", text()),
            ("accessProtocol?", text()), ("metadata?", words()),
        ]),
        "Relabel": open(&[("name?", name()), ("description?", text()), ("mountpoint?", text()), ("metadata?", words())]),
        "Resize": open(&[("newSize", gib())]),
        "NewHost": host(true),
        "HostChange": host(false),
        "NewProfile": profile(""),
        "ProfileChange": profile("?"),
        "Custom": custom,
    })
}

fn catalogue() -> Value {
    let base = || vec![("id", id()), ("createdAt", time()), ("updatedAt", time())];
    let any = || json!({"type": "object"});
    let status = || one_of(&["available", "unavailable"]);
    json!({
        "Host": object(&[base(), vec![
            ("tenantId", text()), ("hostName", text()), ("ip", text()), ("accessMode", text()), ("osType", text()),
            ("availabilityZones", or_null(json!({"type": "array", "items": text()}))),
            ("initiators", or_null(json!({"type": "array", "items": object(&[("portName", text()), ("protocol", text())])}))),
            ("port?", number()), ("username?", text()),
        ]].concat()),
        "Profile": object(&[base(), vec![
            ("name", text()), ("description?", text()), ("storageType", text()), ("provisioningProperties", any()),
            ("replicationProperties", any()), ("snapshotProperties", any()), ("dataProtectionProperties", any()), ("customProperties?", any()),
        ]].concat()),
        "Pool": object(&[base(), vec![
            ("name", text()), ("description", text()), ("status", status()), ("availability", reference("Availability")),
            ("whenDown", one_of(&[WhenDown::Refuse.word(), WhenDown::Queue.word()])), ("dockId", id()), ("availabilityZone", text()),
            ("totalCapacity", number()), ("freeCapacity", number()), ("consumedCapacity", number()), ("reservedBytes", number()),
            ("reservableBytes", or_null(number())), ("retired", flag()), ("multiAttach", flag()), ("storageType", text()), ("extras", any()),
        ]].concat()),
        "Availability": object(&[("state", one_of(&AVAILABILITY_WORDS)), ("since?", time()), ("message?", text())]),
        "Dock": object(&[base(), vec![
            ("type", text()), ("name", text()), ("description", text()), ("status", status()), ("storageType", text()), ("endpoint", text()),
            ("nodeId", text()), ("driverName", text()),
        ]].concat()),
        "Zones": {"type": "array", "items": text()},
        "Nothing": {"type": "array", "maxItems": 0},
    })
}

fn doctor() -> Value {
    let unseen = object(&[("since", time()), ("message", text())]);
    let resource =
        object(&[("kind", one_of(&["volume", "snapshot", "attachment"])), ("id", id()), ("tenantId", text()), ("status", text())]);
    let object_of = object(&[("poolId", id()), ("name", text())]);
    let kinds = [
        FindingKind::Status(ReasonCode::Refused),
        FindingKind::UnknownObject,
        FindingKind::UnknownExport,
        FindingKind::Unseen,
        FindingKind::PoolUnseen,
        FindingKind::PoolUnconfigured,
        FindingKind::RecordsDamaged,
        FindingKind::PoolDown,
        FindingKind::ExporterSilent,
        FindingKind::Struggling,
    ];
    let kinds: Vec<_> = kinds.into_iter().map(FindingKind::word).collect();
    json!({
        "PoolLook": object(&[("id", id()), ("name", text()), ("volumes", number()), ("lookedAt?", time()), ("trouble?", unseen)]),
        "Finding": object(&[
            ("kind", one_of(&kinds)), ("code?", reasons()), ("since?", time()), ("message", text()), ("means", text()),
            ("mend", json!({"type": "array", "items": text()})), ("resource?", resource), ("object?", object_of), ("poolId?", id()),
            ("exporter?", text()), ("attachments?", json!({"type": "array", "items": id()})),
        ]),
        "Diagnosis": object(&[
            ("pools", json!({"type": "array", "items": reference("PoolLook")})),
            ("findings", json!({"type": "array", "items": reference("Finding")})),
            ("more", number()),
            ("looking?", json!({"type": "boolean", "description": "the look that was asked for goes on: this is as of those before"})),
        ]),
    })
}

/// The state machine. A position is a column and a row, in which the centres of boxes are whole numbers.
fn machine() -> Value {
    let place = json!({"type": "array", "items": {"type": "number"}, "description": "column and row"});
    let list = |of: Value| json!({"type": "array", "items": of});
    let label = object(&[("text", text()), ("at", place.clone()), ("anchor", one_of(&["start", "middle", "end"]))]);
    let spots = ["from", "to", "start", "end", "box", "unit"].map(|name| (name, place.clone()));
    json!({
        "StateMachine": object(&[("version", number()), ("resources", list(reference("Machine")))]),
        "Machine": object(&[
            ("kind", text()), ("statuses", list(reference("MachineStatus"))), ("transitions", list(reference("MachineTransition"))),
            ("commands", list(reference("MachineCommand"))), ("layout", object(&spots)),
        ]),
        "MachineStatus": object(&[
            ("word", text()), ("class", one_of(&["stable", "transient", "error", "final"])), ("promise", text()),
            ("column", json!({"type": "number"})), ("row", json!({"type": "number"})),
        ]),
        "MachineTransition": object(&[
            ("from", text()), ("to", text()), ("causes", list(text())), ("commands", list(text())),
            ("drawn", one_of(&["line", "stub", "no"])), ("path", list(place)), ("label?", label),
        ]),
        "MachineCommand": object(&[("word", text()), ("method", text()), ("path", text()), ("says", text())]),
    })
}

fn system() -> Value {
    json!({
        "Version": object(&[("name", text()), ("description", text()), ("status", text()), ("updatedAt", text())]),
        "Release": object(&[("name", text()), ("version", text())]),
        "Ready": object(&[("ready", flag())]),
        "Document": {"type": "object"},
        "Error": object(&[
            ("code", number()), ("message", text()), ("type", text()), ("status", number()), ("resourceStatus?", text()),
            ("allowed?", commands()), ("requestId", text()),
        ]),
    })
}

fn words_of<S: Copy>(all: &[S], word: impl Fn(S) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|status| word(*status)).collect()
}
