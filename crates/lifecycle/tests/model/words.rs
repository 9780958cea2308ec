//! The model's words: small, copyable forms of the rules' inputs, and their one conversion into the real ones.
//!
//! Attachments and snapshots are known by their place (0 or 1), sizes by 1, 2, 3 bytes; the rules do not care.

use lifecycle::{
    AttachmentId, Bytes, Command, Connection, Content, ExportSeen, Facts, HostId, Input, Look, Mode, Outcome, Seen, SnapshotId,
    Source, Subject, Timestamp, VolumeId, Work,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many attachments and snapshots there are places for.
pub(crate) const PLACES: usize = 2;
/// The size every volume is created with.
pub(crate) const FIRST_SIZE: u8 = 1;
/// The one time there is.
pub(crate) const NOW: Timestamp = Timestamp(0);

/// How much of an object is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Fill {
    #[default]
    Absent,
    /// Some of it.
    Part,
    /// Some of it, and what it is copied from was written to meanwhile.
    TornPart,
    Whole,
    /// It looks whole, and is no point in time.
    Torn,
}

/// A volume or a snapshot on the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) fill: Fill,
    pub(crate) size: u8,
}

impl Object {
    pub(crate) const ABSENT: Self = Self { fill: Fill::Absent, size: 0 };

    pub(crate) fn is_absent(self) -> bool {
        self.fill == Fill::Absent
    }

    /// Whether it looks whole.
    pub(crate) fn looks_whole(self) -> bool {
        matches!(self.fill, Fill::Whole | Fill::Torn)
    }

    pub(crate) fn seen(self) -> Seen {
        let size = Bytes(u64::from(self.size));
        match self.fill {
            Fill::Absent => Seen::Absent,
            Fill::Part | Fill::TornPart => Seen::Present { size, content: Content::Partial },
            Fill::Whole | Fill::Torn => Seen::Present { size, content: Content::Whole },
        }
    }
}

/// [`Work`], by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    Create,
    CleanUp,
    Extend(u8),
    Delete,
    Look,
    Snapshot(u8),
    CleanUpSnapshot(u8),
    DeleteSnapshot(u8),
    Export(u8),
    Unexport(u8, bool),
    LookExport(u8),
}

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    Shape,
    Export(u8),
}

/// What a call does to the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    Create,
    Delete,
    Extend(u8),
    Snapshot(u8),
    DeleteSnapshot(u8),
    Export(u8),
    Unexport(u8),
}

impl Task {
    pub(crate) fn lane(self) -> Lane {
        match self {
            Self::Create | Self::CleanUp | Self::Extend(_) | Self::Delete | Self::Look => Lane::Shape,
            Self::Snapshot(_) | Self::CleanUpSnapshot(_) | Self::DeleteSnapshot(_) => Lane::Shape,
            Self::Export(at) | Self::Unexport(at, _) | Self::LookExport(at) => Lane::Export(at),
        }
    }

    pub(crate) fn deed(self) -> Option<Deed> {
        match self {
            Self::Create => Some(Deed::Create),
            Self::CleanUp | Self::Delete => Some(Deed::Delete),
            Self::Extend(size) => Some(Deed::Extend(size)),
            Self::Snapshot(at) => Some(Deed::Snapshot(at)),
            Self::CleanUpSnapshot(at) | Self::DeleteSnapshot(at) => Some(Deed::DeleteSnapshot(at)),
            Self::Export(at) => Some(Deed::Export(at)),
            Self::Unexport(at, _) => Some(Deed::Unexport(at)),
            Self::Look | Self::LookExport(_) => None,
        }
    }

    pub(crate) fn work(self) -> Work {
        match self {
            Self::Create => Work::Create,
            Self::CleanUp => Work::CleanUp,
            Self::Extend(size) => Work::Extend { target: Bytes(u64::from(size)) },
            Self::Delete => Work::Delete,
            Self::Look => Work::Look,
            Self::Snapshot(at) => Work::Snapshot(snapshot_id(at)),
            Self::CleanUpSnapshot(at) => Work::CleanUpSnapshot(snapshot_id(at)),
            Self::DeleteSnapshot(at) => Work::DeleteSnapshot(snapshot_id(at)),
            Self::Export(at) => Work::Export(attachment_id(at)),
            Self::Unexport(at, force) => Work::Unexport { attachment: attachment_id(at), force },
            Self::LookExport(at) => Work::LookExport(attachment_id(at)),
        }
    }

    pub(crate) fn of(work: Work) -> Self {
        match work {
            Work::Create => Self::Create,
            Work::CleanUp => Self::CleanUp,
            Work::Extend { target } => Self::Extend(u8::try_from(target.0).expect("sizes are small here")),
            Work::Delete => Self::Delete,
            Work::Look => Self::Look,
            Work::Snapshot(id) => Self::Snapshot(place(id.0)),
            Work::CleanUpSnapshot(id) => Self::CleanUpSnapshot(place(id.0)),
            Work::DeleteSnapshot(id) => Self::DeleteSnapshot(place(id.0)),
            Work::Export(id) => Self::Export(place(id.0)),
            Work::Unexport { attachment, force } => Self::Unexport(place(attachment.0), force),
            Work::LookExport(id) => Self::LookExport(place(id.0)),
        }
    }
}

/// A resource, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    Volume,
    Snapshot(u8),
    Attachment(u8),
}

/// [`Command`], by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    Retry(Who),
    Recover(Who),
    Extend(u8),
    Delete(bool),
    Forget,
    Attach(u8),
    Detach(u8, bool),
    Snapshot(u8),
    DeleteSnapshot(u8),
    /// Create the clone from snapshot 0.
    Clone,
}

impl Ask {
    pub(crate) fn command(self, volume: VolumeId) -> Command {
        let subject = |who| match who {
            Who::Volume => Subject::Volume(volume),
            Who::Snapshot(at) => Subject::Snapshot(snapshot_id(at)),
            Who::Attachment(at) => Subject::Attachment(attachment_id(at)),
        };
        match self {
            Self::Retry(who) => Command::Retry(subject(who)),
            Self::Recover(who) => Command::Recover(subject(who)),
            Self::Extend(size) => Command::Extend { size: Bytes(u64::from(size)) },
            Self::Delete(cascade) => Command::Delete { cascade },
            Self::Forget => Command::Forget,
            Self::Attach(at) => Command::Attach { id: attachment_id(at), host: host_id(at), mode: Mode::ReadWrite },
            Self::Detach(at, force) => Command::Detach { id: attachment_id(at), force },
            Self::Snapshot(at) => Command::Snapshot { id: snapshot_id(at) },
            Self::DeleteSnapshot(at) => Command::DeleteSnapshot { id: snapshot_id(at) },
            Self::Clone => Command::Clone { snapshot: snapshot_id(0), clone: volume_id(1), size: Bytes(u64::from(FIRST_SIZE)) },
        }
    }
}

/// What a look shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sight {
    pub(crate) volume: Object,
    pub(crate) snapshots: [Object; PLACES],
    pub(crate) stranger: bool,
}

impl Sight {
    fn look(self) -> Look {
        let present = (0..).zip(self.snapshots).filter(|(_, object)| !object.is_absent());
        Look {
            volume: self.volume.seen(),
            snapshots: present.map(|(at, object)| (snapshot_id(at), object.seen())).collect(),
            stranger: self.stranger.then(|| "a stranger".to_owned()),
        }
    }
}

/// What a call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// Done, and this is there now.
    Object(Object),
    /// Done, and it is served, or not.
    Served(bool),
    /// Done, and this was seen.
    Look(Sight),
    /// Done, and nothing could be told.
    Blind,
    Refused,
    Failed,
    Unknown,
}

impl Answer {
    fn outcome(self, task: Task) -> Outcome {
        match (self, task.lane()) {
            (Self::Object(object), _) => Outcome::Done(Facts::Object(object.seen())),
            (Self::Served(true), Lane::Export(at)) => Outcome::Done(Facts::Export(ExportSeen::Serving(connection(at)))),
            (Self::Served(_), _) => Outcome::Done(Facts::Export(ExportSeen::Absent)),
            (Self::Look(sight), _) => Outcome::Done(Facts::Look(sight.look())),
            (Self::Blind, Lane::Export(_)) => Outcome::Done(Facts::Export(ExportSeen::Unknown)),
            (Self::Blind, Lane::Shape) => Outcome::Done(Facts::Look(Look::default())),
            (Self::Refused, _) => Outcome::Refused("no".to_owned()),
            (Self::Failed, _) => Outcome::Failed("not now".to_owned()),
            (Self::Unknown, _) => Outcome::Unknown("no answer".to_owned()),
        }
    }
}

/// [`Input`], by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Command(Ask),
    Report(Task, Answer),
    Deadline(Task),
    Drift(Sight),
    Exports([bool; PLACES]),
    Unpin,
    Expire,
}

impl Event {
    pub(crate) fn input(self, volume: VolumeId) -> Input {
        match self {
            Self::Command(ask) => Input::Command(ask.command(volume)),
            Self::Report(task, answer) => Input::Report { work: task.work(), outcome: answer.outcome(task) },
            Self::Deadline(task) => Input::Deadline(task.work()),
            Self::Drift(sight) => Input::Drift(sight.look()),
            Self::Exports(served) => {
                let served = (0..).zip(served).filter(|(_, served)| *served);
                Input::Exports(served.map(|(at, _)| (attachment_id(at), connection(at))).collect())
            }
            Self::Unpin => Input::Unpin { snapshot: snapshot_id(0), clone: volume_id(1) },
            Self::Expire => Input::Expire(Timestamp(NOW.0 + 1)),
        }
    }
}

/// The connection of the export in this place: always the same one, as the exporter promises.
pub(crate) fn connection(at: u8) -> Connection {
    Connection { protocol: "nbd".to_owned(), data: BTreeMap::from([("export".to_owned(), at.to_string())]) }
}

pub(crate) fn volume_id(at: u8) -> VolumeId {
    VolumeId(Uuid::from_u128(u128::from(at)))
}

pub(crate) fn snapshot_id(at: u8) -> SnapshotId {
    SnapshotId(Uuid::from_u128(u128::from(at)))
}

pub(crate) fn attachment_id(at: u8) -> AttachmentId {
    AttachmentId(Uuid::from_u128(u128::from(at)))
}

fn host_id(at: u8) -> HostId {
    HostId(Uuid::from_u128(u128::from(at)))
}

/// The clone's source.
pub(crate) fn source() -> Source {
    Source { volume: volume_id(0), snapshot: snapshot_id(0) }
}

fn place(id: Uuid) -> u8 {
    u8::try_from(id.as_u128()).expect("ids are places here")
}
