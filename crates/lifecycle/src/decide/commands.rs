//! Which command is allowed when, and what it does at once.
//!
//! One function a command; its guards stand in the order in which a user would want to hear of them. [`Volume::allowed`] asks
//! the same functions, so that what is shown as allowed and what is accepted cannot differ.
//!
//! Source: lifecycle page, the tables of "Volume", "Attachment" and "Snapshot".

use super::{Change, Context};
use crate::{
    Attachment, AttachmentId, AttachmentPhase, Bytes, Command, CommandKind, ErrorCause, ExportLook, HostId, Making, Mode, Obstacle,
    Rejection, Seen, Snapshot, SnapshotId, SnapshotPhase, Subject, Volume, VolumeId, VolumePhase, VolumeStatus,
};
use alloc::vec;
use alloc::vec::Vec;
use uuid::Uuid;

/// How many attachments a volume may have, tombstones left out: a whole aggregate is read and decided on at once.
pub const MAX_ATTACHMENTS: usize = 256;
/// How many snapshots a volume may have, tombstones left out, for the same reason.
pub const MAX_SNAPSHOTS: usize = 1024;

type Decided = Result<Vec<Change>, Obstacle>;

impl Volume {
    pub(super) fn command(&self, command: Command, context: &Context) -> Decided {
        match command {
            Command::Retry(subject) => self.retry(subject, context),
            Command::Recover(subject) => self.recover(subject, context),
            Command::Extend { size } => self.extend(size, context),
            Command::Delete { cascade } => self.delete(cascade),
            Command::Forget => self.forget(context),
            Command::Attach { id, host, mode } => self.attach(id, host, mode),
            Command::Detach { id, force } => self.detach(id, force),
            Command::Snapshot { id } => self.snapshot(id, context),
            Command::DeleteSnapshot { id } => self.delete_snapshot(id),
            Command::Clone { snapshot, clone, size } => self.pin(snapshot, clone, size),
        }
    }

    pub(super) fn reject(&self, command: Command, obstacle: Obstacle, context: &Context) -> Rejection {
        let subject = command.subject(self.id);
        Rejection {
            command: command.kind(),
            subject,
            status: self.word(subject),
            running: self.operation(subject),
            obstacle,
            allowed: self.allowed(subject, context),
        }
    }

    /// The status of one of its resources as the seed's word; empty if there is no such resource. With the volume its parts are gone.
    #[must_use]
    pub fn word(&self, subject: Subject) -> &'static str {
        match subject {
            Subject::Volume(_) => self.status().map_or("", VolumeStatus::word),
            Subject::Snapshot(_) | Subject::Attachment(_) if self.is_gone() => "",
            Subject::Snapshot(id) => self.snapshots.get(&id).map_or("", |snapshot| snapshot.status().word()),
            Subject::Attachment(id) => self.attachments.get(&id).map_or("", |attachment| attachment.status().word()),
        }
    }

    /// The commands that would be accepted on one of its resources now, and would change something.
    #[must_use]
    pub fn allowed(&self, subject: Subject, context: &Context) -> Vec<CommandKind> {
        CommandKind::ALL.iter().copied().filter(|kind| self.allows(*kind, subject, context)).collect()
    }

    fn allows(&self, kind: CommandKind, subject: Subject, context: &Context) -> bool {
        let changes = |command| self.command(command, context).is_ok_and(|changes| !changes.is_empty());
        match (kind, subject) {
            (CommandKind::Detach, Subject::Volume(_)) => {
                self.attachments.keys().any(|id| changes(Command::Detach { id: *id, force: true }))
            }
            (kind, subject) => self.probe(kind, subject).is_some_and(changes),
        }
    }

    /// The command of this kind that could be asked of the resource, with the most harmless arguments.
    fn probe(&self, kind: CommandKind, subject: Subject) -> Option<Command> {
        let nil = Uuid::nil();
        Some(match (kind, subject) {
            (CommandKind::Retry, _) => Command::Retry(subject),
            (CommandKind::Recover, _) => Command::Recover(subject),
            (CommandKind::Extend, Subject::Volume(_)) => Command::Extend { size: Bytes(self.reach().0.saturating_add(1)) },
            (CommandKind::Attach, Subject::Volume(_)) => {
                Command::Attach { id: AttachmentId(nil), host: HostId(nil), mode: Mode::ReadOnly }
            }
            (CommandKind::Snapshot, Subject::Volume(_)) => Command::Snapshot { id: SnapshotId(nil) },
            (CommandKind::Delete, Subject::Volume(_)) => Command::Delete { cascade: true },
            (CommandKind::Forget, Subject::Volume(_)) => Command::Forget,
            (CommandKind::Clone, Subject::Snapshot(id)) => {
                let size = self.snapshots.get(&id).map_or(Bytes::ZERO, |snapshot| snapshot.size);
                Command::Clone { snapshot: id, clone: VolumeId(nil), size }
            }
            (CommandKind::Delete, Subject::Snapshot(id)) => Command::DeleteSnapshot { id },
            (CommandKind::Detach, Subject::Attachment(id)) => Command::Detach { id, force: true },
            (CommandKind::Extend | CommandKind::Attach | CommandKind::Snapshot | CommandKind::Forget, _) => return None,
            (CommandKind::Clone | CommandKind::Delete | CommandKind::Detach, _) => return None,
        })
    }

    /// The largest size it has or may have.
    fn reach(&self) -> Bytes {
        match &self.phase {
            VolumePhase::Extending { target } | VolumePhase::ErrorExtending { target, .. } => self.size.max(*target),
            VolumePhase::Creating(_) | VolumePhase::Ready | VolumePhase::Deleting => self.size,
            VolumePhase::Error { .. } | VolumePhase::ErrorDeleting { .. } | VolumePhase::Gone { .. } => self.size,
        }
    }

    fn extend(&self, size: Bytes, context: &Context) -> Decided {
        match &self.phase {
            VolumePhase::Ready => match self.status() {
                Some(VolumeStatus::Available | VolumeStatus::InUse) => {}
                Some(_) | None => return Err(Obstacle::Status),
            },
            VolumePhase::ErrorExtending { target, .. } => {
                if size < *target {
                    return Err(Obstacle::EarlierTarget(*target));
                }
                self.no_attachment_moves()?;
            }
            VolumePhase::Creating(_) | VolumePhase::Extending { .. } | VolumePhase::Deleting => return Err(Obstacle::Status),
            VolumePhase::Error { .. } | VolumePhase::ErrorDeleting { .. } | VolumePhase::Gone { .. } => {
                return Err(Obstacle::Status);
            }
        }
        self.not_recovering()?;
        self.no_stranger()?;
        if let Some((id, _)) = self.snapshots.iter().find(|(_, snapshot)| snapshot.is_busy()) {
            return Err(Obstacle::SnapshotBusy(*id));
        }
        if self.live().next().is_some() && !context.capabilities.online_extend {
            return Err(Obstacle::NotOnline);
        }
        if size <= self.size {
            return Err(Obstacle::NotLarger(self.size));
        }
        Ok(vec![Change::Volume(VolumePhase::Extending { target: size })])
    }

    fn delete(&self, cascade: bool) -> Decided {
        match &self.phase {
            VolumePhase::Deleting | VolumePhase::Gone { .. } => return Ok(vec![]),
            VolumePhase::Extending { .. } => return Err(Obstacle::Status),
            VolumePhase::Ready | VolumePhase::Creating(_) | VolumePhase::Error { .. } => {}
            VolumePhase::ErrorExtending { .. } | VolumePhase::ErrorDeleting { .. } => {}
        }
        self.no_live_attachment()?;
        self.no_stranger()?;
        let left: Vec<_> = self.snapshots.iter().filter(|(_, s)| !matches!(s.phase, SnapshotPhase::Deleted)).collect();
        if let Some((snapshot, clone)) = self.pins().first() {
            return Err(Obstacle::Pinned { snapshot: *snapshot, clone: *clone });
        }
        if !cascade && !left.is_empty() {
            return Err(Obstacle::Snapshots(left.len()));
        }
        let failed = |(id, attachment): (&AttachmentId, &Attachment)| {
            let failed = matches!(attachment.phase, AttachmentPhase::ErrorAttaching { .. });
            failed.then_some(Change::Attachment(*id, AttachmentPhase::Detached))
        };
        let mut changes: Vec<_> = self.attachments.iter().filter_map(failed).collect();
        for (id, snapshot) in left {
            changes.extend(snapshot.delete(*id)?);
        }
        changes.extend([Change::Recover(None), Change::Seen(Seen::Unknown), Change::Volume(VolumePhase::Deleting)]);
        Ok(changes)
    }

    fn forget(&self, context: &Context) -> Decided {
        if !context.retired {
            return Err(Obstacle::NotRetired);
        }
        // An export without a record would be served to nobody's knowledge.
        self.no_live_attachment()?;
        Ok(vec![Change::Volume(VolumePhase::Gone { forgotten: true })])
    }

    fn retry(&self, subject: Subject, context: &Context) -> Decided {
        match subject {
            Subject::Volume(_) => self.retry_volume(context),
            Subject::Snapshot(id) => self.retry_snapshot(id, context),
            Subject::Attachment(id) => self.retry_attachment(id),
        }
    }

    fn retry_volume(&self, context: &Context) -> Decided {
        match &self.phase {
            VolumePhase::Error { cause: ErrorCause::Creation, .. } => {
                self.not_recovering()?;
                Ok(vec![Change::Seen(Seen::Unknown), Change::Volume(VolumePhase::Creating(Making::Make))])
            }
            VolumePhase::Error { cause: ErrorCause::Missing | ErrorCause::Damaged, .. } => Err(Obstacle::WouldReplaceData),
            VolumePhase::ErrorExtending { target, .. } => self.extend(*target, context),
            VolumePhase::ErrorDeleting { .. } => self.delete(true),
            VolumePhase::Creating(_) | VolumePhase::Ready | VolumePhase::Extending { .. } => Err(Obstacle::Status),
            VolumePhase::Deleting | VolumePhase::Gone { .. } => Err(Obstacle::Status),
        }
    }

    fn recover(&self, subject: Subject, context: &Context) -> Decided {
        let now = context.now;
        match subject {
            Subject::Volume(_) => match &self.phase {
                VolumePhase::Error { .. } | VolumePhase::ErrorExtending { .. } | VolumePhase::ErrorDeleting { .. } => {
                    self.look_again(now)
                }
                VolumePhase::Ready if self.stranger.is_some() => self.look_again(now),
                VolumePhase::Ready | VolumePhase::Creating(_) | VolumePhase::Extending { .. } => Err(Obstacle::Status),
                VolumePhase::Deleting | VolumePhase::Gone { .. } => Err(Obstacle::Status),
            },
            Subject::Snapshot(id) => {
                let snapshot = self.snapshots.get(&id).ok_or(Obstacle::Missing)?;
                match &snapshot.phase {
                    SnapshotPhase::Error { .. } | SnapshotPhase::ErrorDeleting { .. } if snapshot.recover.is_some() => Ok(vec![]),
                    SnapshotPhase::Error { .. } | SnapshotPhase::ErrorDeleting { .. } => {
                        Ok(vec![Change::SnapshotRecover(id, Some(now)), Change::SnapshotSeen(id, Seen::Unknown)])
                    }
                    SnapshotPhase::Creating(_) | SnapshotPhase::Available => Err(Obstacle::Status),
                    SnapshotPhase::Deleting | SnapshotPhase::Deleted => Err(Obstacle::Status),
                }
            }
            Subject::Attachment(id) => match &self.attachments.get(&id).ok_or(Obstacle::Missing)?.phase {
                AttachmentPhase::ErrorDetaching { look: ExportLook::Recover(_), .. } => Ok(vec![]),
                AttachmentPhase::ErrorDetaching { reason, connection, look: ExportLook::Owed | ExportLook::Done } => {
                    let (reason, connection, look) = (reason.clone(), connection.clone(), ExportLook::Recover(now));
                    Ok(vec![Change::Attachment(id, AttachmentPhase::ErrorDetaching { reason, connection, look })])
                }
                AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } => Err(Obstacle::Status),
                AttachmentPhase::Attached { .. } | AttachmentPhase::Detaching { .. } => Err(Obstacle::Status),
                AttachmentPhase::Detached | AttachmentPhase::ErrorAttaching { .. } => Err(Obstacle::Status),
            },
        }
    }

    fn look_again(&self, now: crate::Timestamp) -> Decided {
        if self.recover.is_some() {
            return Ok(vec![]);
        }
        Ok(vec![Change::Recover(Some(now)), Change::Seen(Seen::Unknown)])
    }

    fn attach(&self, id: AttachmentId, host: HostId, mode: Mode) -> Decided {
        if self.attachments.contains_key(&id) {
            return Err(Obstacle::Taken);
        }
        let mut changes = self.attachable()?;
        let held = self.attachments.values().filter(|a| !matches!(a.phase, AttachmentPhase::Detached)).count();
        if held >= MAX_ATTACHMENTS {
            return Err(Obstacle::TooMany(MAX_ATTACHMENTS));
        }
        changes.push(Change::AddAttachment(id, host, mode));
        Ok(changes)
    }

    /// Whether a new export may be asked for; the changes are those of the recover that it implies.
    fn attachable(&self) -> Decided {
        let implied = match &self.phase {
            VolumePhase::Ready => vec![],
            VolumePhase::ErrorExtending { .. } => match self.seen.whole() {
                Some(size) if size >= self.size => vec![Change::Size(size), Change::Volume(VolumePhase::Ready)],
                Some(_) | None => return Err(Obstacle::SizeUnproven),
            },
            VolumePhase::Creating(_) | VolumePhase::Extending { .. } | VolumePhase::Deleting => return Err(Obstacle::Status),
            VolumePhase::Error { .. } | VolumePhase::ErrorDeleting { .. } | VolumePhase::Gone { .. } => {
                return Err(Obstacle::Status);
            }
        };
        self.not_recovering()?;
        self.no_stranger()?;
        if !self.multi_attach {
            self.no_live_attachment()?;
        }
        Ok(implied)
    }

    fn retry_attachment(&self, id: AttachmentId) -> Decided {
        match &self.attachments.get(&id).ok_or(Obstacle::Missing)?.phase {
            AttachmentPhase::ErrorAttaching { .. } => {
                let mut changes = self.attachable()?;
                changes.push(Change::Attachment(id, AttachmentPhase::Attaching { again: None }));
                Ok(changes)
            }
            AttachmentPhase::ErrorDetaching { .. } => self.detach(id, false),
            AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } => Err(Obstacle::Status),
            AttachmentPhase::Attached { .. } | AttachmentPhase::Detaching { .. } | AttachmentPhase::Detached => {
                Err(Obstacle::Status)
            }
        }
    }

    fn detach(&self, id: AttachmentId, force: bool) -> Decided {
        let attachment = self.attachments.get(&id).ok_or(Obstacle::Missing)?;
        let phase = match &attachment.phase {
            AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } | AttachmentPhase::Attached { .. } => {
                AttachmentPhase::Detaching { force, connection: attachment.connection().cloned() }
            }
            AttachmentPhase::ErrorDetaching { connection, .. } => {
                AttachmentPhase::Detaching { force, connection: connection.clone() }
            }
            AttachmentPhase::Detaching { force: false, connection } if force => {
                AttachmentPhase::Detaching { force, connection: connection.clone() }
            }
            AttachmentPhase::Detaching { .. } | AttachmentPhase::Detached => return Ok(vec![]),
            AttachmentPhase::ErrorAttaching { .. } => AttachmentPhase::Detached,
        };
        Ok(vec![Change::Attachment(id, phase)])
    }

    fn snapshot(&self, id: SnapshotId, context: &Context) -> Decided {
        if self.snapshots.contains_key(&id) {
            return Err(Obstacle::Taken);
        }
        self.snapshotable(context)?;
        let held = self.snapshots.values().filter(|s| !matches!(s.phase, SnapshotPhase::Deleted)).count();
        if held >= MAX_SNAPSHOTS {
            return Err(Obstacle::TooMany(MAX_SNAPSHOTS));
        }
        Ok(vec![Change::AddSnapshot(id, self.size)])
    }

    /// Whether a point-in-time copy may be asked for now.
    fn snapshotable(&self, context: &Context) -> Result<(), Obstacle> {
        match (&self.phase, self.status()) {
            (VolumePhase::Ready, Some(VolumeStatus::Available | VolumeStatus::InUse)) => {}
            (_, Some(_) | None) => return Err(Obstacle::Status),
        }
        self.not_recovering()?;
        if context.capabilities.attached_snapshot {
            return Ok(());
        }
        self.no_stranger()?;
        match self.live().find(|(_, attachment)| attachment.mode == Mode::ReadWrite) {
            Some((id, _)) => Err(Obstacle::Writer(id)),
            None => Ok(()),
        }
    }

    fn delete_snapshot(&self, id: SnapshotId) -> Decided {
        self.snapshots.get(&id).ok_or(Obstacle::Missing)?.delete(id)
    }

    fn retry_snapshot(&self, id: SnapshotId, context: &Context) -> Decided {
        let snapshot = self.snapshots.get(&id).ok_or(Obstacle::Missing)?;
        match &snapshot.phase {
            SnapshotPhase::Error { cause: ErrorCause::Creation, .. } => {
                if snapshot.recover.is_some() {
                    return Err(Obstacle::Recovering);
                }
                self.snapshotable(context)?;
                let making = SnapshotPhase::Creating(Making::Make);
                Ok(vec![Change::SnapshotSize(id, self.size), Change::SnapshotSeen(id, Seen::Unknown), Change::Snapshot(id, making)])
            }
            SnapshotPhase::Error { cause: ErrorCause::Missing | ErrorCause::Damaged, .. } => Err(Obstacle::WouldReplaceData),
            SnapshotPhase::ErrorDeleting { .. } => snapshot.delete(id),
            SnapshotPhase::Creating(_) | SnapshotPhase::Available => Err(Obstacle::Status),
            SnapshotPhase::Deleting | SnapshotPhase::Deleted => Err(Obstacle::Status),
        }
    }

    fn pin(&self, id: SnapshotId, clone: VolumeId, size: Bytes) -> Decided {
        let snapshot = self.snapshots.get(&id).ok_or(Obstacle::Missing)?;
        match &snapshot.phase {
            SnapshotPhase::Available => {}
            SnapshotPhase::Creating(_) | SnapshotPhase::Error { .. } => return Err(Obstacle::Status),
            SnapshotPhase::Deleting | SnapshotPhase::ErrorDeleting { .. } | SnapshotPhase::Deleted => return Err(Obstacle::Status),
        }
        if size < snapshot.size {
            return Err(Obstacle::SmallerThanSnapshot(snapshot.size));
        }
        Ok(vec![Change::Pin(id, clone)])
    }

    /// The attachments that are, or may be, exported.
    pub(crate) fn live(&self) -> impl Iterator<Item = (AttachmentId, &Attachment)> {
        self.attachments.iter().filter(|(_, a)| a.phase.is_live()).map(|(id, a)| (*id, a))
    }

    fn no_live_attachment(&self) -> Result<(), Obstacle> {
        match self.live().next() {
            Some((attachment, held)) => Err(Obstacle::Attached { attachment, host: held.host, since: held.since }),
            None => Ok(()),
        }
    }

    fn no_attachment_moves(&self) -> Result<(), Obstacle> {
        let moving = self.live().find(|(_, attachment)| attachment.operation().is_some());
        match moving {
            Some((attachment, held)) => Err(Obstacle::Attached { attachment, host: held.host, since: held.since }),
            None => Ok(()),
        }
    }

    fn no_stranger(&self) -> Result<(), Obstacle> {
        self.stranger.as_ref().map_or(Ok(()), |reason| Err(Obstacle::Stranger(reason.message.clone())))
    }

    fn not_recovering(&self) -> Result<(), Obstacle> {
        if self.recover.is_some() { Err(Obstacle::Recovering) } else { Ok(()) }
    }
}

impl Snapshot {
    /// Whether it is being created or deleted.
    const fn is_busy(&self) -> bool {
        match &self.phase {
            SnapshotPhase::Creating(_) | SnapshotPhase::Deleting => true,
            SnapshotPhase::Available | SnapshotPhase::Error { .. } => false,
            SnapshotPhase::ErrorDeleting { .. } | SnapshotPhase::Deleted => false,
        }
    }

    fn delete(&self, id: SnapshotId) -> Decided {
        match &self.phase {
            SnapshotPhase::Deleting | SnapshotPhase::Deleted => return Ok(vec![]),
            SnapshotPhase::Creating(_) | SnapshotPhase::Available => {}
            SnapshotPhase::Error { .. } | SnapshotPhase::ErrorDeleting { .. } => {}
        }
        if let Some(clone) = self.pins.first() {
            return Err(Obstacle::Pinned { snapshot: id, clone: *clone });
        }
        Ok(vec![
            Change::SnapshotRecover(id, None),
            Change::SnapshotSeen(id, Seen::Unknown),
            Change::Snapshot(id, SnapshotPhase::Deleting),
        ])
    }
}
