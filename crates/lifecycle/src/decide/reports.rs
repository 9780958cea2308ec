//! What a driver's or an exporter's answer means.
//!
//! - A report of work that is no longer owed changes nothing: its operation was superseded.
//! - Only `Done` with the facts that were wanted, and `Refused`, settle anything. The rest is driven again until the deadline.
//! - A refusal says that *this call* did nothing; an earlier try may have acted. So a refused creation is cleaned up, a refused
//!   export is taken back, and a refused extend or delete is looked at, before the status says anything about the backend.
//!
//! Source: reliability page, the first rules; lifecycle page, "Work in flight".

use super::Change;
use crate::{
    AttachmentId, AttachmentPhase, Bytes, ErrorCause, ExportLook, ExportSeen, Facts, Making, Outcome, Reason, ReasonCode, Seen,
    SnapshotId, SnapshotPhase, Timestamp, Volume, VolumePhase, Work,
};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

pub(super) fn reason(code: ReasonCode, message: String, since: Timestamp) -> Reason {
    Reason { code, message, since }
}

/// What an outcome settles: done with facts, refused with a message, or nothing yet.
enum Settled<'a> {
    Done(&'a Facts),
    Refused(&'a str),
    NotYet,
}

impl<'a> From<&'a Outcome> for Settled<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        match outcome {
            Outcome::Done(facts) => Self::Done(facts),
            Outcome::Refused(message) => Self::Refused(message),
            Outcome::Failed(_) | Outcome::Unknown(_) => Self::NotYet,
        }
    }
}

impl Volume {
    pub(super) fn report(&self, work: Work, outcome: &Outcome, now: Timestamp) -> Vec<Change> {
        let settled = Settled::from(outcome);
        match work {
            Work::Create => self.created(&settled, now),
            Work::CleanUp => self.cleaned_up(&settled, now),
            Work::Extend { target } => self.extended(target, &settled, now),
            Work::Delete => self.deleted(&settled, now),
            Work::Look => match settled {
                Settled::Done(Facts::Look(look)) => self.looked(look, now),
                Settled::Done(Facts::Object(_) | Facts::Export(_)) | Settled::Refused(_) | Settled::NotYet => vec![],
            },
            Work::Snapshot(id) => self.snapshot_taken(id, &settled, now),
            Work::CleanUpSnapshot(id) => self.snapshot_cleaned_up(id, &settled, now),
            Work::DeleteSnapshot(id) => self.snapshot_deleted(id, &settled, now),
            Work::Export(id) => self.exported(id, &settled, now),
            Work::Unexport { attachment, force } => self.unexported(attachment, force, &settled, now),
            Work::LookExport(id) => match settled {
                Settled::Done(Facts::Export(seen)) => self.export_looked(id, seen),
                Settled::Done(Facts::Object(_) | Facts::Look(_)) | Settled::Refused(_) | Settled::NotYet => vec![],
            },
        }
    }

    fn created(&self, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        if self.phase != VolumePhase::Creating(Making::Make) {
            return vec![];
        }
        match settled {
            Settled::Done(Facts::Object(seen)) if seen.whole() == Some(self.size) => {
                vec![Change::Seen(*seen), Change::Volume(VolumePhase::Ready)]
            }
            Settled::Done(Facts::Object(seen)) => match seen.whole() {
                Some(other) => {
                    self.clean_up(ReasonCode::SizeDiffers, format!("the backend made {other} instead of {}", self.size), now)
                }
                None => vec![],
            },
            Settled::Refused(message) => self.clean_up(ReasonCode::Refused, format!("creating it was refused: {message}"), now),
            Settled::Done(Facts::Export(_) | Facts::Look(_)) | Settled::NotYet => vec![],
        }
    }

    fn clean_up(&self, code: ReasonCode, message: String, now: Timestamp) -> Vec<Change> {
        vec![Change::Volume(VolumePhase::Creating(Making::CleanUp(reason(code, message, now))))]
    }

    fn cleaned_up(&self, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        let VolumePhase::Creating(Making::CleanUp(why)) = &self.phase else { return vec![] };
        let (seen, why) = match settled {
            Settled::Done(facts) if is_absent(facts) => (Seen::Absent, why.clone()),
            Settled::Refused(message) => (Seen::Unknown, leftovers(why, message, now)),
            Settled::Done(_) | Settled::NotYet => return vec![],
        };
        vec![Change::Seen(seen), Change::Volume(VolumePhase::Error { cause: ErrorCause::Creation, reason: why })]
    }

    fn extended(&self, target: Bytes, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        if self.phase != (VolumePhase::Extending { target }) {
            return vec![];
        }
        match settled {
            Settled::Done(Facts::Object(seen)) => self.settle_extend(target, *seen, now),
            Settled::Refused(message) => {
                let why = reason(ReasonCode::Refused, format!("extending it to {target} was refused: {message}"), now);
                vec![Change::Seen(Seen::Unknown), Change::Volume(VolumePhase::ErrorExtending { target, reason: why })]
            }
            Settled::Done(Facts::Export(_) | Facts::Look(_)) | Settled::NotYet => vec![],
        }
    }

    fn deleted(&self, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        if self.phase != VolumePhase::Deleting || self.has_snapshots() {
            return vec![];
        }
        match settled {
            Settled::Done(facts) if is_absent(facts) => vec![Change::Volume(VolumePhase::Gone { forgotten: false })],
            Settled::Refused(message) => {
                let why = reason(ReasonCode::Refused, format!("deleting it was refused: {message}"), now);
                vec![Change::Seen(Seen::Unknown), Change::Volume(VolumePhase::ErrorDeleting { reason: why })]
            }
            Settled::Done(_) | Settled::NotYet => vec![],
        }
    }

    fn snapshot_taken(&self, id: SnapshotId, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        let Some(snapshot) = self.snapshots.get(&id) else { return vec![] };
        if snapshot.phase != SnapshotPhase::Creating(Making::Make) {
            return vec![];
        }
        let clean_up = |code, message| {
            let making = Making::CleanUp(reason(code, message, now));
            vec![Change::Snapshot(id, SnapshotPhase::Creating(making))]
        };
        match settled {
            Settled::Done(Facts::Object(seen)) => match seen.whole() {
                Some(size) if size == snapshot.size => {
                    vec![Change::SnapshotSeen(id, *seen), Change::Snapshot(id, SnapshotPhase::Available)]
                }
                Some(other) => {
                    clean_up(ReasonCode::SizeDiffers, format!("the backend copied {other} instead of {}", snapshot.size))
                }
                None => vec![],
            },
            Settled::Refused(message) => clean_up(ReasonCode::Refused, format!("taking it was refused: {message}")),
            Settled::Done(Facts::Export(_) | Facts::Look(_)) | Settled::NotYet => vec![],
        }
    }

    fn snapshot_cleaned_up(&self, id: SnapshotId, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        let Some(SnapshotPhase::Creating(Making::CleanUp(why))) = self.snapshots.get(&id).map(|s| &s.phase) else { return vec![] };
        let (seen, why) = match settled {
            Settled::Done(facts) if is_absent(facts) => (Seen::Absent, why.clone()),
            Settled::Refused(message) => (Seen::Unknown, leftovers(why, message, now)),
            Settled::Done(_) | Settled::NotYet => return vec![],
        };
        let phase = SnapshotPhase::Error { cause: ErrorCause::Creation, reason: why };
        vec![Change::SnapshotSeen(id, seen), Change::Snapshot(id, phase)]
    }

    fn snapshot_deleted(&self, id: SnapshotId, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        if self.snapshots.get(&id).is_none_or(|snapshot| snapshot.phase != SnapshotPhase::Deleting) {
            return vec![];
        }
        match settled {
            Settled::Done(facts) if is_absent(facts) => vec![Change::Snapshot(id, SnapshotPhase::Deleted)],
            Settled::Refused(message) => {
                self.snapshot_remains(id, reason(ReasonCode::Refused, format!("deleting it was refused: {message}"), now))
            }
            Settled::Done(_) | Settled::NotYet => vec![],
        }
    }

    /// A snapshot could not be deleted; a volume that is being deleted with it cannot be either.
    pub(super) fn snapshot_remains(&self, id: SnapshotId, why: Reason) -> Vec<Change> {
        let now = why.since;
        let mut changes =
            vec![Change::SnapshotSeen(id, Seen::Unknown), Change::Snapshot(id, SnapshotPhase::ErrorDeleting { reason: why })];
        if self.phase == VolumePhase::Deleting {
            let message = format!("its snapshot {id} could not be deleted; mend that, then retry or delete the volume again");
            let reason = reason(ReasonCode::SnapshotRemains, message, now);
            changes.extend([Change::Seen(Seen::Unknown), Change::Volume(VolumePhase::ErrorDeleting { reason })]);
        }
        changes
    }

    fn exported(&self, id: AttachmentId, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        let Some(AttachmentPhase::Attaching { .. }) = self.attachments.get(&id).map(|a| &a.phase) else { return vec![] };
        match settled {
            Settled::Done(Facts::Export(ExportSeen::Serving(connection))) => {
                vec![Change::Attachment(id, AttachmentPhase::Attached { connection: connection.clone() })]
            }
            Settled::Refused(message) => {
                let reason = reason(ReasonCode::Refused, format!("exporting it was refused: {message}"), now);
                vec![Change::Attachment(id, AttachmentPhase::RollingBack { reason })]
            }
            Settled::Done(_) | Settled::NotYet => vec![],
        }
    }

    fn unexported(&self, id: AttachmentId, force: bool, settled: &Settled<'_>, now: Timestamp) -> Vec<Change> {
        let Some(attachment) = self.attachments.get(&id) else { return vec![] };
        let ended = match &attachment.phase {
            AttachmentPhase::RollingBack { reason } if force => AttachmentPhase::ErrorAttaching { reason: reason.clone() },
            AttachmentPhase::Detaching { force: wanted, .. } if *wanted == force => AttachmentPhase::Detached,
            AttachmentPhase::RollingBack { .. } | AttachmentPhase::Detaching { .. } => return vec![],
            AttachmentPhase::Attaching { .. } | AttachmentPhase::Attached { .. } | AttachmentPhase::Detached => return vec![],
            AttachmentPhase::ErrorAttaching { .. } | AttachmentPhase::ErrorDetaching { .. } => return vec![],
        };
        match settled {
            Settled::Done(Facts::Export(ExportSeen::Absent)) => vec![Change::Attachment(id, ended)],
            Settled::Refused(message) => {
                let code = if force { ReasonCode::Refused } else { ReasonCode::ClientsConnected };
                let reason = reason(code, String::from(*message), now);
                let connection = attachment.connection().cloned();
                vec![Change::Attachment(id, AttachmentPhase::ErrorDetaching { reason, connection, look: ExportLook::Owed })]
            }
            Settled::Done(_) | Settled::NotYet => vec![],
        }
    }

    /// Whether any snapshot is left, tombstones not counted.
    pub(super) fn has_snapshots(&self) -> bool {
        self.snapshots.values().any(|snapshot| !matches!(snapshot.phase, SnapshotPhase::Deleted))
    }
}

fn is_absent(facts: &Facts) -> bool {
    matches!(facts, Facts::Object(Seen::Absent))
}

fn leftovers(why: &Reason, message: &str, now: Timestamp) -> Reason {
    let text = format!("{}; what that left could not be removed: {message}", why.message);
    reason(ReasonCode::LeftoversRemain, text, now)
}
