//! What the status of every resource promises, compared with the truth.
//!
//! - A promise about what is *not* there includes the calls that could still bring it about: an `available` volume is not one that
//!   a forgotten call is about to export.
//! - A promise holds as of the last look. What was changed behind the controller's back is let be (`drifted`) until a status claims
//!   something about it and is right.
//!
//! Source: lifecycle page, "Promises"; reliability page, S1 to S11. The model's version: `crates/lifecycle/tests/model/promises.rs`.

use super::truth::{Deed, Name, Object};
use super::world::State;
use engine::records::VolumeRecord;
use lifecycle::{
    Attachment, AttachmentId, AttachmentPhase, Bytes, ErrorCause, Reason, ReasonCode, Snapshot, SnapshotId, SnapshotPhase,
    VolumeId, VolumePhase, VolumeStatus,
};
use std::sync::Arc;

type Kept = Result<(), String>;

/// Whether everything that one aggregate promises holds.
pub(crate) fn kept(state: &mut State, id: VolumeId) -> Kept {
    let Some(record) = state.ledger.records.get(&id).map(Arc::clone) else { return gone_kept(state, id) };
    single_attach_kept(state, &record)?;
    for (attachment, held) in record.state.attachments() {
        attachment_kept(state, &record, *attachment, held)?;
    }
    for (snapshot, held) in record.state.snapshots() {
        snapshot_kept(state, id, *snapshot, held)?;
    }
    volume_kept(state, &record)
}

fn keep(holds: bool, promise: &str) -> Kept {
    if holds { Ok(()) } else { Err(promise.to_owned()) }
}

/// Whether a call of this volume, waited for or not, may still do such a deed.
fn may(state: &State, id: VolumeId, what: impl Fn(&Deed, Option<AttachmentId>) -> bool) -> bool {
    state.flights.values().any(|flight| {
        let errand = &flight.errand;
        !flight.is_over && errand.volume == id && what(&errand.deed, errand.attachment) && errand.could(&state.truth)
    })
}

/// Whether the object is as it is claimed to be, unless it was changed behind the controller's back since.
fn claim(state: &State, name: Name, promise: &str, is_so: impl FnOnce(Option<&Object>) -> bool) -> Kept {
    let object = state.truth.objects.get(&name);
    let holds = is_so(object) || state.drifted.contains(&name);
    keep(holds, &format!("{promise}; there is {object:?}"))
}

/// The same, where the claim leaves nothing open: once it is right the change has been seen.
fn claim_exactly(state: &mut State, name: Name, promise: &str, is_so: impl Fn(Option<&Object>) -> bool) -> Kept {
    claim(state, name, promise, &is_so)?;
    if is_so(state.truth.objects.get(&name)) {
        state.drifted.remove(&name);
    }
    Ok(())
}

/// The same of an object that is usable: it holds the data that it always held.
fn claim_whole(state: &mut State, name: Name, size: Bytes, promise: &str) -> Kept {
    if state.drifted.contains(&name) {
        state.ledger.data.remove(&name);
    }
    let held = state.ledger.data.get(&name).copied();
    claim_exactly(state, name, promise, |object| {
        object.is_some_and(|object| {
            object.whole && object.size == size && !object.torn && held.is_none_or(|data| data == object.data)
        })
    })?;
    if let Some(object) = state.truth.objects.get(&name).filter(|_| !state.drifted.contains(&name)) {
        state.ledger.data.insert(name, object.data);
    }
    Ok(())
}

/// The same of an object that is not there.
fn claim_absent(state: &mut State, name: Name, promise: &str) -> Kept {
    if state.nobodys.contains(&name) { Ok(()) } else { claim_exactly(state, name, promise, |object| object.is_none()) }
}

fn volume_kept(state: &mut State, record: &VolumeRecord) -> Kept {
    let volume = &record.state;
    let (id, size) = (volume.id(), volume.size());
    let name = (id, None);
    let shapes = |deed: &Deed, _| matches!(deed, Deed::Create { .. } | Deed::Delete | Deed::Extend { .. });
    let Some(status) = volume.status() else { return gone_kept(state, id) };
    match status {
        VolumeStatus::Available => {
            claim_whole(state, name, size, "available: whole, of the recorded size, the data that it always held")?;
            keep(!may(state, id, shapes), "available: no call can remove, make or grow it")?;
            unused(state, id, "available")
        }
        VolumeStatus::Attaching | VolumeStatus::Detaching | VolumeStatus::InUse => {
            claim_whole(state, name, size, "attaching, detaching, inUse: whole, of the recorded size")?;
            keep(!may(state, id, shapes), "inUse: no call can remove, make or grow it")
        }
        VolumeStatus::Extending | VolumeStatus::ErrorExtending => {
            let most = volume.reserved();
            claim(state, name, "extending: the data is intact, the size neither smaller nor beyond what is reserved", |object| {
                object.is_some_and(|object| object.whole && object.size >= size && object.size <= most)
            })?;
            let lossy = |deed: &Deed, _| matches!(deed, Deed::Create { .. } | Deed::Delete);
            keep(!may(state, id, lossy), "extending: no call can remove or make it")
        }
        VolumeStatus::Creating => unused(state, id, "creating"),
        VolumeStatus::Deleting | VolumeStatus::ErrorDeleting => unused(state, id, "deleting"),
        VolumeStatus::Error => error_kept(state, record),
    }
}

/// Exported to nobody, and no call can export it.
fn unused(state: &State, id: VolumeId, status: &str) -> Kept {
    let served = state.truth.served(id);
    keep(served.is_empty(), &format!("{status}: exported to nobody; served for {served:?}"))?;
    let exports = may(state, id, |deed, _| matches!(deed, Deed::Export(_)));
    keep(!exports, &format!("{status}: no call can export it"))
}

fn error_kept(state: &mut State, record: &VolumeRecord) -> Kept {
    let VolumePhase::Error { cause, reason } = record.state.phase() else { return Ok(()) };
    let id = record.state.id();
    if *cause == ErrorCause::Creation {
        unused(state, id, "error of a volume that was never usable")?;
    }
    let makes = may(state, id, |deed, _| matches!(deed, Deed::Create { .. }));
    reason_kept(state, (id, None), *cause, reason, makes)
}

/// A failed creation leaves nothing, or the reason says so. What was proven stays true until something is asked for.
fn reason_kept(state: &mut State, name: Name, cause: ErrorCause, reason: &Reason, makes: bool) -> Kept {
    match reason.code {
        ReasonCode::OutcomeUnknown | ReasonCode::LeftoversRemain => Ok(()),
        ReasonCode::ProvenAbsent => {
            claim_absent(state, name, "error: proven absent")?;
            keep(!makes, "error: proven absent, and no call can make it")
        }
        ReasonCode::ProvenPresent => claim(state, name, "error: proven present", |object| object.is_some()),
        _ if cause == ErrorCause::Creation => {
            claim_absent(state, name, "error: leftovers of a failed creation are removed, or the reason says not")?;
            keep(!makes, "error: no call can make it any more, or the reason says not")
        }
        _ => Ok(()),
    }
}

fn gone_kept(state: &mut State, id: VolumeId) -> Kept {
    match state.ledger.gone.get(&id) {
        Some(false) => {}
        // Never heard of, or given up with its pool: what is left is somebody's to find.
        Some(true) | None => return Ok(()),
    }
    let left: Vec<Name> = state.truth.objects_of(id).map(|(name, _)| *name).collect();
    for name in left {
        claim_absent(state, name, "gone: no volume or snapshot is left")?;
    }
    unused(state, id, "gone")?;
    let makes = may(state, id, |deed, _| matches!(deed, Deed::Create { .. } | Deed::Snapshot(_)));
    keep(!makes, "gone: no call can bring it back")
}

fn single_attach_kept(state: &State, record: &VolumeRecord) -> Kept {
    let live = record.state.attachments().values().filter(|held| held.phase.is_live()).count();
    let served = state.truth.served(record.state.id()).len();
    let is_single = record.state.multi_attach() || (live <= 1 && served <= 1);
    keep(is_single, &format!("S2: single-attach, and there are {live} live attachments and {served} exports"))
}

fn attachment_kept(state: &mut State, record: &VolumeRecord, id: AttachmentId, held: &Attachment) -> Kept {
    let volume = record.state.id();
    let served = state.truth.exports.get(&id);
    let may_do = |what: fn(&Deed) -> bool| may(state, volume, |deed, of| of == Some(id) && what(deed));
    let (may_export, may_end) =
        (may_do(|deed| matches!(deed, Deed::Export(_))), may_do(|deed| matches!(deed, Deed::Unexport { .. })));
    let absent = |status: &str| {
        keep(served.is_none(), &format!("{status}: not exported"))?;
        keep(!may_export, &format!("{status}: no call can export it"))
    };
    match &held.phase {
        AttachmentPhase::Attached { connection } => {
            let is_so = served.is_some_and(|export| {
                let spec = &export.spec;
                export.connection == *connection && spec.host == held.host && spec.mode == held.mode && spec.volume == volume
            });
            if is_so {
                state.lost.remove(&id);
            }
            keep(is_so || state.lost.contains(&id), "S3: attached: exported to its host, with the connection shown")?;
            keep(!may_end, "attached: no call can end the export")
        }
        AttachmentPhase::ErrorAttaching { .. } => absent("errorAttaching"),
        AttachmentPhase::Detached => absent("detached"),
        AttachmentPhase::Attaching { .. } | AttachmentPhase::RollingBack { .. } => Ok(()),
        AttachmentPhase::Detaching { .. } | AttachmentPhase::ErrorDetaching { .. } => Ok(()),
    }
}

fn snapshot_kept(state: &mut State, volume: VolumeId, id: SnapshotId, held: &Snapshot) -> Kept {
    let name = (volume, Some(id));
    let makes = |deed: &Deed, _| matches!(deed, Deed::Snapshot(of) if *of == id);
    let removes = |deed: &Deed, _| matches!(deed, Deed::DeleteSnapshot(of) if *of == id);
    match &held.phase {
        SnapshotPhase::Available => {
            claim_whole(state, name, held.size, "snapshot available: a complete point-in-time copy exists")?;
            keep(!may(state, volume, removes), "snapshot available: no call can remove it")
        }
        SnapshotPhase::Deleted => {
            claim_absent(state, name, "snapshot deleted: nothing is left")?;
            keep(!may(state, volume, makes), "snapshot deleted: no call can make it")
        }
        SnapshotPhase::Error { cause, reason } => {
            let can_be_made = may(state, volume, makes);
            reason_kept(state, name, *cause, reason, can_be_made)
        }
        SnapshotPhase::ErrorDeleting { reason } if reason.code == ReasonCode::ProvenAbsent => {
            claim_absent(state, name, "snapshot errorDeleting: proven absent")
        }
        SnapshotPhase::ErrorDeleting { .. } | SnapshotPhase::Creating(_) | SnapshotPhase::Deleting => Ok(()),
    }
}
