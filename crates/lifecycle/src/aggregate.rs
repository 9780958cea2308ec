//! The aggregate: a volume with its attachments and snapshots, the phases they are in, and the statuses computed from them.
//!
//! A phase is an enum whose variants hold exactly what that phase needs. Nothing outside this crate can change one: the fields
//! are read through [`Volume`], and changed by the transitions of [`Volume::decide`] alone. [`Volume::restore`] rebuilds a
//! stored aggregate as it was and is for stores only.
//!
//! Source: lifecycle page, "Volume", "Attachment", "Snapshot".

use crate::{AttachmentId, Bytes, Connection, HostId, Seen, SnapshotId, Timestamp, VolumeId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

/// Why a resource is in the status it is in: shown to users as `statusReason`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    /// What kind of reason, for programs.
    pub code: ReasonCode,
    /// The reason in words, for people: what was asked, what stands in the way, what to do next.
    pub message: String,
    /// Since when it holds.
    pub since: Timestamp,
}

/// The kinds of reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReasonCode {
    /// The backend or the exporter refused.
    Refused,
    /// No definite answer came before the deadline; the look goes on.
    OutcomeUnknown,
    /// After an unknown outcome a look proved that the object is there.
    ProvenPresent,
    /// After an unknown outcome a look proved that nothing is there.
    ProvenAbsent,
    /// The backend volume was there and is not any more.
    BackendMissing,
    /// The backend volume is only partly there, or smaller than it should be.
    BackendDamaged,
    /// The backend volume is not of the recorded size.
    SizeDiffers,
    /// A failed creation left something behind that could not be removed.
    LeftoversRemain,
    /// Somebody who is none of our exports uses the volume.
    StrayClient,
    /// A client is still connected to the export.
    ClientsConnected,
    /// The export that should be there was not; it is being made again.
    NotExported,
    /// A snapshot of the volume could not be deleted, so the volume could not be.
    SnapshotRemains,
}

impl ReasonCode {
    /// Every code.
    pub const ALL: &'static [Self] = &[
        Self::Refused,
        Self::OutcomeUnknown,
        Self::ProvenPresent,
        Self::ProvenAbsent,
        Self::BackendMissing,
        Self::BackendDamaged,
        Self::SizeDiffers,
        Self::LeftoversRemain,
        Self::StrayClient,
        Self::ClientsConnected,
        Self::NotExported,
        Self::SnapshotRemains,
    ];
}

/// A volume, its attachments and its snapshots: what one commit changes as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) multi_attach: bool,
    pub(crate) size: Bytes,
    pub(crate) source: Option<Source>,
    pub(crate) phase: VolumePhase,
    pub(crate) since: Timestamp,
    pub(crate) seen: Seen,
    pub(crate) seen_at: Option<Timestamp>,
    pub(crate) stranger: Option<Reason>,
    pub(crate) recover: Option<Timestamp>,
    pub(crate) attachments: BTreeMap<AttachmentId, Attachment>,
    pub(crate) snapshots: BTreeMap<SnapshotId, Snapshot>,
}

/// Everything of a [`Volume`], open: how a store takes one apart and puts it together again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeParts {
    /// The volume's id.
    pub id: VolumeId,
    /// Whether it may have more than one live attachment.
    pub multi_attach: bool,
    /// The recorded size in bytes.
    pub size: Bytes,
    /// The snapshot it is, or was, made from.
    pub source: Option<Source>,
    /// Its phase.
    pub phase: VolumePhase,
    /// Since when it is in that phase.
    pub since: Timestamp,
    /// What the backend volume was last seen to be.
    pub seen: Seen,
    /// When that was.
    pub seen_at: Option<Timestamp>,
    /// A stray client, with the reason to show.
    pub stranger: Option<Reason>,
    /// Since when a `recover` runs on the volume.
    pub recover: Option<Timestamp>,
    /// Its attachments, tombstones included.
    pub attachments: BTreeMap<AttachmentId, Attachment>,
    /// Its snapshots, tombstones included.
    pub snapshots: BTreeMap<SnapshotId, Snapshot>,
}

/// The snapshot that a volume is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// The volume whose snapshot it is.
    pub volume: VolumeId,
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// Where a creation stands: making, or removing what a failure left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Making {
    /// The object is being made.
    Make,
    /// Making it failed for this reason; what it left is being removed before the status says so.
    CleanUp(Reason),
}

/// The phase of a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VolumePhase {
    /// Being created.
    Creating(Making),
    /// There, whole, of the recorded size.
    Ready,
    /// Being grown to `target` bytes.
    Extending {
        /// The size asked for.
        target: Bytes,
    },
    /// Being removed.
    Deleting,
    /// Creation failed, or the backend volume was found missing or damaged.
    Error {
        /// Which of the two: decides what may be done now.
        cause: ErrorCause,
        /// Why, in words.
        reason: Reason,
    },
    /// An extend failed, or the size is not what it should be; the data is intact.
    ErrorExtending {
        /// The largest size ever asked for: the volume may have it, so its capacity stays reserved.
        target: Bytes,
        /// Why, in words.
        reason: Reason,
    },
    /// Removal failed; the data may be partly gone.
    ErrorDeleting {
        /// Why, in words.
        reason: Reason,
    },
    /// Nothing of it is left, or (`forgotten`) an administrator gave it up with its retired pool.
    Gone {
        /// Whether data may be left on the retired backend.
        forgotten: bool,
    },
}

/// Why a volume or a snapshot is in phase `Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCause {
    /// It was never usable: its creation failed. Creating it again loses nothing.
    Creation,
    /// It was usable, and was found missing. Creating it again would pass off something else as the lost data.
    Missing,
    /// It was usable, and was found damaged or shrunk.
    Damaged,
}

/// An attachment: the volume exported to one host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attachment {
    /// The host it is exported to.
    pub host: HostId,
    /// Whether the host may write.
    pub mode: Mode,
    /// Its phase.
    pub phase: AttachmentPhase,
    /// Since when it is in that phase.
    pub since: Timestamp,
}

/// Whether the host may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Reads only.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// The phase of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttachmentPhase {
    /// Being exported, or exported again after the export was lost (then the reason says so).
    Attaching {
        /// Why it is being exported *again*.
        again: Option<Reason>,
    },
    /// Exporting failed for this reason; what it may have exported is being taken back before the status says so.
    RollingBack {
        /// Why exporting failed.
        reason: Reason,
    },
    /// Exported to exactly its host, as this connection tells.
    Attached {
        /// How the host reaches it.
        connection: Connection,
    },
    /// Its export is being ended.
    Detaching {
        /// Cut clients that are still connected.
        force: bool,
        /// How the host still reaches it until then.
        connection: Option<Connection>,
    },
    /// Not exported: a tombstone.
    Detached,
    /// Exporting failed, and it is provably not exported.
    ErrorAttaching {
        /// Why, in words.
        reason: Reason,
    },
    /// The export may still be there: counts as in use until proven otherwise.
    ErrorDetaching {
        /// Why, in words.
        reason: Reason,
        /// How the host may still reach it.
        connection: Option<Connection>,
        /// Whether a look is owed: the outcome is not known, or `recover` (since when) asked for one.
        look: ExportLook,
    },
}

/// Whether an `errorDetaching` attachment owes a look at its export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportLook {
    /// The outcome is not known: looking goes on until it is.
    Owed,
    /// `recover` asked, at this time; the answer settles the attachment.
    Recover(Timestamp),
    /// The export was seen to be there.
    Done,
}

/// A snapshot: a complete point-in-time copy of the volume, once `Available`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snapshot {
    /// The volume's size when it was taken, in bytes.
    pub size: Bytes,
    /// Its phase.
    pub phase: SnapshotPhase,
    /// Since when it is in that phase.
    pub since: Timestamp,
    /// What the backend snapshot was last seen to be, where its phase is an error.
    pub seen: Seen,
    /// Since when a `recover` runs on it.
    pub recover: Option<Timestamp>,
    /// The volumes being created from it: it cannot be deleted while there are any.
    pub pins: BTreeSet<VolumeId>,
}

/// The phase of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotPhase {
    /// Being taken.
    Creating(Making),
    /// A complete point-in-time copy exists.
    Available,
    /// Creation failed, or the copy was found missing or damaged.
    Error {
        /// Which of the two: decides what may be done now.
        cause: ErrorCause,
        /// Why, in words.
        reason: Reason,
    },
    /// Being removed.
    Deleting,
    /// Removal failed; it may be partly gone.
    ErrorDeleting {
        /// Why, in words.
        reason: Reason,
    },
    /// Nothing is left: a tombstone.
    Deleted,
}
