//! Calls at the same time: of different volumes, the same one many times, and each with each.

use super::Subject;
use super::acts::{Act, MIB, is_partial, seen_in, snap, volume, whole};
use super::bench::Bench;
use super::model::{Model, Wanted};
use lifecycle::{Facts, Outcome, Source, Token};
use std::sync::Arc;
use tokio::task::JoinHandle;

fn start(bench: &Bench<'_>, act: Act, token: Token) -> JoinHandle<Outcome> {
    let driver = Arc::clone(&bench.driver);
    tokio::spawn(async move { act.perform(&*driver, token).await })
}

/// Volumes have nothing to do with one another.
pub(super) async fn calls_of_different_volumes_all_go_through(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let steps: [fn(u128) -> (Act, lifecycle::Seen); 4] = [
        |number| (Act::Create(volume(number), MIB), whole(MIB)),
        |number| (Act::Snapshot(volume(number), snap(number)), whole(MIB)),
        |number| (Act::Extend(volume(number), 2 * MIB), whole(2 * MIB)),
        |number| (Act::DeleteSnapshot(volume(number), snap(number)), lifecycle::Seen::Absent),
    ];
    for step in steps {
        let calls: Vec<_> = (0..20).map(|number| (step(number), start(&bench, step(number).0, bench.token()))).collect();
        for ((act, facts), call) in calls {
            assert_eq!(call.await.ok(), Some(Outcome::Done(Facts::Object(facts))), "{act:?}");
        }
    }
    assert_eq!(bench.listed().await.len(), 20);
}

/// A request that the network delivers twenty times makes one volume, with its content.
pub(super) async fn the_same_call_delivered_many_times_is_one_call(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    bench.done(Act::Create(volume(1), MIB), whole(MIB)).await;
    bench.mark(volume(1), 5).await;
    let source = Source { volume: volume(1), snapshot: snap(1) };
    for act in [Act::Snapshot(volume(1), snap(1)), Act::Clone(volume(2), 2 * MIB, source), Act::Create(volume(3), MIB)] {
        let token = bench.token();
        let calls: Vec<_> = (0..20).map(|_| start(&bench, act, token)).collect();
        for call in calls {
            let outcome = call.await.expect("it ends");
            assert!(matches!(outcome, Outcome::Done(_)), "{act:?}: {outcome:?}");
        }
    }
    assert_eq!(bench.marked(volume(2)).await, 5);
    assert_eq!(bench.listed().await.len(), 4);
}

/// What there is of a volume when two calls meet on it.
#[derive(Clone, Copy, Debug)]
enum There {
    Nothing,
    Volume,
    VolumeAndSnapshot,
}

/// Of an older and a newer call at once the newer one's answer holds, and the older one acted before it or not at all.
pub(super) async fn any_two_calls_at_once_end_in_the_truth(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let (origin, from) = (volume(1), snap(1));
    bench.done(Act::Create(origin, MIB), whole(MIB)).await;
    bench.done(Act::Snapshot(origin, from), whole(MIB)).await;
    let mut number = 10;
    for there in [There::Nothing, There::Volume, There::VolumeAndSnapshot] {
        for older in 0..6 {
            for newer in 0..6 {
                number += 1;
                let (one, shot) = (volume(number), snap(number));
                let acts = [
                    Act::Create(one, 2 * MIB),
                    Act::Clone(one, 2 * MIB, Source { volume: origin, snapshot: from }),
                    Act::Extend(one, 3 * MIB),
                    Act::Snapshot(one, shot),
                    Act::DeleteSnapshot(one, shot),
                    Act::Delete(one),
                ];
                let mut model = Model::default().after(Act::Create(origin, MIB)).after(Act::Snapshot(origin, from));
                let needed: &[Act] = match there {
                    There::Nothing => &[],
                    There::Volume => &acts[..1],
                    There::VolumeAndSnapshot => &[acts[0], acts[3]],
                };
                for act in needed {
                    bench.done(*act, whole(2 * MIB)).await;
                    model.apply(*act);
                }
                race(&bench, &model, acts[older], acts[newer]).await;
                bench.clear(&[(one, None), (one, Some(shot))]).await;
            }
        }
    }
}

async fn race(bench: &Bench<'_>, model: &Model, older: Act, newer: Act) {
    let (first, second) = (bench.token(), bench.token());
    let calls = (start(bench, older, first), start(bench, newer, second));
    let told = (calls.0.await.expect("it ends"), calls.1.await.expect("it ends"));
    let about = format!("{older:?} -> {:?} beside the newer {newer:?} -> {:?}", told.0, told.1);
    assert!(!matches!(told.0, Outcome::Unknown(_)) && !matches!(told.1, Outcome::Unknown(_)), "{about}");
    let (alone, after) = (model.clone(), model.clone().after(older));
    let is_right = |wanted| match (wanted, &told.1) {
        (Wanted::Done(seen) | Wanted::DoneOrRefused(seen), Outcome::Done(facts)) => *facts == Facts::Object(seen),
        (Wanted::Refused | Wanted::DoneOrRefused(_), Outcome::Refused(_)) => true,
        // It came upon the traces of the older one, and is to be asked again.
        (_, Outcome::Failed(_)) => true,
        _ => false,
    };
    assert!(is_right(alone.wanted(newer)) || is_right(after.wanted(newer)), "{about}");
    let look = bench.look(newer.object().0).await;
    let ends = [alone.after(newer), after.clone().after(newer), after];
    for name in [older.object(), newer.object()] {
        let seen = seen_in(&look, name.1);
        let is_left_over = is_partial(seen) && !matches!(told.0, Outcome::Done(_));
        assert!(is_left_over || ends.iter().any(|end| end.seen(name) == seen), "{about}: {name:?} is {seen:?}");
        assert_eq!(bench.listed().await.get(&name).copied().unwrap_or(lifecycle::Seen::Absent), seen, "{about}: listed");
    }
    if let Outcome::Done(Facts::Object(seen)) = told.1 {
        assert_eq!(seen_in(&look, newer.object().1), seen, "{about}: the newer one's answer holds");
    }
}
