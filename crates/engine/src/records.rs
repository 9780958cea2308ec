//! The records: what is stored of each thing, beside the aggregate's own state.
//!
//! A [`VolumeRecord`] is one aggregate: the rules' [`Volume`] plus what people call things. Hosts, profiles and pools are small
//! aggregates of their own. A store keeps them in a form of its own, with one conversion each way.

use crate::store::Child;
use lifecycle::{AttachmentId, HostId, PoolId, ProfileId, SnapshotId, Subject, Timestamp, Volume, VolumeId};
use std::collections::BTreeMap;

/// A tenant: the path segment of every request, and the owner of records. Up to 255 bytes.
pub type TenantId = String;

/// Free words that a user keeps with a resource.
pub type Metadata = BTreeMap<String, String>;

/// What people call a thing, and when it was made and last changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its name, 1 to 255 characters where it has one.
    pub name: String,
    /// Its description, free text.
    pub description: String,
    /// Free words.
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a user or its status last changed it, if ever.
    pub updated_at: Option<Timestamp>,
    /// The global revision of the commit that last changed it. Set by the store.
    pub revision: u64,
}

/// A volume with its attachments and snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// The rules' side of it.
    pub state: Volume,
    /// The owner of the volume, its attachments and its snapshots.
    pub tenant: TenantId,
    /// What the volume is called.
    pub about: About,
    /// The availability zone asked for.
    pub zone: String,
    /// The profile it was made under.
    pub profile: ProfileId,
    /// The pool it lives in.
    pub pool: PoolId,
    /// What its snapshots are called, one entry for each in `state`.
    pub snapshots: BTreeMap<SnapshotId, SnapshotAbout>,
    /// What its attachments are called, one entry for each in `state`.
    pub attachments: BTreeMap<AttachmentId, AttachmentAbout>,
}

impl VolumeRecord {
    /// What is needed to tell of this snapshot, which is the same however many others the volume has; or, of no snapshot, what is needed to
    /// tell of any attachment. Of the rules' side it is [`Volume::excerpt`]; names, descriptions and metadata of the volume and of other snapshots are
    /// left out, of attachments too where it is for a snapshot.
    #[must_use]
    pub fn excerpt(&self, snapshot: Option<SnapshotId>) -> Self {
        let Self { state, tenant, about, zone, profile, pool, snapshots, attachments } = self;
        let About { created_at, updated_at, revision, .. } = *about;
        Self {
            state: state.excerpt(snapshot),
            tenant: tenant.clone(),
            about: About { created_at, updated_at, revision, ..About::default() },
            zone: zone.clone(),
            profile: *profile,
            pool: *pool,
            snapshots: snapshot.and_then(|id| Some((id, snapshots.get(&id)?.clone()))).into_iter().collect(),
            attachments: if snapshot.is_none() { attachments.clone() } else { BTreeMap::new() },
        }
    }

    /// What the resource is called, if it is there.
    #[must_use]
    pub fn about_of(&self, subject: Subject) -> Option<&About> {
        match subject {
            Subject::Volume(_) => Some(&self.about),
            Subject::Snapshot(id) => self.snapshots.get(&id).map(|held| &held.about),
            Subject::Attachment(id) => self.attachments.get(&id).map(|held| &held.about),
        }
    }

    /// The excerpt that tells of this part, if it is there.
    #[must_use]
    pub fn part(&self, child: Child) -> Option<Self> {
        match child {
            Child::Snapshot(id) => self.snapshots.contains_key(&id).then(|| self.excerpt(Some(id))),
            Child::Attachment(id) => self.attachments.contains_key(&id).then(|| self.excerpt(None)),
        }
    }
}

/// What is kept of a snapshot beside the rules' state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotAbout {
    /// What it is called.
    pub about: About,
    /// The profile it was made under.
    pub profile: ProfileId,
}

/// What is kept of an attachment beside the rules' state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentAbout {
    /// What it is called (its name is empty; OpenSDS attachments have none).
    pub about: About,
    /// Where the host says it mounted it.
    pub mountpoint: String,
    /// The protocol asked for, for example `nbd`.
    pub protocol: String,
}

/// A host that volumes are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRecord {
    /// Its id.
    pub id: HostId,
    /// Its owner.
    pub tenant: TenantId,
    /// Its name (in `about.name`, unique) and times.
    pub about: About,
    /// Its IP address as text.
    pub ip: String,
    /// The port of its agent, if it has one.
    pub port: Option<u16>,
    /// `agent` or `agentless`.
    pub access_mode: String,
    /// `linux`, `windows` or `esxi`.
    pub os_type: String,
    /// The user to log in as, if any. The password is accepted and never kept.
    pub username: String,
    /// The availability zones it can reach.
    pub zones: Option<Vec<String>>,
    /// Its initiators.
    pub initiators: Option<Vec<Initiator>>,
}

/// One initiator port of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initiator {
    /// The port's name, for example an IQN.
    pub port_name: String,
    /// Its protocol.
    pub protocol: String,
}

/// What a tenant may ask of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRecord {
    /// Its id.
    pub id: ProfileId,
    /// Its name (in `about.name`, unique), description and times.
    pub about: About,
    /// `block`, `file` or `object`.
    pub storage_type: String,
    /// The wire's nested property groups, by their wire name, each a JSON object as text. Passed through unread, but
    /// for [`ProfileRecord::access_protocol`].
    pub properties: BTreeMap<String, String>,
    /// Custom properties: each value JSON as text.
    pub custom: BTreeMap<String, String>,
}

impl ProfileRecord {
    /// The protocol that the profile asks for (`provisioningProperties.ioConnectivity.accessProtocol`), if any. What is there
    /// and no text counts as its JSON, so that whoever looks for such a protocol finds none and can tell what was asked for.
    #[must_use]
    pub fn access_protocol(&self) -> Option<String> {
        let group: serde_json::Value = serde_json::from_str(self.properties.get("provisioningProperties")?).ok()?;
        match &group["ioConnectivity"]["accessProtocol"] {
            serde_json::Value::Null => None,
            serde_json::Value::String(word) => (!word.is_empty()).then(|| word.clone()),
            other => Some(other.to_string()),
        }
    }
}

/// What is kept of a pool: everything else about it comes from the configuration and its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolRecord {
    /// Its id, made when its name is first seen in the configuration.
    pub id: PoolId,
    /// Its name (in `about.name`, unique) and times.
    pub about: About,
}

/// A record of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A volume with its attachments and snapshots.
    Volume(Box<VolumeRecord>),
    /// A host.
    Host(HostRecord),
    /// A profile.
    Profile(ProfileRecord),
    /// A pool.
    Pool(PoolRecord),
}

/// Names a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A volume's aggregate.
    Volume(VolumeId),
    /// A host.
    Host(HostId),
    /// A profile.
    Profile(ProfileId),
    /// A pool.
    Pool(PoolId),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::Host(id) => write!(f, "host {id}"),
            Self::Profile(id) => write!(f, "profile {id}"),
            Self::Pool(id) => write!(f, "pool {id}"),
        }
    }
}
