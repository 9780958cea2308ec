//! A state of the model: the records (by number), the truth on the backend, and every call that may still act.
//!
//! A call that outlived its controller's interest (a crash, a deadline, a superseding, a lost answer) is a *ghost*: it may act
//! at any time until it is fenced. Which token it carries does not matter then, only that it is older than any new one.

use crate::rules::NONE;
use crate::words::{Deed, Lane, Object, PLACES, Task};

/// The call of one slot that the controller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) task: Task,
    /// Whether it has begun a copy and may go on with that.
    pub(crate) has_begun: bool,
}

/// The calls that nobody waits for and that may still act: one bit for each deed, a copy that has begun apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghosts(u16);

impl Ghosts {
    const ALL: [(Deed, bool); 14] = [
        (Deed::Create, false),
        (Deed::Delete, false),
        (Deed::Extend(2), false),
        (Deed::Extend(3), false),
        (Deed::Snapshot(0), false),
        (Deed::Snapshot(1), false),
        (Deed::Snapshot(0), true),
        (Deed::Snapshot(1), true),
        (Deed::DeleteSnapshot(0), false),
        (Deed::DeleteSnapshot(1), false),
        (Deed::Export(0), false),
        (Deed::Export(1), false),
        (Deed::Unexport(0), false),
        (Deed::Unexport(1), false),
    ];

    pub(crate) fn add(&mut self, deed: Deed, has_begun: bool) {
        let begun = has_begun && matches!(deed, Deed::Snapshot(_));
        let at = Self::ALL.iter().position(|known| *known == (deed, begun)).expect("every deed has a bit");
        self.0 |= 1 << at;
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (Deed, bool)> {
        Self::ALL.into_iter().enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, ghost)| ghost)
    }

    pub(crate) fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// One slot of work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) call: Option<Call>,
    pub(crate) ghosts: Ghosts,
}

impl Slot {
    /// Nobody waits for its call any more; it may act still.
    pub(crate) fn let_go(&mut self) {
        if let Some(Call { task, has_begun }) = self.call.take()
            && let Some(deed) = task.deed()
        {
            self.ghosts.add(deed, has_begun);
        }
    }

    /// Every deed that may still be done, waited for or not.
    pub(crate) fn deeds(&self) -> impl Iterator<Item = Deed> {
        let running = self.call.and_then(|call| call.task.deed());
        running.into_iter().chain(self.ghosts.iter().map(|(deed, _)| deed))
    }
}

/// The backend of one volume, and the calls that shape it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Backend {
    pub(crate) volume: Object,
    /// Whether there is a second object of the same id.
    pub(crate) has_twin: bool,
    pub(crate) snapshots: [Object; PLACES],
    pub(crate) shape: Slot,
}

/// An export, and the calls about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Export {
    pub(crate) is_served: bool,
    pub(crate) slot: Slot,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The records: the volume and its clone.
    pub(crate) volumes: [u32; 2],
    pub(crate) backends: [Backend; 2],
    pub(crate) exports: [Export; PLACES],
    /// Whether somebody unknown uses the volume.
    pub(crate) has_stranger: bool,
    /// Whether the controller forgot what is owed (a flaw that can be switched on).
    pub(crate) is_idle: bool,
}

impl State {
    pub(crate) fn new(volume: u32) -> Self {
        Self {
            volumes: [volume, NONE],
            backends: [Backend::default(); 2],
            exports: [Export::default(); PLACES],
            has_stranger: false,
            is_idle: false,
        }
    }

    pub(crate) fn slot(&self, at: usize, lane: Lane) -> &Slot {
        match lane {
            Lane::Shape => &self.backends[at].shape,
            Lane::Export(export) => &self.exports[usize::from(export)].slot,
        }
    }

    pub(crate) fn slot_mut(&mut self, at: usize, lane: Lane) -> &mut Slot {
        match lane {
            Lane::Shape => &mut self.backends[at].shape,
            Lane::Export(export) => &mut self.exports[usize::from(export)].slot,
        }
    }

    pub(crate) fn served(&self) -> [bool; PLACES] {
        self.exports.map(|export| export.is_served)
    }

    /// How many kinds of ghost the fullest slot has.
    pub(crate) fn most_ghosts(&self) -> u32 {
        let shapes = self.backends.iter().map(|backend| backend.shape.ghosts.count());
        shapes.chain(self.exports.iter().map(|export| export.slot.ghosts.count())).max().unwrap_or_default()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.backends.iter().all(|backend| backend.shape.call.is_none())
            && self.exports.iter().all(|export| export.slot.call.is_none())
    }
}
