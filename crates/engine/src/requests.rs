//! What callers ask of the engine, and why it may refuse: the vocabulary that every API adapter speaks to it.

use crate::admission::WhenDown;
use crate::reach::Reach;
use crate::records::VolumeRecord;
use crate::records::{Initiator, Metadata, TenantId};
use crate::store::{Idempotent, Versioned};
use lifecycle::{
    AttachmentId, Bytes, HostId, Mode, PoolId, ProfileId, Rejection, Resource, SnapshotId, Subject, Timestamp, VolumeId,
};
use std::collections::BTreeMap;

/// Who asks, and with which conditions.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The tenant that owns what is made, and whose resources are seen.
    pub tenant: TenantId,
    /// Sees and changes every tenant's resources, hosts, profiles and pools.
    pub is_admin: bool,
    /// Who it is, for the journal.
    pub actor: String,
    /// The request, for the journal and the log.
    pub request_id: String,
    /// The idempotency key of the request with the hash of its method, path and body.
    pub idempotency: Option<(String, [u8; 32])>,
    /// The revision the resource must have (`If-Match`).
    pub if_match: Option<u64>,
    /// Only wants to know what would come of it: the request is decided as for real, and nothing is committed. What is answered is
    /// the record as it would be.
    pub dry_run: bool,
}

/// A volume to be created. The adapter has checked names and sizes; the engine checks what they refer to.
#[derive(Clone, Debug)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Free words.
    pub metadata: Metadata,
    /// Its size in bytes, more than 0.
    pub size: Bytes,
    /// The availability zone; empty for the default.
    pub zone: String,
    /// The profile; none for the one named `default_block`.
    pub profile: Option<ProfileId>,
    /// The pool; none for any that fits.
    pub pool: Option<PoolId>,
    /// The snapshot it is made from.
    pub source: Option<SnapshotId>,
    /// Whether it may have more than one live attachment.
    pub multi_attach: bool,
}

/// A snapshot to be taken.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// Of which volume.
    pub volume: VolumeId,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Free words, merged over the volume's.
    pub metadata: Metadata,
    /// Its profile; none for the volume's.
    pub profile: Option<ProfileId>,
}

/// An attachment to be made.
#[derive(Clone, Debug)]
pub struct NewAttachment {
    /// Of which volume.
    pub volume: VolumeId,
    /// To which host.
    pub host: HostId,
    /// Whether it may write.
    pub mode: Mode,
    /// Where the host says it will mount it.
    pub mountpoint: String,
    /// The protocol; none for the one that the profile of the volume asks for, else `nbd`.
    pub protocol: Option<String>,
    /// Free words.
    pub metadata: Metadata,
}

/// A host to be made, or the fields of one to be changed (`None` keeps the old value).
#[derive(Clone, Debug, Default)]
pub struct HostFields {
    /// Its name.
    pub name: Option<String>,
    /// Its IP address as text.
    pub ip: Option<String>,
    /// The port of its agent.
    pub port: Option<u16>,
    /// `agent` or `agentless`.
    pub access_mode: Option<String>,
    /// `linux`, `windows` or `esxi`.
    pub os_type: Option<String>,
    /// The user to log in as.
    pub username: Option<String>,
    /// The availability zones it can reach.
    pub zones: Option<Vec<String>>,
    /// Its initiators.
    pub initiators: Option<Vec<Initiator>>,
}

/// A profile to be made, or the fields of one to be changed (`None` keeps the old value).
#[derive(Clone, Debug, Default)]
pub struct ProfileFields {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// `block`, `file` or `object`.
    pub storage_type: Option<String>,
    /// The wire's nested property groups, each JSON as text.
    pub properties: Option<BTreeMap<String, String>>,
    /// Custom properties to set, each JSON as text; those not named stay.
    pub custom: Option<BTreeMap<String, String>>,
    /// Custom properties to remove.
    pub remove_custom: Vec<String>,
}

/// Names and free words of a resource to be changed (`None` keeps the old value).
#[derive(Clone, Debug, Default)]
pub struct Relabel {
    /// Its name.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Free words to set; those not named stay.
    pub metadata: Option<Metadata>,
    /// Of an attachment: where the host says it mounted it.
    pub mountpoint: Option<String>,
}

/// A volume's aggregate as it is after a request, with the part that the request was about.
pub type VolumeNow = Versioned<VolumeRecord>;

/// Why a request was not done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such resource, or it is another tenant's.
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Its id as asked for.
        id: String,
    },
    /// The body refers to something that does not exist or does not fit.
    #[error("{0}")]
    BadReference(String),
    /// The lifecycle does not allow it now.
    #[error("{0}")]
    NotAllowed(Box<Rejection>),
    /// Something else stands in the way now: a name that is taken, a host in use, a full pool.
    #[error("{0}")]
    Conflict(String),
    /// Only an administrator may.
    #[error("{0} is for administrators")]
    Forbidden(&'static str),
    /// `If-Match` named another revision.
    #[error("the resource is at revision {0}, not the one given in If-Match; read it again")]
    Changed(u64),
    /// The idempotency key was used for another request.
    #[error("this Idempotency-Key was used for another request; use a new key")]
    KeyReused,
    /// The same request, by its idempotency key, was done before and made this.
    #[error("done before")]
    Repeated(Idempotent),
    /// A list would look at too many records.
    #[error("{0}")]
    TooBroad(String),
    /// The pool's backend does not answer, and it takes no new work meanwhile.
    #[error(
        "pool {pool} takes no new work now: its backend is unreachable since {since} ({because}); ask again when it is back, or ask \
         for it in another pool"
    )]
    PoolDown {
        /// Which pool.
        pool: String,
        /// Since when its backend does not answer.
        since: Timestamp,
        /// What the last probe met, in words.
        because: String,
    },
    /// The store or a backend cannot answer now. Whether the request was done is told by reading.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// There is no such volume, snapshot or attachment, as far as who asks may know.
    #[must_use]
    pub fn missing(subject: Subject) -> Self {
        Self::NotFound { kind: Resource::of(subject).word(), id: subject.id().to_string() }
    }
}

/// What is known in memory of a running operation; gone after a restart, and never journalled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Which try this is, from 1; 0 before the first.
    pub attempt: u32,
    /// When it is tried again, if that is a matter of time alone.
    pub next_try: Option<Timestamp>,
    /// When the operation ends if nothing moves.
    pub deadline: Option<Timestamp>,
    /// How far the driver is, in percent.
    pub progress: Option<u8>,
    /// Whom it waits for, in words.
    pub waiting_for: Option<String>,
    /// The last try's error, in words.
    pub last_error: Option<String>,
}

/// Why something could not be looked at, so that what is known of it may be out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub message: String,
}

/// What a pool looks like now: its record, its configuration, and what its backend told last.
#[derive(Clone, Debug)]
pub struct PoolNow {
    /// Its id.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its availability zone.
    pub zone: String,
    /// The driver's name.
    pub driver: &'static str,
    /// When its record was made.
    pub created_at: Timestamp,
    /// What the backend could hold, in bytes; none if it does not answer.
    pub capacity: Option<crate::ports::Capacity>,
    /// What volumes and snapshots may come to use, in bytes.
    pub reserved: Bytes,
    /// Up to how much may be reserved, in bytes.
    pub reservable: Option<Bytes>,
    /// Whether it is marked retired.
    pub retired: bool,
    /// Whether its backend answers.
    pub reach: Reach,
    /// What is done with new work while it does not.
    pub when_down: WhenDown,
    /// The protocols its volumes can be attached by.
    pub protocols: Vec<String>,
}

/// Names a new snapshot or attachment inside the aggregate it was made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// An attachment.
    Attachment(AttachmentId),
}
