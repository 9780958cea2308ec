//! The store alone: how long the two durable commits of a creation take, one after the other.

use bench::records::Home;
use criterion::{Criterion, criterion_group, criterion_main};
use engine::store::Store;
use lifecycle::VolumeId;
use store_sqlite::{Options, SqliteStore};
use uuid::Uuid;

fn commit(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (store, home) = runtime.block_on(async {
        let store = SqliteStore::open(folder.path(), Options::default()).expect("a new store");
        let home = Home::make(&store).await.expect("it commits");
        (store, home)
    });
    criterion.bench_function("create a volume, twice durable", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let record = home.creating(VolumeId(Uuid::now_v7()), "v".into());
                let version = store.commit(home.accept(record.clone())).await.expect("it commits").revision;
                store.commit(Home::end(record, version).expect("it is allowed")).await.expect("it commits")
            })
        });
    });
}

criterion_group!(benches, commit);
criterion_main!(benches);
