//! The one entry: an input decides transitions, or is rejected; applying transitions is pure.
//!
//! Nothing here knows how a transition came to be wanted; the rules live in `commands`, `reports`, `looks` and `deadlines`.
//! A [`Transition`] has no public constructor: whoever holds one got it from [`Volume::decide`].

mod commands;
mod deadlines;
mod looks;
mod reports;

pub use commands::{MAX_ATTACHMENTS, MAX_SNAPSHOTS};

use crate::{
    Attachment, AttachmentId, AttachmentPhase, Bytes, Capabilities, Command, Connection, Look, MAX_TOMBSTONES, Making, Mode,
    Outcome, Reason, Rejection, Seen, Snapshot, SnapshotId, SnapshotPhase, Source, Subject, Timestamp, Volume, VolumeId,
    VolumePhase, Work,
};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// What may happen to an aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A user asks for something. The only input that can be rejected.
    Command(Command),
    /// A driver or exporter answered to work that was owed.
    Report {
        /// The work it was asked to do.
        work: Work,
        /// Its answer.
        outcome: Outcome,
    },
    /// No definite answer came before the deadline of no progress.
    Deadline(Work),
    /// A passing look at the backend, not fenced, while nothing was running on the volume.
    Drift(Look),
    /// Every export that the exporter serves, not fenced.
    Exports(BTreeMap<AttachmentId, Connection>),
    /// The creation of `clone` from `snapshot` has really ended.
    Unpin {
        /// The pinned snapshot.
        snapshot: SnapshotId,
        /// The volume that was created from it, or not.
        clone: VolumeId,
    },
    /// Tombstones made before this time end, and the oldest beyond [`MAX_TOMBSTONES`].
    Expire(Timestamp),
}

/// What a decision needs to know besides the aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The time to write down. Never decides anything.
    pub now: Timestamp,
    /// What the volume's pool can do.
    pub capabilities: Capabilities,
    /// Whether the pool is marked retired.
    pub retired: bool,
}

/// One step of an aggregate from a valid state to a valid state. Made by [`Volume::decide`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition(pub(crate) Change);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Volume(VolumePhase),
    Size(Bytes),
    Seen(Seen),
    Stranger(Option<Reason>),
    Recover(Option<Timestamp>),
    AddSnapshot(SnapshotId, Bytes),
    Snapshot(SnapshotId, SnapshotPhase),
    SnapshotSize(SnapshotId, Bytes),
    SnapshotSeen(SnapshotId, Seen),
    SnapshotRecover(SnapshotId, Option<Timestamp>),
    Pin(SnapshotId, VolumeId),
    Unpin(SnapshotId, VolumeId),
    AddAttachment(AttachmentId, crate::HostId, Mode),
    Attachment(AttachmentId, AttachmentPhase),
    Drop(Subject),
}

impl Volume {
    /// A volume that is to be created: phase `creating`, nothing asked of the backend yet.
    ///
    /// Admission (pool, profile, quota) is the engine's; pinning `source` is a [`Command::Clone`] on the source's aggregate in
    /// the same commit.
    #[must_use]
    pub fn create(id: VolumeId, size: Bytes, multi_attach: bool, source: Option<Source>, now: Timestamp) -> Self {
        Self {
            id,
            multi_attach,
            size,
            source,
            phase: VolumePhase::Creating(Making::Make),
            since: now,
            seen: Seen::Unknown,
            seen_at: None,
            stranger: None,
            recover: None,
            attachments: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        }
    }

    /// Decides what `input` does to the aggregate. Pure: the same aggregate, input and context give the same answer.
    ///
    /// Returns the transitions to commit together; none means that there is nothing to change (the command is already being
    /// done, the report is of work that is no longer owed).
    ///
    /// # Errors
    /// [`Rejection`] for a command that is not allowed now. Other inputs are never rejected.
    pub fn decide(&self, input: &Input, context: &Context) -> Result<Vec<Transition>, Box<Rejection>> {
        let changes = match input {
            Input::Command(command) => {
                let decided = self.command(*command, context);
                decided.map_err(|obstacle| Box::new(self.reject(*command, obstacle, context)))?
            }
            Input::Report { work, outcome } => self.report(*work, outcome, context.now),
            Input::Deadline(work) => self.deadline(*work, context.now),
            Input::Drift(look) => self.drift(look, context.now),
            Input::Exports(exports) => self.exports(exports, context.now),
            Input::Unpin { snapshot, clone } => self.unpin(*snapshot, *clone),
            Input::Expire(before) => self.expire(*before),
        };
        Ok(changes.into_iter().map(Transition).collect())
    }

    /// The aggregate after `transitions`.
    #[must_use]
    pub fn apply(&self, transitions: &[Transition], now: Timestamp) -> Self {
        let mut next = self.clone();
        for Transition(change) in transitions {
            next.step(change, now);
        }
        next
    }

    fn step(&mut self, change: &Change, now: Timestamp) {
        match change {
            Change::Volume(phase) => {
                self.phase = phase.clone();
                self.since = now;
            }
            Change::Size(size) => self.size = *size,
            Change::Seen(seen) => {
                self.seen = *seen;
                // What is not known any more was not seen either.
                if seen.is_known() {
                    self.seen_at = Some(now);
                }
            }
            Change::Stranger(reason) => self.stranger.clone_from(reason),
            Change::Recover(since) => self.recover = *since,
            Change::AddSnapshot(id, size) => self.add_snapshot(*id, *size, now),
            Change::Snapshot(id, phase) => self.on_snapshot(*id, |snapshot| {
                snapshot.phase = phase.clone();
                snapshot.since = now;
            }),
            Change::SnapshotSize(id, size) => self.on_snapshot(*id, |snapshot| snapshot.size = *size),
            Change::SnapshotSeen(id, seen) => self.on_snapshot(*id, |snapshot| snapshot.seen = *seen),
            Change::SnapshotRecover(id, since) => self.on_snapshot(*id, |snapshot| snapshot.recover = *since),
            Change::Pin(id, clone) => self.on_snapshot(*id, |snapshot| {
                snapshot.pins.insert(*clone);
            }),
            Change::Unpin(id, clone) => self.on_snapshot(*id, |snapshot| {
                snapshot.pins.remove(clone);
            }),
            Change::AddAttachment(id, host, mode) => {
                let phase = AttachmentPhase::Attaching { again: None };
                self.attachments.insert(*id, Attachment { host: *host, mode: *mode, phase, since: now });
            }
            Change::Attachment(id, phase) => {
                if let Some(attachment) = self.attachments.get_mut(id) {
                    // A reason that is sharpened, or a look that is noted, is no new phase: "since" tells when it was entered.
                    if core::mem::discriminant(&attachment.phase) != core::mem::discriminant(phase) {
                        attachment.since = now;
                    }
                    attachment.phase = phase.clone();
                }
            }
            Change::Drop(Subject::Snapshot(id)) => drop(self.snapshots.remove(id)),
            Change::Drop(Subject::Attachment(id)) => drop(self.attachments.remove(id)),
            Change::Drop(Subject::Volume(_)) => {}
        }
    }

    fn add_snapshot(&mut self, id: SnapshotId, size: Bytes, now: Timestamp) {
        let phase = SnapshotPhase::Creating(Making::Make);
        let snapshot = Snapshot { size, phase, since: now, seen: Seen::Unknown, recover: None, pins: BTreeSet::new() };
        self.snapshots.insert(id, snapshot);
    }

    fn on_snapshot(&mut self, id: SnapshotId, change: impl FnOnce(&mut Snapshot)) {
        if let Some(snapshot) = self.snapshots.get_mut(&id) {
            change(snapshot);
        }
    }

    fn unpin(&self, snapshot: SnapshotId, clone: VolumeId) -> Vec<Change> {
        let pinned = self.snapshots.get(&snapshot).is_some_and(|held| held.pins.contains(&clone));
        if pinned { Vec::from([Change::Unpin(snapshot, clone)]) } else { Vec::new() }
    }

    fn expire(&self, before: Timestamp) -> Vec<Change> {
        let tombstones = self.tombstones();
        let beyond = tombstones.len().saturating_sub(MAX_TOMBSTONES);
        let ended = |(index, (since, _)): &(usize, &(Timestamp, Subject))| *index < beyond || *since < before;
        tombstones.iter().enumerate().filter(ended).map(|(_, (_, subject))| Change::Drop(*subject)).collect()
    }
}
