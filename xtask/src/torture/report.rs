//! The figures, and what was found.

use std::fmt;
use std::ops::AddAssign;

/// What was done, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) rounds: u64,
    pub(super) operations: u64,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    pub(super) reads: u64,
    pub(super) kills: u64,
    pub(super) faults: u64,
    pub(super) hits: u64,
    pub(super) points: u64,
    pub(super) steps: u64,
    pub(super) flushes: u64,
    pub(super) reconnects: u64,
    pub(super) violations: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        let pairs = [
            (&mut self.rounds, other.rounds),
            (&mut self.operations, other.operations),
            (&mut self.accepted, other.accepted),
            (&mut self.refused, other.refused),
            (&mut self.unknown, other.unknown),
            (&mut self.reads, other.reads),
            (&mut self.kills, other.kills),
            (&mut self.faults, other.faults),
            (&mut self.hits, other.hits),
            (&mut self.points, other.points),
            (&mut self.steps, other.steps),
            (&mut self.flushes, other.flushes),
            (&mut self.reconnects, other.reconnects),
            (&mut self.violations, other.violations),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum += more);
    }
}

impl Totals {
    /// Adds what was answered.
    pub(super) fn count(&mut self, asked: &[super::history::Asked]) {
        use super::history::Answer;
        self.operations += asked.len() as u64;
        for one in asked {
            match &one.answer {
                Answer::Accepted { .. } | Answer::Repeated => self.accepted += 1,
                Answer::Refused { .. } => self.refused += 1,
                Answer::Shown { .. } => self.reads += 1,
                Answer::Unknown => self.unknown += 1,
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, operations, accepted, refused, unknown, reads, .. } = self;
        let Self { kills, faults, hits, points, steps, flushes, reconnects, violations, .. } = self;
        write!(
            f,
            "{operations} operations ({accepted} accepted, {refused} refused, {reads} reads, {unknown} whose answer was lost), \
             {steps} journal steps, {rounds} rounds, {kills} kills, {faults} other faults, {points} fail-point scenarios, \
             {hits} fail points hit, {flushes} NBD flushes, {reconnects} NBD connections made again, violations = {violations}"
        )
    }
}
