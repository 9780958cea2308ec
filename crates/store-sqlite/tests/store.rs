//! What is peculiar to a store on a disk: shared transactions, kills, full and broken disks, folders that are refused. What every
//! store promises is in `contract.rs`.

use engine::records::{About, AttachmentAbout, Key, PoolRecord, Record, SnapshotAbout, VolumeRecord};
use engine::store::{
    Change, Child, Commit, CommitError, Counter, Expected, Field, Filter, Item, Kind, ListQuery, Sort, Store, StoreError, Touched,
};
use lifecycle::{
    Attachment, AttachmentId, AttachmentPhase, Bytes, HostId, Mode, PoolId, ProfileId, Seen, Snapshot, SnapshotId, SnapshotPhase,
    Timestamp, Volume, VolumeId,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use store_sqlite::{OpenError, Options, SqliteStore};
use uuid::Uuid;

const POOL: PoolId = PoolId(Uuid::from_u128(1));

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, Options { ballast: 1 << 20 }).expect("it opens")
}

fn volume(id: u128, name: &str) -> VolumeRecord {
    let id = VolumeId(Uuid::from_u128(id));
    VolumeRecord {
        state: Volume::create(id, Bytes(1 << 30), false, None, Timestamp(5)),
        tenant: "t".into(),
        about: About { name: name.into(), created_at: Timestamp(5), ..About::default() },
        zone: "default".into(),
        profile: ProfileId(Uuid::from_u128(2)),
        pool: POOL,
        snapshots: BTreeMap::new(),
        attachments: BTreeMap::new(),
    }
}

fn put(record: VolumeRecord, expected: Expected) -> Change {
    let touched = Touched { volume: true, ..Touched::default() };
    Change { key: Key::Volume(record.state.id()), expected, record: Some(Record::Volume(Box::new(record))), touched, unused: false }
}

fn one(change: Change) -> Commit {
    Commit { changes: vec![change], ..Commit::default() }
}

fn pool() -> Change {
    let about = About { name: "default".into(), ..About::default() };
    let record = Some(Record::Pool(PoolRecord { id: POOL, about }));
    Change { key: Key::Pool(POOL), expected: Expected::Absent, record, touched: Touched::default(), unused: false }
}

#[tokio::test]
async fn counters_never_overshoot_and_commits_share_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    store.commit(one(pool())).await.unwrap();
    let tasks: Vec<_> = (10..210)
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move {
                let counters = vec![Counter { key: Key::Pool(POOL), by: 10, at_most: Some(100) }];
                store.commit(Commit { counters, ..one(put(volume(id, "v"), Expected::Absent)) }).await
            })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, CommitError::Full { .. }), "{error}"),
        }
    }
    assert_eq!((won, store.counted(Key::Pool(POOL)).await.unwrap()), (10, 100));
    assert!(store.transactions() < 201, "{} transactions for 201 commits", store.transactions());
    let in_use = Change { record: None, expected: Expected::Version(1), unused: true, ..pool() };
    assert!(matches!(store.commit(one(in_use)).await, Err(CommitError::InUse { counted: 100, .. })));
}

/// What is random here, from a seed: xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, many: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % many
    }
}

/// A snapshot that is there, with what is told of it.
fn snapshot(size: Bytes, profile: ProfileId) -> (Snapshot, SnapshotAbout) {
    let phase = SnapshotPhase::Available;
    let part = Snapshot { size, phase, since: Timestamp(5), seen: Seen::Unknown, recover: None, pins: [].into() };
    (part, SnapshotAbout { about: About { created_at: Timestamp(5), ..About::default() }, profile })
}

/// A volume with three thousand snapshots, which has these ids and those that follow.
fn with_many_snapshots(id: u128, first: u128) -> (VolumeRecord, Change) {
    let mut record = volume(id, "many");
    let (mut parts, mut touched) = (record.state.into_parts(), Touched { volume: true, ..Touched::default() });
    for id in (first..first + 3000).map(|id| SnapshotId(Uuid::from_u128(id))) {
        let (part, about) = snapshot(parts.size, record.profile);
        parts.snapshots.insert(id, part);
        record.snapshots.insert(id, about);
        touched.snapshots.insert(id);
    }
    record.state = Volume::restore(parts);
    let put = Change { touched, ..put(record.clone(), Expected::Absent) };
    (record, put)
}

/// One whose reading takes longer than what is read at once may take.
#[tokio::test]
async fn a_volume_with_thousands_of_snapshots_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (record, put) = with_many_snapshots(10, 100);
    store.commit(one(put)).await.unwrap();
    for _ in 0..3 {
        let read = store.read(Key::Volume(record.state.id())).await.unwrap().expect("it is there");
        let Record::Volume(read) = read.record else { panic!("it is a volume") };
        assert!(read.snapshots.keys().eq(record.snapshots.keys()));
        assert!(read.state.into_parts().snapshots == record.state.clone().into_parts().snapshots);
    }
}

/// Or who lists would read and hold all three thousand for each of them.
#[tokio::test]
async fn a_snapshot_is_listed_without_the_thousands_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for volume in 0..3 {
        store.commit(one(with_many_snapshots(10 + volume, 10_000 * (volume + 1)).1)).await.unwrap();
    }
    for sort in [Sort::Id, Sort::Name, Sort::By(Field::Size)] {
        let of_first = Filter { field: Field::VolumeId, values: vec![Uuid::from_u128(10).to_string()] };
        let query = ListQuery { filters: vec![of_first], sort, ..ListQuery::all(Kind::Snapshot) };
        let mut batches = store.list(query).await.unwrap();
        let mut ids = Vec::new();
        while let Some(batch) = batches.recv().await {
            for item in batch.unwrap() {
                let Item::Snapshot(id, record) = item else { panic!("{item:?}") };
                assert!(record.snapshots.keys().eq([&id]), "{sort:?}");
                ids.push(id.0.as_u128());
            }
        }
        assert!(ids.iter().copied().eq(10_000..13_000), "{sort:?}");
    }
    for sort in [Sort::Id, Sort::By(Field::Size)] {
        let mut batches = store.list(ListQuery { sort, ..ListQuery::all(Kind::Volume) }).await.unwrap();
        for volume in 10..13 {
            let batch = batches.recv().await.expect("one at a time, as each is large").unwrap();
            let [Item::Volume(record)] = &batch[..] else { panic!("{} volumes", batch.len()) };
            assert_eq!((record.state.id().0.as_u128(), record.snapshots.len()), (volume, 3000));
        }
        assert!(batches.recv().await.is_none());
    }
}

/// Gives the volume a snapshot or an attachment, takes one away, or does both. Tells what was touched.
fn change_parts(record: &mut VolumeRecord, dice: &mut Dice) -> Touched {
    let mut touched = Touched { volume: dice.below(2) == 0, ..Touched::default() };
    let mut parts = record.state.clone().into_parts();
    for _ in 0..=dice.below(2) {
        let id = Uuid::from_u128(u128::from(dice.below(u64::MAX)));
        match dice.below(4) {
            0 => {
                let (part, about) = snapshot(parts.size, record.profile);
                parts.snapshots.insert(SnapshotId(id), part);
                record.snapshots.insert(SnapshotId(id), about);
                touched.snapshots.insert(SnapshotId(id));
            }
            1 => {
                let (host, phase) = (HostId(Uuid::nil()), AttachmentPhase::Attaching { again: None });
                let part = Attachment { host, mode: Mode::ReadWrite, phase, since: Timestamp(5) };
                parts.attachments.insert(AttachmentId(id), part);
                let about = About { created_at: Timestamp(5), ..About::default() };
                let about = AttachmentAbout { about, mountpoint: String::new(), protocol: "nbd".into() };
                record.attachments.insert(AttachmentId(id), about);
                touched.attachments.insert(AttachmentId(id));
            }
            2 => {
                if let Some((id, _)) = parts.snapshots.pop_first() {
                    record.snapshots.remove(&id);
                    touched.snapshots.remove(&id);
                }
            }
            _ => {
                if let Some((id, _)) = parts.attachments.pop_first() {
                    record.attachments.remove(&id);
                    touched.attachments.remove(&id);
                }
            }
        }
    }
    record.state = Volume::restore(parts);
    touched
}

/// Volumes with their versions, as they stand in the store.
type Kept = BTreeMap<VolumeId, (VolumeRecord, u64)>;

/// A commit of one to three volumes, and what is kept after it. Now and then the last of them is stale, so that all is refused.
fn some_commit(kept: &Kept, dice: &mut Dice) -> (Commit, Kept) {
    let ids: BTreeSet<_> = (0..=dice.below(3)).map(|_| VolumeId(Uuid::from_u128(u128::from(dice.below(5)) + 1))).collect();
    let (mut next, mut changes) = (kept.clone(), Vec::new());
    for id in ids {
        let (mut record, expected) = match next.remove(&id) {
            Some((record, version)) => (record, Expected::Version(version)),
            None => (volume(id.0.as_u128(), "v"), Expected::Absent),
        };
        if expected != Expected::Absent && dice.below(8) == 0 {
            changes.push(Change { record: None, ..put(record, expected) });
            continue;
        }
        let mut touched = change_parts(&mut record, dice);
        touched.volume |= expected == Expected::Absent;
        changes.push(Change { touched, ..put(record.clone(), expected) });
        next.insert(id, (record, 0));
    }
    if dice.below(8) == 0 {
        changes.last_mut().unwrap().expected = Expected::Version(1_000_000);
    }
    (Commit { changes, ..Commit::default() }, next)
}

/// What each volume's row tells of its snapshots and attachments, which is what is there.
fn told(rows: &rusqlite::Connection) -> Vec<(bool, bool)> {
    let sql = "SELECT has_snapshots, has_attachments,
             EXISTS(SELECT 1 FROM snapshots WHERE volume = volumes.id), EXISTS(SELECT 1 FROM attachments WHERE volume = volumes.id)
         FROM volumes";
    let mut sql = rows.prepare_cached(sql).unwrap();
    let mut rows = sql.query([]).unwrap();
    let mut told = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let pair = |at| (row.get(at).unwrap(), row.get(at + 1).unwrap());
        let (tells, has): ((bool, bool), (bool, bool)) = (pair(0), pair(2));
        assert_eq!(tells, has);
        told.push(tells);
    }
    told
}

/// That each of these parts is found as its volume is, and not if it is gone from that.
async fn finds(store: &SqliteStore, kept: &Kept, ever: &BTreeSet<(bool, Uuid)>) {
    for (is_snapshot, id) in ever {
        let child = if *is_snapshot { Child::Snapshot(SnapshotId(*id)) } else { Child::Attachment(AttachmentId(*id)) };
        let wanted = kept.values().find_map(|(record, _)| record.part(child));
        assert_eq!(store.find(child).await, Ok(wanted));
    }
}

/// While a row says that a volume has none, nobody looks for its snapshots: were that wrong, they would be gone for everybody.
#[tokio::test]
async fn a_volumes_row_tells_whether_it_has_parts_whatever_is_committed() {
    let mut dice = Dice(0x5eed_2026);
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let rows = rusqlite::Connection::open(folder.path().join("berth.db")).unwrap();
    let (mut kept, mut seen) = (Kept::new(), BTreeMap::<_, u32>::new());
    let mut ever = BTreeSet::new();
    for round in 0..600 {
        let (commit, mut next) = some_commit(&kept, &mut dice);
        if let Ok(made) = store.commit(commit.clone()).await {
            for Change { key, touched, .. } in &commit.changes {
                let Key::Volume(id) = key else { panic!("{key:?}") };
                if let Some((record, version)) = next.get_mut(id) {
                    touched.stamp(record, made.revision);
                    *version = made.revision;
                }
            }
            kept = next;
            for (record, _) in kept.values() {
                ever.extend(record.snapshots.keys().map(|id| (true, id.0)));
                ever.extend(record.attachments.keys().map(|id| (false, id.0)));
            }
        }
        if round % 10 == 0 {
            finds(&store, &kept, &ever).await;
        }
        told(&rows).into_iter().for_each(|tells| *seen.entry(tells).or_default() += 1);
        let (mut batches, mut listed) = (store.list(ListQuery::all(Kind::Volume)).await.unwrap(), Vec::new());
        while let Some(batch) = batches.recv().await {
            listed.extend(batch.unwrap());
        }
        let wanted: Vec<_> = kept.values().map(|(record, _)| Item::Volume(Arc::new(record.clone()))).collect();
        assert_eq!(listed, wanted);
    }
    assert!(seen.len() == 4 && seen.values().all(|many| *many > 50), "{seen:?}");
    let orphans = "SELECT count(*) FROM (SELECT volume FROM snapshots UNION ALL SELECT volume FROM attachments)
         WHERE volume NOT IN (SELECT id FROM volumes)";
    assert_eq!(rows.query_row(orphans, [], |row| row.get::<_, i64>(0)), Ok(0));
    // What was found in memory is found in the database too.
    drop(store);
    finds(&open(folder.path()), &kept, &ever).await;
    assert!(ever.len() > 100);
}

/// Twice what the log may hold, faster than it is moved: what counts is that it is, and that the log begins anew.
#[tokio::test]
async fn the_log_is_moved_into_the_database_and_begun_anew() {
    const WRITTEN: usize = 128 << 20;
    const EACH: usize = 256 << 10;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).map_or(0, |facts| facts.len());
    for id in 0..WRITTEN / EACH {
        let mut record = volume(id as u128 + 1, "v");
        record.about.description = "x".repeat(EACH);
        store.commit(one(put(record, Expected::Absent))).await.unwrap();
    }
    ground::wait_until("what was committed is in the database", || size("berth.db") > (WRITTEN / 2) as u64);
    ground::wait_until("the log is small again", || size("berth.db-wal") <= (WRITTEN / 2) as u64);
}

#[tokio::test]
async fn what_a_former_process_left_in_the_log_is_moved_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut record = volume(1, "v");
    record.about.description = "x".repeat(1 << 20);
    // Nothing that is committed behind a reader is moved.
    let reader = rusqlite::Connection::open(folder.path().join("berth.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM volumes").unwrap();
    store.commit(one(put(record, Expected::Absent))).await.unwrap();
    let files = ["berth.db", "berth.db-wal"].map(|name| folder.path().join(name));
    let left = files.each_ref().map(|file| std::fs::read(file).unwrap());
    drop((store, reader));
    let [database, log] = &left;
    assert!(database.len() < 1 << 20 && log.len() > 1 << 20, "{} in the database, {} in the log", database.len(), log.len());
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("berth.db"), database).unwrap();
    std::fs::write(other.path().join("berth.db-wal"), log).unwrap();
    let _store = open(other.path());
    let size = || std::fs::metadata(other.path().join("berth.db")).unwrap().len();
    ground::wait_until("it is in the database", || size() > 1 << 20);
}

#[test]
fn a_lock_that_a_killed_server_left_to_its_child_for_a_moment_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    // The child has it until it ends, as one has that was not given its own program yet.
    let script = format!("exec 9>>{}; flock 9; echo locked; sleep 0.2", folder.path().join("lock").display());
    let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "locked\n");
    drop(open(folder.path()));
    child.wait().unwrap();
}

#[test]
fn a_folder_in_use_is_refused_naming_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path());
    match SqliteStore::open(folder.path(), Options::default()) {
        Err(OpenError::Locked { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn what_is_newer_or_damaged_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let file = folder.path().join("berth.db");
    let whole = std::fs::read(&file).unwrap();
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let rows: [(&str, Vec<u8>); 4] =
        [("version 99", newer), ("damaged", vec![0x5a; 9000]), ("damaged", whole[..50].to_vec()), ("damaged", Vec::new())];
    for (named, bytes) in rows {
        std::fs::write(&file, &bytes).unwrap();
        let error = SqliteStore::open(folder.path(), Options::default()).err().expect("refused").to_string();
        assert!(error.contains(named), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_store_that_was_cut_says_which_file_it_is_wherever_that_shows() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(one(pool())).await.unwrap();
    store.commit(one(put(volume(10, "v"), Expected::Absent))).await.unwrap();
    drop(store);
    let file = folder.path().join("berth.db");
    // What is in the log alone would hide the cut, and threads that have not ended keep it.
    ground::wait_until("the threads of the store have ended", || {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).unwrap() == 0
    });
    let whole = std::fs::read(&file).unwrap();
    let (mut opened, mut read) = (0, 0);
    for length in (4096..whole.len()).step_by(4096) {
        // Each in a folder of its own: the threads of a store that is dropped end by themselves.
        let [before, after] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let write = |folder: &Path, length: usize| std::fs::write(folder.join("berth.db"), &whole[..length]).unwrap();
        write(before.path(), length);
        let cut_before = match SqliteStore::open(before.path(), Options { ballast: 1 << 20 }) {
            Err(error) => Some(error.to_string()),
            Ok(store) => listed(&store).await.err().map(|error| error.to_string()),
        };
        write(after.path(), whole.len());
        let store = open(after.path());
        write(after.path(), length);
        let cut_after = listed(&store).await.err().map(|error| error.to_string());
        for told in [&cut_before, &cut_after].into_iter().flatten() {
            assert!(told.contains("berth.db"), "cut to {length}: {told}");
        }
        opened += u32::from(cut_before.is_some());
        read += u32::from(cut_after.is_some());
    }
    assert!(opened > 0 && read > 0, "a cut was told by {opened} that opened it, and {read} that read it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_reads_and_lists_in_turn_never_sees_a_volume_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    store.commit(one(pool())).await.unwrap();
    let mut version = store.commit(one(put(volume(10, "0"), Expected::Absent))).await.unwrap().revision;
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        readers.spawn(async move {
            let (mut newest, mut seen) = (0, 0);
            while seen < 50 {
                let read = store.read(Key::Volume(VolumeId(Uuid::from_u128(10)))).await.unwrap().expect("it is there");
                let Record::Volume(read) = read.record else { panic!("{read:?}") };
                let mut batches = store.list(ListQuery::all(Kind::Volume)).await.unwrap();
                let Some(Ok(batch)) = batches.recv().await else { panic!("it is listed") };
                let [Item::Volume(listed)] = &batch[..] else { panic!("{batch:?}") };
                for record in [&*read, &**listed] {
                    let number: u32 = record.about.name.parse().unwrap();
                    assert!(number >= newest, "{number} after {newest}");
                    seen += u32::from(number > newest);
                    newest = number;
                }
            }
        });
    }
    // However slowly they read: until each has seen it change as often as that.
    let begun = std::time::Instant::now();
    let mut number = 0;
    while !readers.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(120), "nobody sees it change");
        number += 1;
        let next = put(volume(10, &number.to_string()), Expected::Version(version));
        version = store.commit(one(next)).await.unwrap().revision;
        while let Some(reader) = readers.try_join_next() {
            reader.unwrap();
        }
    }
}

/// Reads all there is.
async fn listed(store: &SqliteStore) -> Result<(), StoreError> {
    for kind in [Kind::Volume, Kind::Snapshot, Kind::Attachment, Kind::Host, Kind::Profile, Kind::Pool] {
        let mut batches = store.list(ListQuery::all(kind)).await?;
        while let Some(batch) = batches.recv().await {
            batch?;
        }
    }
    Ok(())
}

/// In a child process: commits until it is killed, and prints each revision once it is acknowledged.
#[tokio::test]
async fn child_that_commits_until_it_is_killed() {
    use std::io::Write;
    let Some(folder) = std::env::var_os("BERTH_TEST_COMMIT_IN") else { return };
    let store = Arc::new(open(Path::new(&folder)));
    for id in 1.. {
        // Four at once, so that a kill falls into groups as well.
        let four = (0..4).map(|lane| {
            let store = store.clone();
            tokio::spawn(async move {
                let pair = [
                    put(volume(id * 8 + lane * 2, "a"), Expected::Absent),
                    put(volume(id * 8 + lane * 2 + 1, "b"), Expected::Absent),
                ];
                store
                    .commit(Commit { changes: pair.into(), ..Commit::default() })
                    .await
                    .map(|made| (id * 8 + lane * 2, made.revision))
            })
        });
        for one in four.collect::<Vec<_>>() {
            let (id, revision) = one.await.unwrap().unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {id} {revision}").unwrap();
            out.flush().unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill_and_nothing_is_half() {
    for round in 0..5_usize {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child_that_commits_until_it_is_killed", "--exact", "--nocapture"])
            .env("BERTH_TEST_COMMIT_IN", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut lines = lines.filter_map(|line| line.strip_prefix("acknowledged ").map(str::to_owned));
        let mut acknowledged: Vec<String> = lines.by_ref().take(5 + round * 37).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged.extend(lines);
        let store = open(folder.path());
        for line in &acknowledged {
            let (id, revision) = line.split_once(' ').unwrap();
            let found = store.read(Key::Volume(VolumeId(Uuid::from_u128(id.parse().unwrap())))).await.unwrap();
            assert_eq!(found.map(|found| found.version), Some(revision.parse().unwrap()), "{line} was lost");
        }
        let owed = store.owes_work(None, 1_000_000).await.unwrap();
        assert!(owed.len() >= acknowledged.len() * 2 && owed.len() % 2 == 0, "{} volumes are half a commit", owed.len());
        let head = store.head().await.unwrap().revision;
        assert_eq!(usize::try_from(head).unwrap(), owed.len() / 2, "the revision counts the commits that are there");
    }
}

#[tokio::test]
async fn on_a_full_disk_what_frees_goes_through_and_nothing_is_lost() {
    let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
    let folder = ground.root().join("data");
    std::fs::create_dir(&folder).unwrap();
    let store = open(&folder);
    let mut kept = Vec::new();
    for id in 1..=20 {
        kept.push((id, store.commit(one(put(volume(id, "v"), Expected::Absent))).await.unwrap().revision));
    }
    ground.fill("filler", 0);
    let mut id = 1000;
    let refused = loop {
        id += 1;
        match store.commit(one(put(volume(id, &"long ".repeat(50)), Expected::Absent))).await {
            Ok(made) => kept.push((id, made.revision)),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, CommitError::DiskFull);
    assert!(store.is_full());
    let (first, version) = kept.remove(0);
    let gone = Change { record: None, ..put(volume(first, "v"), Expected::Version(version)) };
    store.commit(one(gone)).await.expect("a delete goes through by the ballast");
    assert_eq!(store.commit(one(put(volume(5, "w"), Expected::Absent))).await, Err(CommitError::DiskFull));
    drop(store);

    ground.unfill("filler");
    let store = open(&folder);
    for (id, version) in &kept {
        let found = store.read(Key::Volume(VolumeId(Uuid::from_u128(*id)))).await.unwrap();
        assert_eq!(found.map(|found| found.version), Some(*version), "volume {id}");
    }
    assert!(store.read(Key::Volume(VolumeId(Uuid::from_u128(first)))).await.unwrap().is_none());
}

#[tokio::test]
async fn nothing_is_acknowledged_once_its_folder_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let store = open(&data);
    store.commit(one(put(volume(1, "a"), Expected::Absent))).await.unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    let answer = store.commit(one(put(volume(2, "b"), Expected::Absent))).await;
    assert!(matches!(&answer, Err(CommitError::Unknown(why)) if why.contains("removed or replaced")), "{answer:?}");
    let answer = store.commit(one(put(volume(3, "c"), Expected::Absent))).await;
    assert!(matches!(&answer, Err(CommitError::Unavailable(why)) if why.contains("berth.db")), "{answer:?}");
}

#[tokio::test]
async fn with_room_again_ordinary_commits_go_on_by_themselves() {
    let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
    let store = open(ground.root());
    ground.fill("filler", 0);
    let mut id = 0;
    while !store.is_full() {
        id += 1;
        let _ = store.commit(one(put(volume(id, &"long ".repeat(50)), Expected::Absent))).await;
    }
    ground.unfill("filler");
    ground::wait_until("the store sees that there is room", || !store.is_full());
    store.commit(one(put(volume(100_000, "v"), Expected::Absent))).await.expect("it is an ordinary commit");
    drop(store);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
    drop(open(ground.root()));
    ground.forbid_writing();
    match SqliteStore::open(ground.root(), Options::default()) {
        Err(OpenError::ReadOnly { .. }) => {}
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_broken_disk_stops_the_writer() {
    let Some(ground) = ground::Ground::new(ground::Kind::Xfs, 320) else { return };
    let store = open(ground.root());
    store.commit(one(put(volume(1, "v"), Expected::Absent))).await.unwrap();
    drop(store);
    // Nothing of it is in memory.
    let store = open(ground.root());
    ground.breaker()();
    let failed = store.commit(one(put(volume(2, "v"), Expected::Absent))).await;
    let Err(CommitError::Unknown(why) | CommitError::Unavailable(why)) = failed else { panic!("{failed:?}") };
    assert!(why.contains("started again"), "the first one is told what to do, too: {why}");
    let read = store.read(Key::Volume(VolumeId(Uuid::from_u128(1)))).await;
    assert!(matches!(&read, Err(StoreError::Unavailable(why)) if why.contains("start the server again")), "{read:?}");
    let next = store.commit(one(put(volume(3, "v"), Expected::Absent))).await;
    assert!(matches!(&next, Err(CommitError::Unavailable(why)) if why.contains("started again")), "{next:?}");
    drop(store);
}

#[test]
fn while_the_disk_is_frozen_what_is_in_memory_is_read_and_nobody_waits_who_reads_it() {
    let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Arc::new(open(ground.root()));
    let key = pool().key;
    runtime().block_on(store.commit(one(pool()))).unwrap();
    // Nobody has read since; what it has written is written out, and written to no more.
    let frozen = ground.freeze();
    let (told, read) = std::sync::mpsc::channel();
    let reader = {
        let store = store.clone();
        std::thread::spawn(move || {
            runtime().block_on(async { assert!(store.read(key).await.unwrap().is_some()) });
            told.send(())
        })
    };
    let answer = read.recv_timeout(Duration::from_secs(20));
    drop(frozen);
    reader.join().unwrap().unwrap();
    assert_eq!(answer, Ok(()), "it waits for the disk");
}

#[tokio::test]
async fn what_is_no_longer_in_memory_is_read_all_the_same() {
    let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
    let store = open(ground.root());
    store.commit(one(pool())).await.unwrap();
    let kept = store.read(pool().key).await.unwrap();
    assert!(kept.is_some());
    for _ in 0..3 {
        // Another connection's cache is let go of with each commit.
        let id = Uuid::new_v4().as_u128();
        store.commit(one(put(volume(id, "v"), Expected::Absent))).await.unwrap();
        for name in ["berth.db", "berth.db-wal"] {
            let file = std::fs::File::open(ground.root().join(name)).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        assert_eq!(store.read(pool().key).await.unwrap(), kept);
    }
}
