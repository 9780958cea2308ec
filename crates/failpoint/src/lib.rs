//! Named points at which a process can be made to die, fail or dawdle, armed by an environment variable.
//!
//! This ships, so that what is tortured is what ships: a binary built otherwise for tests would prove nothing about the one that
//! people run, and a kill from outside never falls between two lines that are a microsecond apart. Whoever can set a process's
//! environment can kill it anyhow, so nothing is given away.
//!
//! - a point that is not armed costs one relaxed load of an atomic;
//! - a point is a constant of the crate that passes it, listed in that crate's `FAIL_POINTS`: `berth fail-points` prints them all,
//!   and the torture takes its list from there, so that a new point cannot be forgotten;
//! - a hit is told on standard error before anything happens, in one write: [`HIT`] and the name;
//! - a process passes a point for the n-th time once, whichever thread it is.
//!
//! Not here: which points there are, and what an injected error means where it appears.

#![forbid(unsafe_code)]

mod clock;
mod plan;

pub use clock::{CLOCK_VARIABLE, clock_step};
pub use plan::{ArmError, VARIABLE, arm};

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a line on standard error begins with that tells of a hit; the point's name follows.
pub const HIT: &str = "fail point hit: ";

/// Which errors a point can return where it is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// None: there is nobody there whom an error could be told.
    Never,
    /// EIO.
    Io,
    /// EIO, and ENOSPC where nothing has happened yet.
    IoOrFull,
}

/// A point.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    name: &'static str,
    fails: Fails,
}

/// A step of some work: the points before and after it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Before it is taken.
    pub before: Point,
    /// After it was taken.
    pub after: Point,
}

/// Names a step; a macro because only `concat!` joins text at compile time.
#[macro_export]
macro_rules! step {
    ($name:literal, $fails:expr) => {
        $crate::Step::named(concat!("before ", $name), concat!("after ", $name), $fails)
    };
}

/// Whether anything is armed at all.
static ARMED: AtomicBool = AtomicBool::new(false);
/// What is armed.
static PLAN: OnceLock<plan::Plan> = OnceLock::new();

impl Step {
    /// See [`step!`]. After a step it is too late for "no room", which tells that nothing happened.
    #[must_use]
    pub const fn named(before: &'static str, after: &'static str, fails: Fails) -> Self {
        let late = match fails {
            Fails::Never => Fails::Never,
            Fails::Io | Fails::IoOrFull => Fails::Io,
        };
        Self { before: Point { name: before, fails }, after: Point { name: after, fails: late } }
    }

    /// Takes the step, passing the points before it and, if it succeeded, after it.
    ///
    /// # Errors
    /// Those of the step, and those injected.
    pub fn take<T, E: From<io::Error>>(self, take: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.before.try_pass()?;
        let taken = take()?;
        self.after.try_pass()?;
        Ok(taken)
    }
}

impl Point {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The actions that make sense here, as [`VARIABLE`] spells them.
    #[must_use]
    pub const fn actions(self) -> &'static [&'static str] {
        match self.fails {
            Fails::Never => &["kill", "panic", "sleep"],
            Fails::Io => &["kill", "panic", "sleep", "eio"],
            Fails::IoOrFull => &["kill", "panic", "sleep", "eio", "enospc"],
        }
    }

    /// Passes the point where no error can be told: one that is armed is told on standard error and otherwise ignored.
    pub fn pass(self) {
        let _ = self.try_pass();
    }

    /// Passes the point.
    ///
    /// # Errors
    /// The error that is armed, if one is.
    pub fn try_pass(self) -> io::Result<()> {
        if ARMED.load(Ordering::Relaxed) { self.passed() } else { Ok(()) }
    }

    #[cold]
    fn passed(self) -> io::Result<()> {
        PLAN.get().map_or(Ok(()), |plan| plan.pass(self.name))
    }
}
