//! Answers that come late, twice, or for something else: they change nothing that they do not prove.

use lifecycle::{
    AttachmentId, AttachmentPhase, Bytes, Capabilities, Command, Connection, Content, Context, ExportSeen, Facts, HostId, Input,
    Look, Mode, Outcome, ReasonCode, Seen, SnapshotId, Subject, Timestamp, Transition, Volume, VolumeId, VolumePhase, Work,
};
use std::collections::BTreeMap;
use uuid::Uuid;

const SIZE: Bytes = Bytes(10);
const WHOLE: Seen = Seen::Present { size: SIZE, content: Content::Whole };
const ID: VolumeId = VolumeId(Uuid::from_u128(1));
const SNAPSHOT: SnapshotId = SnapshotId(Uuid::from_u128(2));
const HELD: AttachmentId = AttachmentId(Uuid::from_u128(3));
const GENTLE: Work = Work::Unexport { attachment: HELD, force: false };
const FORCED: Work = Work::Unexport { attachment: HELD, force: true };

fn decide(volume: &Volume, input: &Input) -> Vec<Transition> {
    let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
    let context = Context { now: Timestamp(7), capabilities, retired: false };
    volume.decide(input, &context).unwrap_or_else(|no| panic!("{input:?}: {no}"))
}

/// As [`hear`], a second later.
fn hear_later(volume: &Volume, input: &Input) -> Volume {
    let context = Context { now: Timestamp(1007), capabilities: Capabilities::default(), retired: false };
    volume.apply(&volume.decide(input, &context).unwrap(), Timestamp(1007))
}

fn hear(volume: &Volume, input: &Input) -> Volume {
    volume.apply(&decide(volume, input), Timestamp(7))
}

fn done(work: Work, facts: Facts) -> Input {
    Input::Report { work, outcome: Outcome::Done(facts) }
}

fn serving(at: &str) -> Connection {
    Connection { protocol: "nbd".into(), data: BTreeMap::from([("uri".into(), at.into())]) }
}

fn available() -> Volume {
    hear(&Volume::create(ID, SIZE, false, None, Timestamp(0)), &done(Work::Create, Facts::Object(WHOLE)))
}

fn attaching() -> Volume {
    let attach = Command::Attach { id: HELD, host: HostId(Uuid::nil()), mode: Mode::ReadWrite };
    hear(&available(), &Input::Command(attach))
}

fn attached() -> Volume {
    hear(&attaching(), &done(Work::Export(HELD), Facts::Export(ExportSeen::Serving(serving("a")))))
}

fn detaching(force: bool) -> Volume {
    hear(&attached(), &Input::Command(Command::Detach { id: HELD, force }))
}

fn phase(volume: &Volume) -> &AttachmentPhase {
    &volume.attachments()[&HELD].phase
}

#[test]
fn the_end_of_another_way_of_detaching_is_no_answer() {
    let absent = |work| done(work, Facts::Export(ExportSeen::Absent));
    assert!(decide(&detaching(true), &absent(GENTLE)).is_empty(), "a gentle end was superseded by force");
    assert!(decide(&detaching(false), &absent(FORCED)).is_empty(), "nobody asked for force");
    assert!(matches!(phase(&hear(&detaching(true), &absent(FORCED))), AttachmentPhase::Detached));
    let rolling = hear(&attaching(), &Input::Report { work: Work::Export(HELD), outcome: Outcome::Refused("no".into()) });
    assert!(matches!(phase(&rolling), AttachmentPhase::RollingBack { .. }));
    assert!(decide(&rolling, &absent(GENTLE)).is_empty(), "a roll-back is forced");
    assert!(matches!(phase(&hear(&rolling, &absent(FORCED))), AttachmentPhase::ErrorAttaching { .. }));
}

#[test]
fn a_list_of_exports_changes_what_it_contradicts_alone() {
    let list = |connection: Connection| Input::Exports(BTreeMap::from([(HELD, connection)]));
    assert!(decide(&attached(), &list(serving("a"))).is_empty(), "it is as it was");
    let moved = hear(&attached(), &list(serving("b")));
    assert!(matches!(phase(&moved), AttachmentPhase::Attached { connection } if *connection == serving("b")));
    assert!(matches!(phase(&hear(&attached(), &Input::Exports(BTreeMap::new()))), AttachmentPhase::Attaching { again: Some(_) }));
}

#[test]
fn a_delete_that_comes_before_its_snapshots_are_gone_is_no_answer() {
    let with = hear(&available(), &Input::Command(Command::Snapshot { id: SNAPSHOT }));
    let with = hear(&with, &done(Work::Snapshot(SNAPSHOT), Facts::Object(WHOLE)));
    let cascade = hear(&with, &Input::Command(Command::Delete { cascade: true }));
    let gone = done(Work::Delete, Facts::Object(Seen::Absent));
    assert!(decide(&cascade, &gone).is_empty());
    assert!(
        decide(
            &cascade,
            &done(Work::Look, Facts::Look(Look { snapshots: BTreeMap::from([(SNAPSHOT, WHOLE)]), ..Look::default() }))
        )
        .is_empty()
    );
    assert!(decide(&available(), &gone).is_empty(), "nobody asked for a delete");
    let free = hear(&cascade, &done(Work::DeleteSnapshot(SNAPSHOT), Facts::Object(Seen::Absent)));
    assert!(hear(&free, &gone).is_gone());
}

#[test]
fn a_look_at_a_deleting_volume_ends_it_only_if_nothing_is_left() {
    let deleting = hear(&available(), &Input::Command(Command::Delete { cascade: false }));
    let look = |volume| done(Work::Look, Facts::Look(Look { volume, ..Look::default() }));
    assert!(decide(&deleting, &look(WHOLE)).is_empty());
    assert!(hear(&deleting, &look(Seen::Absent)).is_gone());
}

#[test]
fn a_reason_is_sharpened_once_and_again_when_it_is_another() {
    let late = hear(&Volume::create(ID, SIZE, false, None, Timestamp(0)), &Input::Deadline(Work::Create));
    assert!(matches!(late.phase(), VolumePhase::Error { .. }));
    let code = |volume: &Volume| volume.reason(Subject::Volume(ID)).map(|reason| reason.code);
    assert_eq!(code(&late), Some(ReasonCode::OutcomeUnknown));
    let look = |seen| done(Work::Look, Facts::Look(Look { volume: seen, ..Look::default() }));
    let part = |size| Seen::Present { size: Bytes(size), content: Content::Partial };
    let half = hear(&late, &look(part(5)));
    assert_eq!(code(&half), Some(ReasonCode::ProvenPresent));
    let message = half.reason(Subject::Volume(ID)).unwrap().message.clone();
    let same = hear_later(&hear(&half, &Input::Command(Command::Recover(Subject::Volume(ID)))), &look(part(5)));
    assert_eq!(same.reason(Subject::Volume(ID)), half.reason(Subject::Volume(ID)), "the same evidence is no news");
    let again = hear(&hear(&half, &Input::Command(Command::Recover(Subject::Volume(ID)))), &look(part(7)));
    assert_eq!(code(&again), Some(ReasonCode::ProvenPresent));
    assert_ne!(again.reason(Subject::Volume(ID)).unwrap().message, message, "it has grown meanwhile");
}

#[test]
fn a_stranger_is_noted_once_and_let_go_of() {
    let with = |who: Option<&str>, volume| Input::Drift(Look { volume, stranger: who.map(str::to_owned), ..Look::default() });
    let used = hear(&available(), &with(Some("x"), WHOLE));
    assert_eq!(used.reason(Subject::Volume(ID)).map(|reason| reason.code), Some(ReasonCode::StrayClient));
    assert!(decide(&used, &with(Some("x"), WHOLE)).is_empty(), "the same stranger is no news");
    assert!(decide(&used, &with(None, Seen::Unknown)).is_empty(), "a look that could not tell proves nothing");
    assert!(hear(&used, &with(None, WHOLE)).reason(Subject::Volume(ID)).is_none());
}

#[test]
fn a_stranger_that_lets_go_of_a_damaged_volume_is_forgotten() {
    let with = |who: Option<&str>, volume| Input::Drift(Look { volume, stranger: who.map(str::to_owned), ..Look::default() });
    let used = hear(&available(), &with(Some("x"), WHOLE));
    let damaged = hear(&used, &with(Some("x"), Seen::Absent));
    assert_eq!(damaged.reason(Subject::Volume(ID)).map(|reason| reason.code), Some(ReasonCode::BackendMissing));
    let context = Context { now: Timestamp(7), capabilities: Capabilities::default(), retired: false };
    let delete = |volume: &Volume| volume.decide(&Input::Command(Command::Delete { cascade: false }), &context).is_ok();
    assert!(!delete(&damaged), "somebody may write to it");
    assert!(delete(&hear(&damaged, &with(None, Seen::Absent))));
}

#[test]
fn what_is_not_known_any_more_was_not_seen_now() {
    let (_, before) = available().seen();
    let lost = hear_later(
        &hear(&available(), &Input::Command(Command::Extend { size: Bytes(2 * SIZE.0) })),
        &Input::Deadline(Work::Extend { target: Bytes(2 * SIZE.0) }),
    );
    assert_eq!(lost.seen(), (Seen::Unknown, before));
}

#[test]
fn while_it_is_attached_nobody_is_called_a_stranger() {
    let with = |who: Option<&str>| Input::Drift(Look { volume: WHOLE, stranger: who.map(str::to_owned), ..Look::default() });
    for held in [attaching(), attached(), detaching(false)] {
        let looked = hear(&held, &with(Some("our own exporter, as far as a backend knows")));
        assert!(looked.reason(Subject::Volume(ID)).is_none_or(|reason| reason.code != ReasonCode::StrayClient), "{looked:?}");
    }
    let detached =
        hear(&detaching(false), &done(Work::Unexport { attachment: HELD, force: false }, Facts::Export(ExportSeen::Absent)));
    assert!(!decide(&detached, &with(Some("x"))).is_empty(), "from then on it counts again");
}
