//! Tokens. A call from before a crash that acts after it makes a deleted volume reappear, or shows a client two sizes.

use super::Subject;
use super::acts::{Act, MIB, seen_in, snap, still_holds, volume, whole};
use super::bench::Bench;
use super::interrupted::{Scene, each_step};
use super::running::Running;
use crate::cuts::Plan;
use lifecycle::{Facts, Outcome, Seen, Source, Token};
use std::sync::Arc;
use std::time::Duration;

const fn token(incarnation: u64, counter: u64) -> Token {
    Token { incarnation, counter }
}

/// Every call that changes something, on a volume that is there with a snapshot.
fn every_act() -> [Act; 6] {
    let source = Source { volume: volume(1), snapshot: snap(1) };
    [
        Act::Create(volume(1), MIB),
        Act::Clone(volume(1), MIB, source),
        Act::Extend(volume(1), 9 * MIB),
        Act::Snapshot(volume(1), snap(2)),
        Act::DeleteSnapshot(volume(1), snap(1)),
        Act::Delete(volume(1)),
    ]
}

async fn assert_all_refused(bench: &Bench<'_>, older: Token) {
    let (look, listed) = (bench.look(volume(1)).await, bench.listed().await);
    for act in every_act() {
        let outcome = act.perform(&*bench.driver, older).await;
        assert!(matches!(outcome, Outcome::Refused(_)), "{act:?} with {older:?}: {outcome:?}");
    }
    assert_eq!((bench.look(volume(1)).await, bench.listed().await), (look, listed), "with {older:?}");
}

/// Also one that would change nothing: who is late has to learn it.
pub(super) async fn an_older_call_after_a_newer_one_does_nothing(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let facts = Outcome::Done(Facts::Object(whole(MIB)));
    assert_eq!(Act::Create(volume(1), MIB).perform(&*bench.driver, token(2, 5)).await, facts);
    assert_eq!(Act::Snapshot(volume(1), snap(1)).perform(&*bench.driver, token(2, 6)).await, facts);
    for older in [token(2, 5), token(1, 99), token(0, 0)] {
        assert_all_refused(&bench, older).await;
    }
    let other = Act::Create(volume(2), MIB).perform(&*bench.driver, token(2, 1)).await;
    assert_eq!(other, facts, "each volume has its own order");
    // Refused itself, it still ends those before it.
    let refused = Act::Create(volume(1), 7 * MIB).perform(&*bench.driver, token(2, 9)).await;
    assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    assert_all_refused(&bench, token(2, 8)).await;
    assert_eq!(Act::Extend(volume(1), MIB).perform(&*bench.driver, token(2, 9)).await, facts, "an equal one is a repeat");
}

/// A start's first call is newer than the last one of the start before.
pub(super) async fn a_newer_start_counts_anew(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let done = |seen| Outcome::Done(Facts::Object(seen));
    assert_eq!(Act::Create(volume(1), MIB).perform(&*bench.driver, token(1, u64::MAX)).await, done(whole(MIB)));
    assert_eq!(Act::Extend(volume(1), 2 * MIB).perform(&*bench.driver, token(2, 1)).await, done(whole(2 * MIB)));
    assert_all_refused(&bench, token(1, u64::MAX)).await;
    assert_eq!(Act::Delete(volume(1)).perform(&*bench.driver, token(u64::MAX, 0)).await, done(Seen::Absent));
}

/// "Absent" is believed for good only if nothing can make it untrue any more.
pub(super) async fn a_fenced_look_ends_older_calls_for_good(subject: &dyn Subject) {
    let bench = Bench::open(subject).await;
    let look = bench.driver.inspect(volume(1), Some(token(1, 7))).await.expect("it answers");
    assert_eq!(look.volume, Seen::Absent);
    assert_all_refused(&bench, token(1, 6)).await;
    bench.look(volume(1)).await;
    let made = Act::Create(volume(1), MIB).perform(&*bench.driver, token(1, 7)).await;
    assert_eq!(made, Outcome::Done(Facts::Object(whole(MIB))), "the same token is no older one, and a look without ends nothing");
    bench.driver.inspect(volume(1), Some(token(1, 9))).await.expect("it answers");
    assert_all_refused(&bench, token(1, 8)).await;
}

/// How long a newer look may take to overtake a call that hangs. A driver that lets it wait until the call is over may: what counts
/// is that the look is true when it is told, and stays so.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(10);

/// At each step of each call a newer look arrives: what it tells is still so when the older call has come to its end.
pub(super) async fn a_call_overtaken_at_any_step_stops(subject: &dyn Subject) {
    let Some(cuts) = subject.cuts() else { return super::skipped("the driver tells none of its steps") };
    each_step(async |scene: Scene, at| {
        let bench = Bench::open(subject).await;
        scene.prepare(&bench).await;
        let plan = cuts.plan(Plan::Hold(at));
        let older = bench.token();
        let call = Running::start(&bench.driver, scene.act, older);
        plan.meet(|| call.is_over()).await;
        let (fence, driver) = (bench.token(), Arc::clone(&bench.driver));
        let mut look = tokio::spawn(async move { driver.inspect(scene.act.object().0, Some(fence)).await });
        let early = tokio::time::timeout(OVERTAKEN_WITHIN, &mut look).await.ok();
        let step = plan.met();
        drop(plan);
        let outcome = call.end().await.expect("it ends");
        let look = match early {
            Some(look) => look,
            None => look.await,
        };
        let look = look.expect("it ends").expect("it answers");
        let now = bench.look(scene.act.object().0).await;
        let told = format!("{:?}, overtaken {step:?}, told {outcome:?} after {look:?}, and now there is {now:?}", scene.act);
        assert!(still_holds(&look, &now), "{told}");
        let again = Act::perform(scene.act, &*bench.driver, older).await;
        assert!(matches!(again, Outcome::Refused(_)), "{:?} is older than the look: {again:?}", scene.act);
        if let Outcome::Done(Facts::Object(seen)) = outcome {
            assert_eq!(seen_in(&now, scene.act.object().1), seen, "{:?}, overtaken {step:?}, said it was done", scene.act);
        }
        bench.done(scene.act, scene.after()).await;
        scene.check_content(&bench).await;
        bench.clear(&scene.names()).await;
        step.is_some()
    })
    .await;
}
