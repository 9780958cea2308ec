//! What a call does to the backend: the drivers' contract, obeyed by an honest and clumsy driver.

use crate::state::State;
use crate::words::{Deed, FIRST_SIZE, Fill, Object};
use crate::world::World;

impl World {
    /// Does `deed` to the backend of volume `at`, fully or half. Returns whether it can be done at all.
    pub(crate) fn act(&self, state: &mut State, at: usize, deed: Deed, is_full: bool, has_begun: bool) -> bool {
        match deed {
            Deed::Create => self.create(state, at, is_full),
            Deed::Delete => delete(state, at, is_full),
            Deed::Extend(size) => {
                let volume = &mut state.backends[at].volume;
                volume.size = if volume.looks_whole() && is_full { volume.size.max(size) } else { volume.size };
                volume.looks_whole()
            }
            Deed::Snapshot(snapshot) => self.copy(state, at, usize::from(snapshot), is_full, has_begun),
            Deed::DeleteSnapshot(snapshot) => {
                remove(&mut state.backends[at].snapshots[usize::from(snapshot)], is_full);
                true
            }
            Deed::Export(export) => self.export(state, at, usize::from(export)),
            Deed::Unexport(export) => {
                state.exports[usize::from(export)].is_served = false;
                true
            }
        }
    }

    fn create(&self, state: &mut State, at: usize, is_full: bool) -> bool {
        let has_source = at == 0 || state.backends[0].snapshots[0].looks_whole();
        let backend = &mut state.backends[at];
        if backend.volume.looks_whole() {
            backend.has_twin |= self.flaws.creates_twice && is_full;
            return backend.volume.size == FIRST_SIZE;
        }
        let fill = if is_full && has_source { Fill::Whole } else { Fill::Part };
        backend.volume = Object { fill, size: FIRST_SIZE };
        has_source
    }

    /// A copy takes a while: a writer meanwhile tears it, unless the backend copies at once.
    fn copy(&self, state: &mut State, at: usize, place: usize, is_full: bool, has_begun: bool) -> bool {
        let is_written = !self.scope.capabilities.attached_snapshot && state.exports.iter().any(|export| export.is_served);
        let backend = &mut state.backends[at];
        let copy = &mut backend.snapshots[place];
        if copy.looks_whole() || !backend.volume.looks_whole() {
            return copy.looks_whole();
        }
        let is_torn = is_written || (has_begun && copy.fill == Fill::TornPart);
        copy.size = backend.volume.size;
        copy.fill = match (is_full, is_torn) {
            (true, false) => Fill::Whole,
            (true, true) => Fill::Torn,
            (false, false) => Fill::Part,
            (false, true) => Fill::TornPart,
        };
        true
    }

    fn export(&self, state: &mut State, at: usize, export: usize) -> bool {
        if state.backends[at].volume.is_absent() {
            return false;
        }
        state.exports[export].is_served = true;
        if !self.scope.capabilities.attached_snapshot {
            for copy in &mut state.backends[at].snapshots {
                if copy.fill == Fill::Part {
                    copy.fill = Fill::TornPart;
                }
            }
        }
        true
    }
}

fn delete(state: &mut State, at: usize, is_full: bool) -> bool {
    let backend = &mut state.backends[at];
    if backend.snapshots.iter().any(|snapshot| !snapshot.is_absent()) {
        return false;
    }
    if is_full && backend.has_twin {
        backend.has_twin = false;
    } else {
        remove(&mut backend.volume, is_full);
    }
    true
}

fn remove(object: &mut Object, is_full: bool) {
    if is_full {
        *object = Object::ABSENT;
    } else if object.looks_whole() {
        object.fill = Fill::Part;
    }
}
