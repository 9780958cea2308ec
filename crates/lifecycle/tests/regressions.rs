//! Holes that the model or the simulation found, each as the shortest story that shows it. They stay, whatever becomes of either.

use lifecycle::{
    AttachmentId, Bytes, Capabilities, Command, Connection, Content, Context, ExportSeen, Facts, HostId, Input, Look, Mode,
    Outcome, Owed, Seen, SnapshotId, Subject, Timestamp, Volume, VolumeId, VolumeStatus, Waiting, Work,
};
use std::collections::BTreeMap;
use uuid::Uuid;

const NOW: Timestamp = Timestamp(0);
const SIZE: Bytes = Bytes(1 << 30);
const WHOLE: Seen = Seen::Present { size: SIZE, content: Content::Whole };
const ID: VolumeId = VolumeId(Uuid::from_u128(1));
const SNAPSHOT: SnapshotId = SnapshotId(Uuid::from_u128(2));
const ATTACHMENT: AttachmentId = AttachmentId(Uuid::from_u128(3));
/// A pool that copies slowly.
const CONTEXT: Context =
    Context { now: NOW, capabilities: Capabilities { attached_snapshot: false, online_extend: false }, retired: false };

fn hear(volume: &Volume, input: &Input) -> Volume {
    let transitions = volume.decide(input, &CONTEXT).unwrap_or_else(|rejection| panic!("{rejection}"));
    volume.apply(&transitions, NOW)
}

fn ask(volume: &Volume, command: Command) -> Volume {
    hear(volume, &Input::Command(command))
}

fn done(volume: &Volume, work: Work, facts: Facts) -> Volume {
    hear(volume, &Input::Report { work, outcome: Outcome::Done(facts) })
}

fn available() -> Volume {
    done(&Volume::create(ID, SIZE, false, None, NOW), Work::Create, Facts::Object(WHOLE))
}

fn look(volume: Seen, snapshot: Option<Seen>) -> Look {
    Look { volume, snapshots: snapshot.map(|seen| (SNAPSHOT, seen)).into_iter().collect(), stranger: None }
}

fn waiting_of(volume: &Volume, work: Work) -> Option<Waiting> {
    let owed = volume.owed(CONTEXT.capabilities).into_iter().find(|owed| owed.work == work);
    owed.unwrap_or_else(|| panic!("{work:?} is owed")).waiting
}

/// Taking a snapshot got no answer in time, so its status is `error`; its call copied on while a writer was let in; then
/// `recover` found a whole copy and called it `available`: a point in time that never was.
#[test]
fn a_writer_waits_until_no_call_copies_a_snapshot() {
    let copying = ask(&available(), Command::Snapshot { id: SNAPSHOT });
    let late = hear(&copying, &Input::Deadline(Work::Snapshot(SNAPSHOT)));
    let attach = Command::Attach { id: ATTACHMENT, host: HostId(Uuid::nil()), mode: Mode::ReadWrite };
    let attaching = ask(&late, attach);
    assert_eq!(waiting_of(&attaching, Work::Export(ATTACHMENT)), Some(Waiting::Snapshot(SNAPSHOT)));
    let fenced = done(&attaching, Work::Look, Facts::Look(look(WHOLE, None)));
    assert_eq!(waiting_of(&fenced, Work::Export(ATTACHMENT)), None);
    let refused = hear(&copying, &Input::Report { work: Work::Snapshot(SNAPSHOT), outcome: Outcome::Refused("no".into()) });
    assert_eq!(waiting_of(&ask(&refused, attach), Work::Export(ATTACHMENT)), Some(Waiting::Snapshot(SNAPSHOT)));
    let deleting = ask(&attaching, Command::DeleteSnapshot { id: SNAPSHOT });
    assert_eq!(waiting_of(&deleting, Work::Export(ATTACHMENT)), None, "who cannot wait deletes the snapshot");
    let reads = Command::Attach { id: ATTACHMENT, host: HostId(Uuid::nil()), mode: Mode::ReadOnly };
    assert_eq!(waiting_of(&ask(&late, reads), Work::Export(ATTACHMENT)), None, "a reader tears nothing");
}

/// A look saw a stray client, a later one that the volume was missing; in `error` no look took back that the client was there,
/// so that deletion was refused for ever.
#[test]
fn a_stray_client_that_left_does_not_bar_deletion() {
    let strayed = Look { stranger: Some("nbd 10.0.0.9".into()), ..look(WHOLE, None) };
    let in_use = hear(&available(), &Input::Drift(strayed.clone()));
    assert_eq!(in_use.status(), Some(VolumeStatus::InUse));
    let missing = hear(&in_use, &Input::Drift(Look { volume: Seen::Absent, ..strayed }));
    assert_eq!(missing.status(), Some(VolumeStatus::Error));
    let delete = Input::Command(Command::Delete { cascade: false });
    assert!(missing.decide(&delete, &CONTEXT).is_err(), "somebody uses it, as far as is known");
    let looking = ask(&missing, Command::Recover(Subject::Volume(ID)));
    let looked = done(&looking, Work::Look, Facts::Look(look(Seen::Absent, None)));
    assert_eq!(hear(&looked, &delete).status(), Some(VolumeStatus::Deleting));
}

/// The promise that made roll-back necessary: a refusal says that this call did nothing, and no more.
#[test]
fn a_refused_export_is_taken_back_before_the_status_says_so() {
    let attaching = ask(&available(), Command::Attach { id: ATTACHMENT, host: HostId(Uuid::nil()), mode: Mode::ReadWrite });
    let refused = hear(&attaching, &Input::Report { work: Work::Export(ATTACHMENT), outcome: Outcome::Refused("no".into()) });
    assert_eq!(refused.status(), Some(VolumeStatus::Attaching));
    let unexport = Work::Unexport { attachment: ATTACHMENT, force: true };
    assert_eq!(refused.owed(CONTEXT.capabilities), vec![Owed { work: unexport, waiting: None }]);
    let serving = ExportSeen::Serving(Connection { protocol: "nbd".into(), data: BTreeMap::new() });
    assert_eq!(done(&refused, unexport, Facts::Export(serving)), refused, "what is served still is not taken back");
    let taken_back = done(&refused, unexport, Facts::Export(ExportSeen::Absent));
    assert_eq!(taken_back.status(), Some(VolumeStatus::Available));
}

/// The slow look found that a volume was gone, whose extend had failed, and kept it to itself: `errorExtending` went on promising
/// intact data, and a size within what is reserved.
#[test]
fn a_volume_that_vanishes_while_error_extending_is_missing() {
    let target = Bytes(2 * SIZE.0);
    let extending = ask(&available(), Command::Extend { size: target });
    let stuck = hear(&extending, &Input::Report { work: Work::Extend { target }, outcome: Outcome::Refused("no".into()) });
    assert_eq!(stuck.status(), Some(VolumeStatus::ErrorExtending));
    let seen = |seen| hear(&stuck, &Input::Drift(look(seen, None)));
    assert_eq!(seen(WHOLE), stuck, "nothing new");
    assert_eq!(seen(Seen::Unknown), stuck, "no answer is no news");
    assert_eq!(seen(Seen::Absent).status(), Some(VolumeStatus::Error));
    assert_eq!(seen(Seen::Present { size: SIZE, content: Content::Partial }).status(), Some(VolumeStatus::Error));
    let larger = seen(Seen::Present { size: Bytes(3 * SIZE.0), content: Content::Whole });
    assert_eq!(larger.status(), Some(VolumeStatus::ErrorExtending));
    assert_eq!(larger.reserved(), Bytes(3 * SIZE.0), "what it has is reserved");
}
