//! What an event costs that one reader is interested in, when as many read: a new name of a volume, from its request to that reader.
//!
//! Readers cost nothing while they are not interested, whether they name ids, a host or kinds.

use bench::readers::{By, Readers};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// How many read, and how many where it is only proven to run: opening a hundred thousand takes a minute.
const CROWDS: &[usize] = &[1, 1_000, 100_000];
const PROVEN: &[usize] = &[1, 100];

fn readers(criterion: &mut Criterion) {
    // Without this word from cargo nothing is measured.
    let crowds = if std::env::args().any(|word| word == "--bench") { CROWDS } else { PROVEN };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("an event of one of as many volumes");
    group.sample_size(20);
    for by in [By::Id, By::Host, By::Kind] {
        for many in crowds {
            let folder = tempfile::tempdir().expect("a folder");
            let mut readers = runtime.block_on(Readers::open(folder.path(), *many, by)).expect("they read");
            group.bench_function(BenchmarkId::new(format!("readers by {by:?}"), many), |bencher| {
                bencher.iter(|| runtime.block_on(readers.tell()).expect("it is told"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, readers);
criterion_main!(benches);
