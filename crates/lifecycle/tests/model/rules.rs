//! The real rules, remembered: each distinct aggregate has a number, and each decision about it is made once.
//!
//! - Every decision is the crate's own `decide` and `apply`; nothing of the rules is written down again here.
//! - Messages are taken out of reasons: they are for people, and no rule reads them but to see whether a reason has changed.
//! - What every *step* must hold is checked as it is decided: sizes never shrink, statuses move along the published edges.

use crate::graph::QuickMap;
use crate::words::{Event, NOW, Task};
use lifecycle::{
    AttachmentPhase, Bytes, Capabilities, Context, Edge, Making, Reason, Resource, SnapshotPhase, Subject, Volume, VolumePhase,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

/// No aggregate.
pub(crate) const NONE: u32 = u32::MAX;

/// An aggregate and what is computed from it.
pub(crate) struct Known {
    pub(crate) volume: Volume,
    /// What it owes, with whether that must wait.
    pub(crate) owed: Vec<(Task, bool)>,
}

pub(crate) struct Rules {
    context: Context,
    known: Vec<Known>,
    numbers: HashMap<Volume, u32>,
    decided: QuickMap<(u32, Event), Option<u32>>,
    edges: BTreeSet<(Resource, &'static str, &'static str)>,
    /// The first step that broke a promise.
    pub(crate) broken: Option<String>,
}

impl Rules {
    pub(crate) fn new(capabilities: Capabilities, retired: bool) -> Self {
        static EDGES: LazyLock<Vec<Edge>> = LazyLock::new(lifecycle::edges);
        let edges = EDGES.iter().map(|Edge { resource, from, to, .. }| (*resource, *from, *to)).collect();
        let context = Context { now: NOW, capabilities, retired };
        Self { context, known: vec![], numbers: HashMap::new(), decided: QuickMap::default(), edges, broken: None }
    }

    pub(crate) fn get(&self, number: u32) -> Option<&Known> {
        self.known.get(number as usize)
    }

    pub(crate) fn number(&mut self, volume: Volume) -> u32 {
        let volume = without_messages(volume);
        if let Some(number) = self.numbers.get(&volume) {
            return *number;
        }
        let number = u32::try_from(self.known.len()).expect("far fewer aggregates than states");
        let owed = volume.owed(self.context.capabilities);
        let owed = owed.into_iter().map(|owed| (Task::of(owed.work), owed.waiting.is_some())).collect();
        if let Some(broken) = self.excerpt_broken(&volume) {
            self.broken.get_or_insert(broken);
        }
        self.numbers.insert(volume.clone(), number);
        self.known.push(Known { volume, owed });
        number
    }

    /// The aggregate after `event`, or nothing if it is rejected.
    pub(crate) fn decide(&mut self, number: u32, event: Event) -> Option<u32> {
        if let Some(decided) = self.decided.get(&(number, event)) {
            return *decided;
        }
        let before = self.known[number as usize].volume.clone();
        let decided = before.decide(&event.input(before.id()), &self.context).ok().map(|transitions| {
            let after = before.apply(&transitions, NOW);
            if let Some(broken) = self.step_broken(&before, &after) {
                self.broken.get_or_insert(format!("{event:?}: {broken}"));
            }
            self.number(after)
        });
        self.decided.insert((number, event), decided);
        decided
    }

    /// What is told of a snapshot or an attachment is told from an excerpt, in which the other snapshots are missing.
    fn excerpt_broken(&self, whole: &Volume) -> Option<String> {
        let told = |volume: &Volume, part| {
            let (reason, running) = (volume.reason(part).cloned(), volume.operation(part));
            (volume.word(part), reason, running, volume.allowed(part, &self.context))
        };
        let attachments = whole.attachments().keys().map(|id| (Subject::Attachment(*id), None));
        let snapshots = whole.snapshots().keys().map(|id| (Subject::Snapshot(*id), Some(*id)));
        attachments.chain(snapshots).find_map(|(part, snapshot)| {
            let (whole, excerpt) = (told(whole, part), told(&whole.excerpt(snapshot), part));
            (whole != excerpt).then(|| format!("an excerpt tells {excerpt:?} of {part:?}, which is {whole:?}"))
        })
    }

    fn step_broken(&self, before: &Volume, after: &Volume) -> Option<String> {
        if after.size() < before.size() {
            return Some(format!("size shrinks from {} to {}", before.size(), after.size()));
        }
        let subjects = |volume: &Volume| {
            let attachments = volume.attachments().keys().map(|id| Subject::Attachment(*id)).collect::<Vec<_>>();
            let snapshots = volume.snapshots().keys().map(|id| Subject::Snapshot(*id)).collect::<Vec<_>>();
            [vec![Subject::Volume(volume.id())], attachments, snapshots].concat()
        };
        let all: BTreeSet<_> = subjects(before).into_iter().chain(subjects(after)).collect();
        all.into_iter().find_map(|subject| {
            let edge = (Resource::of(subject), before.word(subject), after.word(subject));
            (edge.1 != edge.2 && !self.edges.contains(&edge)).then(|| format!("{edge:?} is no published edge"))
        })
    }
}

/// The same aggregate with empty messages, and without the time of the last look.
fn without_messages(volume: Volume) -> Volume {
    let mut parts = volume.into_parts();
    parts.seen_at = None;
    reason_of_volume(&mut parts.phase).into_iter().for_each(blank);
    for attachment in parts.attachments.values_mut() {
        reason_of_attachment(&mut attachment.phase).into_iter().for_each(blank);
    }
    for snapshot in parts.snapshots.values_mut() {
        reason_of_snapshot(&mut snapshot.phase).into_iter().for_each(blank);
    }
    Volume::restore(parts)
}

fn blank(reason: &mut Reason) {
    reason.message.clear();
}

fn reason_of_volume(phase: &mut VolumePhase) -> Option<&mut Reason> {
    match phase {
        VolumePhase::Creating(Making::CleanUp(reason)) | VolumePhase::Error { reason, .. } => Some(reason),
        VolumePhase::ErrorExtending { reason, .. } | VolumePhase::ErrorDeleting { reason } => Some(reason),
        VolumePhase::Creating(Making::Make) | VolumePhase::Ready | VolumePhase::Extending { .. } => None,
        VolumePhase::Deleting | VolumePhase::Gone { .. } => None,
    }
}

fn reason_of_attachment(phase: &mut AttachmentPhase) -> Option<&mut Reason> {
    match phase {
        AttachmentPhase::Attaching { again } => again.as_mut(),
        AttachmentPhase::RollingBack { reason } | AttachmentPhase::ErrorAttaching { reason } => Some(reason),
        AttachmentPhase::ErrorDetaching { reason, .. } => Some(reason),
        AttachmentPhase::Attached { .. } | AttachmentPhase::Detaching { .. } | AttachmentPhase::Detached => None,
    }
}

fn reason_of_snapshot(phase: &mut SnapshotPhase) -> Option<&mut Reason> {
    match phase {
        SnapshotPhase::Creating(Making::CleanUp(reason)) | SnapshotPhase::Error { reason, .. } => Some(reason),
        SnapshotPhase::ErrorDeleting { reason } => Some(reason),
        SnapshotPhase::Creating(Making::Make) | SnapshotPhase::Available => None,
        SnapshotPhase::Deleting | SnapshotPhase::Deleted => None,
    }
}

/// A number of bytes as the model counts them.
pub(crate) fn small(size: Bytes) -> u8 {
    u8::try_from(size.0).expect("sizes are small here")
}
