//! What a backend holds after any calls: the words of the port in some lines, to compare drivers with.

use super::acts::{Act, Name, whole};
use lifecycle::{Seen, Source, VolumeId};
use std::collections::BTreeMap;

/// A backend as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) objects: BTreeMap<Name, Object>,
}

/// A volume or a snapshot as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) size: u64,
    /// The number that was last written to its beginning.
    pub(super) mark: u64,
    source: Option<Source>,
}

/// What a call should answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Done(Seen),
    Refused,
    /// Backends differ: those whose clones depend on their source may refuse.
    DoneOrRefused(Seen),
}

impl Model {
    /// What the call should answer now.
    pub(super) fn wanted(&self, act: Act) -> Wanted {
        let there = self.objects.get(&act.object()).copied();
        match act {
            Act::Create(_, size) => match there {
                Some(object) if object.size != size => Wanted::Refused,
                Some(_) | None => Wanted::Done(whole(size)),
            },
            Act::Clone(_, size, source) => match (there, self.objects.get(&name(source))) {
                (Some(object), _) if object.size != size => Wanted::Refused,
                // Which source it was made from is known to few backends, and the engine never asks with another.
                (Some(object), _) if object.source != Some(source) => Wanted::DoneOrRefused(whole(size)),
                (Some(_), _) => Wanted::Done(whole(size)),
                (None, Some(from)) if from.size <= size => Wanted::Done(whole(size)),
                (None, _) => Wanted::Refused,
            },
            Act::Extend(_, size) => there.map_or(Wanted::Refused, |object| Wanted::Done(whole(object.size.max(size)))),
            Act::Snapshot(volume, _) => match (there, self.objects.get(&(volume, None))) {
                (Some(snapshot), _) => Wanted::Done(whole(snapshot.size)),
                (None, Some(volume)) => Wanted::Done(whole(volume.size)),
                (None, None) => Wanted::Refused,
            },
            Act::DeleteSnapshot(volume, snapshot) if self.has_clones(Source { volume, snapshot }) => {
                Wanted::DoneOrRefused(Seen::Absent)
            }
            Act::Delete(volume) if self.has_snapshots(volume) => Wanted::Refused,
            Act::Delete(_) | Act::DeleteSnapshot(..) => Wanted::Done(Seen::Absent),
        }
    }

    /// The call was done.
    pub(super) fn apply(&mut self, act: Act) {
        let there = self.objects.get(&act.object()).copied();
        let made = match act {
            Act::Create(_, size) => there.or(Some(Object { size, mark: 0, source: None })),
            Act::Clone(_, size, source) => there.or_else(|| {
                let from = self.objects.get(&name(source));
                from.map(|from| Object { size, mark: from.mark, source: Some(source) })
            }),
            Act::Extend(_, size) => there.map(|object| Object { size: object.size.max(size), ..object }),
            Act::Snapshot(volume, _) => {
                there.or_else(|| self.objects.get(&(volume, None)).map(|object| Object { source: None, ..*object }))
            }
            Act::DeleteSnapshot(..) | Act::Delete(_) => None,
        };
        match made {
            Some(object) => drop(self.objects.insert(act.object(), object)),
            None => drop(self.objects.remove(&act.object())),
        }
    }

    /// The model after the call, if it would be done.
    pub(super) fn after(mut self, act: Act) -> Self {
        if self.wanted(act) != Wanted::Refused {
            self.apply(act);
        }
        self
    }

    /// What a look should tell of the object.
    pub(super) fn seen(&self, name: Name) -> Seen {
        self.objects.get(&name).map_or(Seen::Absent, |object| whole(object.size))
    }

    fn has_snapshots(&self, volume: VolumeId) -> bool {
        self.objects.keys().any(|(owner, snapshot)| *owner == volume && snapshot.is_some())
    }

    fn has_clones(&self, source: Source) -> bool {
        self.objects.values().any(|object| object.source == Some(source))
    }
}

const fn name(source: Source) -> Name {
    (source.volume, Some(source.snapshot))
}
