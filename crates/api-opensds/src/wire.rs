//! Bodies out: the one conversion from records to OpenSDS' JSON, with the additive fields.
//!
//! OpenSDS leaves zero values out, but for `id`, `createdAt`, `updatedAt`, a volume's `AttachStatus`, and a few more; so do we.
//! Statuses are spelled here and nowhere else. Times are UTC with a `Z`. Source: OpenSDS wire page, sections 1, 3 and 4.

use crate::health::{self, Health};
use crate::{Api, AttachmentWords};
use engine::ports::Client;
use engine::records::{About, HostRecord, Metadata, ProfileRecord, VolumeRecord};
use engine::requests::PoolNow;
use engine::store::JournalEntry;
use lifecycle::{
    AttachmentId, AttachmentStatus, Bytes, CommandKind, HostId, Mode, OperationKind, PoolId, ProfileId, ReasonCode, Resource,
    SnapshotId, SnapshotPhase, Subject, Timestamp, VolumeId, VolumePhase,
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use std::fmt::{self, Display};
use uuid::Uuid;

/// The nested groups of a profile, always objects in answers.
pub(crate) const PROFILE_GROUPS: &[&str] =
    &["provisioningProperties", "replicationProperties", "snapshotProperties", "dataProtectionProperties"];

pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}

fn updated(about: &About) -> String {
    about.updated_at.map(time).unwrap_or_default()
}

/// What is written as it displays itself, such as an id or a time.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[expect(clippy::ref_option, reason = "serde asks so")]
fn or_empty<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_str(""),
    }
}

fn words<S: Serializer>(kinds: &[CommandKind], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(kinds.iter().map(|kind| kind.word()))
}

/// Why a status is what it is.
#[derive(Serialize)]
struct Reason<'a> {
    code: &'static str,
    message: &'a str,
    since: Text<Timestamp>,
}

/// What runs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    kind: &'static str,
    started_at: Text<Timestamp>,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<Text<Timestamp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Text<Timestamp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
}

/// What every resource with a status shows besides it. Source: lifecycle page, "What each resource shows besides its status".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Truth<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status_reason: Option<Reason<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<Operation>,
    #[serde(serialize_with = "words")]
    allowed: Vec<CommandKind>,
    revision: u64,
    health: Health,
}

/// A volume.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Volume<'a> {
    id: Text<VolumeId>,
    created_at: Text<Timestamp>,
    #[serde(serialize_with = "or_empty")]
    updated_at: Option<Timestamp>,
    tenant_id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    size_bytes: u64,
    availability_zone: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_id: Option<Text<PoolId>>,
    profile_id: Text<ProfileId>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_id: Option<Text<SnapshotId>>,
    #[serde(rename = "AttachStatus")]
    attach_status: &'static str,
    #[serde(skip_serializing_if = "is_false")]
    multi_attach: bool,
    #[serde(flatten)]
    truth: Truth<'a>,
}

/// A snapshot.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot<'a> {
    id: Text<SnapshotId>,
    created_at: Text<Timestamp>,
    #[serde(serialize_with = "or_empty")]
    updated_at: Option<Timestamp>,
    tenant_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    profile_id: Text<ProfileId>,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    status: &'static str,
    volume_id: Text<VolumeId>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    #[serde(flatten)]
    truth: Truth<'a>,
}

/// An attachment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attachment<'a> {
    id: Text<AttachmentId>,
    created_at: Text<Timestamp>,
    #[serde(serialize_with = "or_empty")]
    updated_at: Option<Timestamp>,
    tenant_id: &'a str,
    host_id: Text<HostId>,
    volume_id: Text<VolumeId>,
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mountpoint: &'a str,
    attach_mode: &'static str,
    access_protocol: &'a str,
    connection_info: Value,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Vec<ConnectedClient>>,
    /// The volume's, beside what its clients were told it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(flatten)]
    truth: Truth<'a>,
}

/// A client that is connected to an export.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectedClient {
    address: String,
    identity: String,
    since: Text<Timestamp>,
    last_seen: Text<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes_seen: Option<u64>,
    bytes_read: u64,
    bytes_written: u64,
    in_flight: u64,
}

impl From<Client> for ConnectedClient {
    fn from(client: Client) -> Self {
        Self {
            address: client.address,
            identity: client.identity,
            since: Text(client.since),
            last_seen: Text(client.last_seen),
            size_bytes_seen: client.size_seen.map(|size| size.0),
            bytes_read: client.bytes_read,
            bytes_written: client.bytes_written,
            in_flight: client.in_flight,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// What tells a body from an earlier one of the same resource: its revision, and whether its backend is unreachable, which comes and
/// goes without one.
pub(crate) struct Tag {
    revision: u64,
    doubt: Option<&'static str>,
}

impl Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.revision)?;
        self.doubt.map_or(Ok(()), |code| write!(f, "-{code}"))
    }
}

impl Truth<'_> {
    const fn tag(&self) -> Tag {
        Tag { revision: self.revision, doubt: self.health.code() }
    }
}

impl Volume<'_> {
    /// The tag of this body.
    pub(crate) const fn tag(&self) -> Tag {
        self.truth.tag()
    }
}

impl Snapshot<'_> {
    /// The tag of this body.
    pub(crate) const fn tag(&self) -> Tag {
        self.truth.tag()
    }
}

impl Attachment<'_> {
    /// The tag of this body.
    pub(crate) const fn tag(&self) -> Tag {
        self.truth.tag()
    }
}

impl Api {
    /// A volume as the wire shows it.
    pub(crate) fn volume<'a>(&self, record: &'a VolumeRecord) -> Volume<'a> {
        let state = &record.state;
        let subject = Subject::Volume(state.id());
        let placed = !matches!(state.phase(), VolumePhase::Creating(_));
        Volume {
            id: Text(state.id()),
            created_at: Text(record.about.created_at),
            updated_at: record.about.updated_at,
            tenant_id: &record.tenant,
            name: &record.about.name,
            description: &record.about.description,
            size: state.size().gib(),
            size_bytes: state.size().0,
            availability_zone: &record.zone,
            status: state.word(subject),
            pool_id: placed.then_some(Text(record.pool)),
            profile_id: Text(record.profile),
            metadata: &record.about.metadata,
            snapshot_id: state.source().map(|source| Text(source.snapshot)),
            attach_status: "",
            multi_attach: state.multi_attach(),
            truth: self.truth(record, subject, record.about.revision),
        }
    }

    /// A snapshot of the aggregate as the wire shows it; none if it is not in it.
    pub(crate) fn snapshot<'a>(&self, record: &'a VolumeRecord, id: SnapshotId) -> Option<Snapshot<'a>> {
        let (state, held) = (record.state.snapshots().get(&id)?, record.snapshots.get(&id)?);
        let subject = Subject::Snapshot(id);
        // OpenSDS shows no size until the snapshot is there.
        let sized = !matches!(state.phase, SnapshotPhase::Creating(_));
        Some(Snapshot {
            id: Text(id),
            created_at: Text(held.about.created_at),
            updated_at: held.about.updated_at,
            tenant_id: &record.tenant,
            name: &held.about.name,
            description: &held.about.description,
            profile_id: Text(held.profile),
            size: if sized { state.size.gib() } else { 0 },
            status: record.state.word(subject),
            volume_id: Text(record.state.id()),
            metadata: &held.about.metadata,
            truth: self.truth(record, subject, held.about.revision),
        })
    }

    /// An attachment of the aggregate as the wire shows it; none if it is not in it.
    pub(crate) fn attachment<'a>(
        &self,
        record: &'a VolumeRecord,
        id: AttachmentId,
        clients: Option<Vec<Client>>,
    ) -> Option<Attachment<'a>> {
        let (state, held) = (record.state.attachments().get(&id)?, record.attachments.get(&id)?);
        let subject = Subject::Attachment(id);
        let detaching = state.operation().is_some_and(|operation| operation.kind == OperationKind::Detach);
        let connection = state.connection();
        let clients = clients.filter(|_| connection.is_some());
        let shown = connection.map_or_else(|| json!({}), |held| json!({"driverVolumeType": held.protocol, "data": held.data}));
        Some(Attachment {
            id: Text(id),
            created_at: Text(held.about.created_at),
            updated_at: held.about.updated_at,
            tenant_id: &record.tenant,
            host_id: Text(state.host),
            volume_id: Text(record.state.id()),
            status: self.attachment_word(state.status(), detaching),
            mountpoint: &held.mountpoint,
            attach_mode: if state.mode == Mode::ReadOnly { "ro" } else { "rw" },
            access_protocol: &held.protocol,
            connection_info: shown,
            metadata: &held.about.metadata,
            size_bytes: clients.as_ref().map(|_| record.state.size().0),
            clients: clients.map(|clients| clients.into_iter().map(Into::into).collect()),
            truth: self.truth(record, subject, held.about.revision),
        })
    }

    /// Source: lifecycle page, "Words on the wire".
    pub(crate) fn attachment_word(&self, status: AttachmentStatus, detaching: bool) -> &'static str {
        match (self.settings.attachment_words, status) {
            (AttachmentWords::Seed, status) => status.word(),
            (AttachmentWords::Legacy, _) if detaching => "deleting",
            (AttachmentWords::Legacy, AttachmentStatus::Attached) => "available",
            (AttachmentWords::Legacy, AttachmentStatus::Attaching) => "creating",
            (AttachmentWords::Legacy, AttachmentStatus::Detached) => "deleted",
            (AttachmentWords::Legacy, AttachmentStatus::ErrorAttaching) => "error",
            (AttachmentWords::Legacy, AttachmentStatus::ErrorDetaching) => "errorDeleting",
        }
    }

    fn truth<'a>(&self, record: &'a VolumeRecord, subject: Subject, revision: u64) -> Truth<'a> {
        let state = &record.state;
        let reason = state.reason(subject);
        Truth {
            status_reason: reason.map(|held| Reason {
                code: reason_code(held.code),
                message: &held.message,
                since: Text(held.since),
            }),
            operation: state.operation(subject).map(|running| self.operation(subject, running)),
            allowed: state.allowed(subject, &self.engine.context(record.pool)),
            revision,
            health: self.health(record, subject, reason.map(|held| held.code)),
        }
    }

    fn operation(&self, subject: Subject, running: lifecycle::Operation) -> Operation {
        let live = self.engine.live(subject).unwrap_or_default();
        Operation {
            kind: running.kind.word(),
            started_at: Text(running.since),
            attempt: live.attempt,
            next_try_at: live.next_try.map(Text),
            deadline: live.deadline.map(Text),
            progress: live.progress,
            waiting_for: live.waiting_for,
            last_error: live.last_error,
        }
    }
}

/// The legacy words of attachments that the seed's words do not have.
pub(crate) const LEGACY_WORDS: [&str; 5] = ["available", "creating", "deleting", "error", "errorDeleting"];

/// The seed's word of the status that a legacy word stands for; no status has the empty word.
pub(crate) fn seed_word(legacy: &str) -> &'static str {
    match legacy {
        // A running detach reads `attached` in the seed's words.
        "available" | "deleting" => AttachmentStatus::Attached.word(),
        "creating" => AttachmentStatus::Attaching.word(),
        "error" => AttachmentStatus::ErrorAttaching.word(),
        "errorDeleting" => AttachmentStatus::ErrorDetaching.word(),
        _ => "",
    }
}

/// The codes of reasons on the wire.
pub(crate) const fn reason_code(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::Refused => "refused",
        ReasonCode::OutcomeUnknown => "outcomeUnknown",
        ReasonCode::ProvenPresent => "provenPresent",
        ReasonCode::ProvenAbsent => "provenAbsent",
        ReasonCode::BackendMissing => "backendMissing",
        ReasonCode::BackendDamaged => "backendDamaged",
        ReasonCode::SizeDiffers => "sizeDiffers",
        ReasonCode::LeftoversRemain => "leftoversRemain",
        ReasonCode::StrayClient => "strayClient",
        ReasonCode::ClientsConnected => "clientsConnected",
        ReasonCode::NotExported => "notExported",
        ReasonCode::SnapshotRemains => "snapshotRemains",
    }
}

/// A host. Its password is never shown, as it is never kept.
pub(crate) fn host(host: &HostRecord) -> Value {
    let mut body = base(&host.id.to_string(), &host.about);
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("tenantId", json!(host.tenant));
    set("hostName", json!(host.about.name));
    set("ip", json!(host.ip));
    set("accessMode", json!(host.access_mode));
    set("osType", json!(host.os_type));
    set("availabilityZones", json!(host.zones));
    let initiators = host.initiators.as_ref().map(|list| {
        let one = |held: &engine::records::Initiator| json!({"portName": held.port_name, "protocol": held.protocol});
        list.iter().map(one).collect::<Vec<_>>()
    });
    set("initiators", json!(initiators));
    if let Some(port) = host.port {
        set("port", json!(port));
    }
    if !host.username.is_empty() {
        set("username", json!(host.username));
    }
    Value::Object(body)
}

/// A profile. The nested groups are always there, with what OpenSDS shows in empty ones.
pub(crate) fn profile(profile: &ProfileRecord) -> Value {
    let mut body = base(&profile.id.to_string(), &profile.about);
    let mut set = |key: &str, value: Value| drop(body.insert(key.to_owned(), value));
    set("name", json!(profile.about.name));
    if !profile.about.description.is_empty() {
        set("description", json!(profile.about.description));
    }
    set("storageType", json!(profile.storage_type));
    for group in PROFILE_GROUPS {
        let kept = profile.properties.get(*group).and_then(|text| serde_json::from_str(text).ok());
        set(group, kept.unwrap_or_else(|| empty_group(group)));
    }
    if !profile.custom.is_empty() {
        set("customProperties", custom(profile));
    }
    Value::Object(body)
}

fn empty_group(group: &str) -> Value {
    match group {
        "provisioningProperties" => json!({"dataStorage": {"compression": false, "deduplication": false}, "ioConnectivity": {}}),
        "replicationProperties" => json!({"dataProtection": {"isIsolated": false}}),
        "snapshotProperties" => json!({"schedule": {}, "retention": {}, "topology": {}}),
        _ => json!({"dataProtection": {"isIsolated": false}}),
    }
}

/// A profile's custom properties.
pub(crate) fn custom(profile: &ProfileRecord) -> Value {
    let one = |(key, text): (&String, &String)| (key.clone(), serde_json::from_str(text).unwrap_or(Value::Null));
    Value::Object(profile.custom.iter().map(one).collect())
}

fn base(id: &str, about: &About) -> Map<String, Value> {
    let fields = [("id", id.to_owned()), ("createdAt", time(about.created_at)), ("updatedAt", updated(about))];
    fields.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect()
}

/// A pool.
pub(crate) fn pool(pool: &PoolNow) -> Value {
    let gib = |size: Bytes| size.gib();
    let (total, free) = pool.capacity.map_or((0, 0), |capacity| (gib(capacity.total), gib(capacity.free)));
    json!({
        "id": pool.id.to_string(),
        "createdAt": time(pool.created_at),
        "updatedAt": "",
        "name": pool.name,
        "description": pool.description,
        "status": health::status(pool, !pool.retired),
        "availability": health::availability(pool),
        "whenDown": pool.when_down.word(),
        "dockId": dock_id(pool.id.0).to_string(),
        "availabilityZone": pool.zone,
        "totalCapacity": total,
        "freeCapacity": free,
        "consumedCapacity": total.saturating_sub(free),
        "reservedBytes": pool.reserved.0,
        "reservableBytes": pool.reservable.map(|size| size.0),
        "retired": pool.retired,
        "multiAttach": true,
        "storageType": "block",
        "extras": {
            "dataStorage": {"compression": false, "deduplication": false, "provisioningPolicy": "Thin"},
            "ioConnectivity": {"accessProtocol": pool.protocols.join(",")},
            "dataProtection": {"isIsolated": false},
            "advanced": {},
        },
    })
}

/// The dock of a pool: OpenSDS' place where a driver runs. Here each pool has one, in this very process.
pub(crate) fn dock(pool: &PoolNow) -> Value {
    json!({
        "id": dock_id(pool.id.0).to_string(),
        "createdAt": time(pool.created_at),
        "updatedAt": "",
        "type": "provisioner",
        "name": pool.name,
        "description": pool.description,
        "status": health::status(pool, true),
        "storageType": "block",
        "endpoint": "",
        "nodeId": "",
        "driverName": pool.driver,
    })
}

/// The id of a pool's dock: the pool's own with its last bits flipped, so that both are fixed and differ.
pub(crate) const fn dock_id(pool: Uuid) -> Uuid {
    Uuid::from_u128(pool.as_u128() ^ 0xd0c4)
}

/// One journal entry.
pub(crate) fn journal(entry: &JournalEntry) -> Value {
    let reason = entry.reason.as_ref();
    json!({
        "revision": entry.mark.revision,
        "at": time(entry.at),
        "kind": Resource::of(entry.subject).word(),
        "id": entry.subject.id().to_string(),
        "volumeId": entry.volume.to_string(),
        "from": entry.from,
        "to": entry.to,
        "cause": entry.cause,
        "actor": entry.actor,
        "requestId": entry.request_id,
        "ended": entry.ended.map(|ended| json!({"operation": ended.operation.word(), "how": ended.how.word(), "durationMs": ended.took_ms})),
        "reason": reason.map(|held| json!({"code": reason_code(held.code), "message": held.message, "since": time(held.since)})),
    })
}
