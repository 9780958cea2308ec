//! One call after the other: repeated, in any order, with sizes at the edges and ids of nobody.

use super::Subject;
use super::acts::{Act, MIB, snap, volume, whole};
use super::bench::Bench;
use super::model::{Model, Wanted};
use engine::ports::{Call, Progress};
use lifecycle::{Facts, Look, Outcome, Seen, SnapshotId, Source, VolumeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use uuid::Uuid;

/// After a lost answer the engine asks again: done twice must be done once.
pub(super) async fn each_call_twice_is_the_call_once(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (origin, clone, shot) = (volume(1), volume(2), snap(1));
    let source = Source { volume: origin, snapshot: shot };
    let acts = [
        (Act::Create(origin, 3 * MIB), whole(3 * MIB)),
        (Act::Snapshot(origin, shot), whole(3 * MIB)),
        (Act::Extend(origin, 5 * MIB), whole(5 * MIB)),
        (Act::Snapshot(origin, shot), whole(3 * MIB)),
        (Act::Clone(clone, 4 * MIB, source), whole(4 * MIB)),
        (Act::Extend(clone, 4 * MIB), whole(4 * MIB)),
        (Act::Extend(clone, MIB), whole(4 * MIB)),
        (Act::Create(origin, 5 * MIB), whole(5 * MIB)),
        (Act::Delete(clone), Seen::Absent),
        (Act::DeleteSnapshot(origin, shot), Seen::Absent),
        (Act::Delete(origin), Seen::Absent),
    ];
    for (act, facts) in acts {
        for _ in 0..2 {
            bench.done(act, facts).await;
        }
    }
    assert_eq!(bench.listed().await, BTreeMap::new());
}

/// Random numbers of a fixed beginning. Source: Vigna's splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn act(&mut self) -> Act {
        let (number, shot, size) = (self.below(3), snap(self.below(2).into()), (1 + self.below(3)) * MIB);
        let one = volume(number.into());
        match self.below(9) {
            0 | 1 => Act::Create(one, size),
            2 | 3 => Act::Clone(one, size, Source { volume: volume(((number + 1 + self.below(2)) % 3).into()), snapshot: shot }),
            4 => Act::Extend(one, size),
            5 | 6 => Act::Snapshot(one, shot),
            7 => Act::DeleteSnapshot(one, shot),
            _ => Act::Delete(one),
        }
    }
}

/// Three volumes and six snapshots, and hundreds of calls of any kind: each answer, look, list and content is as the port says.
pub(super) async fn any_order_of_calls_ends_in_the_truth(subject: &dyn Subject) {
    let mut bench = Bench::open(subject).await;
    let (mut dice, mut model, mut past) = (Dice(7), Model::default(), Vec::new());
    for round in 0..300 {
        let act = dice.act();
        let outcome = bench.perform(act).await;
        past.push(format!("{act:?} -> {outcome:?}"));
        let is_done = match (model.wanted(act), &outcome) {
            (Wanted::Done(seen) | Wanted::DoneOrRefused(seen), Outcome::Done(facts)) => *facts == Facts::Object(seen),
            (Wanted::Refused | Wanted::DoneOrRefused(_), Outcome::Refused(_)) => false,
            (wanted, _) => panic!("{wanted:?} was to be told, after:\n{}", past.join("\n")),
        };
        if is_done {
            model.apply(act);
        }
        let truth: BTreeMap<_, _> = model.objects.keys().map(|name| (*name, model.seen(*name))).collect();
        assert_eq!(bench.listed().await, truth, "after:\n{}", past.join("\n"));
        assert_eq!(bench.seen(act.object()).await, model.seen(act.object()), "after:\n{}", past.join("\n"));
        for (name, object) in model.objects.iter_mut().filter(|((_, snapshot), _)| snapshot.is_none()) {
            assert_eq!(bench.marked(name.0).await, object.mark, "{name:?} after:\n{}", past.join("\n"));
            object.mark = dice.below(u64::MAX);
            bench.mark(name.0, object.mark).await;
        }
        if round % 60 == 59 {
            bench = bench.again().await;
        }
    }
}

/// A size that was rounded is another than the record's, which the next look would call damage.
pub(super) async fn sizes_are_exact_or_refused(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(0), MIB), whole(MIB)).await;
    for (number, size) in (1..).zip([0, 1, 511, 512, 4095, 4097, MIB - 1, MIB + 1, 2 * MIB + 512]) {
        let act = Act::Create(volume(number), size);
        let wanted = match bench.perform(act).await {
            Outcome::Done(Facts::Object(seen)) => seen,
            Outcome::Refused(_) => Seen::Absent,
            other => panic!("{act:?}: {other:?}"),
        };
        assert!(wanted == whole(size) || wanted == Seen::Absent, "{act:?}: {wanted:?}");
        assert_eq!(bench.seen((volume(number), None)).await, wanted, "{act:?}");
        if wanted == whole(size) {
            bench.done(Act::Snapshot(volume(number), snap(number)), whole(size)).await;
            bench.done(Act::Extend(volume(number), size + MIB), whole(size + MIB)).await;
            let act = Act::Clone(volume(100 + number), size, Source { volume: volume(number), snapshot: snap(number) });
            bench.done(act, whole(size)).await;
        } else {
            bench.refused(Act::Extend(volume(0), 4 * MIB + size.max(1))).await;
        }
    }
}

/// Hostile sizes end in an answer: no overflow, no panic, nothing half.
pub(super) async fn a_size_beyond_all_bounds_is_refused(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(1), MIB), whole(MIB)).await;
    bench.done(Act::Snapshot(volume(1), snap(1)), whole(MIB)).await;
    let source = Source { volume: volume(1), snapshot: snap(1) };
    for size in [u64::MAX, u64::MAX - 511, 1 << 63] {
        bench.refused(Act::Create(volume(2), size)).await;
        bench.refused(Act::Clone(volume(2), size, source)).await;
        bench.refused(Act::Extend(volume(1), size)).await;
    }
    bench.refused(Act::Clone(volume(2), MIB / 2, source)).await;
    bench.refused(Act::Clone(volume(2), 0, source)).await;
    bench.refused(Act::Create(volume(1), 2 * MIB)).await;
    assert_eq!(bench.listed().await.len(), 2);
}

/// An answer is about the id that was asked for, and an id is its kind's.
pub(super) async fn ids_of_nobody_are_told_as_absent_and_refused(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (one, shot) = (volume(1), snap(1));
    bench.done(Act::Create(one, MIB), whole(MIB)).await;
    bench.done(Act::Snapshot(one, shot), whole(MIB)).await;
    for stranger in [volume(9), VolumeId(Uuid::nil()), VolumeId(Uuid::max()), VolumeId(shot.0)] {
        assert_eq!(bench.look(stranger).await, Look { volume: Seen::Absent, ..Look::default() }, "{stranger}");
        assert!(bench.driver.backing(stranger).await.is_err(), "{stranger}");
        bench.refused(Act::Extend(stranger, MIB)).await;
        bench.refused(Act::Snapshot(stranger, shot)).await;
        bench.refused(Act::Clone(stranger, MIB, Source { volume: stranger, snapshot: shot })).await;
        bench.refused(Act::Clone(stranger, MIB, Source { volume: one, snapshot: SnapshotId(one.0) })).await;
        bench.done(Act::DeleteSnapshot(stranger, shot), Seen::Absent).await;
        bench.done(Act::Delete(stranger), Seen::Absent).await;
    }
    bench.done(Act::DeleteSnapshot(one, snap(2)), Seen::Absent).await;
    bench.done(Act::Snapshot(one, SnapshotId(one.0)), whole(MIB)).await;
    bench.done(Act::Create(VolumeId(shot.0), 2 * MIB), whole(2 * MIB)).await;
    let look = Look { volume: whole(MIB), snapshots: [(shot, whole(MIB)), (SnapshotId(one.0), whole(MIB))].into(), stranger: None };
    assert_eq!(bench.look(one).await, look, "a snapshot may have the id of a volume, and the other way round");
    bench.refused(Act::Delete(one)).await;
    assert_eq!(bench.look(one).await, look, "a volume with snapshots stays with all of them");
}

/// How many lists are given up: more than a driver has places for.
const GIVEN_UP: usize = 200;
/// How long a list of a few objects may take to notice that nobody hears it: a thousand times what that takes.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

/// A look that is given up, as its deadline passed, leaves nothing that waits for it: there is another one half a minute later.
pub(super) async fn a_list_that_nobody_hears_ends(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    for number in 0..6 {
        bench.done(Act::Create(volume(number), MIB), whole(MIB)).await;
    }
    let truth = bench.listed().await;
    for heard in 0..3 {
        let (teller, mut batches) = mpsc::channel(1);
        let hear = async move {
            for _ in 0..heard {
                batches.recv().await;
            }
        };
        let both = async { tokio::join!(bench.driver.list(teller), hear) };
        // As whatever, but it ends.
        let _ = tokio::time::timeout(NOTICED_WITHIN, both).await.expect("a list that nobody hears ends");
    }
    let mut unheard = Vec::new();
    for _ in 0..GIVEN_UP {
        let (teller, batches) = mpsc::channel(1);
        let told = async {
            while batches.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = bench.driver.list(teller) => {}
            () = told => {}
        }
        unheard.push(batches);
    }
    assert_eq!(bench.listed().await, truth);
    bench.done(Act::Delete(volume(1)), Seen::Absent).await;
}

/// What a list forgets is missing, and what it makes up is an orphan.
pub(super) async fn a_list_is_complete(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let mut truth = BTreeMap::new();
    assert_eq!(bench.listed().await, truth);
    for number in 0..40 {
        bench.perform(Act::Create(volume(number), MIB + number as u64 % 3 * MIB)).await;
        truth.insert((volume(number), None), whole(MIB + number as u64 % 3 * MIB));
        if number % 4 == 0 {
            for shot in [number, number + 1] {
                bench.perform(Act::Snapshot(volume(number), snap(shot))).await;
                truth.insert((volume(number), Some(snap(shot))), whole(MIB + number as u64 % 3 * MIB));
            }
        }
    }
    assert_eq!(bench.listed().await, truth);
    for number in (1..40).step_by(4) {
        bench.done(Act::Delete(volume(number)), Seen::Absent).await;
        truth.remove(&(volume(number), None));
    }
    assert_eq!(bench.listed().await, truth);
}

/// A crash of the controller is nothing to the backend.
pub(super) async fn everything_is_there_when_opened_again(subject: &dyn Subject) {
    let mut bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(1), 2 * MIB), whole(2 * MIB)).await;
    bench.mark(volume(1), 77).await;
    bench.done(Act::Snapshot(volume(1), snap(1)), whole(2 * MIB)).await;
    bench.done(Act::Extend(volume(1), 3 * MIB), whole(3 * MIB)).await;
    let (listed, look) = (bench.listed().await, bench.look(volume(1)).await);
    for _ in 0..2 {
        bench = bench.again().await;
        assert_eq!((bench.listed().await, bench.look(volume(1)).await), (listed.clone(), look.clone()));
        assert_eq!(bench.marked(volume(1)).await, 77);
    }
    bench.done(Act::Clone(volume(2), 2 * MIB, Source { volume: volume(1), snapshot: snap(1) }), whole(2 * MIB)).await;
    assert_eq!(bench.marked(volume(2)).await, 77);
}

/// The questions that the engine asks now and then are answered, and asking changes nothing.
pub(super) async fn what_it_can_do_and_whether_it_works_is_told(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let can = bench.driver.capabilities().await.expect("it was probed");
    for _ in 0..3 {
        bench.driver.probe().await.expect("it works");
        let capacity = bench.driver.capacity().await.expect("it answers");
        assert!(capacity.free <= capacity.total && capacity.total.0 > 0, "{capacity:?}");
        assert_eq!(bench.driver.capabilities().await, Ok(can), "what it can do stays as it is");
    }
    assert!(!bench.driver.name().is_empty());
    assert_eq!(bench.listed().await, BTreeMap::new(), "a probe leaves nothing behind");
    assert_eq!(bench.again().await.listed().await, BTreeMap::new());
}

/// Each report renews the deadline of a call: one that goes back, or past the end, keeps a hung copy alive.
pub(super) async fn progress_only_grows(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(1), 12 * MIB), whole(12 * MIB)).await;
    for at in [0, 5, 11] {
        bench.write(volume(1), at * MIB, &[5; 4096]).await;
    }
    let source = Source { volume: volume(1), snapshot: snap(1) };
    for act in [Act::Snapshot(volume(1), snap(1)), Act::Clone(volume(2), 12 * MIB, source)] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let progress = Progress::new(move |percent| sink.lock().expect("nobody panics with it").push(percent));
        let outcome = act.with(&*bench.driver, Call { token: bench.token(), progress }).await;
        assert_eq!(outcome, Outcome::Done(Facts::Object(whole(12 * MIB))), "{act:?}");
        let told = told.lock().expect("nobody panics with it").clone();
        assert!(told.is_sorted() && told.iter().all(|percent| *percent <= 100), "{act:?}: {told:?}");
    }
}
