//! An excerpt tells of a snapshot or an attachment what the whole volume does: in every combination of phases, also those that no
//! history reaches.

use lifecycle::{
    Attachment, AttachmentId, AttachmentPhase, Bytes, Capabilities, Connection, Content, Context, ErrorCause, ExportLook, HostId,
    Making, Mode, Reason, ReasonCode, Seen, Snapshot, SnapshotId, SnapshotPhase, Subject, Timestamp, Volume, VolumeId, VolumeParts,
    VolumePhase,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const SIZE: Bytes = Bytes(10);
const OWN: SnapshotId = SnapshotId(Uuid::from_u128(1));
const OTHER: SnapshotId = SnapshotId(Uuid::from_u128(2));

fn reason() -> Reason {
    Reason { code: ReasonCode::BackendMissing, message: "gone".into(), since: Timestamp(1) }
}

fn volume_phases() -> Vec<VolumePhase> {
    let reason = reason();
    let cause = ErrorCause::Creation;
    vec![
        VolumePhase::Creating(Making::Make),
        VolumePhase::Creating(Making::CleanUp(reason.clone())),
        VolumePhase::Ready,
        VolumePhase::Extending { target: Bytes(20) },
        VolumePhase::Deleting,
        VolumePhase::Error { cause, reason: reason.clone() },
        VolumePhase::ErrorExtending { target: Bytes(20), reason: reason.clone() },
        VolumePhase::ErrorDeleting { reason },
        VolumePhase::Gone { forgotten: false },
        VolumePhase::Gone { forgotten: true },
    ]
}

fn snapshot_phases() -> Vec<SnapshotPhase> {
    let error = |cause| SnapshotPhase::Error { cause, reason: reason() };
    vec![
        SnapshotPhase::Creating(Making::Make),
        SnapshotPhase::Creating(Making::CleanUp(reason())),
        SnapshotPhase::Available,
        error(ErrorCause::Creation),
        error(ErrorCause::Missing),
        error(ErrorCause::Damaged),
        SnapshotPhase::Deleting,
        SnapshotPhase::ErrorDeleting { reason: reason() },
        SnapshotPhase::Deleted,
    ]
}

/// No attachments; one in each phase, that reads or writes; one that is over beside one that writes, or fails beside it.
fn attachments() -> Vec<BTreeMap<AttachmentId, Attachment>> {
    let connection = Connection::default();
    let phases = [
        AttachmentPhase::Attaching { again: None },
        AttachmentPhase::RollingBack { reason: reason() },
        AttachmentPhase::Attached { connection: connection.clone() },
        AttachmentPhase::Detaching { force: false, connection: Some(connection.clone()) },
        AttachmentPhase::Detached,
        AttachmentPhase::ErrorAttaching { reason: reason() },
        AttachmentPhase::ErrorDetaching { reason: reason(), connection: None, look: ExportLook::Done },
    ];
    let one = |mode| move |phase| Attachment { host: HostId(Uuid::nil()), mode, phase, since: Timestamp(1) };
    let named = |all: Vec<Attachment>| (1..).map(|id| AttachmentId(Uuid::from_u128(id))).zip(all).collect();
    let writes = AttachmentPhase::Attached { connection };
    let readers = phases.iter().cloned().map(one(Mode::ReadOnly)).map(|reads| vec![reads]);
    let writers = phases.iter().cloned().map(one(Mode::ReadWrite)).map(|writes| vec![writes]);
    let pairs = [4, 5, 6].map(|at: usize| vec![one(Mode::ReadOnly)(phases[at].clone()), one(Mode::ReadWrite)(writes.clone())]);
    std::iter::once(vec![]).chain(readers).chain(writers).chain(pairs).map(named).collect()
}

/// A snapshot in each phase, while it is looked at or not, with a clone being made from it or not.
fn snapshots() -> Vec<Snapshot> {
    let clones = [BTreeSet::new(), BTreeSet::from([VolumeId(Uuid::from_u128(9))])];
    let of = |(phase, recover, pins): (&SnapshotPhase, Option<i64>, &BTreeSet<VolumeId>)| Snapshot {
        size: SIZE,
        phase: phase.clone(),
        since: Timestamp(1),
        seen: Seen::Unknown,
        recover: recover.map(Timestamp),
        pins: pins.clone(),
    };
    let phases = snapshot_phases();
    let looked_at = phases.iter().flat_map(|phase| [None, Some(1)].map(|recover| (phase, recover)));
    looked_at.flat_map(|(phase, recover)| clones.each_ref().map(|pins| of((phase, recover, pins)))).collect()
}

fn contexts() -> [Context; 2] {
    [true, false].map(|able| Context {
        now: Timestamp(2),
        capabilities: Capabilities { attached_snapshot: able, online_extend: able },
        retired: !able,
    })
}

/// All that is told of a part.
fn told(volume: &Volume, part: Subject, context: &Context) -> impl PartialEq + std::fmt::Debug {
    (volume.word(part), volume.reason(part).cloned(), volume.operation(part), volume.allowed(part, context))
}

#[test]
fn an_excerpt_tells_of_a_part_what_the_whole_does() {
    let (all, attachments) = (snapshots(), attachments());
    // Of the other snapshot, each phase; while it is looked at, or cloned, only where it is there.
    let is_enough =
        |other: &&Snapshot| other.phase == SnapshotPhase::Available || (other.recover.is_none() && other.pins.is_empty());
    let others: Vec<_> = all.iter().filter(is_enough).collect();
    for phase in volume_phases() {
        for attachments in &attachments {
            for (recover, stranger) in [(None, None), (Some(Timestamp(1)), None), (None, Some(reason()))] {
                let whole = |own: &Snapshot, other: &Snapshot| {
                    Volume::restore(VolumeParts {
                        id: VolumeId(Uuid::nil()),
                        multi_attach: attachments.len() > 1,
                        size: SIZE,
                        source: None,
                        phase: phase.clone(),
                        since: Timestamp(1),
                        seen: Seen::Present { size: SIZE, content: Content::Whole },
                        seen_at: None,
                        stranger: stranger.clone(),
                        recover,
                        attachments: attachments.clone(),
                        snapshots: [(OWN, own.clone()), (OTHER, other.clone())].into(),
                    })
                };
                for own in &all {
                    for other in &others {
                        holds(&whole(own, other), Subject::Snapshot(OWN), Some(OWN));
                    }
                }
                for other in &others {
                    attachments.keys().for_each(|id| holds(&whole(&all[0], other), Subject::Attachment(*id), None));
                }
            }
        }
    }
}

fn holds(whole: &Volume, part: Subject, snapshot: Option<SnapshotId>) {
    let excerpt = whole.excerpt(snapshot);
    for context in contexts() {
        assert!(told(whole, part, &context) == told(&excerpt, part, &context), "{part:?} of {whole:?}");
    }
}
