//! The rules alone: how long a volume takes from its creation to its first snapshot, which is four decisions.

use bench::records::{Home, created, snapped};
use criterion::{Criterion, criterion_group, criterion_main};
use lifecycle::{PoolId, ProfileId, SnapshotId, VolumeId};
use uuid::Uuid;

fn decide(criterion: &mut Criterion) {
    let home = Home { tenant: bench::TENANT.into(), pool: PoolId(Uuid::nil()), profile: ProfileId(Uuid::nil()) };
    criterion.bench_function("create and snap a volume", |bencher| {
        bencher.iter(|| {
            let record = home.creating(VolumeId(Uuid::from_u128(1)), "v".into());
            created(record).and_then(|record| snapped(record, SnapshotId(Uuid::from_u128(2)))).expect("it is allowed")
        });
    });
}

criterion_group!(benches, decide);
criterion_main!(benches);
