//! What the backend was asked to do, what it answered, and what it was last seen to be.
//!
//! - Three-valued: absent (looked, not there), present with facts, unknown (not looked since something could have changed it).
//!   Unknown is an answer; a guess is not.
//! - An outcome that is not an explicit refusal is unknown: the work is driven again, never called an error.
//!
//! Source: lifecycle page, "What the backend was last seen to be" and "Work in flight".

use crate::{AttachmentId, Bytes, SnapshotId};
use alloc::collections::BTreeMap;
use alloc::string::String;

/// How much of an object's content is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// All of it: every byte is what was written, or copied from the source.
    Whole,
    /// Some of it: a copy that did not finish, a deletion that began.
    Partial,
    /// The backend cannot tell.
    Unknown,
}

/// One look at one object of the backend (a volume or a snapshot).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// Not looked since something could have changed it, or the backend could not tell.
    #[default]
    Unknown,
    /// Looked, and nothing of it is there.
    Absent,
    /// Looked, and it is there.
    Present {
        /// Its size in bytes.
        size: Bytes,
        /// How much of its content is there.
        content: Content,
    },
}

impl Seen {
    /// The size of an object that is there with all of its content.
    #[must_use]
    pub const fn whole(self) -> Option<Bytes> {
        match self {
            Self::Present { size, content: Content::Whole } => Some(size),
            Self::Unknown | Self::Absent | Self::Present { .. } => None,
        }
    }

    /// Whether the look answered the question at all.
    #[must_use]
    pub const fn is_known(self) -> bool {
        matches!(self, Self::Absent | Self::Present { content: Content::Whole | Content::Partial, .. })
    }
}

/// One look at a volume and everything that belongs to it on its backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The volume itself.
    pub volume: Seen,
    /// Its snapshots, as far as the backend has any. One that is missing here is absent if the volume's own answer is known.
    pub snapshots: BTreeMap<SnapshotId, Seen>,
    /// Somebody who uses the volume, as the backend names it: none of our exports, unless the backend cannot tell them apart, which is
    /// allowed for while the volume is attached. `None` where the backend sees nobody or cannot tell.
    pub stranger: Option<String>,
}

/// How a client reaches an export: driver-defined words (`uri`, `host`, `port`, ...), passed through unread.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// What the client needs to speak, for example `nbd`.
    pub protocol: String,
    /// The words and their values.
    pub data: BTreeMap<String, String>,
}

/// One look at the export of one attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExportSeen {
    /// The exporter could not be asked.
    #[default]
    Unknown,
    /// It was asked, and serves nothing for this attachment.
    Absent,
    /// It serves the volume for this attachment.
    Serving(Connection),
}

/// A call that a record owes: what must be asked of the driver or the exporter next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Make the volume (empty, or from its source snapshot).
    Create,
    /// Remove what a failed creation may have left.
    CleanUp,
    /// Grow the volume.
    Extend {
        /// The size it is to have, in bytes.
        target: Bytes,
    },
    /// Remove the volume.
    Delete,
    /// Look at the volume and its snapshots until the answer is known.
    Look,
    /// Make the snapshot.
    Snapshot(SnapshotId),
    /// Remove what a failed snapshot creation may have left.
    CleanUpSnapshot(SnapshotId),
    /// Remove the snapshot.
    DeleteSnapshot(SnapshotId),
    /// Export the volume for the attachment.
    Export(AttachmentId),
    /// End the attachment's export.
    Unexport {
        /// Whose export it is.
        attachment: AttachmentId,
        /// Cut clients that are still connected.
        force: bool,
    },
    /// Look at the attachment's export until the answer is known.
    LookExport(AttachmentId),
}

/// Where work runs: one call at a time in each, slots beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// What shapes the volume: create, extend, snapshot, delete.
    Shape,
    /// The export of one attachment.
    Export(AttachmentId),
}

impl Work {
    /// The slot this work runs in.
    #[must_use]
    pub const fn slot(self) -> Slot {
        match self {
            Self::Create | Self::CleanUp | Self::Extend { .. } | Self::Delete | Self::Look => Slot::Shape,
            Self::Snapshot(_) | Self::CleanUpSnapshot(_) | Self::DeleteSnapshot(_) => Slot::Shape,
            Self::Export(id) | Self::Unexport { attachment: id, .. } | Self::LookExport(id) => Slot::Export(id),
        }
    }
}

/// What a driver or an exporter answered to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and this is what is there now.
    Done(Facts),
    /// Refused for good: *this call* did nothing. An earlier try of the same work may have acted all the same.
    Refused(String),
    /// Failed for now; the same call may succeed later.
    Failed(String),
    /// Nobody knows whether it acted.
    Unknown(String),
}

/// What was observed when work was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// Of a volume or a snapshot.
    Object(Seen),
    /// Of an export.
    Export(ExportSeen),
    /// Of a volume and its snapshots, fenced: no older call will act after this look.
    Look(Look),
}

/// What a pool's driver can do, probed and not configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// A snapshot is a point in time even while a client writes (a reflink, a copy-on-write snapshot).
    pub attached_snapshot: bool,
    /// A volume can grow while it is attached.
    pub online_extend: bool,
}
