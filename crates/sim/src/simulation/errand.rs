//! One changing call to a driver or an exporter: how it fails, how long it takes, and what becomes of it when its caller is gone.
//!
//! What it does when it acts is the truth's business; here is when it acts, whether it is heard, and what is answered. A call that
//! was abandoned, or whose controller died, may act later still: only its token stops it.

use super::faults::{Fault, Place};
use super::truth::{Deed, Extent, Truth};
use super::world::{Flight, State, World};
use engine::ports::Progress;
use lifecycle::{AttachmentId, Bytes, Content, ExportSeen, Facts, Outcome, Seen, Token, VolumeId};
use std::sync::Arc;
use std::time::Duration;

/// What somebody is sent for.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) place: Place,
    pub(crate) pool: usize,
    pub(crate) volume: VolumeId,
    pub(crate) attachment: Option<AttachmentId>,
    pub(crate) token: Token,
    pub(crate) deed: Deed,
}

impl Errand {
    /// Whether its token lets it act; it counts as seen with this.
    pub(crate) fn admitted(&self, truth: &mut Truth) -> bool {
        match self.attachment {
            Some(id) => truth.admits_export(id, self.token),
            None => truth.admits(self.volume, self.token),
        }
    }

    /// Whether it could act still.
    pub(crate) fn could(&self, truth: &Truth) -> bool {
        match self.attachment {
            Some(id) => truth.flaws.exporter_ignores_tokens || truth.tokens.is_newest(id, self.token),
            None => truth.could(self.volume, self.token),
        }
    }

    pub(crate) const fn word(&self) -> &'static str {
        match &self.deed {
            Deed::Create { .. } => "create",
            Deed::Delete => "delete",
            Deed::Extend { .. } => "extend",
            Deed::Snapshot(_) => "snapshot",
            Deed::DeleteSnapshot(_) => "delete-snapshot",
            Deed::Export(_) => "export",
            Deed::Unexport { .. } => "unexport",
        }
    }
}

/// How one call goes.
struct Course {
    fault: Option<Fault>,
    before: Duration,
    /// The pause between the two halves of something that takes a while.
    between: Option<Duration>,
    after: Duration,
}

/// A call under way: it lands when its caller is answered or gone.
struct Aloft {
    world: Arc<World>,
    id: u64,
}

impl Drop for Aloft {
    fn drop(&mut self) {
        self.world.land(self.id);
    }
}

/// Runs an errand as chance will have it.
pub(crate) async fn run(world: &Arc<World>, errand: Errand, progress: &Progress) -> Outcome {
    world.arrive().await;
    let pool = errand.attachment.is_none().then_some(errand.pool);
    let (aloft, course) = {
        let mut state = world.lock();
        let course = course(&mut state, &errand);
        let id = take_off(&mut state, errand, course.fault);
        (Aloft { world: world.clone(), id }, course)
    };
    if let Some(pool) = pool
        && !world.reach(pool).await
    {
        world.lock().abort(aloft.id);
        return Outcome::Failed("the backend cannot be reached".into());
    }
    pass(course.before, progress).await;
    let outcome = match course.fault {
        Some(fault) => faulty(&aloft, fault, &course, progress).await,
        None => act(&aloft, &course, progress).await,
    };
    pass(course.after, progress).await;
    world.leave().await;
    drop(aloft);
    outcome
}

fn course(state: &mut State, errand: &Errand) -> Course {
    let fault = state.strike(errand.place).filter(|fault| match fault {
        Fault::MakesOtherSize => matches!(errand.deed, Deed::Create { .. }),
        _ => true,
    });
    let copies = matches!(errand.deed, Deed::Snapshot(_) | Deed::Create { source: Some(_), .. });
    let dice = &mut state.dice;
    let mut pause = || match dice.below(10) {
        0..6 => 0,
        6..9 => dice.between(1, 30),
        _ => dice.between(30, 2000),
    };
    let (before, after) = (pause(), pause());
    let between = if copies { pause() } else { 0 };
    let slow = if fault == Some(Fault::Slow) { state.dice.between(5, 300) * 1000 } else { 0 };
    let milliseconds = Duration::from_millis;
    let between = (between > 0).then(|| milliseconds(between + slow));
    Course { fault, before: milliseconds(before + if between.is_none() { slow } else { 0 }), between, after: milliseconds(after) }
}

fn take_off(state: &mut State, mut errand: Errand, fault: Option<Fault>) -> u64 {
    // Later than any deadline, or so soon that it races with what follows.
    let some_time = |state: &mut State| match state.dice.below(3) {
        0 => state.dice.between(0, 50),
        1 => state.dice.between(50, 20_000),
        _ => state.dice.between(20_000, 600_000),
    };
    let late = match fault {
        Some(Fault::ActsLate | Fault::ActsTwice) => Some(some_time(state)),
        Some(Fault::LosesRequest | Fault::Refuses | Fault::Fails) => None,
        // Whatever was under way when its caller went may arrive, or not.
        Some(_) | None => (!state.weather.is_calm && state.dice.chance(500)).then(|| some_time(state)),
    };
    let is_over = matches!(fault, Some(Fault::LosesRequest | Fault::Refuses | Fault::Fails));
    if fault == Some(Fault::MakesOtherSize)
        && let Deed::Create { size, .. } = &mut errand.deed
    {
        size.0 += Bytes::GIB;
    }
    state.take_off(Flight { errand, is_over, is_begun: false, is_repeat: fault == Some(Fault::ActsTwice), late, due: None })
}

/// Waits, telling now and then that it is getting on.
async fn pass(length: Duration, progress: &Progress) {
    const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
    let mut left = length;
    while left > SIGN_OF_LIFE {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        left -= SIGN_OF_LIFE;
        progress.report(u8::try_from(100 - left.as_secs().min(100)).unwrap_or(0));
    }
    if !left.is_zero() {
        tokio::time::sleep(left).await;
    }
}

async fn act(aloft: &Aloft, course: &Course, progress: &Progress) -> Outcome {
    if let Some(between) = course.between {
        match aloft.world.lock().act(aloft.id, Extent::Half) {
            Some(Ok(_)) => {}
            other => return answer(other),
        }
        pass(between, progress).await;
    }
    answer(aloft.world.lock().act(aloft.id, Extent::Full))
}

fn answer(acted: Option<Result<Facts, String>>) -> Outcome {
    match acted {
        Some(Ok(facts)) => Outcome::Done(facts),
        Some(Err(message)) => Outcome::Refused(message),
        None => Outcome::Refused("superseded by a newer call".into()),
    }
}

async fn faulty(aloft: &Aloft, fault: Fault, course: &Course, progress: &Progress) -> Outcome {
    let act_to = |extent| drop(aloft.world.lock().act(aloft.id, extent));
    let lost = || Outcome::Unknown("the answer was lost".into());
    match fault {
        Fault::Refuses => Outcome::Refused("it will not".into()),
        Fault::Fails => Outcome::Failed("not now".into()),
        Fault::FailsAfterActing => {
            act_to(Extent::Full);
            Outcome::Failed("something went wrong at the end".into())
        }
        Fault::LosesRequest | Fault::ActsLate => lost(),
        Fault::LosesAnswer => {
            act_to(Extent::Full);
            lost()
        }
        Fault::ActsHalf => {
            act_to(Extent::Half);
            lost()
        }
        Fault::HangsBefore => std::future::pending().await,
        Fault::HangsHalfWay => {
            act_to(Extent::Half);
            std::future::pending().await
        }
        Fault::HangsAfter => {
            act_to(Extent::Full);
            std::future::pending().await
        }
        Fault::TellsOddFacts => {
            act_to(Extent::Full);
            odd(&aloft.world)
        }
        Fault::Panics => {
            act_to(Extent::Half);
            // Without the hook that prints: it is expected.
            std::panic::resume_unwind(Box::new("a driver that panics"))
        }
        _ => act(aloft, course, progress).await,
    }
}

/// "Done" with facts that settle nothing.
fn odd(world: &World) -> Outcome {
    let facts = match world.lock().dice.below(4) {
        0 => Facts::Object(Seen::Unknown),
        1 => Facts::Object(Seen::Present { size: Bytes::ZERO, content: Content::Unknown }),
        2 => Facts::Export(ExportSeen::Unknown),
        _ => Facts::Look(lifecycle::Look::default()),
    };
    Outcome::Done(facts)
}
