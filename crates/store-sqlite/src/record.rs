//! The stored form of the records: one row each, columns for what is looked for, and a body of JSON for the rest. Version 1.
//!
//! Not here: SQL (`apply`, `read`, `list`), and the forms of phases and reasons (`form`). Invariants:
//! - a value is in a column or in the body, never in both, except what is computed from the state (status, owes work, has parts);
//! - a body says its version as `"v"`; a body of a version that is not known is an error, an unknown field is ignored;
//! - decoding what was encoded gives the same record, and the golden files in `testdata` stay readable.

use crate::form::{AttachmentPhaseForm, ModeForm, ReasonForm, SeenForm, SnapshotPhaseForm, VolumePhaseForm};
use engine::records::{
    About, AttachmentAbout, HostRecord, Initiator, Metadata, PoolRecord, ProfileRecord, SnapshotAbout, VolumeRecord,
};
use lifecycle::{
    Attachment, AttachmentId, Bytes, HostId, PoolId, ProfileId, Snapshot, SnapshotId, Source, Timestamp, Volume, VolumeId,
    VolumeParts,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The version of the bodies that this release writes, and the only one there is yet.
const BODY_VERSION: u32 = 1;

/// What a body that does not say its version is taken for: none that is known.
const BODY_VERSION_NONE: u32 = 0;

/// What a volume row's status says once the volume is gone. Such a row is never committed by the engine; the word is for completeness.
const STATUS_GONE: &str = "gone";

/// A row of table `volumes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VolumeRow {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) pool: Uuid,
    pub(crate) profile: Uuid,
    pub(crate) source: Option<Uuid>,
    pub(crate) created: i64,
    pub(crate) owes: bool,
    pub(crate) version: u64,
    pub(crate) revision: u64,
    pub(crate) body: String,
    /// Whether rows of table `snapshots` are of this volume. While this is false there are none.
    pub(crate) has_snapshots: bool,
    /// As [`has_snapshots`](Self::has_snapshots), of table `attachments`.
    pub(crate) has_attachments: bool,
}

/// A row of table `snapshots`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotRow {
    pub(crate) id: Uuid,
    pub(crate) volume: Uuid,
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) profile: Uuid,
    pub(crate) created: i64,
    pub(crate) revision: u64,
    pub(crate) body: String,
}

/// A row of table `attachments`. Attachments have no name of their own: should one ever be given, it is in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttachmentRow {
    pub(crate) id: Uuid,
    pub(crate) volume: Uuid,
    pub(crate) tenant: String,
    pub(crate) status: String,
    pub(crate) host: Uuid,
    pub(crate) created: i64,
    pub(crate) revision: u64,
    pub(crate) body: String,
}

/// A row of tables `hosts`, `profiles` and `pools`; only hosts have a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtherRow {
    pub(crate) id: Uuid,
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) created: i64,
    pub(crate) version: u64,
    pub(crate) body: String,
}

/// A decoded snapshot: its id, the rules' side, and what it is called.
pub(crate) type SnapshotPart = (SnapshotId, Snapshot, SnapshotAbout);

/// A decoded attachment: its id, the rules' side, and what it is called.
pub(crate) type AttachmentPart = (AttachmentId, Attachment, AttachmentAbout);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeBody {
    #[serde(default)]
    v: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    zone: String,
    size: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    multi_attach: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_volume: Option<String>,
    phase: VolumePhaseForm,
    since: i64,
    #[serde(default, skip_serializing_if = "SeenForm::is_unknown")]
    seen: SeenForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stranger: Option<ReasonForm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recover: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SnapshotBody {
    #[serde(default)]
    v: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
    size: u64,
    phase: SnapshotPhaseForm,
    since: i64,
    #[serde(default, skip_serializing_if = "SeenForm::is_unknown")]
    seen: SeenForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recover: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pins: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentBody {
    #[serde(default)]
    v: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    mountpoint: String,
    protocol: String,
    mode: ModeForm,
    phase: AttachmentPhaseForm,
    since: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostBody {
    #[serde(default)]
    v: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
    ip: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    access_mode: String,
    os_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zones: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initiators: Option<Vec<InitiatorForm>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitiatorForm {
    port_name: String,
    protocol: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileBody {
    #[serde(default)]
    v: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
    storage_type: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    custom: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PoolBody {
    #[serde(default)]
    v: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The JSON of a body.
pub(crate) fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("bodies have text keys and no failing parts")
}

/// Reads a body, after looking at its version: a newer body may not even have the same fields.
///
/// Errors: what is wrong with it, in words.
pub(crate) fn from_json<T: DeserializeOwned>(body: &str) -> Result<T, String> {
    #[derive(Deserialize)]
    struct VersionOnly {
        #[serde(default)]
        v: u32,
    }
    let explain = |error: serde_json::Error| match serde_json::from_str::<VersionOnly>(body) {
        Ok(VersionOnly { v }) if v > BODY_VERSION => newer(v),
        Ok(_) | Err(_) => format!("its body is not what this release writes: {error}"),
    };
    serde_json::from_str(body).map_err(explain)
}

fn newer(version: u32) -> String {
    format!("its body is of version {version}, and this release reads version {BODY_VERSION}; use the release that wrote it")
}

/// Checks the version of a body that could be read.
pub(crate) fn check_version(version: u32) -> Result<(), String> {
    match version {
        BODY_VERSION => Ok(()),
        BODY_VERSION_NONE => Err("its body does not say its version".to_owned()),
        other => Err(newer(other)),
    }
}

/// Parses the hyphenated id that a body holds.
fn parse_id(text: &str) -> Result<Uuid, String> {
    Uuid::try_parse(text).map_err(|error| format!("it holds `{text}`, which is no id: {error}"))
}

impl VolumeRow {
    /// The row of a volume, without its snapshots and attachments. `version` and `revision` are left at 0 for the commit to set.
    pub(crate) fn encode(record: &VolumeRecord) -> Self {
        let status = record.state.status().map_or(STATUS_GONE, lifecycle::VolumeStatus::word).to_owned();
        let source = record.state.source();
        let (seen, seen_at) = record.state.seen();
        // The open parts are taken from a copy without the children: those have rows of their own.
        let parts = record.state.clone().into_parts();
        let body = VolumeBody {
            v: BODY_VERSION,
            description: record.about.description.clone(),
            metadata: record.about.metadata.clone(),
            updated_at: record.about.updated_at.map(|at| at.0),
            zone: record.zone.clone(),
            size: parts.size.0,
            multi_attach: parts.multi_attach,
            source_volume: source.map(|source| source.volume.to_string()),
            phase: parts.phase.into(),
            since: parts.since.0,
            seen: seen.into(),
            seen_at: seen_at.map(|at| at.0),
            stranger: parts.stranger.map(Into::into),
            recover: parts.recover.map(|since| since.0),
        };
        Self {
            id: record.state.id().0,
            tenant: record.tenant.clone(),
            name: record.about.name.clone(),
            status,
            pool: record.pool.0,
            profile: record.profile.0,
            source: source.map(|source| source.snapshot.0),
            created: record.about.created_at.0,
            owes: record.state.owes_work(),
            version: 0,
            revision: 0,
            body: to_json(&body),
            has_snapshots: !record.snapshots.is_empty(),
            has_attachments: !record.attachments.is_empty(),
        }
    }

    /// The volume with these snapshots and attachments. Errors: what is wrong with the row, in words.
    pub(crate) fn decode(self, snapshots: Vec<SnapshotPart>, attachments: Vec<AttachmentPart>) -> Result<VolumeRecord, String> {
        let body: VolumeBody = from_json(&self.body)?;
        check_version(body.v)?;
        let source = stored_source(self.source, body.source_volume.as_deref())?;
        let mut record = VolumeRecord {
            state: Volume::restore(VolumeParts {
                id: VolumeId(self.id),
                multi_attach: body.multi_attach,
                size: Bytes(body.size),
                source,
                phase: body.phase.into(),
                since: Timestamp(body.since),
                seen: body.seen.into(),
                seen_at: body.seen_at.map(Timestamp),
                stranger: body.stranger.map(Into::into),
                recover: body.recover.map(Timestamp),
                attachments: attachments.iter().map(|(id, attachment, _)| (*id, attachment.clone())).collect(),
                snapshots: snapshots.iter().map(|(id, snapshot, _)| (*id, snapshot.clone())).collect(),
            }),
            tenant: self.tenant,
            about: About {
                name: self.name,
                description: body.description,
                metadata: body.metadata,
                created_at: Timestamp(self.created),
                updated_at: body.updated_at.map(Timestamp),
                revision: self.revision,
            },
            zone: body.zone,
            profile: ProfileId(self.profile),
            pool: PoolId(self.pool),
            snapshots: BTreeMap::new(),
            attachments: BTreeMap::new(),
        };
        record.snapshots.extend(snapshots.into_iter().map(|(id, _, about)| (id, about)));
        record.attachments.extend(attachments.into_iter().map(|(id, _, about)| (id, about)));
        Ok(record)
    }
}

fn stored_source(snapshot: Option<Uuid>, volume: Option<&str>) -> Result<Option<Source>, String> {
    match (snapshot, volume) {
        (None, None) => Ok(None),
        (Some(snapshot), Some(volume)) => Ok(Some(Source { volume: VolumeId(parse_id(volume)?), snapshot: SnapshotId(snapshot) })),
        (Some(_), None) | (None, Some(_)) => Err("it names a source snapshot without its volume, or the reverse".to_owned()),
    }
}

impl SnapshotRow {
    /// The row of one snapshot of a volume, or nothing if the record lacks it (or what it is called).
    pub(crate) fn encode(record: &VolumeRecord, id: SnapshotId) -> Option<Self> {
        let (snapshot, about) = (record.state.snapshots().get(&id)?, record.snapshots.get(&id)?);
        let body = SnapshotBody {
            v: BODY_VERSION,
            description: about.about.description.clone(),
            metadata: about.about.metadata.clone(),
            updated_at: about.about.updated_at.map(|at| at.0),
            size: snapshot.size.0,
            phase: snapshot.phase.clone().into(),
            since: snapshot.since.0,
            seen: snapshot.seen.into(),
            recover: snapshot.recover.map(|since| since.0),
            pins: snapshot.pins.iter().map(ToString::to_string).collect(),
        };
        Some(Self {
            id: id.0,
            volume: record.state.id().0,
            tenant: record.tenant.clone(),
            name: about.about.name.clone(),
            status: snapshot.status().word().to_owned(),
            profile: about.profile.0,
            created: about.about.created_at.0,
            revision: 0,
            body: to_json(&body),
        })
    }

    /// The snapshot. Errors: what is wrong with the row, in words.
    pub(crate) fn decode(self) -> Result<SnapshotPart, String> {
        let body: SnapshotBody = from_json(&self.body)?;
        check_version(body.v)?;
        let pins = body.pins.iter().map(|pin| parse_id(pin).map(VolumeId)).collect::<Result<_, _>>()?;
        let snapshot = Snapshot {
            size: Bytes(body.size),
            phase: body.phase.into(),
            since: Timestamp(body.since),
            seen: body.seen.into(),
            recover: body.recover.map(Timestamp),
            pins,
        };
        let about = About {
            name: self.name,
            description: body.description,
            metadata: body.metadata,
            created_at: Timestamp(self.created),
            updated_at: body.updated_at.map(Timestamp),
            revision: self.revision,
        };
        Ok((SnapshotId(self.id), snapshot, SnapshotAbout { about, profile: ProfileId(self.profile) }))
    }
}

impl AttachmentRow {
    /// The row of one attachment of a volume, or nothing if the record lacks it (or what it is called).
    pub(crate) fn encode(record: &VolumeRecord, id: AttachmentId) -> Option<Self> {
        let (attachment, about) = (record.state.attachments().get(&id)?, record.attachments.get(&id)?);
        let body = AttachmentBody {
            v: BODY_VERSION,
            name: about.about.name.clone(),
            description: about.about.description.clone(),
            metadata: about.about.metadata.clone(),
            updated_at: about.about.updated_at.map(|at| at.0),
            mountpoint: about.mountpoint.clone(),
            protocol: about.protocol.clone(),
            mode: attachment.mode.into(),
            phase: attachment.phase.clone().into(),
            since: attachment.since.0,
        };
        Some(Self {
            id: id.0,
            volume: record.state.id().0,
            tenant: record.tenant.clone(),
            status: attachment.status().word().to_owned(),
            host: attachment.host.0,
            created: about.about.created_at.0,
            revision: 0,
            body: to_json(&body),
        })
    }

    /// The attachment. Errors: what is wrong with the row, in words.
    pub(crate) fn decode(self) -> Result<AttachmentPart, String> {
        let body: AttachmentBody = from_json(&self.body)?;
        check_version(body.v)?;
        let attachment =
            Attachment { host: HostId(self.host), mode: body.mode.into(), phase: body.phase.into(), since: Timestamp(body.since) };
        let about = About {
            name: body.name,
            description: body.description,
            metadata: body.metadata,
            created_at: Timestamp(self.created),
            updated_at: body.updated_at.map(Timestamp),
            revision: self.revision,
        };
        let about = AttachmentAbout { about, mountpoint: body.mountpoint, protocol: body.protocol };
        Ok((AttachmentId(self.id), attachment, about))
    }
}

impl OtherRow {
    /// The row of a host.
    pub(crate) fn encode_host(record: &HostRecord) -> Self {
        let initiator = |form: &Initiator| InitiatorForm { port_name: form.port_name.clone(), protocol: form.protocol.clone() };
        let body = HostBody {
            v: BODY_VERSION,
            description: record.about.description.clone(),
            metadata: record.about.metadata.clone(),
            updated_at: record.about.updated_at.map(|at| at.0),
            ip: record.ip.clone(),
            port: record.port,
            access_mode: record.access_mode.clone(),
            os_type: record.os_type.clone(),
            username: record.username.clone(),
            zones: record.zones.clone(),
            initiators: record.initiators.as_ref().map(|all| all.iter().map(initiator).collect()),
        };
        Self::of(record.id.0, &record.tenant, &record.about, to_json(&body))
    }

    /// The row of a profile.
    pub(crate) fn encode_profile(record: &ProfileRecord) -> Self {
        let body = ProfileBody {
            v: BODY_VERSION,
            description: record.about.description.clone(),
            metadata: record.about.metadata.clone(),
            updated_at: record.about.updated_at.map(|at| at.0),
            storage_type: record.storage_type.clone(),
            properties: record.properties.clone(),
            custom: record.custom.clone(),
        };
        Self::of(record.id.0, "", &record.about, to_json(&body))
    }

    /// The row of a pool.
    pub(crate) fn encode_pool(record: &PoolRecord) -> Self {
        let body = PoolBody {
            v: BODY_VERSION,
            description: record.about.description.clone(),
            metadata: record.about.metadata.clone(),
            updated_at: record.about.updated_at.map(|at| at.0),
        };
        Self::of(record.id.0, "", &record.about, to_json(&body))
    }

    fn of(id: Uuid, tenant: &str, about: &About, body: String) -> Self {
        let (tenant, name) = (tenant.to_owned(), about.name.clone());
        Self { id, tenant, name, created: about.created_at.0, version: 0, body }
    }

    /// What the thing is called; its version is also the revision that last changed it.
    fn about(&self, description: String, metadata: Metadata, updated_at: Option<i64>) -> About {
        About {
            name: self.name.clone(),
            description,
            metadata,
            created_at: Timestamp(self.created),
            updated_at: updated_at.map(Timestamp),
            revision: self.version,
        }
    }

    /// The host. Errors: what is wrong with the row, in words.
    pub(crate) fn decode_host(self) -> Result<HostRecord, String> {
        let body: HostBody = from_json(&self.body)?;
        check_version(body.v)?;
        let initiator = |form: InitiatorForm| Initiator { port_name: form.port_name, protocol: form.protocol };
        Ok(HostRecord {
            id: HostId(self.id),
            about: self.about(body.description, body.metadata, body.updated_at),
            tenant: self.tenant,
            ip: body.ip,
            port: body.port,
            access_mode: body.access_mode,
            os_type: body.os_type,
            username: body.username,
            zones: body.zones,
            initiators: body.initiators.map(|all| all.into_iter().map(initiator).collect()),
        })
    }

    /// The profile. Errors: what is wrong with the row, in words.
    pub(crate) fn decode_profile(self) -> Result<ProfileRecord, String> {
        let body: ProfileBody = from_json(&self.body)?;
        check_version(body.v)?;
        Ok(ProfileRecord {
            id: ProfileId(self.id),
            about: self.about(body.description, body.metadata, body.updated_at),
            storage_type: body.storage_type,
            properties: body.properties,
            custom: body.custom,
        })
    }

    /// The pool. Errors: what is wrong with the row, in words.
    pub(crate) fn decode_pool(self) -> Result<PoolRecord, String> {
        let body: PoolBody = from_json(&self.body)?;
        check_version(body.v)?;
        Ok(PoolRecord { id: PoolId(self.id), about: self.about(body.description, body.metadata, body.updated_at) })
    }
}
