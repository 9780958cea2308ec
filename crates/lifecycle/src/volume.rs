//! Reading an aggregate: accessors, what is running, what capacity and hosts it holds, and how stores take it apart.

use crate::{
    Attachment, AttachmentId, AttachmentPhase, Bytes, HostId, Reason, Seen, Snapshot, SnapshotId, SnapshotPhase, Source, Timestamp,
    Volume, VolumeId, VolumeParts, VolumePhase,
};
use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use uuid::Uuid;

/// Something that has a status of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The volume itself.
    Volume(VolumeId),
    /// One of its snapshots.
    Snapshot(SnapshotId),
    /// One of its attachments.
    Attachment(AttachmentId),
}

impl Subject {
    /// Its id, of whatever kind it is.
    #[must_use]
    pub const fn id(self) -> Uuid {
        match self {
            Self::Volume(id) => id.0,
            Self::Snapshot(id) => id.0,
            Self::Attachment(id) => id.0,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
            Self::Attachment(id) => write!(f, "attachment {id}"),
        }
    }
}

/// What runs on a resource: shown to users as `operation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// Since when.
    pub since: Timestamp,
}

/// The kinds of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperationKind {
    /// A volume or snapshot is being created.
    Create,
    /// A volume is being grown.
    Extend,
    /// A volume or snapshot is being removed.
    Delete,
    /// The backend is being asked what is true.
    Recover,
    /// An attachment is being exported.
    Attach,
    /// An attachment's export is being ended.
    Detach,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Create, Self::Extend, Self::Delete, Self::Recover, Self::Attach, Self::Detach];

    /// The word people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Extend => "extend",
            Self::Delete => "delete",
            Self::Recover => "recover",
            Self::Attach => "attach",
            Self::Detach => "detach",
        }
    }
}

impl Volume {
    /// Puts a stored aggregate together again, exactly as [`Volume::into_parts`] took it apart. For stores only.
    #[must_use]
    pub fn restore(parts: VolumeParts) -> Self {
        let VolumeParts { id, multi_attach, size, source, phase, since, seen, seen_at, stranger, recover, attachments, snapshots } =
            parts;
        Self { id, multi_attach, size, source, phase, since, seen, seen_at, stranger, recover, attachments, snapshots }
    }

    /// Takes the aggregate apart, for storing it.
    #[must_use]
    pub fn into_parts(self) -> VolumeParts {
        let Self { id, multi_attach, size, source, phase, since, seen, seen_at, stranger, recover, attachments, snapshots } = self;
        VolumeParts { id, multi_attach, size, source, phase, since, seen, seen_at, stranger, recover, attachments, snapshots }
    }

    /// What is needed to tell of this snapshot: of the volume's snapshots this one alone, and of its attachments those that are live. Or, of no snapshot,
    /// what is needed to tell of any attachment: all of them, and no snapshots.
    ///
    /// Status, reason, operation and allowed commands of these are the same as in the whole, as no rule looks from one snapshot at another, or from a
    /// snapshot at an attachment that is over. Nothing is to be decided from an excerpt, and nothing is told from it of the volume itself.
    #[must_use]
    pub fn excerpt(&self, snapshot: Option<SnapshotId>) -> Self {
        let held = snapshot.and_then(|id| self.snapshots.get_key_value(&id));
        let is_needed = |attachment: &Attachment| snapshot.is_none() || attachment.phase.is_live();
        let attachments = self.attachments.iter().filter(|(_, attachment)| is_needed(attachment));
        Self {
            snapshots: held.map(|(id, held)| (*id, held.clone())).into_iter().collect(),
            attachments: attachments.map(|(id, held)| (*id, held.clone())).collect(),
            phase: self.phase.clone(),
            stranger: self.stranger.clone(),
            ..*self
        }
    }

    /// Whether the two differ in nothing but their attachments and snapshots.
    #[must_use]
    pub fn is_same_but_for_parts(&self, other: &Self) -> bool {
        let Self { id, multi_attach, size, source, phase, since, seen, seen_at, stranger, recover, attachments: _, snapshots: _ } =
            self;
        (id, multi_attach, size, source, phase) == (&other.id, &other.multi_attach, &other.size, &other.source, &other.phase)
            && (since, seen, seen_at, stranger, recover)
                == (&other.since, &other.seen, &other.seen_at, &other.stranger, &other.recover)
    }

    /// The volume's id.
    #[must_use]
    pub const fn id(&self) -> VolumeId {
        self.id
    }

    /// Whether it may have more than one live attachment.
    #[must_use]
    pub const fn multi_attach(&self) -> bool {
        self.multi_attach
    }

    /// The recorded size in bytes.
    #[must_use]
    pub const fn size(&self) -> Bytes {
        self.size
    }

    /// The snapshot it is, or was, made from.
    #[must_use]
    pub const fn source(&self) -> Option<Source> {
        self.source
    }

    /// Its phase.
    #[must_use]
    pub const fn phase(&self) -> &VolumePhase {
        &self.phase
    }

    /// Since when it is in that phase.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// What the backend volume was last seen to be, and when.
    #[must_use]
    pub const fn seen(&self) -> (Seen, Option<Timestamp>) {
        (self.seen, self.seen_at)
    }

    /// Its attachments, tombstones included.
    #[must_use]
    pub const fn attachments(&self) -> &BTreeMap<AttachmentId, Attachment> {
        &self.attachments
    }

    /// Its snapshots, tombstones included.
    #[must_use]
    pub const fn snapshots(&self) -> &BTreeMap<SnapshotId, Snapshot> {
        &self.snapshots
    }

    /// Whether nothing of it is left (or it was forgotten): its record goes with this commit.
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self.phase, VolumePhase::Gone { .. })
    }

    /// The capacity it holds in its pool, in bytes: its own largest possible size and its snapshots' sizes. The engine reserves
    /// the difference in the same commit that changes it.
    #[must_use]
    pub fn reserved(&self) -> Bytes {
        let own = match &self.phase {
            VolumePhase::Extending { target } | VolumePhase::ErrorExtending { target, .. } => self.size.max(*target),
            VolumePhase::Creating(_) | VolumePhase::Ready | VolumePhase::Deleting => self.size,
            VolumePhase::Error { .. } | VolumePhase::ErrorDeleting { .. } => self.size,
            VolumePhase::Gone { .. } => return Bytes::ZERO,
        };
        let held = self.snapshots.values().filter(|snapshot| !matches!(snapshot.phase, SnapshotPhase::Deleted));
        Bytes(held.fold(own.0, |sum, snapshot| sum.saturating_add(snapshot.size.0)))
    }

    /// The hosts its attachments name, tombstones left out, each as often as it is named.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        let held = |attachment: &&Attachment| !self.is_gone() && !matches!(attachment.phase, AttachmentPhase::Detached);
        self.attachments.values().filter(held).map(|attachment| attachment.host)
    }

    /// The volumes being created from its snapshots.
    #[must_use]
    pub fn pins(&self) -> BTreeSet<(SnapshotId, VolumeId)> {
        self.snapshots.iter().flat_map(|(id, snapshot)| snapshot.pins.iter().map(|clone| (*id, *clone))).collect()
    }

    /// What runs on one of its resources.
    #[must_use]
    pub fn operation(&self, subject: Subject) -> Option<Operation> {
        match subject {
            Subject::Volume(_) => self.volume_operation(),
            Subject::Snapshot(_) | Subject::Attachment(_) if self.is_gone() => None,
            Subject::Snapshot(id) => self.snapshots.get(&id).and_then(Snapshot::operation),
            Subject::Attachment(id) => self.attachments.get(&id).and_then(Attachment::operation),
        }
    }

    fn volume_operation(&self) -> Option<Operation> {
        let kind = match &self.phase {
            VolumePhase::Creating(_) => OperationKind::Create,
            VolumePhase::Extending { .. } => OperationKind::Extend,
            VolumePhase::Deleting => OperationKind::Delete,
            VolumePhase::Ready
            | VolumePhase::Error { .. }
            | VolumePhase::ErrorExtending { .. }
            | VolumePhase::ErrorDeleting { .. } => {
                return self.recover.map(|since| Operation { kind: OperationKind::Recover, since });
            }
            VolumePhase::Gone { .. } => return None,
        };
        Some(Operation { kind, since: self.since })
    }

    /// The reason to show for one of its resources.
    #[must_use]
    pub fn reason(&self, subject: Subject) -> Option<&Reason> {
        match subject {
            Subject::Volume(_) => self.volume_reason(),
            Subject::Snapshot(id) => self.snapshots.get(&id).and_then(Snapshot::reason),
            Subject::Attachment(id) => self.attachments.get(&id).and_then(Attachment::reason),
        }
    }

    fn volume_reason(&self) -> Option<&Reason> {
        match &self.phase {
            VolumePhase::Error { reason, .. } | VolumePhase::ErrorExtending { reason, .. } => Some(reason),
            VolumePhase::ErrorDeleting { reason } => Some(reason),
            VolumePhase::Creating(crate::Making::CleanUp(reason)) => Some(reason),
            VolumePhase::Ready => {
                let stuck = self.attachments.values().find(|a| matches!(a.phase, AttachmentPhase::ErrorDetaching { .. }));
                self.stranger.as_ref().or_else(|| stuck.and_then(Attachment::reason))
            }
            VolumePhase::Creating(crate::Making::Make) | VolumePhase::Extending { .. } => None,
            VolumePhase::Deleting | VolumePhase::Gone { .. } => None,
        }
    }
}

impl Attachment {
    /// What runs on it.
    #[must_use]
    pub const fn operation(&self) -> Option<Operation> {
        match &self.phase {
            AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } => {
                Some(Operation { kind: OperationKind::Attach, since: self.since })
            }
            AttachmentPhase::Detaching { .. } => Some(Operation { kind: OperationKind::Detach, since: self.since }),
            AttachmentPhase::ErrorDetaching { look: crate::ExportLook::Recover(since), .. } => {
                Some(Operation { kind: OperationKind::Recover, since: *since })
            }
            AttachmentPhase::ErrorDetaching { .. } | AttachmentPhase::Attached { .. } => None,
            AttachmentPhase::Detached | AttachmentPhase::ErrorAttaching { .. } => None,
        }
    }

    /// The reason to show.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match &self.phase {
            AttachmentPhase::Attaching { again } => again.as_ref(),
            AttachmentPhase::RollingBack { reason } | AttachmentPhase::ErrorAttaching { reason } => Some(reason),
            AttachmentPhase::ErrorDetaching { reason, .. } => Some(reason),
            AttachmentPhase::Attached { .. } | AttachmentPhase::Detaching { .. } | AttachmentPhase::Detached => None,
        }
    }

    /// How the host reaches it, where it is or may be exported.
    #[must_use]
    pub const fn connection(&self) -> Option<&crate::Connection> {
        match &self.phase {
            AttachmentPhase::Attached { connection } => Some(connection),
            AttachmentPhase::Detaching { connection, .. } | AttachmentPhase::ErrorDetaching { connection, .. } => {
                connection.as_ref()
            }
            AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } => None,
            AttachmentPhase::Detached | AttachmentPhase::ErrorAttaching { .. } => None,
        }
    }
}

impl Snapshot {
    /// What runs on it.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        match &self.phase {
            SnapshotPhase::Creating(_) => Some(Operation { kind: OperationKind::Create, since: self.since }),
            SnapshotPhase::Deleting => Some(Operation { kind: OperationKind::Delete, since: self.since }),
            SnapshotPhase::Error { .. } | SnapshotPhase::ErrorDeleting { .. } | SnapshotPhase::Available => {
                self.recover.map(|since| Operation { kind: OperationKind::Recover, since })
            }
            SnapshotPhase::Deleted => None,
        }
    }

    /// The reason to show.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match &self.phase {
            SnapshotPhase::Creating(crate::Making::CleanUp(reason)) => Some(reason),
            SnapshotPhase::Error { reason, .. } | SnapshotPhase::ErrorDeleting { reason } => Some(reason),
            SnapshotPhase::Creating(crate::Making::Make) | SnapshotPhase::Available => None,
            SnapshotPhase::Deleting | SnapshotPhase::Deleted => None,
        }
    }
}
