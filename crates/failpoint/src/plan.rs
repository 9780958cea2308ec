//! What is armed: read from text, and done when a point is passed.

use super::{ARMED, HIT, PLAN, Point};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The environment variable that arms points: `NAME=ACTION@N`, several separated by `;`. ACTION is one of `kill`, `panic`, `eio`,
/// `enospc` and `sleep MS`; N is the pass at which it happens, counted from 1 (the default), and `N+` every one from there on.
pub const VARIABLE: &str = "BERTH_FAIL_POINTS";

/// Why nothing was armed.
#[derive(Debug, PartialEq, Eq)]
pub struct ArmError(String);

impl std::fmt::Display for ArmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ArmError {}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill,
    Panic,
    Fail(rustix::io::Errno),
    Sleep(Duration),
}

#[derive(Debug)]
struct Armed {
    name: &'static str,
    action: Action,
    at: u64,
    and_on: bool,
    passes: AtomicU64,
}

/// Everything that is armed.
#[derive(Debug)]
pub(super) struct Plan(Vec<Armed>);

/// Arms what [`VARIABLE`] says; `known` are the points that there are. To be called once, before any point is passed.
///
/// # Errors
/// It is not understood, or names a point that there is not: a test that arms nothing would prove nothing.
pub fn arm(known: &[Point]) -> Result<(), ArmError> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(()) };
    let plan = Plan::read(&text, known)?;
    tracing::warn!(plan = text, "fail points are armed: this process is to fail, for a test");
    if PLAN.set(plan).is_ok() {
        ARMED.store(true, Ordering::Relaxed);
    }
    Ok(())
}

impl Plan {
    fn read(text: &str, known: &[Point]) -> Result<Self, ArmError> {
        let armed = text.split(';').filter(|part| !part.trim().is_empty()).map(|part| Armed::read(part.trim(), known));
        armed.collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn pass(&self, name: &str) -> io::Result<()> {
        self.0.iter().filter(|armed| armed.name == name && armed.is_due()).try_for_each(|armed| armed.act())
    }
}

impl Armed {
    fn read(part: &str, known: &[Point]) -> Result<Self, ArmError> {
        let not_understood = || ArmError(format!("{VARIABLE}: {part:?} is not understood; say NAME=ACTION@N"));
        let (name, rest) = part.split_once('=').ok_or_else(not_understood)?;
        let (action, at) = rest.split_once('@').unwrap_or((rest, "1"));
        let point = known.iter().find(|point| point.name() == name);
        let point = point.ok_or_else(|| ArmError(format!("{VARIABLE}: there is no fail point {name:?}; see berth fail-points")))?;
        let and_on = at.ends_with('+');
        let at = at.trim_end_matches('+').parse().ok().filter(|at| *at > 0).ok_or_else(not_understood)?;
        let action = Action::read(action).ok_or_else(not_understood)?;
        Ok(Self { name: point.name(), action, at, and_on, passes: AtomicU64::new(0) })
    }

    fn is_due(&self) -> bool {
        let pass = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
        pass == self.at || (self.and_on && pass > self.at)
    }

    fn act(&self) -> io::Result<()> {
        // One write, so that lines of several threads stay whole. Whoever cannot be told is told nothing.
        let _ = io::stderr().write_all(format!("{HIT}{}\n", self.name).as_bytes());
        match self.action {
            Action::Kill => {
                // It is not returned from: the kernel ends the process on the way back.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                Ok(())
            }
            Action::Panic => panic!("{HIT}{}", self.name),
            Action::Fail(errno) => Err(errno.into()),
            Action::Sleep(length) => {
                std::thread::sleep(length);
                Ok(())
            }
        }
    }
}

impl Action {
    fn read(text: &str) -> Option<Self> {
        Some(match text.trim() {
            "kill" => Self::Kill,
            "panic" => Self::Panic,
            "eio" => Self::Fail(rustix::io::Errno::IO),
            "enospc" => Self::Fail(rustix::io::Errno::NOSPC),
            other => Self::Sleep(Duration::from_millis(other.strip_prefix("sleep ")?.trim().parse().ok()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fails, Step};

    const WRITE: Step = crate::step!("file: write", Fails::IoOrFull);
    const KNOWN: [Point; 2] = [WRITE.before, WRITE.after];

    fn kinds(plan: &Plan, name: &str, passes: usize) -> Vec<Option<i32>> {
        (0..passes).map(|_| plan.pass(name).err().and_then(|error| error.raw_os_error())).collect()
    }

    #[test]
    fn an_error_comes_at_its_pass_alone_or_from_there_on() {
        let plan = Plan::read("before file: write=eio@2;after file: write=enospc@2+", &KNOWN).unwrap();
        assert_eq!(kinds(&plan, "before file: write", 4), [None, Some(5), None, None]);
        assert_eq!(kinds(&plan, "after file: write", 4), [None, Some(28), Some(28), Some(28)]);
        assert_eq!(kinds(&plan, "something else", 1), [None]);
    }

    #[test]
    fn what_is_not_understood_arms_nothing() {
        for text in [
            "before file: write",
            "before file: write=burn",
            "before file: write=eio@0",
            "no such=kill",
            "before file: write=sleep x",
        ] {
            assert!(Plan::read(text, &KNOWN).is_err(), "{text}");
        }
        assert_eq!(Plan::read("", &KNOWN).unwrap().0.len(), 0);
    }

    #[test]
    fn a_panic_tells_where() {
        let plan = Plan::read("after file: write=panic", &KNOWN).unwrap();
        let panicked = std::panic::catch_unwind(|| plan.pass("after file: write")).unwrap_err();
        assert!(panicked.downcast_ref::<String>().unwrap().contains("after file: write"));
    }

    #[test]
    fn a_point_that_is_not_armed_lets_pass() {
        assert!(WRITE.take(|| io::Result::Ok(7)).is_ok_and(|taken| taken == 7));
        assert_eq!(WRITE.after.actions().last(), Some(&"eio"));
    }
}
