//! What becomes of an operation that got no definite answer in time: a truthful end, and a look that goes on.
//!
//! Source: lifecycle page, "Work in flight": creating ends in error, extending in errorExtending, deleting in errorDeleting,
//! attaching and detaching in errorDetaching, all with the reason `outcomeUnknown`.

use super::Change;
use super::reports::reason;
use crate::{
    AttachmentId, AttachmentPhase, ErrorCause, ExportLook, Making, Reason, ReasonCode, Seen, SnapshotId, SnapshotPhase, Timestamp,
    Volume, VolumePhase, Work,
};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

impl Volume {
    pub(super) fn deadline(&self, work: Work, now: Timestamp) -> Vec<Change> {
        let unknown = |what: &str| {
            let message = format!("{what} got no definite answer in time; the backend is being looked at until there is one");
            reason(ReasonCode::OutcomeUnknown, message, now)
        };
        let phase = match (work, &self.phase) {
            (Work::Create, VolumePhase::Creating(Making::Make)) => {
                VolumePhase::Error { cause: ErrorCause::Creation, reason: unknown("creating it") }
            }
            (Work::CleanUp, VolumePhase::Creating(Making::CleanUp(why))) => {
                let mut reason = unknown("removing what it left");
                reason.message = format!("{}; {}", why.message, reason.message);
                VolumePhase::Error { cause: ErrorCause::Creation, reason }
            }
            (Work::Extend { target }, VolumePhase::Extending { target: wanted }) if target == *wanted => {
                VolumePhase::ErrorExtending { target, reason: unknown("extending it") }
            }
            (Work::Delete, VolumePhase::Deleting) => VolumePhase::ErrorDeleting { reason: unknown("deleting it") },
            (Work::Create | Work::CleanUp | Work::Extend { .. } | Work::Delete, _) => return vec![],
            (Work::Look, _) => return self.look_unanswered(),
            (Work::Snapshot(id) | Work::CleanUpSnapshot(id) | Work::DeleteSnapshot(id), _) => {
                return self.snapshot_deadline(work, id, unknown("the backend"), now);
            }
            (Work::Export(id) | Work::Unexport { attachment: id, .. } | Work::LookExport(id), _) => {
                return self.export_deadline(work, id, unknown("the exporter"));
            }
        };
        vec![Change::Seen(Seen::Unknown), Change::Volume(phase)]
    }

    /// A `recover` that got no answer ends; the statuses stay.
    fn look_unanswered(&self) -> Vec<Change> {
        let mut changes = vec![];
        if self.recover.is_some() {
            changes.push(Change::Recover(None));
        }
        let recovering = self.snapshots.iter().filter(|(_, snapshot)| snapshot.recover.is_some());
        changes.extend(recovering.map(|(id, _)| Change::SnapshotRecover(*id, None)));
        changes
    }

    fn snapshot_deadline(&self, work: Work, id: SnapshotId, why: Reason, now: Timestamp) -> Vec<Change> {
        let Some(snapshot) = self.snapshots.get(&id) else { return vec![] };
        let cause = ErrorCause::Creation;
        let phase = match (work, &snapshot.phase) {
            (Work::Snapshot(_), SnapshotPhase::Creating(Making::Make)) => SnapshotPhase::Error { cause, reason: why },
            (Work::CleanUpSnapshot(_), SnapshotPhase::Creating(Making::CleanUp(first))) => {
                let message = format!("{}; removing what it left: {}", first.message, why.message);
                SnapshotPhase::Error { cause, reason: reason(why.code, message, now) }
            }
            (Work::DeleteSnapshot(_), SnapshotPhase::Deleting) => return self.snapshot_remains(id, why),
            (_, SnapshotPhase::Creating(_) | SnapshotPhase::Available | SnapshotPhase::Error { .. }) => return vec![],
            (_, SnapshotPhase::Deleting | SnapshotPhase::ErrorDeleting { .. } | SnapshotPhase::Deleted) => return vec![],
        };
        vec![Change::SnapshotSeen(id, Seen::Unknown), Change::Snapshot(id, phase)]
    }

    fn export_deadline(&self, work: Work, id: AttachmentId, why: Reason) -> Vec<Change> {
        let Some(attachment) = self.attachments.get(&id) else { return vec![] };
        let connection = attachment.connection().cloned();
        let phase = match (work, &attachment.phase) {
            // Nobody asked for its end: it is attached again whenever it can be, however long the data plane is away. A client
            // that comes back then finds what it left, and whoever does not want to wait detaches.
            (Work::Export(_), AttachmentPhase::Attaching { again: Some(_) }) => return vec![],
            (Work::Export(_), AttachmentPhase::Attaching { again: None })
            | (Work::Unexport { .. }, AttachmentPhase::RollingBack { .. } | AttachmentPhase::Detaching { .. }) => {
                AttachmentPhase::ErrorDetaching { reason: why, connection, look: ExportLook::Owed }
            }
            (Work::LookExport(_), AttachmentPhase::ErrorDetaching { reason, connection, look: ExportLook::Recover(_) }) => {
                let (reason, connection) = (reason.clone(), connection.clone());
                AttachmentPhase::ErrorDetaching { reason, connection, look: ExportLook::Owed }
            }
            (_, AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } | AttachmentPhase::Attached { .. }) => {
                return vec![];
            }
            (_, AttachmentPhase::Detaching { .. } | AttachmentPhase::Detached) => return vec![],
            (_, AttachmentPhase::ErrorAttaching { .. } | AttachmentPhase::ErrorDetaching { .. }) => return vec![],
        };
        vec![Change::Attachment(id, phase)]
    }
}
