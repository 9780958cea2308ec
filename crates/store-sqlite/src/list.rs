//! Lists: one transaction each, so that they are of one revision; sent in batches as they are read.
//!
//! An indexed filter or order is SQL's; any other filter is compared on rows, within a budget, so that no list can stall others.

use crate::read::{self, OTHER_COLUMNS, VOLUME_COLUMNS, other_row, trouble, volume_row};
use crate::schema::{Role, connect};
use engine::records::{Record, VolumeRecord};
use engine::store::{Field, Filter, Item, Kind, ListQuery, Sort, StoreError};
use lifecycle::{AttachmentId, Mode, SnapshotId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use uuid::Uuid;

/// How many rows a batch has.
const BATCH: usize = 256;
/// How many rows a list may look at beyond those it gives.
const SCAN_MAX: u64 = 100_000;
/// How long a reader may leave a batch unread before it is cut off, so that it holds no snapshot of the log.
const READER_MAX: Duration = Duration::from_secs(60);
/// How often a reader that is not reading is looked at again.
const READER_PAUSE: Duration = Duration::from_millis(5);

type Sender = mpsc::Sender<Result<Vec<Item>, StoreError>>;

/// Reads the list and sends it; an error is the last thing sent.
pub(crate) fn run(file: &Path, query: &ListQuery, sender: &Sender) {
    let read = || {
        let connection = connect(file, Role::Reader).map_err(|error| trouble(&error))?;
        let tx = connection.unchecked_transaction().map_err(|error| trouble(&error))?;
        List { tx: &tx, query, sender }.run()
    };
    if let Err(error) = read() {
        // A reader that is gone needs no error.
        let _ = send(sender, Err(error));
    }
}

/// Sends a batch. Returns whether the reader is still there.
fn send(sender: &Sender, batch: Result<Vec<Item>, StoreError>) -> Result<bool, StoreError> {
    let deadline = Instant::now() + READER_MAX;
    let mut batch = batch;
    loop {
        match sender.try_send(batch) {
            Ok(()) => return Ok(true),
            Err(mpsc::error::TrySendError::Closed(_)) => return Ok(false),
            Err(mpsc::error::TrySendError::Full(_)) if Instant::now() > deadline => return Err(StoreError::Slow),
            Err(mpsc::error::TrySendError::Full(unsent)) => batch = unsent,
        }
        std::thread::sleep(READER_PAUSE);
    }
}

struct List<'a> {
    tx: &'a Connection,
    query: &'a ListQuery,
    sender: &'a Sender,
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
        let plan = self.plan()?;
        let mut statement = self.tx.prepare_cached(&plan.sql).map_err(|error| trouble(&error))?;
        let mut rows = statement.query(params_from_iter(plan.values.iter())).map_err(|error| trouble(&error))?;
        let (mut batch, mut looked, mut skipped, mut given) = (Vec::new(), 0, 0, 0);
        let mut unsorted = Vec::new();
        while given < self.query.limit
            && let Some(row) = rows.next().map_err(|error| trouble(&error))?
        {
            // Where SQL has done all of it, what is passed over need not be readable.
            if plan.sorted && plan.scanned.is_empty() && skipped < self.query.offset {
                skipped += 1;
                continue;
            }
            let item = self.item(row)?;
            if !matches(&item, &plan.scanned) || !plan.sorted {
                looked += 1;
                if looked > SCAN_MAX {
                    return Err(StoreError::TooBroad(SCAN_MAX));
                }
            }
            if !matches(&item, &plan.scanned) {
                continue;
            }
            if !plan.sorted {
                unsorted.push(item);
                continue;
            }
            if skipped < self.query.offset {
                skipped += 1;
                continue;
            }
            given += 1;
            batch.push(item);
            if batch.len() == BATCH && !send(self.sender, Ok(std::mem::take(&mut batch)))? {
                return Ok(());
            }
        }
        batch.extend(self.sort(unsorted));
        if !batch.is_empty() {
            send(self.sender, Ok(batch))?;
        }
        Ok(())
    }

    /// Sorts by an order that has no index.
    fn sort(&self, mut items: Vec<Item>) -> Vec<Item> {
        let Sort::By(field) = self.query.sort else { return items };
        items.sort_by_cached_key(|item| (sort_key(item, field), id_of(item)));
        if self.query.descending {
            items.reverse();
        }
        if let Some(marker) = self.query.marker {
            // As in `after`: behind the row with this id, or where its id would be if it is gone.
            match items.iter().position(|item| id_of(item) == marker) {
                Some(at) => drop(items.drain(..=at)),
                None => items.retain(|item| if self.query.descending { id_of(item) < marker } else { id_of(item) > marker }),
            }
        }
        items.into_iter().skip(self.query.offset).take(self.query.limit).collect()
    }

    fn plan(&self) -> Result<Plan, StoreError> {
        let query = self.query;
        let table = table(query.kind);
        let columns = match query.kind {
            Kind::Volume => VOLUME_COLUMNS,
            Kind::Snapshot | Kind::Attachment => "id, volume",
            Kind::Host | Kind::Profile | Kind::Pool => OTHER_COLUMNS,
        };
        let (mut conditions, mut values, mut scanned) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(tenant) = &query.tenant {
            conditions.push("tenant = ?".to_owned());
            values.push(Value::Text(tenant.clone()));
        }
        for filter in &query.filters {
            match indexed(query.kind, filter) {
                Some((column, wanted)) => {
                    let marks = vec!["?"; wanted.len()].join(", ");
                    conditions.push(format!("{column} IN ({marks})"));
                    values.extend(wanted);
                }
                None => scanned.push(filter.clone()),
            }
        }
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
        let order = column.map_or_else(|| format!("id {direction}"), |column| format!("{column} {direction}, id {direction}"));
        Ok(Plan { sql: format!("SELECT {columns} FROM {table}{filter} ORDER BY {order}"), values, scanned, sorted })
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

    fn item(&self, row: &rusqlite::Row<'_>) -> Result<Item, StoreError> {
        let id = |at: usize| row.get::<_, [u8; 16]>(at).map(Uuid::from_bytes).map_err(|error| trouble(&error));
        match self.query.kind {
            Kind::Volume => {
                let row = volume_row(row).map_err(|error| trouble(&error))?;
                Ok(Item::Volume(Box::new(read::complete(self.tx, row)?.0)))
            }
            Kind::Snapshot => Ok(Item::Snapshot(SnapshotId(id(0)?), self.volume(id(1)?)?)),
            Kind::Attachment => Ok(Item::Attachment(AttachmentId(id(0)?), self.volume(id(1)?)?)),
            Kind::Host | Kind::Profile | Kind::Pool => {
                let row = other_row(row).map_err(|error| trouble(&error))?;
                Ok(Item::Other(Box::new(read::other(table(self.query.kind), row)?)))
            }
        }
    }

    fn volume(&self, id: Uuid) -> Result<Box<VolumeRecord>, StoreError> {
        let found = read::volume(self.tx, id)?;
        found
            .map(|(record, _)| Box::new(record))
            .ok_or_else(|| StoreError::Corrupt(format!("volume {id}"), "its row is missing".into()))
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
