//! What a record tells besides its status: whether it owes work, what it holds of its pool, since when, and when tombstones end.

use lifecycle::{
    AttachmentId, Bytes, Capabilities, Command, Connection, Content, Context, ExportSeen, Facts, HostId, Input, Mode, Outcome,
    Seen, SnapshotId, Source, Subject, Timestamp, Volume, VolumeId, Work,
};
use uuid::Uuid;

const SIZE: Bytes = Bytes(10);
const GROWN: Bytes = Bytes(25);
const WHOLE: Seen = Seen::Present { size: SIZE, content: Content::Whole };
const ID: VolumeId = VolumeId(Uuid::from_u128(1));
const CLONE: VolumeId = VolumeId(Uuid::from_u128(2));
const SNAPSHOT: SnapshotId = SnapshotId(Uuid::from_u128(3));
const HELD: AttachmentId = AttachmentId(Uuid::from_u128(4));
const HOST: HostId = HostId(Uuid::from_u128(5));

/// A volume and the time at which it hears things.
struct Life {
    volume: Volume,
    now: i64,
}

impl Life {
    fn new() -> Self {
        Self { volume: Volume::create(ID, SIZE, true, None, Timestamp(0)), now: 0 }
    }

    fn hear(mut self, input: Input) -> Self {
        self.now += 1;
        let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
        let context = Context { now: Timestamp(self.now), capabilities, retired: true };
        let transitions = self.volume.decide(&input, &context).unwrap_or_else(|no| panic!("{input:?}: {no}"));
        self.volume = self.volume.apply(&transitions, context.now);
        self
    }

    fn ask(self, command: Command) -> Self {
        self.hear(Input::Command(command))
    }

    fn done(self, work: Work, facts: Facts) -> Self {
        self.hear(Input::Report { work, outcome: Outcome::Done(facts) })
    }

    fn refused(self, work: Work) -> Self {
        self.hear(Input::Report { work, outcome: Outcome::Refused("no".into()) })
    }

    fn available() -> Self {
        Self::new().done(Work::Create, Facts::Object(WHOLE))
    }

    fn attaching(self, id: AttachmentId) -> Self {
        self.ask(Command::Attach { id, host: HOST, mode: Mode::ReadWrite })
    }

    fn attached(self, id: AttachmentId) -> Self {
        self.attaching(id).done(Work::Export(id), Facts::Export(ExportSeen::Serving(Connection::default())))
    }

    fn detached(self, id: AttachmentId) -> Self {
        let end = Work::Unexport { attachment: id, force: false };
        self.ask(Command::Detach { id, force: false }).done(end, Facts::Export(ExportSeen::Absent))
    }

    fn snapshot(self) -> Self {
        self.ask(Command::Snapshot { id: SNAPSHOT }).done(Work::Snapshot(SNAPSHOT), Facts::Object(WHOLE))
    }

    fn snapshot_deleted(self) -> Self {
        self.ask(Command::DeleteSnapshot { id: SNAPSHOT }).done(Work::DeleteSnapshot(SNAPSHOT), Facts::Object(Seen::Absent))
    }

    #[track_caller]
    fn check(&self, owes: bool, reserved: u64, hosts: usize) {
        assert_eq!(self.volume.owes_work(), owes, "owes work: {:?}", self.volume);
        assert_eq!(self.volume.reserved(), Bytes(reserved), "{:?}", self.volume);
        assert_eq!(self.volume.hosts().count(), hosts, "{:?}", self.volume);
    }
}

#[test]
fn what_a_record_owes_and_holds() {
    let end = Work::Unexport { attachment: HELD, force: false };
    let extending = || Life::available().ask(Command::Extend { size: GROWN });
    let deleting = || Life::available().ask(Command::Delete { cascade: false });
    Life::new().check(true, 10, 0);
    Life::new().refused(Work::Create).check(true, 10, 0);
    Life::new().refused(Work::Create).done(Work::CleanUp, Facts::Object(Seen::Absent)).check(false, 10, 0);
    Life::available().check(false, 10, 0);
    extending().check(true, 25, 0);
    extending().refused(Work::Extend { target: GROWN }).check(true, 25, 0);
    deleting().check(true, 10, 0);
    deleting().done(Work::Delete, Facts::Object(Seen::Absent)).check(false, 0, 0);
    Life::available().attaching(HELD).check(true, 10, 1);
    Life::available().attached(HELD).check(true, 10, 1);
    Life::available().attached(HELD).ask(Command::Detach { id: HELD, force: false }).refused(end).check(true, 10, 1);
    Life::available().attached(HELD).detached(HELD).check(true, 10, 0);
    Life::available().ask(Command::Snapshot { id: SNAPSHOT }).check(true, 20, 0);
    Life::available().snapshot().check(false, 20, 0);
    Life::available().snapshot().ask(Command::Clone { snapshot: SNAPSHOT, clone: CLONE, size: SIZE }).check(true, 20, 0);
    Life::available().snapshot().snapshot_deleted().check(true, 10, 0);
    Life::available().snapshot().ask(Command::Forget).check(false, 0, 0);
}

#[test]
fn a_pin_is_let_go_of_once() {
    let pinned = Life::available().snapshot().ask(Command::Clone { snapshot: SNAPSHOT, clone: CLONE, size: SIZE });
    assert_eq!(pinned.volume.pins(), [(SNAPSHOT, CLONE)].into());
    let free = pinned.hear(Input::Unpin { snapshot: SNAPSHOT, clone: CLONE });
    assert!(free.volume.pins().is_empty());
    let again = free.hear(Input::Unpin { snapshot: SNAPSHOT, clone: CLONE });
    assert!(again.volume.pins().is_empty());
}

#[test]
fn tombstones_end_in_order_and_when_there_are_too_many() {
    let ends = |life: &Life, after| life.volume.tombstone_ends(after).map(|at| at.0);
    assert_eq!(ends(&Life::available(), 1000), None);
    // Detached at 5, the snapshot deleted at 9.
    let two = Life::available().attached(HELD).detached(HELD).snapshot().snapshot_deleted();
    assert_eq!(ends(&two, 1000), Some(1005));
    let two = two.hear(Input::Expire(Timestamp(5)));
    assert_eq!((two.volume.attachments().len(), two.volume.snapshots().len()), (1, 1));
    let one = two.hear(Input::Expire(Timestamp(6)));
    assert_eq!((one.volume.attachments().len(), one.volume.snapshots().len()), (0, 1));
    assert_eq!(ends(&one, 1000), Some(1009));
    let none = one.hear(Input::Expire(Timestamp(1_000_000)));
    assert!(none.volume.snapshots().is_empty() && ends(&none, 1000).is_none());

    let detach = |life: Life, number: usize| {
        let id = AttachmentId(Uuid::from_u128(1000 + number as u128));
        life.attached(id).detached(id)
    };
    let full = (0..lifecycle::MAX_TOMBSTONES).fold(Life::available(), detach);
    assert_eq!(ends(&full, 1_000_000), Some(1_000_005), "as many as there may be live on");
    let full = full.hear(Input::Expire(Timestamp(0)));
    assert_eq!(full.volume.attachments().len(), lifecycle::MAX_TOMBSTONES);
    let over = detach(full, lifecycle::MAX_TOMBSTONES);
    assert_eq!(ends(&over, 1_000_000), Some(5), "one too many ends the oldest at once");
    let over = over.hear(Input::Expire(Timestamp(0)));
    assert_eq!(over.volume.attachments().len(), lifecycle::MAX_TOMBSTONES);
    assert!(!over.volume.attachments().contains_key(&AttachmentId(Uuid::from_u128(1000))), "the oldest went");
}

#[test]
fn since_tells_when_a_phase_was_entered() {
    let attached = Life::available().attached(HELD);
    assert_eq!(attached.volume.since(), Timestamp(1));
    assert_eq!(attached.volume.attachments()[&HELD].since, Timestamp(3));
    let end = Work::Unexport { attachment: HELD, force: false };
    let held = attached.ask(Command::Detach { id: HELD, force: false }).refused(end);
    let since = held.volume.attachments()[&HELD].since;
    let looked = held.ask(Command::Recover(Subject::Attachment(HELD)));
    assert_eq!(looked.volume.attachments()[&HELD].since, since, "a look that is noted is no new phase");
}

#[test]
fn what_it_was_made_of_stays_known() {
    let source = Source { volume: CLONE, snapshot: SNAPSHOT };
    let made = Volume::create(ID, SIZE, false, Some(source), Timestamp(0));
    assert_eq!(made.source(), Some(source));
    assert!(!made.multi_attach() && Life::new().volume.multi_attach());
}

#[test]
fn subjects_are_named_by_kind_and_id() {
    let told = [Subject::Volume(ID), Subject::Snapshot(SNAPSHOT), Subject::Attachment(HELD)].map(|subject| subject.to_string());
    assert_eq!(
        told,
        [
            "volume 00000000-0000-0000-0000-000000000001",
            "snapshot 00000000-0000-0000-0000-000000000003",
            "attachment 00000000-0000-0000-0000-000000000004",
        ]
    );
}

#[test]
fn what_is_allowed_is_what_would_be_accepted() {
    use lifecycle::CommandKind::{Attach, Clone, Delete, Detach, Extend, Forget, Recover, Retry, Snapshot};
    let end = Work::Unexport { attachment: HELD, force: false };
    let allowed = |life: &Life, subject| {
        let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
        life.volume.allowed(subject, &Context { now: Timestamp(99), capabilities, retired: false })
    };
    let volume = Subject::Volume(ID);
    let failed = Life::new().refused(Work::Create).done(Work::CleanUp, Facts::Object(Seen::Absent));
    let grown = Life::available().ask(Command::Extend { size: GROWN }).refused(Work::Extend { target: GROWN });
    let held = Life::available().attached(HELD).ask(Command::Detach { id: HELD, force: false }).refused(end);
    let snapped = Life::available().snapshot();
    let rows = [
        (&Life::new(), volume, vec![Delete]),
        (&Life::available(), volume, vec![Extend, Attach, Snapshot, Delete]),
        (&failed, volume, vec![Retry, Recover, Delete]),
        (&grown, volume, vec![Extend, Retry, Recover, Delete]),
        (&Life::available().attached(HELD), volume, vec![Extend, Attach, Detach, Snapshot]),
        (&Life::available().attached(HELD), Subject::Attachment(HELD), vec![Detach]),
        (&held, Subject::Attachment(HELD), vec![Detach, Retry, Recover]),
        (&snapped, Subject::Snapshot(SNAPSHOT), vec![Clone, Delete]),
        (&Life::available().snapshot().snapshot_deleted(), Subject::Snapshot(SNAPSHOT), vec![]),
    ];
    for (life, subject, wanted) in rows {
        assert_eq!(allowed(life, subject), wanted, "{subject}: {:?}", life.volume);
    }
    let context = Context { now: Timestamp(99), capabilities: Capabilities::default(), retired: true };
    assert!(Life::available().volume.allowed(volume, &context).contains(&Forget));
}

#[test]
fn reasons_and_operations_are_told_per_resource() {
    use lifecycle::{OperationKind, ReasonCode};
    let code = |life: &Life, subject| life.volume.reason(subject).map(|reason| reason.code);
    let runs = |life: &Life, subject| life.volume.operation(subject).map(|operation| operation.kind);
    let (volume, snapshot, held) = (Subject::Volume(ID), Subject::Snapshot(SNAPSHOT), Subject::Attachment(HELD));
    let failed = Life::new().refused(Work::Create).done(Work::CleanUp, Facts::Object(Seen::Absent));
    assert_eq!((code(&failed, volume), runs(&failed, volume)), (Some(ReasonCode::Refused), None));
    assert_eq!(runs(&Life::new(), volume), Some(OperationKind::Create));
    assert_eq!(code(&Life::available(), volume), None);
    let snapping = Life::available().ask(Command::Snapshot { id: SNAPSHOT });
    assert_eq!((code(&snapping, snapshot), runs(&snapping, snapshot)), (None, Some(OperationKind::Create)));
    let late = snapping.hear(Input::Deadline(Work::Snapshot(SNAPSHOT)));
    assert_eq!(code(&late, snapshot), Some(ReasonCode::OutcomeUnknown));
    let end = Work::Unexport { attachment: HELD, force: false };
    let detaching = Life::available().attached(HELD).ask(Command::Detach { id: HELD, force: false });
    assert_eq!((code(&detaching, held), runs(&detaching, held)), (None, Some(OperationKind::Detach)));
    let refused = detaching.refused(end);
    assert!(code(&refused, held).is_some() && runs(&refused, held).is_none());
    assert_eq!((code(&refused, Subject::Attachment(AttachmentId(Uuid::nil()))), code(&refused, snapshot)), (None, None));
}

#[test]
fn an_aggregate_has_bounds() {
    let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
    let context = Context { now: Timestamp(99), capabilities, retired: false };
    let number = |number: usize| Uuid::from_u128(5000 + number as u128);
    let attached = (0..lifecycle::MAX_ATTACHMENTS).fold(Life::available(), |life, at| life.attaching(AttachmentId(number(at))));
    let more = Input::Command(Command::Attach { id: HELD, host: HOST, mode: Mode::ReadOnly });
    assert!(attached.volume.decide(&more, &context).is_err());
    let one = |life: Life, at: usize| {
        let id = SnapshotId(number(at));
        life.ask(Command::Snapshot { id }).done(Work::Snapshot(id), Facts::Object(WHOLE))
    };
    let snapped = (0..lifecycle::MAX_SNAPSHOTS).fold(Life::available(), one);
    let more = Input::Command(Command::Snapshot { id: SNAPSHOT });
    assert!(snapped.volume.decide(&more, &context).is_err());
    let fewer = Life { volume: snapped.volume, now: snapped.now }
        .ask(Command::DeleteSnapshot { id: SnapshotId(number(0)) })
        .done(Work::DeleteSnapshot(SnapshotId(number(0))), Facts::Object(Seen::Absent));
    assert!(fewer.volume.decide(&more, &context).is_ok(), "tombstones do not count");
}

#[test]
fn a_deadline_of_an_earlier_target_says_nothing() {
    let growing = Life::available().ask(Command::Extend { size: GROWN });
    let before = growing.volume.clone();
    assert_eq!(growing.hear(Input::Deadline(Work::Extend { target: Bytes(24) })).volume, before);
}

#[test]
fn a_gentle_detach_can_be_made_a_forced_one_and_not_the_other_way_round() {
    let owed = |life: &Life| life.volume.owed(Capabilities::default()).into_iter().map(|owed| owed.work).collect::<Vec<_>>();
    let gentle = Life::available().attached(HELD).ask(Command::Detach { id: HELD, force: false });
    assert_eq!(owed(&gentle), [Work::Unexport { attachment: HELD, force: false }]);
    let again = gentle.ask(Command::Detach { id: HELD, force: false });
    assert_eq!(owed(&again), [Work::Unexport { attachment: HELD, force: false }]);
    let forced = again.ask(Command::Detach { id: HELD, force: true });
    assert_eq!(owed(&forced), [Work::Unexport { attachment: HELD, force: true }]);
    let still = forced.ask(Command::Detach { id: HELD, force: false });
    assert_eq!(owed(&still), [Work::Unexport { attachment: HELD, force: true }]);
}

fn none_new(life: &Life, command: Command) -> bool {
    let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
    let context = Context { now: Timestamp(99), capabilities, retired: false };
    life.volume.decide(&Input::Command(command), &context).expect("accepted").is_empty()
}

#[test]
fn what_runs_already_is_accepted_and_nothing_new() {
    let detaching = Life::available().attached(HELD).ask(Command::Detach { id: HELD, force: false });
    assert!(none_new(&detaching, Command::Detach { id: HELD, force: false }));
    assert!(!none_new(&detaching, Command::Detach { id: HELD, force: true }));
    let late = Life::available().ask(Command::Snapshot { id: SNAPSHOT }).hear(Input::Deadline(Work::Snapshot(SNAPSHOT)));
    let recovering = late.ask(Command::Recover(Subject::Snapshot(SNAPSHOT)));
    assert!(none_new(&recovering, Command::Recover(Subject::Snapshot(SNAPSHOT))));
}

#[test]
fn a_delete_waits_for_its_snapshots_and_then_nothing_is_left() {
    let cascade = Life::available().snapshot().ask(Command::Delete { cascade: true });
    let waits = |life: &Life| {
        let owed = life.volume.owed(Capabilities::default());
        owed.into_iter().find(|owed| owed.work == Work::Delete).and_then(|owed| owed.waiting)
    };
    assert_eq!(waits(&cascade), Some(lifecycle::Waiting::Snapshots));
    let free = cascade.done(Work::DeleteSnapshot(SNAPSHOT), Facts::Object(Seen::Absent));
    assert_eq!(waits(&free), None);
    assert!(!free.volume.is_gone());
    let gone = free.done(Work::Delete, Facts::Object(Seen::Absent));
    assert!(gone.volume.is_gone() && gone.volume.status().is_none());
}

#[test]
fn words_and_connections_are_told_per_resource() {
    let attached = Life::available().snapshot().attached(HELD);
    let word = |subject| attached.volume.word(subject);
    let words = [Subject::Volume(ID), Subject::Snapshot(SNAPSHOT), Subject::Attachment(HELD)].map(word);
    assert_eq!(words, ["inUse", "available", "attached"]);
    assert_eq!(word(Subject::Snapshot(SnapshotId(Uuid::nil()))), "");
    assert_eq!(attached.volume.attachments()[&HELD].connection(), Some(&Connection::default()));
    assert_eq!(Life::available().attaching(HELD).volume.attachments()[&HELD].connection(), None);
}

#[test]
fn while_an_attachment_moves_a_failed_extend_is_not_tried_again() {
    let failed = Life::available().attached(HELD).ask(Command::Extend { size: GROWN }).refused(Work::Extend { target: GROWN });
    let moving = failed.ask(Command::Detach { id: HELD, force: false });
    let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
    let context = Context { now: Timestamp(99), capabilities, retired: false };
    assert!(moving.volume.decide(&Input::Command(Command::Extend { size: GROWN }), &context).is_err());
}

#[test]
fn a_damaged_volume_says_how() {
    let told = |seen| {
        let look = lifecycle::Look { volume: seen, ..lifecycle::Look::default() };
        let damaged = Life::available().hear(Input::Drift(look));
        damaged.volume.reason(Subject::Volume(ID)).map(|reason| reason.message.clone()).unwrap_or_default()
    };
    assert!(told(Seen::Present { size: Bytes(9), content: Content::Partial }).contains("partly there"));
    assert!(told(Seen::Present { size: Bytes(9), content: Content::Whole }).contains("smaller than recorded"));
}

#[test]
fn a_recover_that_runs_is_ended_by_its_own_look_alone() {
    let stray = lifecycle::Look { volume: WHOLE, stranger: Some("somebody".into()), ..lifecycle::Look::default() };
    let recovering = Life::available().hear(Input::Drift(stray)).ask(Command::Recover(Subject::Volume(ID)));
    let missing = lifecycle::Look { volume: Seen::Absent, ..lifecycle::Look::default() };
    let passed = recovering.hear(Input::Drift(missing));
    assert_eq!(passed.volume.word(Subject::Volume(ID)), "inUse", "a passing look leaves it to the one that was asked for");
    let unknown = lifecycle::Look::default();
    let looked = passed.hear(Input::Report { work: Work::Look, outcome: Outcome::Done(Facts::Look(unknown)) });
    assert!(looked.volume.owes_work(), "a look that could not tell is owed still");
}
