//! Walks the rules: every aggregate that `decide` leads to from a new volume, and what each input does there.
//!
//! The inputs are every command, and every answer, look and deadline that a driver or an exporter could bring, honest or not:
//! what is possible with a real backend is the model's question (`tests/model`), and a part of this.
//!
//! Three walks see every pair that matters and stay small: one attachment, two attachments on a ready volume, one snapshot.

use crate::{
    AttachmentId, Bytes, Capabilities, Command, Connection, Content, Context, ExportSeen, Facts, HostId, Input, Look, Mode,
    Obstacle, Outcome, Seen, SnapshotId, Subject, Timestamp, Volume, VolumeId, Work,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use uuid::Uuid;

const SMALL: Bytes = Bytes(2);
const LARGE: Bytes = Bytes(3);
const TINY: Bytes = Bytes(1);
const NOW: Timestamp = Timestamp(0);
const VOLUME: VolumeId = VolumeId(Uuid::from_u128(1));
const CLONE: VolumeId = VolumeId(Uuid::from_u128(2));
const SNAPSHOT: SnapshotId = SnapshotId(Uuid::from_u128(3));
const FIRST: AttachmentId = AttachmentId(Uuid::from_u128(4));
const SECOND: AttachmentId = AttachmentId(Uuid::from_u128(5));
const HOST: HostId = HostId(Uuid::from_u128(6));

/// What kind of thing happened: a column of the tables, and the label of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Command(&'static str),
    Report(&'static str, &'static str),
    Seen(&'static str),
    /// A look: what it shows of the volume, and of its snapshot.
    Look(&'static str, &'static str),
}

impl Cause {
    /// What it is to this resource.
    fn to(&self, subject: Subject) -> Self {
        match (self, subject) {
            (Self::Look(volume, _), Subject::Volume(_) | Subject::Attachment(_)) => Self::Seen(volume),
            (Self::Look(_, snapshot), Subject::Snapshot(_)) => Self::Seen(snapshot),
            (Self::Command(_) | Self::Report(..) | Self::Seen(_), _) => self.clone(),
        }
    }
}

/// What it led to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    Refused(String),
    Nothing,
    Status(&'static str),
}

/// One thing that was seen to happen to one resource.
pub(super) struct Happening {
    pub(super) subject: Subject,
    pub(super) from: &'static str,
    pub(super) cause: Cause,
    pub(super) effect: Effect,
    /// Whether the cause was about this resource, and not about another of the same aggregate.
    pub(super) is_direct: bool,
}

/// What one walk is about.
#[derive(Clone, Copy)]
struct Scope {
    attachments: &'static [AttachmentId],
    snapshots: &'static [SnapshotId],
    /// Whether the volume itself may change; otherwise it stays ready.
    shapes: bool,
}

const SCOPES: [Scope; 3] = [
    Scope { attachments: &[FIRST], snapshots: &[], shapes: true },
    Scope { attachments: &[FIRST, SECOND], snapshots: &[], shapes: false },
    Scope { attachments: &[], snapshots: &[SNAPSHOT], shapes: true },
];

const CONTEXTS: [Context; 2] = [
    Context { now: NOW, capabilities: Capabilities { attached_snapshot: true, online_extend: true }, retired: true },
    Context { now: NOW, capabilities: Capabilities { attached_snapshot: false, online_extend: false }, retired: false },
];

/// Tells `hear` everything that can happen. In a fixed order.
pub(super) fn walk(hear: &mut impl FnMut(Happening)) {
    let create = Cause::Command("create");
    hear(Happening {
        subject: Subject::Volume(VOLUME),
        from: "",
        cause: create,
        effect: Effect::Status("creating"),
        is_direct: true,
    });
    SCOPES.iter().for_each(|scope| walk_scope(scope, hear));
}

fn walk_scope(scope: &Scope, hear: &mut impl FnMut(Happening)) {
    let start = start(scope);
    let mut known = BTreeSet::from([start.clone()]);
    let mut queue = vec![start];
    while let Some(volume) = queue.pop() {
        for (cause, subject, input) in inputs(&volume, scope) {
            // Only commands ask what the pool can do.
            let contexts = if matches!(input, Input::Command(_)) { &CONTEXTS[..] } else { &CONTEXTS[..1] };
            for context in contexts {
                let next = match volume.decide(&input, context) {
                    Ok(transitions) => {
                        let next = volume.apply(&transitions, NOW);
                        let is_quiet = transitions.is_empty();
                        tell(&volume, &next, is_quiet, subject, &cause, hear);
                        next
                    }
                    Err(rejection) => {
                        let effect = Effect::Refused(obstacle_word(&rejection.obstacle).to_string());
                        let from = volume.word(subject);
                        hear(Happening { subject, from, cause: cause.clone(), effect, is_direct: true });
                        continue;
                    }
                };
                if is_within(&next, scope) && known.insert(next.clone()) {
                    queue.push(next);
                }
            }
        }
    }
}

/// A new volume, or a ready one where the volume itself is not to change.
fn start(scope: &Scope) -> Volume {
    let new = Volume::create(VOLUME, SMALL, scope.attachments.len() > 1, None, NOW);
    if scope.shapes {
        return new;
    }
    let made = Outcome::Done(Facts::Object(present(SMALL)));
    let ready = new.decide(&Input::Report { work: Work::Create, outcome: made }, &CONTEXTS[0]).unwrap_or_default();
    new.apply(&ready, NOW)
}

fn tell(before: &Volume, after: &Volume, quiet: bool, of: Subject, cause: &Cause, hear: &mut impl FnMut(Happening)) {
    for subject in subjects(before).union(&subjects(after)).copied() {
        let (from, to) = (before.word(subject), after.word(subject));
        let is_direct = subject == of;
        let effect = if quiet { Effect::Nothing } else { Effect::Status(to) };
        if is_direct || from != to {
            hear(Happening { subject, from, cause: cause.to(subject), effect, is_direct });
        }
    }
}

/// Whether the walk goes on there: commands that are only asked to see the answer lead out of its scope.
fn is_within(volume: &Volume, scope: &Scope) -> bool {
    volume.attachments().keys().all(|id| scope.attachments.contains(id))
        && volume.snapshots().keys().all(|id| scope.snapshots.contains(id))
}

fn subjects(volume: &Volume) -> BTreeSet<Subject> {
    let attachments = volume.attachments().keys().map(|id| Subject::Attachment(*id));
    let snapshots = volume.snapshots().keys().map(|id| Subject::Snapshot(*id));
    attachments.chain(snapshots).chain([Subject::Volume(VOLUME)]).collect()
}

type Inputs = Vec<(Cause, Subject, Input)>;

fn inputs(volume: &Volume, scope: &Scope) -> Inputs {
    if volume.is_gone() {
        return vec![];
    }
    let mut inputs = commands(volume, scope);
    for owed in volume.owed(CONTEXTS[0].capabilities) {
        let (word, subject) = (work_word(owed.work), work_subject(owed.work));
        for (answer, outcome) in answers(volume, owed.work) {
            inputs.push((Cause::Report(word, answer), subject, Input::Report { work: owed.work, outcome }));
        }
        inputs.push((Cause::Report(word, "deadline"), subject, Input::Deadline(owed.work)));
    }
    let whole = Subject::Volume(VOLUME);
    if scope.shapes {
        for (cause, look) in looks(volume) {
            let outcome = Outcome::Done(Facts::Look(look.clone()));
            inputs.push((cause.clone(), whole, Input::Report { work: Work::Look, outcome }));
            inputs.push((cause, whole, Input::Drift(look)));
        }
    }
    let lost = Input::Exports(BTreeMap::new());
    inputs.extend(scope.attachments.iter().map(|id| (Cause::Seen("export lost"), Subject::Attachment(*id), lost.clone())));
    inputs.push((Cause::Seen("expiry"), whole, Input::Expire(Timestamp(NOW.0 + 1))));
    inputs.push((Cause::Seen("clone made"), Subject::Snapshot(SNAPSHOT), Input::Unpin { snapshot: SNAPSHOT, clone: CLONE }));
    inputs
}

fn commands(volume: &Volume, scope: &Scope) -> Inputs {
    let mut commands = vec![];
    if scope.shapes {
        let own = Subject::Volume(VOLUME);
        commands.extend([Command::Retry(own), Command::Recover(own), Command::Extend { size: LARGE }, Command::Forget]);
        commands.extend([Command::Delete { cascade: false }, Command::Delete { cascade: true }]);
    }
    for id in scope.attachments {
        let subject = Subject::Attachment(*id);
        if volume.attachments().contains_key(id) {
            commands.extend([Command::Retry(subject), Command::Recover(subject)]);
            commands.extend([Command::Detach { id: *id, force: false }, Command::Detach { id: *id, force: true }]);
        } else {
            commands.push(Command::Attach { id: *id, host: HOST, mode: Mode::ReadWrite });
        }
    }
    for id in scope.snapshots {
        let subject = Subject::Snapshot(*id);
        if volume.snapshots().contains_key(id) {
            commands.extend([Command::Retry(subject), Command::Recover(subject), Command::DeleteSnapshot { id: *id }]);
            commands.push(Command::Clone { snapshot: *id, clone: CLONE, size: LARGE });
        } else {
            commands.push(Command::Snapshot { id: *id });
        }
    }
    // Asked to see the answer; see `is_within`.
    if scope.snapshots.is_empty() {
        commands.push(Command::Snapshot { id: SNAPSHOT });
    }
    if scope.attachments.is_empty() {
        commands.push(Command::Attach { id: FIRST, host: HOST, mode: Mode::ReadWrite });
    }
    let named = |command: Command| (Cause::Command(command.kind().word()), command.subject(VOLUME), Input::Command(command));
    commands.into_iter().map(named).collect()
}

const fn present(size: Bytes) -> Seen {
    Seen::Present { size, content: Content::Whole }
}

/// What a look may show of the volume and of its snapshot.
fn looks(volume: &Volume) -> Vec<(Cause, Look)> {
    let part = Seen::Present { size: SMALL, content: Content::Partial };
    let all = [Seen::Absent, part, present(TINY), present(SMALL), present(LARGE)];
    let copy = volume.snapshots().get(&SNAPSHOT).map_or(SMALL, |snapshot| snapshot.size);
    let look = |own: Seen, copied: Seen, stranger: bool| {
        let words = (if stranger { "look: stray client" } else { look_word(own, volume.size()) }, look_word(copied, copy));
        let stranger = stranger.then(|| "somebody".to_string());
        let snapshots = BTreeMap::from([(SNAPSHOT, copied)]);
        (Cause::Look(words.0, words.1), Look { volume: own, snapshots, stranger })
    };
    let own = all.iter().map(|seen| look(*seen, present(copy), false));
    let copied = all.iter().filter(|_| !volume.snapshots().is_empty()).map(|seen| look(present(volume.size()), *seen, false));
    own.chain(copied).chain([look(present(volume.size()), present(copy), true)]).collect()
}

fn look_word(seen: Seen, recorded: Bytes) -> &'static str {
    match seen {
        Seen::Unknown => "look: unknown",
        Seen::Absent => "look: absent",
        Seen::Present { size, content: Content::Whole } if size == recorded => "look: whole",
        Seen::Present { size, content: Content::Whole } if size > recorded => "look: larger",
        Seen::Present { content: Content::Whole, .. } => "look: smaller",
        Seen::Present { .. } => "look: part",
    }
}

/// What may be answered to work that is owed. "Done" is done as asked; done otherwise is part of the looks.
fn answers(volume: &Volume, work: Work) -> Vec<(&'static str, Outcome)> {
    let connection = Connection::default();
    let recorded = match work_subject(work) {
        Subject::Snapshot(id) => volume.snapshots().get(&id).map_or(SMALL, |snapshot| snapshot.size),
        Subject::Volume(_) | Subject::Attachment(_) => volume.size(),
    };
    let done = match work {
        Work::Create | Work::Snapshot(_) => Some(Facts::Object(present(recorded))),
        Work::Extend { target } => Some(Facts::Object(present(target))),
        Work::CleanUp | Work::Delete | Work::CleanUpSnapshot(_) | Work::DeleteSnapshot(_) => Some(Facts::Object(Seen::Absent)),
        Work::Export(_) => Some(Facts::Export(ExportSeen::Serving(connection.clone()))),
        Work::Unexport { .. } => Some(Facts::Export(ExportSeen::Absent)),
        Work::Look | Work::LookExport(_) => None,
    };
    let mut answers: Vec<_> = done.into_iter().map(|facts| ("done", Outcome::Done(facts))).collect();
    match work {
        Work::LookExport(_) => {
            answers.push(("absent", Outcome::Done(Facts::Export(ExportSeen::Absent))));
            answers.push(("serving", Outcome::Done(Facts::Export(ExportSeen::Serving(connection)))));
        }
        Work::Create | Work::Snapshot(_) => {
            answers.push(("done with another size", Outcome::Done(Facts::Object(present(TINY)))));
        }
        Work::CleanUp | Work::Extend { .. } | Work::Delete | Work::Look => {}
        Work::CleanUpSnapshot(_) | Work::DeleteSnapshot(_) | Work::Export(_) | Work::Unexport { .. } => {}
    }
    answers.push(("refused", Outcome::Refused("no".to_string())));
    answers.push(("failed", Outcome::Failed("not now".to_string())));
    answers.push(("unknown", Outcome::Unknown("no answer".to_string())));
    answers
}

/// How work is called in the tables.
const fn work_word(work: Work) -> &'static str {
    match work {
        Work::Create | Work::Snapshot(_) => "create",
        Work::CleanUp | Work::CleanUpSnapshot(_) => "clean up",
        Work::Extend { .. } => "extend",
        Work::Delete | Work::DeleteSnapshot(_) => "delete",
        Work::Look => "look",
        Work::Export(_) => "export",
        Work::Unexport { force: false, .. } => "unexport",
        Work::Unexport { force: true, .. } => "unexport, forced",
        Work::LookExport(_) => "look at the export",
    }
}

const fn work_subject(work: Work) -> Subject {
    match work {
        Work::Create | Work::CleanUp | Work::Extend { .. } | Work::Delete | Work::Look => Subject::Volume(VOLUME),
        Work::Snapshot(id) | Work::CleanUpSnapshot(id) | Work::DeleteSnapshot(id) => Subject::Snapshot(id),
        Work::Export(id) | Work::Unexport { attachment: id, .. } | Work::LookExport(id) => Subject::Attachment(id),
    }
}

const fn obstacle_word(obstacle: &Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Status => "",
        Obstacle::Missing => "no such resource",
        Obstacle::Taken => "the id is taken",
        Obstacle::Attached { .. } => "an attachment is live",
        Obstacle::Snapshots(_) => "it has snapshots",
        Obstacle::SnapshotBusy(_) => "a snapshot is busy",
        Obstacle::Pinned { .. } => "a clone is being made",
        Obstacle::NotLarger(_) | Obstacle::SmallerThanSnapshot(_) => "not larger",
        Obstacle::EarlierTarget(_) => "below an earlier target",
        Obstacle::NotOnline => "attached, pool extends offline only",
        Obstacle::Writer(_) => "a writer is attached, pool copies slowly",
        Obstacle::SizeUnproven => "size not proven",
        Obstacle::Stranger(_) => "a stray client",
        Obstacle::Recovering => "recover runs",
        Obstacle::WouldReplaceData => "data was lost or damaged",
        Obstacle::TooMany(_) => "too many",
        Obstacle::NotRetired => "pool not retired",
    }
}
