//! What must hold in every state: the promises of the statuses, against the truth on the backend.
//!
//! Source: lifecycle page, "Promises"; reliability page, S1 to S11. Every promise about what is *not* there includes the calls
//! that could still bring it about: an `available` volume is not one that is about to be exported by a forgotten call.

use crate::rules::small;
use crate::state::State;
use crate::words::{Deed, Fill, Lane, Object, PLACES, attachment_id, connection, snapshot_id};
use crate::world::World;
use lifecycle::{
    Attachment, AttachmentPhase, ErrorCause, Reason, ReasonCode, Snapshot, SnapshotPhase, Volume, VolumePhase, VolumeStatus,
};
use std::fmt::Write;

type Kept = Result<(), String>;

fn keep(holds: bool, promise: &str) -> Kept {
    if holds { Ok(()) } else { Err(promise.to_owned()) }
}

impl World {
    pub(crate) fn promises(&self, state: &State) -> Kept {
        for at in 0..2 {
            if let Some(volume) = self.volume(state, at).filter(|volume| volume.phase() != &(VolumePhase::Gone { forgotten: true }))
            {
                if at == 0 {
                    self.single_attach(state, volume)?;
                    for place in 0..PLACES {
                        attachment_kept(state, place, volume)?;
                        snapshot_kept(state, place, volume)?;
                    }
                }
                volume_kept(state, at, volume)?;
            } else if at == 0
                && let Some(forgotten) = self.volume(state, at)
            {
                // What is left on the backend is somebody's to find; an export without a record would be nobody's.
                (0..PLACES).try_for_each(|place| attachment_kept(state, place, forgotten))?;
            }
        }
        self.source_kept(state)
    }

    fn single_attach(&self, state: &State, volume: &Volume) -> Kept {
        let may_exist = |place: &usize| state.exports[*place].is_served || may(state, 0, export_lane(*place), is_export);
        let count = (0..PLACES).filter(may_exist).count();
        keep(volume.multi_attach() || count <= 1, "single-attach: at most one export may exist")
    }

    /// A clone is made from a source that stays. Source: lifecycle page, "a pin lasts until the superseded call has ended".
    fn source_kept(&self, state: &State) -> Kept {
        let Some(clone) = self.volume(state, 1) else { return Ok(()) };
        let source = self.volume(state, 0).filter(|source| source.phase() != &(VolumePhase::Gone { forgotten: true }));
        let may_read = may(state, 1, Lane::Shape, |deed| deed == Deed::Create)
            || clone.phase() == &VolumePhase::Creating(lifecycle::Making::Make);
        let is_there = source.is_none_or(|source| {
            let snapshot = source.snapshots().get(&snapshot_id(0));
            snapshot.is_some_and(|snapshot| snapshot.phase != SnapshotPhase::Deleting && snapshot.phase != SnapshotPhase::Deleted)
        });
        keep(!may_read || is_there, "a clone's source stays until no call can read it any more")
    }

    pub(crate) fn describe(&self, state: &State) -> String {
        let mut text = String::new();
        for at in 0..2 {
            let Some(volume) = self.volume(state, at) else { continue };
            let backend = &state.backends[at];
            let sizes = (volume.size().0, volume.seen().0);
            write!(
                text,
                "[{at}: {:?} {sizes:?} recover={}",
                volume.phase(),
                volume.operation(lifecycle::Subject::Volume(volume.id())).is_some()
            )
            .expect("a string takes all");
            for attachment in volume.attachments().values() {
                write!(text, " {:?}", attachment.phase).expect("a string takes all");
            }
            for snapshot in volume.snapshots().values() {
                let Snapshot { phase, seen, pins, .. } = snapshot;
                write!(text, " {phase:?} seen={seen:?} pins={}", pins.len()).expect("a string takes all");
            }
            write!(text, "] truth: {backend:?} ").expect("a string takes all");
        }
        write!(text, "exports: {:?}", state.exports).expect("a string takes all");
        text.replace("Object { fill: Absent, size: 0 }", "absent").replace("Slot { call: None, ghosts: Ghosts(0) }", "quiet")
    }
}

fn export_lane(place: usize) -> Lane {
    Lane::Export(u8::try_from(place).expect("two places"))
}

/// Whether a call of the slot, waited for or not, may still do such a deed.
fn may(state: &State, at: usize, lane: Lane, what: impl Fn(Deed) -> bool) -> bool {
    state.slot(at, lane).deeds().any(what)
}

fn is_export(deed: Deed) -> bool {
    matches!(deed, Deed::Export(_))
}

fn is_exact(object: Object, size: u8) -> bool {
    object == Object { fill: Fill::Whole, size }
}

fn volume_kept(state: &State, at: usize, volume: &Volume) -> Kept {
    let (object, size) = (state.backends[at].volume, small(volume.size()));
    keep(!state.backends[at].has_twin, "at most one backend object per volume id")?;
    let Some(status) = volume.status() else { return gone_kept(state, at) };
    let shaped = may(state, at, Lane::Shape, |deed| matches!(deed, Deed::Create | Deed::Delete | Deed::Extend(_)));
    let unused = || not_exported(state, at);
    match status {
        VolumeStatus::Available => {
            keep(is_exact(object, size), "available: whole, of the recorded size")?;
            keep(!shaped, "available: no call can remove, make or grow it")?;
            keep(unused(), "available: exported to nobody, and no call can export it")
        }
        VolumeStatus::Attaching | VolumeStatus::Detaching | VolumeStatus::InUse => {
            keep(is_exact(object, size), "attaching, detaching, inUse: whole, of the recorded size")?;
            keep(!shaped, "inUse: no call can remove, make or grow it")
        }
        VolumeStatus::Extending | VolumeStatus::ErrorExtending => {
            keep(object.fill == Fill::Whole && object.size >= size, "extending: the data is intact, the size not smaller")?;
            let lossy = may(state, at, Lane::Shape, |deed| matches!(deed, Deed::Create | Deed::Delete));
            keep(!lossy, "extending: no call can remove or make it")?;
            keep(u64::from(object.size) <= volume.reserved().0, "extending: what it may have is reserved")
        }
        VolumeStatus::Creating => keep(unused(), "creating: nothing usable yet"),
        VolumeStatus::Deleting | VolumeStatus::ErrorDeleting => keep(unused(), "deleting: nothing is attached"),
        VolumeStatus::Error => error_kept(state, at, volume),
    }
}

fn not_exported(state: &State, at: usize) -> bool {
    at != 0 || (0..PLACES).all(|place| !state.exports[place].is_served && !may(state, 0, export_lane(place), is_export))
}

fn error_kept(state: &State, at: usize, volume: &Volume) -> Kept {
    let VolumePhase::Error { cause, reason } = volume.phase() else { return Ok(()) };
    if *cause == ErrorCause::Creation {
        keep(not_exported(state, at), "error: a volume that was never usable is exported to nobody")?;
    }
    let makes = may(state, at, Lane::Shape, |deed| deed == Deed::Create);
    reason_kept(*cause, reason, state.backends[at].volume, makes)
}

/// A failed creation leaves nothing, or the reason says so. What was proven stays true until something is asked for.
fn reason_kept(cause: ErrorCause, reason: &Reason, object: Object, makes: bool) -> Kept {
    let clean = object.is_absent() && !makes;
    match reason.code {
        ReasonCode::OutcomeUnknown | ReasonCode::LeftoversRemain => Ok(()),
        ReasonCode::ProvenAbsent => keep(clean, "error: proven absent, and no call can make it"),
        ReasonCode::ProvenPresent => keep(!object.is_absent(), "error: proven present"),
        _ => keep(
            cause != ErrorCause::Creation || clean,
            "error: leftovers of a failed creation are removed, or the reason says not",
        ),
    }
}

fn gone_kept(state: &State, at: usize) -> Kept {
    let backend = &state.backends[at];
    let is_empty = backend.volume.is_absent() && backend.snapshots.iter().all(|snapshot| snapshot.is_absent());
    keep(is_empty && not_exported(state, at), "gone: no volume, export or snapshot is left")?;
    let makes = may(state, at, Lane::Shape, |deed| matches!(deed, Deed::Create | Deed::Snapshot(_)));
    keep(!makes, "gone: no call can bring it back")
}

fn attachment_kept(state: &State, place: usize, volume: &Volume) -> Kept {
    let (lane, is_served) = (export_lane(place), state.exports[place].is_served);
    let number = u8::try_from(place).expect("two places");
    let phase = volume.attachments().get(&attachment_id(number)).map(|Attachment { phase, .. }| phase);
    let absent = !is_served && !may(state, 0, lane, is_export);
    match phase {
        Some(AttachmentPhase::Attached { connection: shown }) => {
            keep(is_served && *shown == connection(number), "attached: exported, with the connection shown")?;
            keep(!may(state, 0, lane, |deed| matches!(deed, Deed::Unexport(_))), "attached: no call can end the export")
        }
        Some(AttachmentPhase::ErrorAttaching { .. }) => keep(absent, "errorAttaching: provably not exported"),
        Some(AttachmentPhase::Detached) => keep(absent, "detached: not exported, and no call can export it"),
        None => keep(absent, "no attachment: not exported, and no call can export it"),
        Some(AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. }) => Ok(()),
        Some(AttachmentPhase::Detaching { .. } | AttachmentPhase::ErrorDetaching { .. }) => Ok(()),
    }
}

fn snapshot_kept(state: &State, place: usize, volume: &Volume) -> Kept {
    let number = u8::try_from(place).expect("two places");
    let object = state.backends[0].snapshots[place];
    let may = |wanted: Deed| may(state, 0, Lane::Shape, |deed| deed == wanted);
    let absent = object.is_absent() && !may(Deed::Snapshot(number));
    match volume.snapshots().get(&snapshot_id(number)) {
        None => keep(absent, "no snapshot: nothing of it is there, and no call can make it"),
        Some(Snapshot { phase, size, .. }) => match phase {
            SnapshotPhase::Available => {
                keep(is_exact(object, small(*size)), "snapshot available: a complete point-in-time copy exists")?;
                keep(!may(Deed::DeleteSnapshot(number)), "snapshot available: no call can remove it")
            }
            SnapshotPhase::Deleted => keep(absent, "snapshot deleted: nothing is left, and no call can make it"),
            SnapshotPhase::Error { cause, reason } => reason_kept(*cause, reason, object, may(Deed::Snapshot(number))),
            SnapshotPhase::ErrorDeleting { reason } => {
                let known = reason.code == ReasonCode::ProvenAbsent;
                keep(!known || absent, "snapshot errorDeleting: proven absent, and no call can make it")
            }
            SnapshotPhase::Creating(_) | SnapshotPhase::Deleting => Ok(()),
        },
    }
}
