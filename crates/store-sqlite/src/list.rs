//! Lists: one transaction each, so that they are of one revision; sent in batches as they are read.
//!
//! An indexed filter or order is SQL's; any other filter is compared on rows. Where the filter has one index and the order another, few rows
//! are found by the first and sorted, many are walked in the order of the second. All of it within a budget, so that no list can stall
//! others.
//!
//! Nor can one fill the memory, or cost more than it gives: a snapshot or an attachment comes with an excerpt of its volume, and not with the thousand
//! snapshots that this may have; batches are bounded in bytes, as tenants choose how long their words are; where rows are sorted here,
//! only what they are sorted by is kept.

use crate::read::{self, OTHER_COLUMNS, SNAPSHOT_COLUMNS, VOLUME_COLUMNS, other_row, snapshot_row, trouble, volume_row};
use crate::schema::{Role, connect};
use crate::weight;
use engine::records::{Record, VolumeRecord};
use engine::store::{Field, Filter, Item, Kind, ListQuery, Sort, StoreError};
use lifecycle::{AttachmentId, Mode, SnapshotId};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use uuid::Uuid;

/// How many rows a batch has at the most.
const BATCH: usize = 256;
/// At how many bytes it is full, as [`weight`](crate::weight) counts.
const BATCH_BYTES: usize = 1 << 20;
/// How many bytes of excerpts are kept for the next parts of the same volumes.
const HELD_BYTES: usize = 4 << 20;
/// How many bytes the keys may have that rows are sorted by.
const KEYS_BYTES: usize = 32 << 20;
/// How many rows a list may look at beyond those it gives.
const SCAN_MAX: u64 = 100_000;
/// How many rows are sorted for an order that their index has not: about as long as a page takes in any case.
const SORTED_MAX: u32 = 1000;
/// After how many steps of SQLite's machine the budget is looked at.
const STEPS_EACH: u64 = 1000;
/// How many steps a list has before its first row: passing over a row takes five to thirty, so more than [`SCAN_MAX`] were then looked at.
const STEPS_MAX: u64 = 3_000_000;
/// How many more it has with each row that it reads, or passes over as was asked for.
const STEPS_A_ROW: u64 = 1000;
/// How many steps counting has: far more than [`SORTED_MAX`] rows of one index take.
const STEPS_COUNTING: u64 = 50_000;
/// How long a reader may leave a batch unread before it is cut off, so that it holds no snapshot of the log.
const READER_MAX: Duration = Duration::from_secs(60);
/// How often a reader that is not reading is looked at again: at first, as it may be about to, and at the most.
const READER_PAUSE: Duration = Duration::from_micros(100);
const READER_PAUSE_MAX: Duration = Duration::from_millis(5);

pub(crate) type Sender = mpsc::Sender<Result<Vec<Item>, StoreError>>;

/// Reads the list over this connection, or a new one, and sends it; an error is the last thing sent. Gives back the connection if it is as
/// good as new.
pub(crate) fn run(file: &Path, kept: Option<Connection>, query: &ListQuery, sender: &Sender) -> Option<Connection> {
    let read = || {
        let mut connection = kept.map_or_else(|| connect(file, Role::Reader), Ok).map_err(|error| trouble(&error))?;
        let budget = Arc::new(AtomicU64::new(STEPS_MAX));
        bound(&mut connection, &budget, sender).map_err(|error| trouble(&error))?;
        let tx = connection.unchecked_transaction().map_err(|error| trouble(&error))?;
        List { tx: &tx, query, sender, budget: &budget, held: RefCell::default() }.run()?;
        tx.finish().map_err(|error| trouble(&error))?;
        Ok(connection)
    };
    match read() {
        Ok(connection) => Some(connection),
        Err(error) => {
            // A reader that is gone needs no error.
            let _ = send(sender, Err(error));
            None
        }
    }
}

/// Interrupts SQLite once the budget is used up, or nobody reads any more.
fn bound(connection: &mut Connection, budget: &Arc<AtomicU64>, sender: &Sender) -> rusqlite::Result<()> {
    // Weak, so that a connection that is kept does not keep the channel of its last list open.
    let (budget, reader) = (budget.clone(), sender.downgrade());
    let is_over = move || {
        let is_used_up = budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(STEPS_EACH)).is_err();
        is_used_up || reader.upgrade().is_none_or(|reader| reader.is_closed())
    };
    connection.progress_handler(STEPS_EACH as i32, Some(is_over))
}

/// What SQLite failed with; that it was interrupted means that it looked at too much.
fn trouble_within(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => StoreError::TooBroad(SCAN_MAX),
        Some(_) | None => trouble(error),
    }
}

/// Sends a batch. Returns whether the reader is still there.
fn send(sender: &Sender, batch: Result<Vec<Item>, StoreError>) -> Result<bool, StoreError> {
    let deadline = Instant::now() + READER_MAX;
    let (mut batch, mut pause) = (batch, READER_PAUSE);
    loop {
        match sender.try_send(batch) {
            Ok(()) => return Ok(true),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(false),
            Err(mpsc::error::TrySendError::Full(_)) if Instant::now() > deadline => return Err(StoreError::Slow),
            Err(mpsc::error::TrySendError::Full(unsent)) => batch = unsent,
        }
        std::thread::sleep(pause);
        pause = READER_PAUSE_MAX.min(2 * pause);
    }
}

struct List<'a> {
    tx: &'a Connection,
    query: &'a ListQuery,
    sender: &'a Sender,
    /// How many more steps SQLite's machine may take.
    budget: &'a AtomicU64,
    held: RefCell<Held>,
}

/// Excerpts without a snapshot that were read for one part of their volumes: the next row is often another part of the same.
#[derive(Default)]
struct Held {
    excerpts: HashMap<Uuid, Arc<VolumeRecord>>,
    bytes: usize,
}

/// What is sent next.
struct Batch<'a> {
    sender: &'a Sender,
    items: Vec<Item>,
    /// How large its records are.
    bytes: usize,
}

impl<'a> Batch<'a> {
    const fn to(sender: &'a Sender) -> Self {
        Self { sender, items: Vec::new(), bytes: 0 }
    }

    /// Adds an item. Returns whether the reader is still there.
    fn push(&mut self, item: Item) -> Result<bool, StoreError> {
        self.bytes += match (&item, self.items.last()) {
            // Attachments that follow each other share the excerpt of their volume.
            (Item::Attachment(_, record), Some(Item::Attachment(_, last))) if Arc::ptr_eq(record, last) => 0,
            (Item::Volume(record) | Item::Snapshot(_, record) | Item::Attachment(_, record), _) => weight::of_volume(record),
            (Item::Other(record), _) => weight::of_record(record),
        };
        self.items.push(item);
        if self.items.len() < BATCH && self.bytes < BATCH_BYTES { Ok(true) } else { self.send() }
    }

    fn send(&mut self) -> Result<bool, StoreError> {
        self.bytes = 0;
        send(self.sender, Ok(std::mem::take(&mut self.items)))
    }

    /// Sends what is left.
    fn end(mut self) -> Result<(), StoreError> {
        if self.items.is_empty() { Ok(()) } else { self.send().map(drop) }
    }
}

/// How filters that have an index, and an order, go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// One index has both, or there is no such filter.
    Together,
    /// Rows are found by the filter, and sorted.
    Found,
    /// The order is walked, and what the filter does not want is passed over.
    Walked,
}

/// What of a list SQL does: the conditions with their values, and whether the order is its own.
struct Plan {
    sql: String,
    values: Vec<Value>,
    scanned: Vec<Filter>,
    sorted: bool,
}

impl List<'_> {
    fn run(&self) -> Result<(), StoreError> {
        let how = self.how()?;
        let given = Cell::new(0);
        match self.read(&self.plan(how)?, &given) {
            // They are far behind in the order: so they are found and sorted.
            Err(StoreError::TooBroad(_)) if how == How::Walked && given.get() == 0 => {
                self.budget.store(STEPS_MAX, Ordering::Relaxed);
                self.read(&self.plan(How::Found)?, &given)
            }
            done => done,
        }
    }

    fn read(&self, plan: &Plan, given: &Cell<usize>) -> Result<(), StoreError> {
        let mut statement = self.tx.prepare_cached(&plan.sql).map_err(|error| trouble(&error))?;
        let mut rows = statement.query(params_from_iter(plan.values.iter())).map_err(|error| trouble_within(&error))?;
        let (mut batch, mut looked, mut skipped) = (Batch::to(self.sender), 0, 0);
        let (mut unsorted, mut keys) = (Vec::new(), 0);
        while given.get() < self.query.limit
            && let Some(row) = rows.next().map_err(|error| trouble_within(&error))?
        {
            // Where SQL has done all of it, what is passed over need not be readable.
            if plan.sorted && plan.scanned.is_empty() && skipped < self.query.offset {
                skipped += 1;
                self.budget.fetch_add(STEPS_A_ROW, Ordering::Relaxed);
                continue;
            }
            let item = self.item(row)?;
            let is_wanted = matches(&item, &plan.scanned);
            if !is_wanted || !plan.sorted {
                looked += 1;
                if looked > SCAN_MAX {
                    return Err(StoreError::TooBroad(SCAN_MAX));
                }
            }
            if !is_wanted {
                continue;
            }
            if let Sort::By(field) = self.query.sort {
                let key = sort_key(&item, field);
                keys += key.len();
                if keys > KEYS_BYTES {
                    return Err(StoreError::TooMuchToSort(KEYS_BYTES));
                }
                unsorted.push((key, id_of(&item)));
                continue;
            }
            if skipped < self.query.offset {
                skipped += 1;
                continue;
            }
            given.set(given.get() + 1);
            if !batch.push(item)? {
                return Ok(());
            }
        }
        for id in self.sort(unsorted) {
            if !batch.push(self.again(id)?)? {
                return Ok(());
            }
        }
        batch.end()
    }

    /// Sorts by an order that has no index. Returns the ids that are asked for.
    fn sort(&self, mut found: Vec<(String, Uuid)>) -> impl Iterator<Item = Uuid> {
        found.sort_unstable();
        if self.query.descending {
            found.reverse();
        }
        if let Some(marker) = self.query.marker {
            // As in `after`: behind the row with this id, or where its id would be if it is gone.
            match found.iter().position(|(_, id)| *id == marker) {
                Some(at) => drop(found.drain(..=at)),
                None => found.retain(|(_, id)| if self.query.descending { *id < marker } else { *id > marker }),
            }
        }
        found.into_iter().map(|(_, id)| id).skip(self.query.offset).take(self.query.limit)
    }

    /// The row with this id, which was read before in the same transaction.
    fn again(&self, id: Uuid) -> Result<Item, StoreError> {
        let (table, columns) = (table(self.query.kind), columns(self.query.kind));
        let sql = format!("SELECT {columns} FROM {table} WHERE id = ?1");
        let mut statement = self.tx.prepare_cached(&sql).map_err(|error| trouble(&error))?;
        let mut rows = statement.query([id.as_bytes()]).map_err(|error| trouble_within(&error))?;
        let row = rows.next().map_err(|error| trouble_within(&error))?;
        row.map_or_else(|| Err(StoreError::Corrupt(format!("row {id} of {table}"), "it is missing".into())), |row| self.item(row))
    }

    fn how(&self) -> Result<How, StoreError> {
        let query = self.query;
        let indexed: Vec<_> = query.filters.iter().filter_map(|filter| indexed(query.kind, filter)).collect();
        let is_in_order = query.sort == Sort::Id && indexed.iter().all(|(_, wanted)| wanted.len() == 1);
        if indexed.is_empty() || is_in_order {
            return Ok(How::Together);
        }
        // Where most of them are read in any case, walking can only lose.
        let is_page = query.offset.saturating_add(query.limit) <= SORTED_MAX as usize;
        let is_walked = is_page && !matches!(query.sort, Sort::By(_)) && self.are_many()?;
        Ok(if is_walked { How::Walked } else { How::Found })
    }

    fn plan(&self, how: How) -> Result<Plan, StoreError> {
        let query = self.query;
        let table = table(query.kind);
        let columns = columns(query.kind);
        // A `+` keeps SQLite from using an index of a column, for a condition or for an order.
        let (of_filter, of_order) = match how {
            How::Together => ("", ""),
            How::Found => ("", "+"),
            How::Walked => ("+", ""),
        };
        let (mut conditions, mut values) = self.conditions(of_filter);
        let scanned = query.filters.iter().filter(|filter| indexed(query.kind, filter).is_none()).cloned().collect();
        let with_status = query.filters.iter().any(|filter| filter.field == Field::Status);
        match query.kind {
            Kind::Snapshot if !with_status => conditions.push("status <> 'deleted'".to_owned()),
            Kind::Attachment if !with_status => conditions.push("status <> 'detached'".to_owned()),
            Kind::Volume | Kind::Snapshot | Kind::Attachment | Kind::Host | Kind::Profile | Kind::Pool => {}
        }
        let column = match (query.sort, query.kind) {
            (Sort::Name, Kind::Attachment) | (Sort::Id | Sort::By(_), _) => None,
            (Sort::Name, _) => Some("name"),
            (Sort::CreatedAt, _) => Some("created"),
        };
        let sorted = !matches!(query.sort, Sort::By(_));
        if sorted && let Some(marker) = query.marker {
            self.after(marker, column, &mut conditions, &mut values)?;
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let direction = if query.descending { "DESC" } else { "ASC" };
        let mut order = format!("{of_order}id {direction}");
        if let Some(column) = column {
            order.insert_str(0, &format!("{of_order}{column} {direction}, "));
        }
        Ok(Plan { sql: format!("SELECT {columns} FROM {table}{filter} ORDER BY {order}"), values, scanned, sorted })
    }

    /// The tenant, and the filters that have an index, as conditions with their values.
    fn conditions(&self, of_filter: &str) -> (Vec<String>, Vec<Value>) {
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        if let Some(tenant) = &self.query.tenant {
            conditions.push("tenant = ?".to_owned());
            values.push(Value::Text(tenant.clone()));
        }
        for (column, wanted) in self.query.filters.iter().filter_map(|filter| indexed(self.query.kind, filter)) {
            let marks = vec!["?"; wanted.len()].join(", ");
            conditions.push(format!("{of_filter}{column} IN ({marks})"));
            values.extend(wanted);
        }
        (conditions, values)
    }

    /// Whether so many rows meet the conditions that walking the order finds some soon; else they are few enough to be sorted.
    fn are_many(&self) -> Result<bool, StoreError> {
        let (conditions, values) = self.conditions("");
        let (table, conditions) = (table(self.query.kind), conditions.join(" AND "));
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {conditions} LIMIT {})", SORTED_MAX + 1);
        let before = self.budget.swap(STEPS_COUNTING, Ordering::Relaxed);
        let counted = self.tx.prepare_cached(&sql).and_then(|mut count| {
            let found = count.query_row(params_from_iter(values.iter()), |row| row.get::<_, u32>(0));
            self.budget.store(before, Ordering::Relaxed);
            found
        });
        match counted {
            Ok(found) => Ok(found > SORTED_MAX),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(true),
            Err(error) => Err(trouble(&error)),
        }
    }

    /// Goes on behind the row with this id; one that is gone is taken as where its id would be.
    fn after(
        &self,
        marker: Uuid,
        column: Option<&str>,
        conditions: &mut Vec<String>,
        values: &mut Vec<Value>,
    ) -> Result<(), StoreError> {
        let sign = if self.query.descending { "<" } else { ">" };
        let id = Value::Blob(marker.as_bytes().to_vec());
        let at = match column {
            Some(column) => {
                let sql = format!("SELECT {column} FROM {} WHERE id = ?1", table(self.query.kind));
                let found = self
                    .tx
                    .prepare_cached(&sql)
                    .and_then(|mut s| rusqlite::OptionalExtension::optional(s.query_row([&id], |row| row.get::<_, Value>(0))));
                found.map_err(|error| trouble(&error))?.map(|value| (column, value))
            }
            None => None,
        };
        match at {
            Some((column, value)) => {
                conditions.push(format!("({column}, id) {sign} (?, ?)"));
                values.extend([value, id]);
            }
            None => {
                conditions.push(format!("id {sign} ?"));
                values.push(id);
            }
        }
        Ok(())
    }

    /// What a row is, with what it needs besides, which is no search.
    fn item(&self, row: &rusqlite::Row<'_>) -> Result<Item, StoreError> {
        let left = self.budget.swap(u64::MAX, Ordering::Relaxed);
        let item = self.item_of(row);
        self.budget.store(left.saturating_add(STEPS_A_ROW), Ordering::Relaxed);
        item
    }

    fn item_of(&self, row: &rusqlite::Row<'_>) -> Result<Item, StoreError> {
        let id = |at: usize| row.get::<_, [u8; 16]>(at).map(Uuid::from_bytes).map_err(|error| trouble(&error));
        match self.query.kind {
            Kind::Volume => {
                let row = volume_row(row).map_err(|error| trouble(&error))?;
                Ok(Item::Volume(Arc::new(read::complete(self.tx, row)?.0)))
            }
            Kind::Snapshot => {
                let row = snapshot_row(row).map_err(|error| trouble(&error))?;
                let id = SnapshotId(row.id);
                let excerpt = self.excerpt(row.volume, |attached| attached.excerpt(Some(id)))?;
                Ok(Item::Snapshot(id, Arc::new(read::with_snapshot((*excerpt).clone(), read::snapshot(row)?))))
            }
            Kind::Attachment => {
                Ok(Item::Attachment(AttachmentId(id(0)?), self.excerpt(id(1)?, |attached| attached.excerpt(None))?))
            }
            Kind::Host | Kind::Profile | Kind::Pool => {
                let row = other_row(row).map_err(|error| trouble(&error))?;
                Ok(Item::Other(Box::new(read::other(table(self.query.kind), row)?)))
            }
        }
    }

    /// What `of` makes of a volume with its attachments and no snapshots, which is the same for all of its parts in this list.
    fn excerpt(&self, id: Uuid, of: impl FnOnce(&VolumeRecord) -> VolumeRecord) -> Result<Arc<VolumeRecord>, StoreError> {
        let mut held = self.held.borrow_mut();
        if let Some(found) = held.excerpts.get(&id) {
            return Ok(found.clone());
        }
        let found = Arc::new(of(&read::attached(self.tx, id)?));
        let bytes = weight::of_volume(&found);
        if held.bytes + bytes > HELD_BYTES {
            *held = Held::default();
        }
        held.bytes += bytes;
        held.excerpts.insert(id, found.clone());
        Ok(found)
    }
}

const fn table(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => "volumes",
        Kind::Snapshot => "snapshots",
        Kind::Attachment => "attachments",
        Kind::Host => "hosts",
        Kind::Profile => "profiles",
        Kind::Pool => "pools",
    }
}

/// What is read of each row; of an attachment, where it is, as its volume's excerpt has it.
const fn columns(kind: Kind) -> &'static str {
    match kind {
        Kind::Volume => VOLUME_COLUMNS,
        Kind::Snapshot => SNAPSHOT_COLUMNS,
        Kind::Attachment => "id, volume",
        Kind::Host | Kind::Profile | Kind::Pool => OTHER_COLUMNS,
    }
}

/// The column and values of a filter that SQL does; ids that are none match nothing.
fn indexed(kind: Kind, filter: &Filter) -> Option<(&'static str, Vec<Value>)> {
    let column = match (filter.field, kind) {
        (Field::Id, _) => "id",
        (Field::Name, Kind::Volume | Kind::Snapshot | Kind::Host | Kind::Profile | Kind::Pool) => "name",
        (Field::Status, Kind::Volume | Kind::Snapshot | Kind::Attachment) => "status",
        (Field::PoolId, Kind::Volume) => "pool",
        (Field::ProfileId, Kind::Volume | Kind::Snapshot) => "profile",
        (Field::HostId, Kind::Attachment) => "host",
        (Field::VolumeId, Kind::Snapshot | Kind::Attachment) => "volume",
        (Field::SnapshotId, Kind::Volume) => "source",
        _ => return None,
    };
    let text = matches!(column, "name" | "status");
    let value = |value: &String| {
        if text {
            Some(Value::Text(value.clone()))
        } else {
            Uuid::try_parse(value).ok().map(|id| Value::Blob(id.as_bytes().to_vec()))
        }
    };
    Some((column, filter.values.iter().filter_map(value).collect()))
}

fn matches(item: &Item, filters: &[Filter]) -> bool {
    filters.iter().all(|filter| filter.values.contains(&text(item, filter.field)))
}

fn sort_key(item: &Item, field: Field) -> String {
    let text = text(item, field);
    if field == Field::Size { format!("{text:0>20}") } else { text }
}

fn id_of(item: &Item) -> Uuid {
    match item {
        Item::Volume(record) => record.state.id().0,
        Item::Snapshot(id, _) => id.0,
        Item::Attachment(id, _) => id.0,
        Item::Other(record) => match &**record {
            Record::Volume(record) => record.state.id().0,
            Record::Host(host) => host.id.0,
            Record::Profile(profile) => profile.id.0,
            Record::Pool(pool) => pool.id.0,
        },
    }
}

/// A field's text, as filters compare it; empty where the kind has no such field.
fn text(item: &Item, field: Field) -> String {
    match item {
        Item::Volume(record) => volume_text(record, field),
        Item::Snapshot(id, record) => snapshot_text(record, *id, field),
        Item::Attachment(id, record) => attachment_text(record, *id, field),
        Item::Other(record) => match (&**record, field) {
            (Record::Host(host), Field::Ip) => host.ip.clone(),
            (Record::Host(host), Field::OsType) => host.os_type.clone(),
            (Record::Host(host), Field::AccessMode) => host.access_mode.clone(),
            (Record::Host(host), Field::TenantId) => host.tenant.clone(),
            (Record::Profile(profile), Field::StorageType) => profile.storage_type.clone(),
            _ => String::new(),
        },
    }
}

fn volume_text(record: &VolumeRecord, field: Field) -> String {
    match field {
        Field::Status => record.state.status().map_or("", lifecycle::VolumeStatus::word).to_owned(),
        Field::PoolId => record.pool.to_string(),
        Field::ProfileId => record.profile.to_string(),
        Field::Description => record.about.description.clone(),
        Field::AvailabilityZone => record.zone.clone(),
        Field::Size => record.state.size().gib().to_string(),
        Field::MultiAttach => record.state.multi_attach().to_string(),
        Field::TenantId => record.tenant.clone(),
        _ => String::new(),
    }
}

fn snapshot_text(record: &VolumeRecord, id: SnapshotId, field: Field) -> String {
    match (field, record.state.snapshots().get(&id), record.snapshots.get(&id)) {
        (Field::Status, Some(state), _) => state.status().word().to_owned(),
        (Field::Size, Some(state), _) => state.size.gib().to_string(),
        (Field::ProfileId, _, Some(held)) => held.profile.to_string(),
        (Field::Description, _, Some(held)) => held.about.description.clone(),
        (Field::VolumeId, ..) => record.state.id().to_string(),
        (Field::TenantId, ..) => record.tenant.clone(),
        _ => String::new(),
    }
}

fn attachment_text(record: &VolumeRecord, id: AttachmentId, field: Field) -> String {
    match (field, record.state.attachments().get(&id), record.attachments.get(&id)) {
        (Field::Status, Some(state), _) => state.status().word().to_owned(),
        (Field::HostId, Some(state), _) => state.host.to_string(),
        (Field::AttachMode, Some(state), _) => if state.mode == Mode::ReadOnly { "ro" } else { "rw" }.to_owned(),
        (Field::Mountpoint, _, Some(held)) => held.mountpoint.clone(),
        (Field::VolumeId, ..) => record.state.id().to_string(),
        (Field::TenantId, ..) => record.tenant.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SnapshotRow, VolumeRow};
    use crate::schema;
    use engine::records::{About, SnapshotAbout};
    use engine::store::Child;
    use lifecycle::{Bytes, PoolId, ProfileId, Seen, Snapshot, SnapshotPhase, Timestamp, Volume, VolumeId};
    use rusqlite::params;

    const ROWS: u32 = 20_000;

    fn volume() -> VolumeRecord {
        VolumeRecord {
            state: Volume::create(VolumeId(Uuid::nil()), Bytes(Bytes::GIB), false, None, Timestamp(5)),
            tenant: "t".into(),
            about: About::default(),
            zone: "default".into(),
            profile: ProfileId(Uuid::nil()),
            pool: PoolId(Uuid::nil()),
            snapshots: Default::default(),
            attachments: Default::default(),
        }
    }

    /// Twenty thousand volumes, named in another order than that of their ids: one in 5,000 is in error, the 2,000 with the last names
    /// are in use, the others are available.
    fn filled(folder: &Path) -> Connection {
        let file = folder.join("berth.db");
        schema::create(&file, "epoch").unwrap();
        let connection = connect(&file, Role::Writer).unwrap();
        let row = VolumeRow::encode(&volume());
        let sql = "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n + 1 < ?1)
            INSERT INTO volumes(id, tenant, name, status, pool, profile, created, owes, version, revision, body)
            SELECT randomblob(16), 't', format('v%05d', n),
                CASE WHEN n % 5000 = 77 THEN 'error' WHEN n >= ?1 - 2000 THEN 'inUse' ELSE 'available' END, ?2, ?3, n, 0, 1, 1, ?4 FROM number";
        connection.execute(sql, params![ROWS, row.pool.as_bytes(), row.profile.as_bytes(), row.body]).unwrap();
        connection
    }

    /// The names of what is listed, and how many steps it took.
    fn listed(connection: &mut Connection, query: &ListQuery, steps: u64) -> Result<(Vec<String>, u64), StoreError> {
        let budget = Arc::new(AtomicU64::new(steps));
        let (sender, mut receiver) = mpsc::channel(1000);
        bound(connection, &budget, &sender).unwrap();
        List { tx: connection, query, sender: &sender, budget: &budget, held: RefCell::default() }.run()?;
        drop(sender);
        let mut names = Vec::new();
        while let Ok(batch) = receiver.try_recv() {
            names.extend(batch?.into_iter().map(|item| match item {
                Item::Volume(record) => record.about.name.clone(),
                other => panic!("{other:?}"),
            }));
        }
        let given = steps + names.len() as u64 * STEPS_A_ROW;
        Ok((names, given.saturating_sub(budget.load(Ordering::Relaxed))))
    }

    fn query(statuses: &[&str], sort: Sort, tenant: Option<&str>) -> ListQuery {
        let values = statuses.iter().map(|status| (*status).to_owned()).collect();
        let filters = vec![Filter { field: Field::Status, values }];
        ListQuery { filters, sort, limit: 50, tenant: tenant.map(str::to_owned), ..ListQuery::all(Kind::Volume) }
    }

    #[test]
    fn a_page_by_one_index_in_the_order_of_another_takes_about_as_long_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = filled(folder.path());
        let first: Vec<_> = (0..77).chain(78..).take(50).map(|n| format!("v{n:05}")).collect();
        for tenant in [None, Some("t")] {
            for (sort, statuses) in
                [(Sort::Name, &["available"][..]), (Sort::CreatedAt, &["available"]), (Sort::Name, &["available", "deleting"])]
            {
                let (names, steps) = listed(&mut connection, &query(statuses, sort, tenant), STEPS_MAX).unwrap();
                assert_eq!(names, first, "{sort:?} {statuses:?} {tenant:?}");
                assert!(steps < 30_000, "{sort:?} {statuses:?} {tenant:?} took {steps} steps");
            }
            for (sort, statuses) in
                [(Sort::Name, &["error"][..]), (Sort::CreatedAt, &["error"]), (Sort::Id, &["error", "deleting"])]
            {
                let (mut names, steps) = listed(&mut connection, &query(statuses, sort, tenant), STEPS_MAX).unwrap();
                names.sort_unstable();
                assert_eq!(names, ["v00077", "v05077", "v10077", "v15077"], "few are found by their index, and sorted");
                assert!(steps < 10_000, "{sort:?} {statuses:?} {tenant:?} took {steps} steps");
            }
            let sized = ListQuery { limit: usize::MAX, ..query(&["inUse"], Sort::By(Field::Size), tenant) };
            let (names, steps) = listed(&mut connection, &sized, STEPS_MAX).unwrap();
            assert_eq!(names.len(), 2000);
            assert!(steps < 75_000, "all of them, and no others: {steps} steps");
            let (names, _) = listed(&mut connection, &query(&["inUse"], Sort::Name, tenant), STEPS_MAX).unwrap();
            assert_eq!(names, (18_000..18_050).map(|n| format!("v{n:05}")).collect::<Vec<_>>(), "as far behind as they are");
            let (names, _) = listed(&mut connection, &query(&["error", "inUse"], Sort::Id, tenant), STEPS_MAX).unwrap();
            assert_eq!(names.len(), 50);
        }
    }

    #[test]
    fn what_a_row_needs_besides_counts_for_no_search_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = filled(folder.path());
        let of = "INSERT INTO snapshots(id, volume, tenant, name, status, profile, created, revision, body)
            SELECT randomblob(16), volumes.id, 't', 's', 'available', randomblob(16), 1, 1, ?1 FROM volumes, generate WHERE volumes.status = 'error'";
        let sql = format!("WITH RECURSIVE generate(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM generate WHERE n < 2999) {of}");
        let snapshot = SnapshotId(Uuid::nil());
        let phase = SnapshotPhase::Available;
        let part =
            Snapshot { size: Bytes(Bytes::GIB), phase, since: Timestamp(5), seen: Seen::Unknown, recover: None, pins: [].into() };
        let held = SnapshotAbout { about: About::default(), profile: ProfileId(Uuid::nil()) };
        let record = read::with_snapshot(volume(), (snapshot, part, held));
        connection.execute(&sql, [SnapshotRow::encode(&record, snapshot).unwrap().body]).unwrap();
        connection.execute("UPDATE volumes SET has_snapshots = 1 WHERE status = 'error'", []).unwrap();
        for sort in [Sort::Id, Sort::Name, Sort::By(Field::Size)] {
            let (names, _) = listed(&mut connection, &query(&["error"], sort, None), 5_000).unwrap();
            assert_eq!(names.len(), 4, "{sort:?}");
        }
        // One of a volume's three thousand, without the others.
        let ids = |row: &rusqlite::Row<'_>| Ok((Uuid::from_bytes(row.get(0)?), Uuid::from_bytes(row.get(1)?)));
        let (one, of) = connection.query_row("SELECT id, volume FROM snapshots LIMIT 1", [], ids).unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let counted = steps.clone();
        connection.progress_handler(1, Some(move || counted.fetch_add(1, Ordering::Relaxed) == u64::MAX)).unwrap();
        let part = read::part(&connection, Child::Snapshot(SnapshotId(one)), |_| None).unwrap().expect("it is there");
        assert!(part.snapshots.keys().eq([&SnapshotId(one)]));
        let of_part = steps.swap(0, Ordering::Relaxed);
        assert!((10..200).contains(&of_part), "{of_part} steps");
        assert_eq!(read::volume(&connection, of).unwrap().expect("it is there").0.snapshots.len(), 3000);
        assert!(steps.load(Ordering::Relaxed) > 3000, "they are counted");
    }

    #[test]
    fn what_would_take_much_memory_to_sort_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = filled(folder.path());
        let long = VolumeRecord { about: About { description: "x".repeat(KEYS_BYTES / 1500), ..About::default() }, ..volume() };
        let set = "UPDATE volumes SET body = ?1 WHERE status = 'inUse'";
        connection.execute(set, [VolumeRow::encode(&long).body]).unwrap();
        let described = |status| query(&[status], Sort::By(Field::Description), None);
        assert_eq!(listed(&mut connection, &described("inUse"), STEPS_MAX), Err(StoreError::TooMuchToSort(KEYS_BYTES)));
        assert_eq!(listed(&mut connection, &described("available"), STEPS_MAX).unwrap().0.len(), 50);
    }

    #[test]
    fn what_takes_too_many_steps_is_refused_and_the_connection_is_as_good_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = filled(folder.path());
        let far = query(&["inUse"], Sort::Name, None);
        assert_eq!(
            listed(&mut connection, &far, 50_000).unwrap().0.len(),
            50,
            "behind all others in the order: sorted once that is seen"
        );
        let (sender, receiver) = mpsc::channel(1);
        bound(&mut connection, &Arc::new(AtomicU64::new(10_000)), &sender).unwrap();
        let walk = "SELECT count(*) FROM volumes WHERE +name = 'nobody'";
        let error = connection.query_row(walk, [], |row| row.get::<_, i64>(0)).unwrap_err();
        assert_eq!(trouble_within(&error), StoreError::TooBroad(SCAN_MAX));
        assert_eq!(listed(&mut connection, &far, STEPS_MAX).unwrap().0.len(), 50);
        bound(&mut connection, &Arc::new(AtomicU64::new(u64::MAX)), &sender).unwrap();
        assert_eq!(connection.query_row(walk, [], |row| row.get::<_, i64>(0)), Ok(0), "as many as it likes");
        drop(receiver);
        assert!(connection.query_row(walk, [], |row| row.get::<_, i64>(0)).is_err(), "for nobody, nothing is read");
    }
}
