//! Telling the log of something that clients can make happen as often as they like, without filling a disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is told at the most.
const EVERY: Duration = Duration::from_secs(1);

/// Says when it is time to tell of something again.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    since: u64,
}

impl Seldom {
    /// One that has told nothing yet.
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Told { at: None, since: 0 }))
    }

    /// It happened. If it is time to tell: how often it did since that was last told.
    pub(crate) fn due(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.since += 1;
        if told.at.is_some_and(|at| now.duration_since(at) < EVERY) {
            return None;
        }
        told.at = Some(now);
        Some(std::mem::take(&mut told.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_once_a_second_and_counted() {
        let seldom = Seldom::new();
        let start = Instant::now();
        assert_eq!(seldom.due(start), Some(1));
        assert_eq!(seldom.due(start + EVERY / 2), None);
        assert_eq!(seldom.due(start + EVERY / 2), None);
        assert_eq!(seldom.due(start + EVERY), Some(3));
    }
}
