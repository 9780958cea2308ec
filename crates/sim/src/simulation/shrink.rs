//! Makes a failing plan smaller: fewer kinds of fault, fewer steps, the same promise broken.
//!
//! Every fault kind that is left out and every step less makes another story; what is kept fails still, so that what it needs is
//! what is left.

use super::{Fault, Plan, Ran, Violation, run};

/// How many stories are tried at most: a minute or so.
const TRIES: usize = 400;

/// The smallest plan found that breaks a promise, with how it ran.
#[must_use]
pub fn shrink(failing: &Plan) -> (Plan, Ran) {
    let mut best = (failing.clone(), run(failing));
    let kind = best.1.violation.as_ref().map(Violation::kind);
    let mut tries = TRIES;
    let mut attempt = |best: &mut (Plan, Ran), plan: Plan| {
        if tries == 0 {
            return false;
        }
        tries -= 1;
        let ran = run(&plan);
        let fails = ran.violation.is_some() && ran.violation.as_ref().map(Violation::kind) == kind;
        if fails {
            *best = (plan, ran);
        }
        fails
    };
    cut(&mut best, &mut attempt);
    for fault in Fault::ALL {
        let mut plan = best.0.clone();
        plan.without.insert(*fault);
        attempt(&mut best, plan);
    }
    cut(&mut best, &mut attempt);
    best
}

/// Fewer steps: none beyond the one at which it failed, then as few as halving finds.
fn cut(best: &mut (Plan, Ran), attempt: &mut impl FnMut(&mut (Plan, Ran), Plan) -> bool) {
    if let Some(failed) = best.1.violation.as_ref().map(|violation| violation.step).filter(|step| *step < best.0.steps) {
        let plan = Plan { steps: failed, ..best.0.clone() };
        attempt(best, plan);
    }
    let mut less = best.0.steps / 2;
    while less > 0 {
        let plan = Plan { steps: best.0.steps.saturating_sub(less), ..best.0.clone() };
        if !attempt(best, plan) {
            less /= 2;
        }
    }
}
