//! What a record owes: the record is the queue.
//!
//! [`Volume::owed`] lists the calls that the aggregate's phases ask for, in the order they are to be made, with what each must
//! wait for. After a crash the same record owes the same work, so nothing is handed over by a call that could be lost.
//!
//! Exclusions (lifecycle page, "Work in flight"): one shape call a volume; extend, delete and a copying snapshot exclude new
//! exports; ending an export never waits.

use crate::{
    Attachment, AttachmentId, AttachmentPhase, Capabilities, ErrorCause, ExportLook, Making, Mode, Seen, Snapshot, SnapshotId,
    SnapshotPhase, Subject, Timestamp, Volume, VolumePhase, Work,
};
use alloc::vec::Vec;

/// How many tombstones a volume keeps, whatever their age. Source: lifecycle page, "Tombstones".
pub const MAX_TOMBSTONES: usize = 64;

/// One call that is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owed {
    /// The call.
    pub work: Work,
    /// What it must wait for, if anything of the same aggregate stands in its way.
    pub waiting: Option<Waiting>,
}

/// What owed work waits for, inside its own aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The volume is being extended.
    Extend,
    /// A snapshot is being copied, or a call that copies it may still act, while nobody may write.
    Snapshot(SnapshotId),
    /// The volume's snapshots are being deleted first.
    Snapshots,
}

impl Volume {
    /// The calls that are owed now, the most urgent first. Of several for one [`crate::Slot`] the first that waits for nothing is made.
    #[must_use]
    pub fn owed(&self, capabilities: Capabilities) -> Vec<Owed> {
        let mut owed = Vec::new();
        let now = |work| Owed { work, waiting: None };
        for (id, attachment) in &self.attachments {
            if let Some(work) = attachment.owed(*id) {
                owed.push(Owed { work, waiting: self.export_waits(work, attachment.mode, capabilities) });
            }
        }
        let snapshots = self.snapshots.iter().filter_map(|(id, snapshot)| snapshot.owed(*id)).map(now);
        match &self.phase {
            VolumePhase::Creating(Making::Make) => owed.push(now(Work::Create)),
            VolumePhase::Creating(Making::CleanUp(_)) => owed.push(now(Work::CleanUp)),
            VolumePhase::Extending { target } => owed.push(now(Work::Extend { target: *target })),
            VolumePhase::Deleting => owed.extend(snapshots.chain([self.delete_owed()])),
            VolumePhase::Ready | VolumePhase::Error { .. } => owed.extend(snapshots),
            VolumePhase::ErrorExtending { .. } | VolumePhase::ErrorDeleting { .. } => owed.extend(snapshots),
            VolumePhase::Gone { .. } => owed.clear(),
        }
        if self.owes_look() {
            owed.push(now(Work::Look));
        }
        owed
    }

    /// Whether the record owes anything at all, so that it must be driven again after a restart: calls, pins to be let go of,
    /// tombstones to expire, or attachments whose export must exist again.
    #[must_use]
    pub fn owes_work(&self) -> bool {
        let held = |a: &Attachment| a.phase.is_live() || matches!(a.phase, AttachmentPhase::Detached);
        let kept = |s: &Snapshot| !s.pins.is_empty() || matches!(s.phase, SnapshotPhase::Deleted);
        !self.is_gone()
            && (!self.owed(Capabilities::default()).is_empty()
                || self.attachments.values().any(held)
                || self.snapshots.values().any(kept))
    }

    /// When its tombstones are to be looked through, if each lives for `life_ms` milliseconds: when the first ends, or at once
    /// (the time is in the past) if there are more than [`MAX_TOMBSTONES`].
    #[must_use]
    pub fn tombstone_ends(&self, life_ms: i64) -> Option<Timestamp> {
        let tombstones = self.tombstones();
        let (oldest, _) = *tombstones.first()?;
        let life_ms = if tombstones.len() > MAX_TOMBSTONES { 0 } else { life_ms };
        Some(Timestamp(oldest.0.saturating_add(life_ms)))
    }

    /// Its tombstones, the oldest first.
    pub(crate) fn tombstones(&self) -> Vec<(Timestamp, Subject)> {
        let detached = |(_, a): &(_, &Attachment)| matches!(a.phase, AttachmentPhase::Detached);
        let deleted = |(_, s): &(_, &Snapshot)| matches!(s.phase, SnapshotPhase::Deleted);
        let attachments = self.attachments.iter().filter(detached).map(|(id, a)| (a.since, Subject::Attachment(*id)));
        let snapshots = self.snapshots.iter().filter(deleted).map(|(id, s)| (s.since, Subject::Snapshot(*id)));
        let mut all: Vec<_> = attachments.chain(snapshots).collect();
        all.sort_unstable();
        all
    }

    /// Whether a look at the volume and its snapshots is owed: `recover` asked for one, or an outcome is not known.
    fn owes_look(&self) -> bool {
        let volume = match &self.phase {
            VolumePhase::Error { .. } | VolumePhase::ErrorExtending { .. } | VolumePhase::ErrorDeleting { .. } => {
                self.recover.is_some() || !self.seen.is_known()
            }
            VolumePhase::Ready => self.recover.is_some(),
            VolumePhase::Creating(_) | VolumePhase::Extending { .. } => return false,
            VolumePhase::Deleting | VolumePhase::Gone { .. } => return false,
        };
        volume || self.snapshots.values().any(Snapshot::owes_look)
    }

    fn delete_owed(&self) -> Owed {
        let left = self.snapshots.values().any(|snapshot| !matches!(snapshot.phase, SnapshotPhase::Deleted));
        Owed { work: Work::Delete, waiting: left.then_some(Waiting::Snapshots) }
    }

    fn export_waits(&self, work: Work, mode: Mode, capabilities: Capabilities) -> Option<Waiting> {
        if !matches!(work, Work::Export(_)) {
            return None;
        }
        if matches!(self.phase, VolumePhase::Extending { .. }) {
            return Some(Waiting::Extend);
        }
        let copying = |(id, snapshot): (&SnapshotId, &Snapshot)| snapshot.may_be_copying().then_some(Waiting::Snapshot(*id));
        let excluded = mode == Mode::ReadWrite && !capabilities.attached_snapshot;
        excluded.then(|| self.snapshots.iter().find_map(copying)).flatten()
    }
}

impl Attachment {
    fn owed(&self, id: AttachmentId) -> Option<Work> {
        match &self.phase {
            AttachmentPhase::Attaching { .. } => Some(Work::Export(id)),
            AttachmentPhase::RollingBack { .. } => Some(Work::Unexport { attachment: id, force: true }),
            AttachmentPhase::Detaching { force, .. } => Some(Work::Unexport { attachment: id, force: *force }),
            AttachmentPhase::ErrorDetaching { look: ExportLook::Owed | ExportLook::Recover(_), .. } => Some(Work::LookExport(id)),
            AttachmentPhase::ErrorDetaching { look: ExportLook::Done, .. } | AttachmentPhase::Attached { .. } => None,
            AttachmentPhase::Detached | AttachmentPhase::ErrorAttaching { .. } => None,
        }
    }
}

impl Snapshot {
    fn owed(&self, id: SnapshotId) -> Option<Work> {
        match &self.phase {
            SnapshotPhase::Creating(Making::Make) => Some(Work::Snapshot(id)),
            SnapshotPhase::Creating(Making::CleanUp(_)) => Some(Work::CleanUpSnapshot(id)),
            SnapshotPhase::Deleting => Some(Work::DeleteSnapshot(id)),
            SnapshotPhase::Available | SnapshotPhase::Error { .. } => None,
            SnapshotPhase::ErrorDeleting { .. } | SnapshotPhase::Deleted => None,
        }
    }

    /// Whether a call that copies it may still act: it runs, or it ran and nothing has fenced it yet.
    ///
    /// A writer let in meanwhile would tear the copy, and a later `recover` would find it whole. It ends with the removal of what
    /// a failure left or with the fenced look that is owed; whoever cannot wait for that deletes the snapshot.
    /// Source: the model's counterexample `a_writer_waits_until_no_call_copies_a_snapshot`.
    fn may_be_copying(&self) -> bool {
        match &self.phase {
            SnapshotPhase::Creating(_) => true,
            SnapshotPhase::Error { cause: ErrorCause::Creation, .. } => self.seen == Seen::Unknown,
            SnapshotPhase::Error { cause: ErrorCause::Missing | ErrorCause::Damaged, .. } | SnapshotPhase::Available => false,
            SnapshotPhase::Deleting | SnapshotPhase::ErrorDeleting { .. } | SnapshotPhase::Deleted => false,
        }
    }

    fn owes_look(&self) -> bool {
        match &self.phase {
            SnapshotPhase::Error { .. } | SnapshotPhase::ErrorDeleting { .. } => {
                self.recover.is_some() || self.seen == Seen::Unknown
            }
            SnapshotPhase::Available => self.recover.is_some(),
            SnapshotPhase::Creating(_) | SnapshotPhase::Deleting | SnapshotPhase::Deleted => false,
        }
    }
}
