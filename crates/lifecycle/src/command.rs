//! What users may ask, and the answer when it is not allowed now.
//!
//! A rejection is a value, not a panic: it carries the present status, what runs since when, what stands in the way, and the
//! commands that are allowed now, so that a user never has to guess. Source: lifecycle page, "Volume", last row of the table.

use crate::{AttachmentId, Bytes, HostId, Mode, Operation, SnapshotId, Subject, Timestamp, VolumeId};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A user's command on a volume, or on one of its snapshots or attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Do again what failed. Every guard of the original command holds again.
    Retry(Subject),
    /// Ask the backend what is true and follow the evidence.
    Recover(Subject),
    /// Grow the volume to `size` bytes.
    Extend {
        /// The size it is to have.
        size: Bytes,
    },
    /// Remove the volume; with `cascade`, its snapshots first.
    Delete {
        /// Remove its snapshots too.
        cascade: bool,
    },
    /// Drop the record of a volume whose pool is retired, without asking the backend.
    Forget,
    /// Export the volume to a host.
    Attach {
        /// The new attachment's id.
        id: AttachmentId,
        /// The host.
        host: HostId,
        /// Whether it may write.
        mode: Mode,
    },
    /// End an attachment.
    Detach {
        /// Which one.
        id: AttachmentId,
        /// Cut clients that are still connected.
        force: bool,
    },
    /// Take a snapshot.
    Snapshot {
        /// The new snapshot's id.
        id: SnapshotId,
    },
    /// Remove a snapshot.
    DeleteSnapshot {
        /// Which one.
        id: SnapshotId,
    },
    /// Pin a snapshot for a volume that is being created from it. Commits together with that volume's creation.
    Clone {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The volume being created.
        clone: VolumeId,
        /// That volume's size in bytes: at least the snapshot's.
        size: Bytes,
    },
}

/// The kinds of command, as users know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommandKind {
    /// Grow a volume.
    Extend,
    /// Export a volume to a host.
    Attach,
    /// End an attachment.
    Detach,
    /// Take a snapshot.
    Snapshot,
    /// Create a volume from a snapshot.
    Clone,
    /// Do again what failed.
    Retry,
    /// Ask the backend what is true.
    Recover,
    /// Remove a volume or snapshot.
    Delete,
    /// Drop the record of a volume on a retired pool.
    Forget,
}

impl CommandKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Extend,
        Self::Attach,
        Self::Detach,
        Self::Snapshot,
        Self::Clone,
        Self::Retry,
        Self::Recover,
        Self::Delete,
        Self::Forget,
    ];

    /// The word people read and type.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Extend => "extend",
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::Snapshot => "snapshot",
            Self::Clone => "clone",
            Self::Retry => "retry",
            Self::Recover => "recover",
            Self::Delete => "delete",
            Self::Forget => "forget",
        }
    }
}

impl Command {
    /// What the user asked for.
    #[must_use]
    pub const fn kind(self) -> CommandKind {
        match self {
            Self::Retry(_) => CommandKind::Retry,
            Self::Recover(_) => CommandKind::Recover,
            Self::Extend { .. } => CommandKind::Extend,
            Self::Delete { .. } | Self::DeleteSnapshot { .. } => CommandKind::Delete,
            Self::Forget => CommandKind::Forget,
            Self::Attach { .. } => CommandKind::Attach,
            Self::Detach { .. } => CommandKind::Detach,
            Self::Snapshot { .. } => CommandKind::Snapshot,
            Self::Clone { .. } => CommandKind::Clone,
        }
    }

    /// The resource it is asked of, where `volume` is the aggregate's own id.
    #[must_use]
    pub const fn subject(self, volume: VolumeId) -> Subject {
        match self {
            Self::Retry(subject) | Self::Recover(subject) => subject,
            Self::Extend { .. } | Self::Delete { .. } | Self::Forget => Subject::Volume(volume),
            Self::Attach { .. } | Self::Snapshot { .. } => Subject::Volume(volume),
            Self::Detach { id, .. } => Subject::Attachment(id),
            Self::DeleteSnapshot { id } => Subject::Snapshot(id),
            Self::Clone { snapshot, .. } => Subject::Snapshot(snapshot),
        }
    }
}

/// A command that is not allowed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// What was asked.
    pub command: CommandKind,
    /// Of which resource.
    pub subject: Subject,
    /// Its present status, in the seed's word; empty if there is no such resource.
    pub status: &'static str,
    /// What runs on it, since when.
    pub running: Option<Operation>,
    /// What stands in the way.
    pub obstacle: Obstacle,
    /// What is allowed on it now.
    pub allowed: Vec<CommandKind>,
}

/// What stands in a command's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its present status.
    Status,
    /// There is no such snapshot or attachment in this volume.
    Missing,
    /// There is one with that id already, or its tombstone: ids are never used twice.
    Taken,
    /// An attachment is, or may be, exported.
    Attached {
        /// Which one.
        attachment: AttachmentId,
        /// To which host.
        host: HostId,
        /// Since when it is in its present phase.
        since: Timestamp,
    },
    /// Snapshots of the volume exist.
    Snapshots(usize),
    /// A snapshot of it is being created or deleted.
    SnapshotBusy(SnapshotId),
    /// A volume is being created from the snapshot.
    Pinned {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The volume being created from it.
        clone: VolumeId,
    },
    /// The size asked for is not larger than this one.
    NotLarger(Bytes),
    /// The size asked for is smaller than the snapshot's.
    SmallerThanSnapshot(Bytes),
    /// An earlier extend may have reached this size already.
    EarlierTarget(Bytes),
    /// The pool cannot extend a volume while it is attached.
    NotOnline,
    /// The pool cannot take a point-in-time copy while this attachment may write.
    Writer(AttachmentId),
    /// The size on the backend is not proven.
    SizeUnproven,
    /// Somebody unknown uses the volume.
    Stranger(String),
    /// The backend is being asked what is true.
    Recovering,
    /// The data that was here is lost or damaged; creating it again would pass off something else as it.
    WouldReplaceData,
    /// The volume has as many of these as it may.
    TooMany(usize),
    /// The pool is not marked retired.
    NotRetired,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("its status does not allow it"),
            Self::Missing => f.write_str("there is no such resource in this volume"),
            Self::Taken => f.write_str("that id is taken, and ids are never used twice; ask with a new one"),
            Self::Attached { attachment, host, since } => {
                write!(f, "attachment {attachment} exports it to host {host} since {since}; detach it first")
            }
            Self::Snapshots(1) => f.write_str("it has a snapshot; delete that first, or delete with cascade"),
            Self::Snapshots(count) => write!(f, "it has {count} snapshots; delete them first, or delete with cascade"),
            Self::SnapshotBusy(id) => write!(f, "its snapshot {id} is being created or deleted; wait for that to end"),
            Self::Pinned { snapshot, clone } => {
                write!(f, "volume {clone} is being created from snapshot {snapshot}; wait for it, or delete that volume")
            }
            Self::NotLarger(size) => write!(f, "it has {size} already; ask for a larger size"),
            Self::SmallerThanSnapshot(size) => write!(f, "the snapshot needs {size}; ask for at least that size"),
            Self::EarlierTarget(size) => write!(f, "an earlier extend asked for {size} and may have reached it; ask for at least that"),
            Self::NotOnline => f.write_str("its pool cannot extend a volume that is attached; detach it first"),
            Self::Writer(id) => write!(
                f,
                "attachment {id} may write and the pool cannot copy a point in time meanwhile; detach it first, or use a pool on a \
                 file system with reflinks (XFS, btrfs)"
            ),
            Self::SizeUnproven => f.write_str("its size on the backend is not proven; recover it first"),
            Self::Stranger(who) => write!(f, "it is {who}, which is no attachment of ours; end that use, the next look sees it"),
            Self::Recovering => f.write_str("the backend is being asked what is true; wait for that to end"),
            Self::WouldReplaceData => {
                f.write_str("its data is missing or damaged, and making it again would pass off something else as it; bring the data back and recover, or delete it")
            }
            Self::TooMany(limit) => write!(f, "it has {limit} of them, as many as it may; remove some first"),
            Self::NotRetired => f.write_str("its pool is not marked retired in the configuration; delete it, or retire the pool"),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: ", self.command.word(), self.subject)?;
        if !self.status.is_empty() {
            write!(f, "it is {}", self.status)?;
            if let Some(running) = self.running {
                write!(f, " ({} runs since {})", running.kind.word(), running.since)?;
            }
            f.write_str("; ")?;
        }
        write!(f, "{}", self.obstacle)?;
        if self.status.is_empty() {
            return Ok(());
        }
        f.write_str(" (allowed now: ")?;
        for (index, kind) in self.allowed.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, kind.word())?;
        }
        f.write_str(if self.allowed.is_empty() { "nothing)" } else { ")" })
    }
}
