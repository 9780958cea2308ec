//! Where a call or a commit is interrupted: at the nth step that it takes, be it by a crash, a hang or a newer call.
//!
//! Steps are counted rather than looked up by name, so that a suite needs no list of them: it interrupts at the first, the second
//! and so on until a call comes to its end.

use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a store or a driver tells its steps to, so that the suite can interrupt it there.
#[derive(Default)]
pub struct Cuts {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    plan: Plan,
    passed: usize,
    met: Option<String>,
}

/// What happens at which of the steps that follow, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Nothing.
    #[default]
    Pass,
    /// The call ends there, as if the process had.
    Crash(usize),
    /// The call hangs there until another plan is made.
    Hold(usize),
}

impl Cuts {
    /// To be called before and after each step that outlives a crash, on the thread that takes it. It may not
    /// return: then it unwinds, and the call is over.
    pub fn pass(&self, step: &str) {
        let mut state = self.lock();
        let at = state.passed;
        state.passed += 1;
        match state.plan {
            Plan::Crash(planned) if planned == at => {
                state.met = Some(step.to_owned());
                drop(state);
                // Without the panic's message: it is asked for.
                resume_unwind(Box::new("crashed as planned"));
            }
            Plan::Hold(planned) if planned == at => {
                state.met = Some(step.to_owned());
                while state.plan == Plan::Hold(planned) {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
            Plan::Pass | Plan::Crash(_) | Plan::Hold(_) => {}
        }
    }

    /// Counts steps from 0 again, and plans what happens at one of them, until what is returned is dropped.
    pub(crate) fn plan(&self, plan: Plan) -> Planned<'_> {
        *self.lock() = State { plan, ..State::default() };
        Planned(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was planned. Once it is dropped, also by a test that fails, nothing hangs any more.
pub(crate) struct Planned<'a>(&'a Cuts);

impl Planned<'_> {
    /// The step at which it happened, if it did.
    pub(crate) fn met(&self) -> Option<String> {
        self.0.lock().met.clone()
    }

    /// Waits until it happens, or the call is over without.
    pub(crate) async fn meet(&self, is_over: impl Fn() -> bool) {
        while self.met().is_none() && !is_over() {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Planned<'_> {
    fn drop(&mut self) {
        self.0.lock().plan = Plan::Pass;
        self.0.changed.notify_all();
    }
}
