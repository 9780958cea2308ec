//! The public statuses: functions of the record, spelled as the seed spells them.
//!
//! [`Volume::status`], [`Attachment::status`] and [`Snapshot::status`] compute; nothing assigns. The words here are the seed's
//! (`../docs/terms.md`), used in messages, the journal and the generated tables; a wire's words live in its API crate.

use crate::{Attachment, AttachmentPhase, Snapshot, SnapshotPhase, Volume, VolumePhase};
use core::fmt;

macro_rules! statuses {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every status of this kind, in the seed's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The seed's word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The status with this word, if there is one.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|status| status.word() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

statuses!(
    /// The status of a volume.
    VolumeStatus {
        /// Being created; nothing usable yet.
        Creating = "creating",
        /// Exists, whole, of the recorded size, exported to nobody.
        Available = "available",
        /// At least one attachment is being connected.
        Attaching = "attaching",
        /// At least one attachment is being released, none connected.
        Detaching = "detaching",
        /// Whole, and at least one attachment is or may be exported.
        InUse = "inUse",
        /// Being removed.
        Deleting = "deleting",
        /// Creation failed, or the backend volume is missing or damaged.
        Error = "error",
        /// Removal failed; the data may be partly gone.
        ErrorDeleting = "errorDeleting",
        /// An extend failed or the size is not what it should be; the data is intact.
        ErrorExtending = "errorExtending",
        /// Being grown.
        Extending = "extending",
    }
);

statuses!(
    /// The status of a snapshot.
    SnapshotStatus {
        /// Being taken; not usable yet.
        Creating = "creating",
        /// A complete point-in-time copy exists.
        Available = "available",
        /// Being removed.
        Deleting = "deleting",
        /// Creation failed, or the copy is missing or damaged.
        Error = "error",
        /// Nothing is left; the record is a tombstone.
        Deleted = "deleted",
        /// Removal failed; it may be partly gone.
        ErrorDeleting = "errorDeleting",
    }
);

statuses!(
    /// The status of an attachment.
    AttachmentStatus {
        /// Exported to exactly its host, with the connection shown.
        Attached = "attached",
        /// Being exported.
        Attaching = "attaching",
        /// Not exported; the record is a tombstone.
        Detached = "detached",
        /// Exporting failed, and it is provably not exported.
        ErrorAttaching = "errorAttaching",
        /// The export may still be there: counts as in use.
        ErrorDetaching = "errorDetaching",
    }
);

impl Volume {
    /// The public status, or nothing once the volume is gone.
    ///
    /// It is the phase, except that a ready volume shows what its attachments do. Source: lifecycle page, "Volume".
    #[must_use]
    pub fn status(&self) -> Option<VolumeStatus> {
        Some(match &self.phase {
            VolumePhase::Creating(_) => VolumeStatus::Creating,
            VolumePhase::Ready => self.ready_status(),
            VolumePhase::Extending { .. } => VolumeStatus::Extending,
            VolumePhase::Deleting => VolumeStatus::Deleting,
            VolumePhase::Error { .. } => VolumeStatus::Error,
            VolumePhase::ErrorExtending { .. } => VolumeStatus::ErrorExtending,
            VolumePhase::ErrorDeleting { .. } => VolumeStatus::ErrorDeleting,
            VolumePhase::Gone { .. } => return None,
        })
    }

    fn ready_status(&self) -> VolumeStatus {
        let any = |wanted: fn(&AttachmentPhase) -> bool| self.attachments.values().any(|attachment| wanted(&attachment.phase));
        if any(|phase| matches!(phase, AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. })) {
            VolumeStatus::Attaching
        } else if any(|phase| matches!(phase, AttachmentPhase::Detaching { .. })) {
            VolumeStatus::Detaching
        } else if any(AttachmentPhase::is_live) || self.stranger.is_some() {
            VolumeStatus::InUse
        } else {
            VolumeStatus::Available
        }
    }
}

impl AttachmentPhase {
    /// Whether the volume is, or may be, exported for it. Source: lifecycle page, "Volume": "live" attachment.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        match self {
            Self::Attaching { .. } | Self::RollingBack { .. } | Self::Attached { .. } => true,
            Self::Detaching { .. } | Self::ErrorDetaching { .. } => true,
            Self::Detached | Self::ErrorAttaching { .. } => false,
        }
    }
}

impl Attachment {
    /// The public status. While it is being detached it reads `attached` with the operation beside it, as the seed has no
    /// attachment status for that; its volume reads `detaching`.
    #[must_use]
    pub const fn status(&self) -> AttachmentStatus {
        match &self.phase {
            AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } => AttachmentStatus::Attaching,
            AttachmentPhase::Attached { .. } | AttachmentPhase::Detaching { .. } => AttachmentStatus::Attached,
            AttachmentPhase::Detached => AttachmentStatus::Detached,
            AttachmentPhase::ErrorAttaching { .. } => AttachmentStatus::ErrorAttaching,
            AttachmentPhase::ErrorDetaching { .. } => AttachmentStatus::ErrorDetaching,
        }
    }
}

impl Snapshot {
    /// The public status.
    #[must_use]
    pub const fn status(&self) -> SnapshotStatus {
        match &self.phase {
            SnapshotPhase::Creating(_) => SnapshotStatus::Creating,
            SnapshotPhase::Available => SnapshotStatus::Available,
            SnapshotPhase::Error { .. } => SnapshotStatus::Error,
            SnapshotPhase::Deleting => SnapshotStatus::Deleting,
            SnapshotPhase::ErrorDeleting { .. } => SnapshotStatus::ErrorDeleting,
            SnapshotPhase::Deleted => SnapshotStatus::Deleted,
        }
    }
}
