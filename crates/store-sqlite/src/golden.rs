//! The stored form of every kind of record in every phase, as golden files: what was written once stays readable.
//!
//! `UPDATE_GOLDEN=1 cargo test -p store-sqlite golden` rewrites `testdata`; the diff is read like code. A line that changes or goes
//! is a stored form that a running installation may still have: it needs a new version of the body, and the old one stays readable.

use crate::record::{AttachmentPart, AttachmentRow, OtherRow, SnapshotPart, SnapshotRow, VolumeRow};
use engine::records::{About, AttachmentAbout, HostRecord, Initiator, PoolRecord, ProfileRecord, SnapshotAbout, VolumeRecord};
use lifecycle::{
    AttachmentId, Bytes, Capabilities, Command, Connection, Content, Context, ExportSeen, Facts, HostId, Input, Look, Mode,
    Outcome, PoolId, ProfileId, Seen, SnapshotId, Source, Subject, Timestamp, Volume, VolumeId, Work,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use uuid::Uuid;

const ID: VolumeId = VolumeId(Uuid::from_u128(0x10));
const SNAPSHOT: SnapshotId = SnapshotId(Uuid::from_u128(0x20));
const ATTACHMENT: AttachmentId = AttachmentId(Uuid::from_u128(0x30));
const HOST: HostId = HostId(Uuid::from_u128(0x40));
const GIB: u64 = 1 << 30;

fn about(name: &str) -> About {
    let metadata = BTreeMap::from([("key".to_owned(), "value with \"quotes\" and ünïcode".to_owned())]);
    About {
        name: name.into(),
        description: "words".into(),
        metadata,
        created_at: Timestamp(1_700_000_000_000),
        updated_at: Some(Timestamp(1_700_000_001_000)),
        ..About::default()
    }
}

fn fresh(source: Option<Source>) -> VolumeRecord {
    VolumeRecord {
        state: Volume::create(ID, Bytes(GIB), true, source, Timestamp(1)),
        tenant: "tenant".into(),
        about: about("volume"),
        zone: "default".into(),
        profile: ProfileId(Uuid::from_u128(0x50)),
        pool: PoolId(Uuid::from_u128(0x60)),
        snapshots: BTreeMap::new(),
        attachments: BTreeMap::new(),
    }
}

const fn whole(size: u64) -> Seen {
    Seen::Present { size: Bytes(size), content: Content::Whole }
}

fn done(work: Work, seen: Seen) -> Input {
    Input::Report { work, outcome: Outcome::Done(Facts::Object(seen)) }
}

fn refused(work: Work) -> Input {
    Input::Report { work, outcome: Outcome::Refused("the backend said no".into()) }
}

fn exported(seen: ExportSeen, work: Work) -> Input {
    Input::Report { work, outcome: Outcome::Done(Facts::Export(seen)) }
}

fn serving() -> ExportSeen {
    let data = BTreeMap::from([("uri".to_owned(), "nbd://127.0.0.1:10809/x".to_owned())]);
    ExportSeen::Serving(Connection { protocol: "nbd".into(), data })
}

fn step(record: &VolumeRecord, input: &Input) -> VolumeRecord {
    let capabilities = Capabilities { attached_snapshot: true, online_extend: true };
    let context = Context { now: Timestamp(1_700_000_002_000), capabilities, retired: true };
    let transitions = record.state.decide(input, &context).unwrap_or_else(|no| panic!("{input:?}: {no}"));
    assert!(!transitions.is_empty(), "{input:?} changes nothing");
    let mut after = record.clone();
    after.state = record.state.apply(&transitions, context.now);
    for id in after.state.snapshots().keys() {
        let held = SnapshotAbout { about: about("snapshot"), profile: record.profile };
        after.snapshots.entry(*id).or_insert(held);
    }
    for id in after.state.attachments().keys() {
        let held = AttachmentAbout { about: about(""), mountpoint: "/dev/vdb".into(), protocol: "nbd".into() };
        after.attachments.entry(*id).or_insert(held);
    }
    after
}

/// Ways through a life, each step of which is kept.
fn lives() -> Vec<(&'static str, VolumeRecord, Vec<Input>)> {
    let ready = step(&fresh(None), &done(Work::Create, whole(GIB)));
    let command = Input::Command;
    let attach = command(Command::Attach { id: ATTACHMENT, host: HOST, mode: Mode::ReadOnly });
    let attached = step(&step(&ready, &attach), &exported(serving(), Work::Export(ATTACHMENT)));
    let snapshot = command(Command::Snapshot { id: SNAPSHOT });
    let snapped = step(&step(&ready, &snapshot), &done(Work::Snapshot(SNAPSHOT), whole(GIB)));
    let detach = command(Command::Detach { id: ATTACHMENT, force: false });
    let end = Work::Unexport { attachment: ATTACHMENT, force: false };
    let grow = Work::Extend { target: Bytes(2 * GIB) };
    let clone = VolumeId(Uuid::from_u128(0x70));
    let source = Source { volume: VolumeId(Uuid::from_u128(0x80)), snapshot: SnapshotId(Uuid::from_u128(0x90)) };
    let stray = Look { volume: whole(GIB), snapshots: BTreeMap::new(), stranger: Some("10.0.0.9".into()) };
    let missing = Look { volume: Seen::Absent, ..Look::default() };
    let part = Seen::Present { size: Bytes(GIB / 2), content: Content::Partial };
    vec![
        ("create", fresh(None), vec![done(Work::Create, whole(GIB))]),
        ("create refused", fresh(None), vec![refused(Work::Create), done(Work::CleanUp, Seen::Absent)]),
        ("create late", fresh(None), vec![Input::Deadline(Work::Create), command(Command::Recover(Subject::Volume(ID)))]),
        ("create from a snapshot", fresh(Some(source)), vec![]),
        ("attach", ready.clone(), vec![attach.clone(), exported(serving(), Work::Export(ATTACHMENT))]),
        ("detach", attached.clone(), vec![detach.clone(), exported(ExportSeen::Absent, end)]),
        (
            "detach refused",
            attached.clone(),
            vec![detach, refused(end), command(Command::Recover(Subject::Attachment(ATTACHMENT)))],
        ),
        ("attach late", step(&ready, &attach), vec![Input::Deadline(Work::Export(ATTACHMENT))]),
        ("extend", ready.clone(), vec![command(Command::Extend { size: Bytes(2 * GIB) }), done(grow, whole(2 * GIB))]),
        ("extend late", ready.clone(), vec![command(Command::Extend { size: Bytes(2 * GIB) }), Input::Deadline(grow)]),
        ("snapshot", ready.clone(), vec![snapshot.clone(), done(Work::Snapshot(SNAPSHOT), whole(GIB))]),
        ("snapshot late", step(&ready, &snapshot), vec![Input::Deadline(Work::Snapshot(SNAPSHOT))]),
        ("clone", snapped.clone(), vec![command(Command::Clone { snapshot: SNAPSHOT, clone, size: Bytes(GIB) })]),
        (
            "delete snapshot",
            snapped.clone(),
            vec![command(Command::DeleteSnapshot { id: SNAPSHOT }), done(Work::DeleteSnapshot(SNAPSHOT), Seen::Absent)],
        ),
        (
            "delete snapshot refused",
            snapped,
            vec![command(Command::DeleteSnapshot { id: SNAPSHOT }), refused(Work::DeleteSnapshot(SNAPSHOT))],
        ),
        ("delete refused", ready.clone(), vec![command(Command::Delete { cascade: false }), refused(Work::Delete)]),
        ("missing", ready.clone(), vec![Input::Drift(missing)]),
        ("damaged", ready.clone(), vec![Input::Drift(Look { volume: part, ..Look::default() })]),
        ("stray client", ready, vec![Input::Drift(stray)]),
    ]
}

/// A volume in every phase, and with a part in every phase.
pub(crate) fn every_volume() -> Vec<(String, VolumeRecord)> {
    let mut all = Vec::new();
    for (name, first, inputs) in lives() {
        let mut record = first;
        all.push((format!("{name} 0"), record.clone()));
        for (number, input) in inputs.iter().enumerate() {
            record = step(&record, input);
            all.push((format!("{name} {}", number + 1), record.clone()));
        }
    }
    all
}

/// Compares with the golden file, or writes it.
fn check(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).find(|(kept, now)| kept != now);
    assert!(kept == text, "testdata/{name} is not what is stored now; first difference: {differs:#?}");
    kept
}

#[test]
fn volumes_and_their_parts_are_stored_as_ever() {
    let all = every_volume();
    let mut text = String::new();
    for (name, record) in &all {
        let row = VolumeRow::encode(record);
        writeln!(text, "{name}\n  volume {} owes={} {}", row.status, row.owes, row.body).unwrap();
        for row in record.state.snapshots().keys().filter_map(|id| SnapshotRow::encode(record, *id)) {
            writeln!(text, "  snapshot {} {}", row.status, row.body).unwrap();
        }
        for row in record.state.attachments().keys().filter_map(|id| AttachmentRow::encode(record, *id)) {
            writeln!(text, "  attachment {} {}", row.status, row.body).unwrap();
        }
    }
    let kept = check("volumes.txt", &text);

    // What is kept is read back, body by body, into the record that it was.
    let mut bodies = kept.lines().filter(|line| line.starts_with("  ")).map(|line| line[line.find('{').unwrap()..].to_owned());
    let mut body = || bodies.next().expect("a body for each row");
    for (name, record) in all {
        let mut row = VolumeRow::encode(&record);
        row.body = body();
        let snapshots: Vec<SnapshotPart> = record
            .state
            .snapshots()
            .keys()
            .filter_map(|id| SnapshotRow::encode(&record, *id))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|row| SnapshotRow { body: body(), ..row }.decode().unwrap())
            .collect();
        let attachments: Vec<AttachmentPart> = record
            .state
            .attachments()
            .keys()
            .filter_map(|id| AttachmentRow::encode(&record, *id))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|row| AttachmentRow { body: body(), ..row }.decode().unwrap())
            .collect();
        assert_eq!(row.decode(snapshots, attachments).as_ref(), Ok(&record), "{name}");
    }
}

#[test]
fn hosts_profiles_and_pools_are_stored_as_ever() {
    let host = HostRecord {
        id: HOST,
        tenant: "tenant".into(),
        about: about("host"),
        ip: "192.0.2.7".into(),
        port: Some(22),
        access_mode: "agentless".into(),
        os_type: "linux".into(),
        username: "root".into(),
        zones: Some(vec!["default".into()]),
        initiators: Some(vec![Initiator { port_name: "iqn.2017-08.org.example:x".into(), protocol: "iscsi".into() }]),
    };
    let profile = ProfileRecord {
        id: ProfileId(Uuid::from_u128(0x50)),
        about: about("profile"),
        storage_type: "block".into(),
        properties: BTreeMap::from([("provisioningProperties".into(), "{\"dataStorage\":{}}".into())]),
        custom: BTreeMap::from([("diskType".into(), "\"SSD\"".into())]),
    };
    let pool = PoolRecord { id: PoolId(Uuid::from_u128(0x60)), about: about("pool") };
    let rows = [OtherRow::encode_host(&host), OtherRow::encode_profile(&profile), OtherRow::encode_pool(&pool)];
    let text: String = rows.iter().fold(String::new(), |text, row| text + &row.body + "\n");
    let kept = check("others.txt", &text);
    let [host_row, profile_row, pool_row] = rows;
    let mut bodies = kept.lines().map(str::to_owned);
    let mut body = || bodies.next().expect("a body for each row");
    assert_eq!(OtherRow { body: body(), ..host_row }.decode_host(), Ok(host));
    assert_eq!(OtherRow { body: body(), ..profile_row }.decode_profile(), Ok(profile));
    assert_eq!(OtherRow { body: body(), ..pool_row }.decode_pool(), Ok(pool));
}
