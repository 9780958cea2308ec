//! Calls that are cut off at each of their steps: by a crash, or as nobody waits for them any more. What is told afterwards is true,
//! and the call can be repeated, or what it left be removed.

use super::Subject;
use super::acts::{Act, MIB, Name, is_partial, seen_in, snap, still_holds, volume, whole};
use super::bench::Bench;
use super::running::Running;
use crate::cuts::{Cuts, Plan};
use lifecycle::{Facts, Outcome, Seen, Source};
use std::collections::BTreeMap;
use std::sync::Mutex;

const SIZE: u64 = 6 * MIB;
/// A call of more steps than this never comes to its end.
const STEPS_MAX: usize = 200;

/// A call with what it needs, under ids of its own, so that one backend serves many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) act: Act,
    number: u128,
}

impl Scene {
    /// One scene for each call that changes something.
    fn all(number: u128) -> [Self; 6] {
        let (one, shot) = (volume(number), snap(number));
        let source = Source { volume: volume(number + 1), snapshot: shot };
        let acts = [
            Act::Create(one, SIZE),
            Act::Clone(one, 2 * SIZE, source),
            Act::Extend(one, 2 * SIZE),
            Act::Snapshot(one, shot),
            Act::DeleteSnapshot(one, shot),
            Act::Delete(one),
        ];
        acts.map(|act| Self { act, number })
    }

    /// Makes what has to be there before.
    pub(super) async fn prepare(self, bench: &Bench<'_>) {
        if let Act::Create(..) = self.act {
            return;
        }
        let origin = if let Act::Clone(..) = self.act { volume(self.number + 1) } else { volume(self.number) };
        bench.done(Act::Create(origin, SIZE), whole(SIZE)).await;
        for at in [0, 5 * MIB] {
            bench.write(origin, at, &self.number.to_le_bytes()).await;
        }
        if let Act::Clone(..) | Act::DeleteSnapshot(..) = self.act {
            bench.done(Act::Snapshot(origin, snap(self.number)), whole(SIZE)).await;
        }
    }

    /// What the call is about, before it.
    const fn before(self) -> Seen {
        match self.act {
            Act::Create(..) | Act::Clone(..) | Act::Snapshot(..) => Seen::Absent,
            Act::Extend(..) | Act::DeleteSnapshot(..) | Act::Delete(_) => whole(SIZE),
        }
    }

    /// And after it.
    pub(super) const fn after(self) -> Seen {
        match self.act {
            Act::Create(..) | Act::Snapshot(..) => whole(SIZE),
            Act::Clone(..) | Act::Extend(..) => whole(2 * SIZE),
            Act::DeleteSnapshot(..) | Act::Delete(_) => Seen::Absent,
        }
    }

    /// How far the call came, from what is seen: 0 not begun, 1 in part, 2 done. Anything else is a lie.
    fn stage(self, seen: Seen) -> Option<u8> {
        match seen {
            _ if seen == self.before() => Some(0),
            _ if seen == self.after() => Some(2),
            // A volume that clients may be using is never half grown.
            _ if is_partial(seen) && !matches!(self.act, Act::Extend(..)) => Some(1),
            _ => None,
        }
    }

    /// Everything that may be there.
    pub(super) fn names(self) -> Vec<Name> {
        let (one, other, shot) = (volume(self.number), volume(self.number + 1), Some(snap(self.number)));
        vec![(one, None), (one, shot), (other, None), (other, shot)]
    }

    /// Whatever is whole has the bytes that it should.
    pub(super) async fn check_content(self, bench: &Bench<'_>) {
        let mut whole_ones = Vec::new();
        for (one, shot) in self.names() {
            let seen = bench.seen((one, shot)).await;
            match shot {
                None if seen.whole().is_some() => whole_ones.push(one),
                Some(shot) if seen.whole().is_some() => {
                    let reader = volume(self.number + 2);
                    bench.done(Act::Clone(reader, SIZE, Source { volume: one, snapshot: shot }), whole(SIZE)).await;
                    self.check_bytes(bench, reader).await;
                    bench.done(Act::Delete(reader), Seen::Absent).await;
                }
                _ => {}
            }
        }
        for one in whole_ones {
            self.check_bytes(bench, one).await;
        }
    }

    async fn check_bytes(self, bench: &Bench<'_>, one: lifecycle::VolumeId) {
        let wanted = if let Act::Create(..) = self.act { 0 } else { self.number };
        for (at, wanted) in [(0, wanted), (5 * MIB, wanted), (MIB, 0)] {
            let bytes: [u8; 16] = bench.read(one, at, 16).await.try_into().expect("sixteen were asked for");
            assert_eq!(u128::from_le_bytes(bytes), wanted, "the content of {one} at {at}, {:?}", self.act);
        }
    }
}

/// Tries each call at its first step, its second and so on, until `attempt` tells that it had no such step.
pub(super) async fn each_step(attempt: impl AsyncFn(Scene, usize) -> bool) {
    let mut number = 16;
    for index in 0..Scene::all(0).len() {
        let mut at = 0;
        loop {
            let has_step = attempt(Scene::all(number)[index], at).await;
            number += 16;
            if !has_step {
                break;
            }
            at += 1;
            assert!(at < STEPS_MAX, "more than {STEPS_MAX} steps");
        }
        assert!(at > 0, "{:?} tells none of its steps", Scene::all(number)[index].act);
    }
}

/// A call that was cut off, and what is seen once the driver is open again.
struct Crashed<'a> {
    bench: Bench<'a>,
    /// The step that it was cut off at; nothing if it had no such step and was done.
    step: Option<String>,
    seen: Seen,
}

/// Makes the scene's call, cuts it off at its step, opens the driver again, and checks that what is told is the truth.
async fn crash<'a>(bench: Bench<'a>, cuts: &Cuts, scene: Scene, at: usize) -> Crashed<'a> {
    let object = scene.act.object();
    let before = bench.listed().await;
    let plan = cuts.plan(Plan::Crash(at));
    let outcome = Running::start(&bench.driver, scene.act, bench.token()).end().await;
    let step = plan.met();
    drop(plan);
    let about = format!("{:?}, cut off {step:?}, told {outcome:?}", scene.act);
    match (&step, &outcome) {
        (None, told) => assert_eq!(*told, Some(Outcome::Done(Facts::Object(scene.after()))), "{about}"),
        (Some(_), Some(Outcome::Done(_) | Outcome::Refused(_))) => panic!("it claims to know: {about}"),
        (Some(_), _) => {}
    }
    let bench = bench.again().await;
    let look = bench.driver.inspect(object.0, Some(bench.token())).await.expect("it answers");
    let seen = seen_in(&look, object.1);
    let mut listed = bench.listed().await;
    assert_eq!(listed.get(&object).copied().unwrap_or(Seen::Absent), seen, "a list tells what a look tells: {about}");
    match before.get(&object) {
        Some(before) => drop(listed.insert(object, *before)),
        None => drop(listed.remove(&object)),
    }
    assert_eq!(listed, before, "nothing else changed: {about}");
    assert!(scene.stage(seen).is_some(), "there is {seen:?}: {about}");
    scene.check_content(&bench).await;
    assert_eq!(bench.look(object.0).await, look, "what was told stays so: {about}");
    Crashed { bench, step, seen }
}

/// What is done once the call was cut off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    CutOffAgain,
    Repeat,
    Remove,
}

/// Cuts each call off at each step.
async fn cut_off(subject: &dyn Subject, then: Then) {
    let Some(cuts) = subject.cuts() else { return super::skipped("the driver tells none of its steps") };
    let furthest = Mutex::new(BTreeMap::new());
    each_step(async |scene: Scene, at| {
        let bench = Bench::open(subject).await;
        scene.prepare(&bench).await;
        let Crashed { bench, step, seen } = crash(bench, cuts, scene, at).await;
        // Steps are taken in order: what was done at one is not undone at the next.
        let stage = scene.stage(seen);
        let before = furthest.lock().expect("nobody panics with it").insert(kind(scene.act), stage);
        assert!(before.is_none_or(|before| before <= stage), "{:?}, cut off {step:?}, is back at {seen:?}", scene.act);
        let bench = match then {
            Then::CutOffAgain => crash(bench, cuts, scene, at).await.bench,
            Then::Repeat => {
                bench.done(scene.act, scene.after()).await;
                scene.check_content(&bench).await;
                bench
            }
            Then::Remove => {
                bench.done(scene.act.undone(), Seen::Absent).await;
                bench
            }
        };
        bench.clear(&scene.names()).await;
        step.is_some()
    })
    .await;
}

/// The call's name, for what is remembered by it.
const fn kind(act: Act) -> &'static str {
    match act {
        Act::Create(..) => "create",
        Act::Clone(..) => "clone",
        Act::Extend(..) => "extend",
        Act::Snapshot(..) => "snapshot",
        Act::DeleteSnapshot(..) => "delete snapshot",
        Act::Delete(_) => "delete",
    }
}

/// Absent, partial or whole: whichever is told after a crash, it is so. Also after a crash of the call that was to finish it.
pub(super) async fn a_call_cut_off_at_any_step_leaves_the_truth(subject: &dyn Subject) {
    cut_off(subject, Then::CutOffAgain).await;
}

/// The record owes the same work after a crash, so the same call comes again.
pub(super) async fn a_call_cut_off_at_any_step_can_be_repeated(subject: &dyn Subject) {
    cut_off(subject, Then::Repeat).await;
}

/// Or the user changes their mind: nothing of it stays behind.
pub(super) async fn what_a_cut_off_call_left_can_be_removed(subject: &dyn Subject) {
    cut_off(subject, Then::Remove).await;
}

/// A call's future may be dropped at any await. What it was doing may go on, but not past a newer look.
pub(super) async fn a_call_that_nobody_waits_for_leaves_the_truth(subject: &dyn Subject) {
    let Some(cuts) = subject.cuts() else { return super::skipped("the driver tells none of its steps") };
    each_step(async |scene: Scene, at| {
        let bench = Bench::open(subject).await;
        scene.prepare(&bench).await;
        let plan = cuts.plan(Plan::Hold(at));
        let call = Running::start(&bench.driver, scene.act, bench.token());
        plan.meet(|| call.is_over()).await;
        let step = plan.met();
        let call = call.forget();
        drop(plan);
        let _ = call.await;
        let look = bench.driver.inspect(scene.act.object().0, Some(bench.token())).await.expect("it answers");
        let seen = seen_in(&look, scene.act.object().1);
        assert!(scene.stage(seen).is_some(), "{:?}, dropped {step:?}, is told as {seen:?}", scene.act);
        scene.check_content(&bench).await;
        let now = bench.look(scene.act.object().0).await;
        assert!(still_holds(&look, &now), "{:?}, dropped {step:?}, was told as {look:?} and now there is {now:?}", scene.act);
        bench.done(scene.act, scene.after()).await;
        scene.check_content(&bench).await;
        bench.clear(&scene.names()).await;
        step.is_some()
    })
    .await;
}

/// One backend call that hangs must not make every other volume's status stick.
pub(super) async fn a_call_that_hangs_keeps_no_other_volume_waiting(subject: &dyn Subject) {
    let Some(cuts) = subject.cuts() else { return super::skipped("the driver tells none of its steps") };
    each_step(async |scene: Scene, at| {
        let bench = Bench::open(subject).await;
        scene.prepare(&bench).await;
        let plan = cuts.plan(Plan::Hold(at));
        let call = Running::start(&bench.driver, scene.act, bench.token());
        plan.meet(|| call.is_over()).await;
        if plan.met().is_none() {
            return false;
        }
        let other = volume(scene.number + 3);
        bench.done(Act::Create(other, MIB), whole(MIB)).await;
        bench.done(Act::Delete(other), Seen::Absent).await;
        bench.listed().await;
        drop(plan);
        assert_eq!(call.end().await, Some(Outcome::Done(Facts::Object(scene.after()))), "{:?}", scene.act);
        bench.clear(&scene.names()).await;
        true
    })
    .await;
}
