//! Lists: complete, in a total order, by page. Who pages through volumes and misses one will make it again.

use super::records::{
    HOST, attachment_id, busy, done, found, fresh, host, key, made, pool, profile, put, ready, remove, snapshot_id, step, volume,
    volume_id,
};
use engine::records::{Record, VolumeRecord};
use engine::store::{Child, Expected, Field, Filter, Item, Kind, ListQuery, Sort, Store};
use lifecycle::{Command, ExportSeen, Facts, HostId, Input, Mode, Outcome, PoolId, ProfileId, Timestamp, Work};
use uuid::Uuid;

/// The list's ids as numbers, in its order.
async fn listed(store: &dyn Store, query: ListQuery) -> Vec<u128> {
    let mut batches = store.list(query).await.expect("it begins");
    let mut found = Vec::new();
    while let Some(batch) = batches.recv().await {
        found.extend(batch.expect("it can be read").iter().map(number));
    }
    found
}

fn number(item: &Item) -> u128 {
    let id = match item {
        Item::Volume(record) => record.state.id().0,
        Item::Snapshot(id, record) => {
            assert!(record.snapshots.contains_key(id), "it comes with its volume");
            id.0
        }
        Item::Attachment(id, record) => {
            assert!(record.attachments.contains_key(id), "it comes with its volume");
            id.0
        }
        Item::Other(record) => match &**record {
            Record::Volume(record) => record.state.id().0,
            Record::Host(host) => host.id.0,
            Record::Profile(profile) => profile.id.0,
            Record::Pool(pool) => pool.id.0,
        },
    };
    id.as_u128()
}

/// Number, name, GiB and time of making of a volume.
type Row = (u128, &'static str, u64, i64);

/// The volumes that are listed: with ties in each but the number.
const VOLUMES: [Row; 7] =
    [(1, "b", 10, 3), (2, "a", 9, 3), (3, "", 1, 2), (4, "a", 9, -1), (5, "B", 100, 0), (6, "é", 1, 9), (7, "b", 2, 3)];

async fn seven(store: &dyn Store) {
    for (number, name, gib, at) in VOLUMES {
        let mut record = volume(number, name, gib);
        record.about.created_at = Timestamp(at);
        fresh(store, record).await;
    }
}

/// The volumes in each order that can be asked for, ties by id.
fn orders() -> Vec<(Sort, Vec<u128>)> {
    let ordered = |less: fn(&Row) -> (String, i128)| {
        let mut rows = VOLUMES;
        rows.sort_by_key(|row| (less(row), row.0));
        rows.iter().map(|row| row.0).collect::<Vec<_>>()
    };
    vec![
        (Sort::Id, ordered(|_| (String::new(), 0))),
        (Sort::Name, ordered(|row| (row.1.to_owned(), 0))),
        (Sort::CreatedAt, ordered(|row| (String::new(), i128::from(row.3)))),
        (Sort::By(Field::Size), ordered(|row| (String::new(), i128::from(row.2)))),
    ]
}

/// Every page, by marker or by offset, both ways, of every order: together they are the list.
pub(super) async fn lists_page_through_everything_in_order(subject: &dyn super::Subject) {
    let store = subject.open().await;
    seven(&*store).await;
    for (sort, ascending) in orders() {
        for descending in [false, true] {
            let wanted: Vec<_> = if descending { ascending.iter().rev().copied().collect() } else { ascending.clone() };
            let query = ListQuery { sort, descending, ..ListQuery::all(Kind::Volume) };
            assert_eq!(listed(&*store, query.clone()).await, wanted, "{query:?}");
            for limit in [1, 2, 3, 7, 8] {
                let (mut by_marker, mut by_offset, mut marker) = (Vec::new(), Vec::new(), None);
                loop {
                    let page = ListQuery { limit, marker: marker.map(Uuid::from_u128), ..query.clone() };
                    let found = listed(&*store, page).await;
                    by_offset.extend(listed(&*store, ListQuery { limit, offset: by_offset.len(), ..query.clone() }).await);
                    by_marker.extend(&found);
                    match found.last() {
                        Some(last) => marker = Some(*last),
                        None => break,
                    }
                }
                assert_eq!((&by_marker, &by_offset), (&wanted, &wanted), "{limit} at a time: {query:?}");
            }
            let both = ListQuery { marker: Some(Uuid::from_u128(wanted[1])), offset: 2, limit: 2, ..query };
            assert_eq!(listed(&*store, both.clone()).await, wanted[4..6], "{both:?}");
            assert_eq!(listed(&*store, ListQuery { limit: 0, ..both }).await, [0; 0]);
        }
    }
}

/// The volume last listed may be deleted before the next page is asked for: the list goes on with the ids beyond it.
pub(super) async fn a_list_goes_on_where_a_vanished_marker_was(subject: &dyn super::Subject) {
    let store = subject.open().await;
    seven(&*store).await;
    let (_, version) = super::records::read(&*store, 4).await.expect("it is there");
    made(&*store, remove(key(4), version)).await;
    for (sort, ascending) in orders() {
        for descending in [false, true] {
            let mut wanted: Vec<_> = ascending.clone();
            if descending {
                wanted.reverse();
            }
            wanted.retain(|number| if descending { *number < 4 } else { *number > 4 });
            let query = ListQuery { sort, descending, marker: Some(Uuid::from_u128(4)), ..ListQuery::all(Kind::Volume) };
            assert_eq!(listed(&*store, query.clone()).await, wanted, "{query:?}");
        }
    }
}

fn is(field: Field, values: &[&str]) -> Filter {
    Filter { field, values: values.iter().map(|value| (*value).to_owned()).collect() }
}

/// A filter matches what is the same and nothing that resembles it.
pub(super) async fn lists_filter_exactly(subject: &dyn super::Subject) {
    let store = subject.open().await;
    seven(&*store).await;
    fresh(&*store, busy(8)).await;
    let (own, profile_id, pool_id) =
        (volume_id(8).to_string(), super::records::PROFILE.to_string(), super::records::POOL.to_string());
    let own = own.as_str();
    let rows: Vec<(Kind, Vec<Filter>, &[u128])> = vec![
        (Kind::Volume, vec![is(Field::Name, &["a"])], &[2, 4]),
        (Kind::Volume, vec![is(Field::Name, &["a", "B", "missing"])], &[2, 4, 5]),
        (Kind::Volume, vec![is(Field::Name, &[])], &[]),
        (Kind::Volume, vec![is(Field::Name, &["%"])], &[]),
        (Kind::Volume, vec![is(Field::Name, &["b"]), is(Field::Size, &["2", "9"])], &[7]),
        (Kind::Volume, vec![is(Field::Size, &["1"])], &[3, 6, 8]),
        (Kind::Volume, vec![is(Field::Status, &["available", "inUse", "attaching"])], &[8]),
        (Kind::Volume, vec![is(Field::Status, &["creating"]), is(Field::Name, &["é"])], &[6]),
        (Kind::Volume, vec![is(Field::Id, &[own, "no id"])], &[8]),
        (
            Kind::Volume,
            vec![is(Field::PoolId, &[&pool_id]), is(Field::ProfileId, &[&profile_id]), is(Field::Name, &["busy"])],
            &[8],
        ),
        (Kind::Volume, vec![is(Field::PoolId, &[&profile_id])], &[]),
        (Kind::Volume, vec![is(Field::SnapshotId, &[own])], &[]),
        (Kind::Volume, vec![is(Field::TenantId, &["t"]), is(Field::MultiAttach, &["false"]), is(Field::Name, &[""])], &[3]),
        (Kind::Snapshot, vec![is(Field::VolumeId, &[own])], &[0x10_008]),
        (Kind::Snapshot, vec![is(Field::VolumeId, &[&volume_id(1).to_string()])], &[]),
        (Kind::Snapshot, vec![is(Field::Size, &["1"]), is(Field::Status, &["available"])], &[0x10_008]),
        (Kind::Attachment, vec![is(Field::HostId, &[&HOST.to_string()])], &[0x20_008]),
        (Kind::Attachment, vec![is(Field::AttachMode, &["ro"])], &[]),
        (Kind::Attachment, vec![is(Field::AttachMode, &["rw"]), is(Field::VolumeId, &[own])], &[0x20_008]),
    ];
    for (kind, filters, wanted) in rows {
        let query = ListQuery { filters, ..ListQuery::all(kind) };
        assert_eq!(listed(&*store, query.clone()).await, wanted, "{query:?}");
    }
}

/// One tenant's list, host and journal show nothing of another's.
pub(super) async fn tenants_are_apart(subject: &dyn super::Subject) {
    let store = subject.open().await;
    for (number, tenant) in [(1, "t"), (2, "T"), (3, "t"), (4, "")] {
        fresh(&*store, VolumeRecord { tenant: tenant.into(), ..busy(number) }).await;
        let Record::Host(mut record) = host(HostId(Uuid::from_u128(number)), &number.to_string()) else {
            unreachable!("made a host")
        };
        record.tenant = tenant.into();
        fresh(&*store, Record::Host(record)).await;
    }
    fresh(&*store, profile(ProfileId(Uuid::from_u128(1)), "p")).await;
    fresh(&*store, pool(PoolId(Uuid::from_u128(1)), "p")).await;
    for (tenant, own) in [("t", &[1, 3][..]), ("T", &[2]), ("", &[4]), ("nobody", &[]), ("%", &[])] {
        for (kind, base) in [(Kind::Volume, 0), (Kind::Host, 0), (Kind::Snapshot, 0x10_000), (Kind::Attachment, 0x20_000)] {
            let query = ListQuery { tenant: Some(tenant.into()), ..ListQuery::all(kind) };
            let wanted: Vec<u128> = own.iter().map(|number| number + base).collect();
            assert_eq!(listed(&*store, query.clone()).await, wanted, "{query:?}");
            let sorted = ListQuery { sort: Sort::By(Field::TenantId), ..query };
            assert_eq!(listed(&*store, sorted.clone()).await, wanted, "{sorted:?}");
        }
    }
    for kind in [Kind::Profile, Kind::Pool] {
        for sort in [Sort::Id, Sort::By(Field::StorageType)] {
            let query = ListQuery { sort, ..ListQuery::all(kind) };
            assert_eq!(listed(&*store, query).await, [1], "profiles and pools are everybody's");
        }
    }
}

/// Who lists snapshots wants those that are there; who asks for the deleted ones gets them.
pub(super) async fn tombstones_are_listed_by_status_only(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let (snapshot, attachment) = (snapshot_id(0x10_001), attachment_id(0x20_001));
    let record = step(busy(1), &Input::Command(Command::Detach { id: attachment, force: false }));
    let gone = Outcome::Done(Facts::Export(ExportSeen::Absent));
    let record = step(record, &Input::Report { work: Work::Unexport { attachment, force: false }, outcome: gone });
    let record = step(record, &Input::Command(Command::DeleteSnapshot { id: snapshot }));
    let gone = Outcome::Done(Facts::Object(lifecycle::Seen::Absent));
    let record = step(record, &Input::Report { work: Work::DeleteSnapshot(snapshot), outcome: gone });
    fresh(&*store, record).await;
    fresh(&*store, busy(2)).await;
    for (kind, base, word, owner) in [
        (Kind::Snapshot, 0x10_000, "deleted", found(&*store, Child::Snapshot(snapshot)).await),
        (Kind::Attachment, 0x20_000, "detached", found(&*store, Child::Attachment(attachment)).await),
    ] {
        assert_eq!(listed(&*store, ListQuery::all(kind)).await, [base + 2], "{kind:?}");
        let query = ListQuery { filters: vec![is(Field::Status, &[word])], ..ListQuery::all(kind) };
        assert_eq!(listed(&*store, query.clone()).await, [base + 1], "{query:?}");
        assert_eq!(owner, Some(volume_id(1)), "a tombstone is found");
    }
}

/// Who compares volumes with a backend needs all of each; who tells of a snapshot must not pay for a thousand others.
pub(super) async fn volumes_are_listed_whole_and_parts_with_an_excerpt(subject: &dyn super::Subject) {
    let store = subject.open().await;
    for number in 1..4 {
        let mut record = ready(number, "v", 1);
        for snapshot in [0x10_000, 0x30_000].map(|base| snapshot_id(number + base)) {
            record = step(record, &Input::Command(Command::Snapshot { id: snapshot }));
            record = step(record, &done(Work::Snapshot(snapshot), 1));
        }
        let attach = |id| Input::Command(Command::Attach { id, host: HOST, mode: Mode::ReadWrite });
        let (over, live) = (attachment_id(number + 0x40_000), attachment_id(number + 0x20_000));
        let record = step(step(record, &attach(over)), &Input::Command(Command::Detach { id: over, force: false }));
        let gone = Outcome::Done(Facts::Export(ExportSeen::Absent));
        let record = step(record, &Input::Report { work: Work::Unexport { attachment: over, force: false }, outcome: gone });
        fresh(&*store, step(record, &attach(live))).await;
    }
    for (kind, many) in [(Kind::Volume, 3), (Kind::Snapshot, 6), (Kind::Attachment, 3)] {
        for sort in [Sort::Id, Sort::Name, Sort::CreatedAt, Sort::By(Field::TenantId)] {
            let mut batches = store.list(ListQuery { sort, ..ListQuery::all(kind) }).await.expect("it begins");
            let mut seen = 0;
            while let Some(batch) = batches.recv().await {
                for item in batch.expect("it can be read") {
                    seen += 1;
                    let (Item::Volume(found) | Item::Snapshot(_, found) | Item::Attachment(_, found)) = &item else {
                        panic!("{item:?}")
                    };
                    let (whole, _) = super::records::read(&*store, found.state.id().0.as_u128()).await.expect("it is there");
                    let wanted = match &item {
                        Item::Snapshot(id, _) => whole.excerpt(Some(*id)),
                        Item::Attachment(..) => whole.excerpt(None),
                        Item::Volume(_) | Item::Other(_) => whole,
                    };
                    assert_eq!(**found, wanted, "{sort:?}");
                    if let Some(child) = child_of(&item) {
                        assert_eq!(store.find(child).await, Ok(Some(wanted)), "one alone is as in a list");
                    }
                }
            }
            assert_eq!(seen, many, "{kind:?} {sort:?}");
        }
    }
}

fn child_of(item: &Item) -> Option<Child> {
    match item {
        Item::Snapshot(id, _) => Some(Child::Snapshot(*id)),
        Item::Attachment(id, _) => Some(Child::Attachment(*id)),
        Item::Volume(_) | Item::Other(_) => None,
    }
}

/// After a crash the records that owe work are the queue: none is missed, and none that owes nothing is in it.
pub(super) async fn the_work_owed_is_found_in_order(subject: &dyn super::Subject) {
    let store = subject.open().await;
    let mut owing = Vec::new();
    for number in [9, 3, 12, 1, 7, 5, 200] {
        let record = if number % 3 == 0 { ready(number, "v", 1) } else { volume(number, "v", 1) };
        fresh(&*store, record).await;
        if number % 3 != 0 {
            owing.push(volume_id(number));
        }
    }
    owing.sort();
    assert_eq!(store.owes_work(None, 100).await, Ok(owing.clone()));
    for limit in [0, 1, 2] {
        assert_eq!(store.owes_work(None, limit).await, Ok(owing[..limit].to_vec()));
    }
    assert_eq!(store.owes_work(Some(owing[0]), 2).await, Ok(owing[1..3].to_vec()));
    assert_eq!(store.owes_work(Some(volume_id(6)), 9).await, Ok(owing[2..].to_vec()), "after an id that owes nothing");
    let (record, version) = super::records::read(&*store, 1).await.expect("it is there");
    made(&*store, put(step(record, &done(Work::Create, 1)), Expected::Version(version))).await;
    assert_eq!(store.owes_work(None, 100).await, Ok(owing[1..].to_vec()), "what was done is owed no longer");
}
