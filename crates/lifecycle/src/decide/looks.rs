//! What a look at the backend means.
//!
//! Two kinds. A *fenced* look ([`crate::Work::Look`]) promises that no older call will act after it, so that even "absent" may be
//! believed; it settles what `recover` asked about, finishes what a crash interrupted, and sharpens the reason of an unknown
//! outcome. A *passing* look (drift) is not fenced and only ever speaks about resources on which nothing runs.
//!
//! Recovery follows the evidence: `ready` only if the content is proven whole; a missing volume keeps its record.
//! Source: lifecycle page, row "recover" and the rows on drift.

use super::Change;
use super::reports::reason;
use crate::{
    AttachmentId, AttachmentPhase, Bytes, Connection, Content, ErrorCause, ExportLook, ExportSeen, Look, Making, Reason,
    ReasonCode, Seen, Snapshot, SnapshotId, SnapshotPhase, Timestamp, Volume, VolumePhase,
};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

impl Volume {
    /// A fenced look.
    pub(super) fn looked(&self, look: &Look, now: Timestamp) -> Vec<Change> {
        let mut changes = self.volume_looked(look, now);
        for (id, snapshot) in &self.snapshots {
            changes.extend(snapshot.looked(*id, look.of(*id), now));
        }
        changes
    }

    fn volume_looked(&self, look: &Look, now: Timestamp) -> Vec<Change> {
        let seen = look.volume;
        match &self.phase {
            VolumePhase::Creating(Making::Make) if seen.whole() == Some(self.size) => {
                vec![Change::Seen(seen), Change::Volume(VolumePhase::Ready)]
            }
            VolumePhase::Creating(Making::CleanUp(why)) if seen == Seen::Absent => {
                let phase = VolumePhase::Error { cause: ErrorCause::Creation, reason: why.clone() };
                vec![Change::Seen(seen), Change::Volume(phase)]
            }
            VolumePhase::Creating(_) => vec![],
            VolumePhase::Extending { target } => self.settle_extend(*target, seen, now),
            VolumePhase::Deleting if seen == Seen::Absent && !self.has_snapshots() => {
                vec![Change::Volume(VolumePhase::Gone { forgotten: false })]
            }
            VolumePhase::Deleting | VolumePhase::Gone { .. } => vec![],
            VolumePhase::Ready => {
                let mut changes = self.ready_drifted(look, now);
                if self.recover.is_some() && seen.is_known() {
                    changes.push(Change::Recover(None));
                }
                changes
            }
            VolumePhase::Error { .. } | VolumePhase::ErrorExtending { .. } | VolumePhase::ErrorDeleting { .. } => {
                let mut changes = self.error_looked(seen, now);
                changes.extend(self.stranger_looked(look, now));
                changes
            }
        }
    }

    /// A fenced look at a volume in an error phase.
    fn error_looked(&self, seen: Seen, now: Timestamp) -> Vec<Change> {
        if !seen.is_known() {
            return vec![];
        }
        let recovering = self.recover.is_some();
        let mut changes = vec![Change::Seen(seen)];
        if recovering {
            changes.push(Change::Recover(None));
        }
        let phase = match &self.phase {
            VolumePhase::Error { cause, reason } => {
                if recovering { self.judge(seen, Some(*cause), now) } else { None }.or_else(|| {
                    let reason = sharpen(reason, seen, now)?;
                    Some(VolumePhase::Error { cause: *cause, reason })
                })
            }
            VolumePhase::ErrorExtending { target, reason } => match seen.whole() {
                Some(size) if size >= self.size && !recovering => {
                    sharpen(reason, seen, now).map(|reason| VolumePhase::ErrorExtending { target: (*target).max(size), reason })
                }
                Some(size) if size >= self.size => {
                    changes.push(Change::Size(size));
                    Some(VolumePhase::Ready)
                }
                Some(_) | None => self.judge(seen, None, now),
            },
            VolumePhase::ErrorDeleting { reason } => {
                let proven_whole = seen.whole().is_some_and(|size| size >= self.size);
                if recovering && seen == Seen::Absent && !self.has_snapshots() {
                    Some(VolumePhase::Gone { forgotten: false })
                } else if recovering && proven_whole {
                    self.judge(seen, None, now)
                } else {
                    sharpen(reason, seen, now).map(|reason| VolumePhase::ErrorDeleting { reason })
                }
            }
            VolumePhase::Creating(_) | VolumePhase::Ready | VolumePhase::Extending { .. } => None,
            VolumePhase::Deleting | VolumePhase::Gone { .. } => None,
        };
        changes.extend(phase.map(Change::Volume));
        changes
    }

    /// The phase that the evidence proves for a volume that should be whole and of the recorded size; `None` if there is no
    /// evidence, or if it is in an error already that the evidence confirms.
    fn judge(&self, seen: Seen, present: Option<ErrorCause>, now: Timestamp) -> Option<VolumePhase> {
        let never_usable = present == Some(ErrorCause::Creation);
        match seen {
            Seen::Unknown | Seen::Present { content: Content::Unknown, .. } => None,
            Seen::Absent if present.is_some() => None,
            Seen::Absent => {
                let message = String::from("its backend volume is not there any more; bring it back and recover, or delete it");
                Some(VolumePhase::Error { cause: ErrorCause::Missing, reason: reason(ReasonCode::BackendMissing, message, now) })
            }
            Seen::Present { size, content: Content::Whole } if size == self.size => Some(VolumePhase::Ready),
            Seen::Present { size, content: Content::Whole } if size > self.size => {
                let message = format!("its backend volume has {size}, not the recorded {}; recover takes it over", self.size);
                Some(VolumePhase::ErrorExtending { target: size, reason: reason(ReasonCode::SizeDiffers, message, now) })
            }
            Seen::Present { .. } if never_usable => None,
            Seen::Present { size, content } => {
                let part = if content == Content::Partial { "partly there" } else { "smaller than recorded" };
                let message = format!("its backend volume is {part}: {size} of {}; its data may be damaged", self.size);
                Some(VolumePhase::Error { cause: ErrorCause::Damaged, reason: reason(ReasonCode::BackendDamaged, message, now) })
            }
        }
    }

    /// What an extend to `target` has come to. Too small is no answer yet: it is driven again.
    pub(super) fn settle_extend(&self, target: Bytes, seen: Seen, now: Timestamp) -> Vec<Change> {
        match seen.whole() {
            Some(size) if size >= target => vec![Change::Seen(seen), Change::Size(size), Change::Volume(VolumePhase::Ready)],
            Some(size) if size >= self.size => vec![],
            Some(_) | None => match self.judge(seen, None, now) {
                Some(phase) => vec![Change::Seen(seen), Change::Volume(phase)],
                None => vec![],
            },
        }
    }

    /// A passing look, while nothing runs on the volume.
    pub(super) fn drift(&self, look: &Look, now: Timestamp) -> Vec<Change> {
        let mut changes = match &self.phase {
            VolumePhase::Ready if self.recover.is_none() => self.ready_drifted(look, now),
            VolumePhase::ErrorExtending { target, .. } if self.recover.is_none() => self.stuck_drifted(*target, look, now),
            VolumePhase::Error { .. } | VolumePhase::ErrorDeleting { .. } if self.recover.is_none() => {
                self.stranger_looked(look, now).into_iter().collect()
            }
            VolumePhase::Ready | VolumePhase::Creating(_) | VolumePhase::Extending { .. } | VolumePhase::Deleting => vec![],
            VolumePhase::Error { .. } | VolumePhase::ErrorExtending { .. } => vec![],
            VolumePhase::ErrorDeleting { .. } | VolumePhase::Gone { .. } => vec![],
        };
        for (id, snapshot) in &self.snapshots {
            changes.extend(snapshot.drifted(*id, look.of(*id), now));
        }
        changes
    }

    /// `errorExtending` promises that the data is intact. No call of ours takes data away there, so that a passing look which finds
    /// it gone, or not whole, is to be believed; and so is one that finds more than any extend could have made.
    /// Source: the simulation's counterexample `a_volume_that_vanishes_while_error_extending_is_missing`.
    fn stuck_drifted(&self, target: Bytes, look: &Look, now: Timestamp) -> Vec<Change> {
        let phase = match look.volume.whole() {
            Some(size) if size >= self.size && size <= target.max(self.size) => None,
            Some(_) | None => self.judge(look.volume, None, now),
        };
        let mut changes = phase.map_or_else(Vec::new, |phase| vec![Change::Seen(look.volume), Change::Volume(phase)]);
        changes.extend(self.stranger_looked(look, now));
        changes
    }

    fn ready_drifted(&self, look: &Look, now: Timestamp) -> Vec<Change> {
        let mut changes = vec![];
        if look.volume.is_known() && look.volume != self.seen {
            changes.push(Change::Seen(look.volume));
        }
        match self.judge(look.volume, None, now) {
            Some(VolumePhase::Ready) | None => {}
            Some(phase) => changes.push(Change::Volume(phase)),
        }
        changes.extend(self.stranger_looked(look, now));
        changes
    }

    /// Whether somebody unknown uses it. An error phase follows this too, or a use that ended would bar deletion for ever.
    /// Source: the model's counterexample `a_stray_client_that_left_does_not_bar_deletion`.
    ///
    /// While an attachment is live nothing new is concluded: not every backend can tell our own exporter from somebody else.
    fn stranger_looked(&self, look: &Look, now: Timestamp) -> Option<Change> {
        let present = self.stranger.as_ref().map(|reason| reason.message.as_str());
        if !look.volume.is_known() || present == look.stranger.as_deref() {
            return None;
        }
        let is_attached = self.attachments.values().any(|attachment| attachment.phase.is_live());
        if is_attached && look.stranger.is_some() {
            return None;
        }
        Some(Change::Stranger(look.stranger.clone().map(|who| reason(ReasonCode::StrayClient, who, now))))
    }

    /// A fenced look at one export.
    pub(super) fn export_looked(&self, id: AttachmentId, seen: &ExportSeen) -> Vec<Change> {
        let Some(AttachmentPhase::ErrorDetaching { reason, look, .. }) = self.attachments.get(&id).map(|a| &a.phase) else {
            return vec![];
        };
        let phase = match (seen, look) {
            (ExportSeen::Unknown, _) => return vec![],
            (ExportSeen::Absent, _) => AttachmentPhase::Detached,
            (ExportSeen::Serving(connection), ExportLook::Recover(_)) => {
                AttachmentPhase::Attached { connection: connection.clone() }
            }
            (ExportSeen::Serving(connection), ExportLook::Owed | ExportLook::Done) => {
                let mut reason = reason.clone();
                if reason.code == ReasonCode::OutcomeUnknown {
                    reason.code = ReasonCode::ProvenPresent;
                }
                AttachmentPhase::ErrorDetaching { reason, connection: Some(connection.clone()), look: ExportLook::Done }
            }
        };
        vec![Change::Attachment(id, phase)]
    }

    /// Every export that is served, not fenced.
    pub(super) fn exports(&self, exports: &BTreeMap<AttachmentId, Connection>, now: Timestamp) -> Vec<Change> {
        let mut changes = vec![];
        for (id, attachment) in &self.attachments {
            let phase = match (&attachment.phase, exports.get(id)) {
                (AttachmentPhase::Attached { .. }, None) => {
                    let message = String::from("its export was not there and is being made again");
                    AttachmentPhase::Attaching { again: Some(reason(ReasonCode::NotExported, message, now)) }
                }
                (AttachmentPhase::Attached { connection }, Some(seen)) if connection != seen => {
                    AttachmentPhase::Attached { connection: seen.clone() }
                }
                (AttachmentPhase::ErrorDetaching { reason, connection, look: ExportLook::Done }, None) => {
                    let (reason, connection) = (reason.clone(), connection.clone());
                    AttachmentPhase::ErrorDetaching { reason, connection, look: ExportLook::Owed }
                }
                (AttachmentPhase::Attached { .. } | AttachmentPhase::ErrorDetaching { .. }, _) => continue,
                (AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. }, _) => continue,
                (AttachmentPhase::Detaching { .. } | AttachmentPhase::Detached, _) => continue,
                (AttachmentPhase::ErrorAttaching { .. }, _) => continue,
            };
            changes.push(Change::Attachment(*id, phase));
        }
        changes
    }
}

impl Look {
    /// What it says of a snapshot: one that the backend did not list is absent if it could answer about the volume at all.
    fn of(&self, id: SnapshotId) -> Seen {
        let unlisted = if self.volume.is_known() { Seen::Absent } else { Seen::Unknown };
        self.snapshots.get(&id).copied().unwrap_or(unlisted)
    }
}

impl Snapshot {
    /// A fenced look.
    fn looked(&self, id: SnapshotId, seen: Seen, now: Timestamp) -> Vec<Change> {
        if !seen.is_known() {
            return vec![];
        }
        let is_whole = seen.whole() == Some(self.size);
        let recovering = self.recover.is_some();
        let phase = match &self.phase {
            SnapshotPhase::Creating(Making::Make) if is_whole => SnapshotPhase::Available,
            SnapshotPhase::Creating(Making::CleanUp(why)) if seen == Seen::Absent => {
                SnapshotPhase::Error { cause: ErrorCause::Creation, reason: why.clone() }
            }
            SnapshotPhase::Deleting if seen == Seen::Absent => SnapshotPhase::Deleted,
            SnapshotPhase::Creating(_) | SnapshotPhase::Deleting | SnapshotPhase::Deleted => return vec![],
            SnapshotPhase::Available => return self.drifted(id, seen, now),
            SnapshotPhase::Error { .. } if recovering && is_whole => SnapshotPhase::Available,
            SnapshotPhase::ErrorDeleting { .. } if recovering && seen == Seen::Absent => SnapshotPhase::Deleted,
            SnapshotPhase::Error { cause, reason } => match sharpen(reason, seen, now) {
                Some(reason) => SnapshotPhase::Error { cause: *cause, reason },
                None => return self.noted(id, seen),
            },
            SnapshotPhase::ErrorDeleting { reason } => match sharpen(reason, seen, now) {
                Some(reason) => SnapshotPhase::ErrorDeleting { reason },
                None => return self.noted(id, seen),
            },
        };
        let mut changes = self.noted(id, seen);
        changes.push(Change::Snapshot(id, phase));
        changes
    }

    fn noted(&self, id: SnapshotId, seen: Seen) -> Vec<Change> {
        let mut changes = vec![];
        if seen != self.seen {
            changes.push(Change::SnapshotSeen(id, seen));
        }
        if self.recover.is_some() {
            changes.push(Change::SnapshotRecover(id, None));
        }
        changes
    }

    /// A passing look.
    fn drifted(&self, id: SnapshotId, seen: Seen, now: Timestamp) -> Vec<Change> {
        if self.phase != SnapshotPhase::Available || !seen.is_known() || seen.whole() == Some(self.size) {
            return vec![];
        }
        let (cause, code, what) = match seen {
            Seen::Absent => (ErrorCause::Missing, ReasonCode::BackendMissing, "is not there any more"),
            Seen::Present { .. } | Seen::Unknown => (ErrorCause::Damaged, ReasonCode::BackendDamaged, "is not whole any more"),
        };
        let reason = reason(code, format!("its copy on the backend {what}; delete it, or bring it back and recover"), now);
        vec![Change::SnapshotSeen(id, seen), Change::Snapshot(id, SnapshotPhase::Error { cause, reason })]
    }
}

/// The reason of an unknown outcome, once a look has told what is there; `None` if there is nothing to sharpen.
fn sharpen(why: &Reason, seen: Seen, now: Timestamp) -> Option<Reason> {
    match why.code {
        ReasonCode::OutcomeUnknown | ReasonCode::LeftoversRemain | ReasonCode::ProvenPresent | ReasonCode::ProvenAbsent => {}
        ReasonCode::Refused | ReasonCode::BackendMissing | ReasonCode::BackendDamaged | ReasonCode::SizeDiffers => return None,
        ReasonCode::StrayClient | ReasonCode::ClientsConnected | ReasonCode::NotExported | ReasonCode::SnapshotRemains => {
            return None;
        }
    }
    let (code, found) = match seen {
        Seen::Absent => (ReasonCode::ProvenAbsent, String::from("a look found nothing of it on the backend")),
        Seen::Present { size, content: Content::Whole } => {
            (ReasonCode::ProvenPresent, format!("a look found it whole, with {size}"))
        }
        Seen::Present { size, content: Content::Partial } => {
            (ReasonCode::ProvenPresent, format!("a look found part of it, {size} long"))
        }
        Seen::Unknown | Seen::Present { content: Content::Unknown, .. } => return None,
    };
    let sharpened = reason(code, found, now);
    (sharpened.code != why.code || sharpened.message != why.message).then_some(sharpened)
}
