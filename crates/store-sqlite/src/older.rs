//! Stores of older versions: what is in them is read after as before, and what cuts their upgrade off leaves them as they were.

use crate::golden::every_volume;
use crate::record::{AttachmentRow, SnapshotRow, VolumeRow};
use crate::schema::{self, Role, connect};
use crate::{DATABASE, OpenError, Options, SqliteStore, read};
use engine::records::{Key, Record, VolumeRecord};
use engine::store::{Change, Child, Commit, Expected, Item, Kind, ListQuery, Store, Touched, Versioned};
use lifecycle::{AttachmentId, SnapshotId, Volume, VolumeId};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use uuid::Uuid;

/// The commit that all of a store of version 1 seems to come from.
const REVISION: u64 = 7;

/// An id that is not in the order of the numbers.
const fn id(number: u128) -> Uuid {
    Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
}

/// The record as that of another volume, as it stands in a store: each part has the revision that changed it last.
fn numbered(record: VolumeRecord, number: u128) -> VolumeRecord {
    let snapshot = |_: SnapshotId| SnapshotId(id(number + 0x10_000));
    let attachment = |_: AttachmentId| AttachmentId(id(number + 0x20_000));
    let mut parts = record.state.into_parts();
    parts.id = VolumeId(id(number));
    parts.snapshots = parts.snapshots.into_iter().map(|(id, part)| (snapshot(id), part)).collect();
    parts.attachments = parts.attachments.into_iter().map(|(id, part)| (attachment(id), part)).collect();
    let mut record = VolumeRecord {
        state: Volume::restore(parts),
        snapshots: record.snapshots.into_iter().map(|(id, about)| (snapshot(id), about)).collect(),
        attachments: record.attachments.into_iter().map(|(id, about)| (attachment(id), about)).collect(),
        ..record
    };
    touched(&record).stamp(&mut record, REVISION);
    record
}

fn touched(record: &VolumeRecord) -> Touched {
    let (snapshots, attachments) = (record.snapshots.keys().copied().collect(), record.attachments.keys().copied().collect());
    Touched { volume: true, snapshots, attachments }
}

/// A volume in every phase: without parts, with a snapshot or an attachment in every phase (tombstones are one), with both.
fn volumes() -> Vec<VolumeRecord> {
    let mut all: Vec<_> = every_volume().into_iter().map(|(_, record)| record).collect();
    let has_snapshot = |record: &&VolumeRecord| !record.snapshots.is_empty();
    let (snapped, attached) = (all.iter().rfind(has_snapshot), all.iter().rfind(|record| !record.attachments.is_empty()));
    let (mut both, attached) = (snapped.expect("one").clone(), attached.expect("one").clone());
    let mut parts = both.state.into_parts();
    parts.attachments.clone_from(attached.state.attachments());
    both.state = Volume::restore(parts);
    both.attachments = attached.attachments;
    all.push(both);
    all.into_iter().zip(1..).map(|(record, number)| numbered(record, number)).collect()
}

/// Makes a store of version 1: by its schema, with rows of its columns.
fn make_version_1(folder: &Path, volumes: &[VolumeRecord]) -> PathBuf {
    let file = folder.join(DATABASE);
    schema::make(&file, "epoch", 1).unwrap();
    let mut connection = connect(&file, Role::Writer).unwrap();
    let tx = connection.transaction().unwrap();
    tx.execute("UPDATE meta SET value = ?1 WHERE key = 'revision'", [REVISION.cast_signed()]).unwrap();
    for record in volumes {
        put_version_1(&tx, record).unwrap();
    }
    tx.commit().unwrap();
    file
}

fn put_version_1(tx: &Connection, record: &VolumeRecord) -> rusqlite::Result<()> {
    let (row, revision) = (VolumeRow::encode(record), REVISION.cast_signed());
    let sql = "INSERT INTO volumes(id, tenant, name, status, pool, profile, source, created, owes, version, revision, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11)";
    let (id, pool, profile, source) = (row.id, row.pool, row.profile, row.source.as_ref().map(Uuid::as_bytes));
    let (id, pool, profile) = (id.as_bytes(), pool.as_bytes(), profile.as_bytes());
    tx.execute(
        sql,
        params![id, row.tenant, row.name, row.status, pool, profile, source, row.created, row.owes, revision, row.body],
    )?;
    for row in record.snapshots.keys().filter_map(|id| SnapshotRow::encode(record, *id)) {
        let sql = "INSERT INTO snapshots(id, volume, tenant, name, status, profile, created, revision, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
        let (id, volume, profile) = (row.id.as_bytes(), row.volume.as_bytes(), row.profile.as_bytes());
        tx.execute(sql, params![id, volume, row.tenant, row.name, row.status, profile, row.created, revision, row.body])?;
    }
    for row in record.attachments.keys().filter_map(|id| AttachmentRow::encode(record, *id)) {
        let sql = "INSERT INTO attachments(id, volume, tenant, status, host, created, revision, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let (id, volume, host) = (row.id.as_bytes(), row.volume.as_bytes(), row.host.as_bytes());
        tx.execute(sql, params![id, volume, row.tenant, row.status, host, row.created, revision, row.body])?;
    }
    Ok(())
}

fn open(folder: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(folder, Options { ballast: 0 })
}

async fn listed(store: &SqliteStore, kind: Kind) -> Vec<Item> {
    let (mut batches, mut all) = (store.list(ListQuery::all(kind)).await.unwrap(), Vec::new());
    while let Some(batch) = batches.recv().await {
        all.extend(batch.unwrap());
    }
    all
}

/// That all volumes are read and listed as they are, and each row tells truly of its parts.
async fn holds(folder: &Path, store: &SqliteStore, volumes: &[VolumeRecord]) {
    let connection = connect(&folder.join(DATABASE), Role::Reader).unwrap();
    for record in volumes {
        let id = record.state.id();
        let found = store.read(Key::Volume(id)).await.unwrap().map(|Versioned { record, .. }| record);
        assert_eq!(found, Some(Record::Volume(Box::new(record.clone()))));
        for snapshot in record.snapshots.keys() {
            assert_eq!(store.find(Child::Snapshot(*snapshot)).await, Ok(Some(record.excerpt(Some(*snapshot)))));
        }
        for attachment in record.attachments.keys() {
            assert_eq!(store.find(Child::Attachment(*attachment)).await, Ok(Some(record.excerpt(None))));
        }
        assert!(read::tells_its_parts(&connection, id).unwrap(), "{}", record.about.name);
    }
    let mut sorted: Vec<_> = volumes.to_vec();
    sorted.sort_by_key(|record| record.state.id());
    let items: Vec<_> = sorted.iter().cloned().map(|record| Item::Volume(Arc::new(record))).collect();
    assert_eq!(listed(store, Kind::Volume).await, items);
    // A list of parts has an excerpt of each one's volume; tombstones are not in it.
    for item in listed(store, Kind::Snapshot).await.into_iter().chain(listed(store, Kind::Attachment).await) {
        let (found, snapshot) = match item {
            Item::Snapshot(id, found) => (found, Some(id)),
            Item::Attachment(_, found) => (found, None),
            Item::Volume(_) | Item::Other(_) => panic!("{item:?}"),
        };
        assert!(volumes.iter().any(|whole| whole.excerpt(snapshot) == *found), "{found:?}");
    }
}

fn version(file: &Path) -> u32 {
    let connection = Connection::open(file).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_store_of_version_1_is_read_as_it_was_and_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut volumes = volumes();
    let file = make_version_1(folder.path(), &volumes);
    assert_eq!(version(&file), 1);
    let of_kind = |has: fn(&VolumeRecord) -> (bool, bool), wanted| volumes.iter().filter(|record| has(record) == wanted).count();
    let has = |record: &VolumeRecord| (!record.snapshots.is_empty(), !record.attachments.is_empty());
    for wanted in [(false, false), (true, false), (false, true), (true, true)] {
        assert!(of_kind(has, wanted) > 0, "there is no volume with snapshots, attachments {wanted:?}");
    }
    let store = open(folder.path()).unwrap();
    assert_eq!(version(&file), schema::version());
    holds(folder.path(), &store, &volumes).await;
    // Each loses its parts, in turn with its own row written and not.
    for (number, record) in volumes.iter_mut().enumerate().filter(|(_, record)| has(record) != (false, false)) {
        let mut parts = record.state.clone().into_parts();
        parts.snapshots.clear();
        parts.attachments.clear();
        record.state = Volume::restore(parts);
        record.snapshots.clear();
        record.attachments.clear();
        let (key, expected) = (Key::Volume(record.state.id()), Expected::Version(REVISION));
        let touched = Touched { volume: number % 2 == 0, ..Touched::default() };
        let change = Change {
            key,
            expected,
            record: Some(Record::Volume(Box::new(record.clone()))),
            touched: touched.clone(),
            unused: false,
        };
        let made = store.commit(Commit { changes: vec![change], ..Commit::default() }).await.unwrap();
        touched.stamp(record, made.revision);
    }
    holds(folder.path(), &store, &volumes).await;
    for table in ["snapshots", "attachments"] {
        let count = Connection::open(&file).unwrap().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
        assert_eq!(count, Ok(0), "{table}");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_cut_off_at_any_step_leaves_version_1() {
    let folder = tempfile::tempdir().unwrap();
    let volumes = volumes();
    let file = make_version_1(folder.path(), &volumes);
    let (mut cut, mut steps) = (0, 1);
    loop {
        let mut connection = connect(&file, Role::Writer).unwrap();
        let left = Arc::new(AtomicU32::new(steps));
        let is_over = move || left.fetch_sub(1, Ordering::Relaxed) == 1;
        connection.progress_handler(1, Some(is_over)).unwrap();
        if schema::upgrade(&mut connection, 1).is_ok() {
            break;
        }
        drop(connection);
        assert_eq!(version(&file), 1, "after {steps} steps");
        (cut, steps) = (cut + 1, steps + steps / 8 + 1);
    }
    assert!(cut > 30, "it was cut off {cut} times");
    holds(folder.path(), &open(folder.path()).unwrap(), &volumes).await;
}

#[tokio::test]
async fn without_room_a_store_stays_at_version_1_until_there_is_some() {
    let Some(ground) = ground::Ground::new(ground::Kind::Ext4, 64) else { return };
    let volumes = volumes();
    let file = make_version_1(ground.root(), &volumes);
    ground.fill("filler", 0);
    match open(ground.root()) {
        Err(OpenError::Full { .. }) => {}
        other => panic!("{:?}", other.err()),
    }
    ground.unfill("filler");
    assert_eq!(version(&file), 1);
    holds(ground.root(), &open(ground.root()).unwrap(), &volumes).await;
}
