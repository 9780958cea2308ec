//! Whether a pool's backend answers: a small machine, fed with what was observed, that also tells when to probe next.
//!
//! - Only probes decide that a backend is down: they fail or hang for [`Pace::down_after`] without one answer in between. A call that
//!   fails, be it many times, says something of its volume; it brings the next probe forward and no more.
//! - Only an answered probe decides that it is up again: a call may find its work done already and never touch the backend.
//! - What a message says is shown and never read.
//! - `since` is when the first probe began that got no answer: from then on nothing is known.
//!
//! Pure: times come in as values. Not here: asking the backend, and what follows from the answer (`probes`).

use lifecycle::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Whether a pool's backend answers, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// It has not answered since the start, and not been silent for long.
    #[default]
    Unknown,
    /// It answers.
    Up {
        /// Since when.
        since: Timestamp,
    },
    /// It does not answer.
    Down {
        /// Since when it has not.
        since: Timestamp,
        /// What the last probe met, in words.
        because: String,
    },
}

impl Reach {
    /// Whether it is known not to answer.
    #[must_use]
    pub const fn is_down(&self) -> bool {
        matches!(self, Self::Down { .. })
    }
}

/// How a backend is probed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long a backend may go without an answer before it counts as down.
    pub(crate) down_after: Duration,
    /// How often one is probed that answers, or has long been down.
    pub(crate) interval: Duration,
}

/// How many parts `down_after` is divided into: so many failing probes at the least make a backend down.
const PARTS: u32 = 10;

impl Pace {
    /// How long one probe is waited for at a time: a backend that hangs counts as down at the second.
    pub(crate) fn patience(&self) -> Duration {
        self.down_after / 2
    }

    /// The shortest pause between two probes.
    fn soon(&self) -> Duration {
        (self.down_after / PARTS).min(self.interval)
    }
}

/// What is known of one backend, and when it is to be probed.
#[derive(Debug)]
pub(crate) struct Machine {
    reach: Reach,
    /// When the first of the probes in a row began that got no answer.
    silent: Option<(Instant, Timestamp)>,
    /// How many probes got no answer since it is down.
    unanswered: u32,
    probed: Option<Instant>,
    due: Instant,
}

/// A probe as it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) at: Instant,
    pub(crate) wall: Timestamp,
}

impl Machine {
    /// Nothing is known, and it is to be probed at once.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { reach: Reach::Unknown, silent: None, unanswered: 0, probed: None, due: now }
    }

    pub(crate) const fn reach(&self) -> &Reach {
        &self.reach
    }

    /// When the next probe is due.
    pub(crate) const fn due(&self) -> Instant {
        self.due
    }

    /// A call changed something on the backend: while it is not down, that is as good as a probe.
    pub(crate) fn worked(&mut self, now: Instant, pace: Pace) {
        match self.reach {
            Reach::Up { .. } if self.silent.is_none() => self.due = now + pace.interval,
            Reach::Up { .. } | Reach::Unknown | Reach::Down { .. } => self.hasten(now, pace),
        }
    }

    /// A call got no answer, or one that is no refusal.
    pub(crate) fn stumbled(&mut self, now: Instant, pace: Pace) {
        self.hasten(now, pace);
    }

    /// A probe was answered. True if this is news: it did not answer before.
    pub(crate) fn answered(&mut self, begun: Begun, now: Instant, pace: Pace) -> bool {
        let news = !matches!(self.reach, Reach::Up { .. });
        if news {
            self.reach = Reach::Up { since: begun.wall };
        }
        (self.silent, self.unanswered, self.probed) = (None, 0, Some(now));
        self.due = now + pace.interval;
        news
    }

    /// A probe got no answer, or none yet. True if this is news: the backend counts as down from now on.
    pub(crate) fn unanswered(&mut self, begun: Begun, now: Instant, because: String, pace: Pace) -> bool {
        let (first, since) = *self.silent.get_or_insert((begun.at, begun.wall));
        self.probed = Some(now);
        let news = !self.reach.is_down();
        if news && now.saturating_duration_since(first) < pace.down_after {
            self.due = now + pace.soon();
            return false;
        }
        self.reach = Reach::Down { since, because };
        self.due = now + pace.soon().saturating_mul(1 << self.unanswered.min(16)).min(pace.interval);
        self.unanswered = self.unanswered.saturating_add(1);
        news
    }

    /// Brings the next probe forward, but never so that a volume that always fails has its backend probed all the time.
    fn hasten(&mut self, now: Instant, pace: Pace) {
        let earliest = self.probed.map_or(now, |probed| (probed + pace.soon()).max(now));
        self.due = self.due.min(earliest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { down_after: Duration::from_secs(10), interval: Duration::from_secs(60) };

    struct Story {
        machine: Machine,
        start: Instant,
    }

    impl Story {
        fn new() -> Self {
            let start = Instant::now();
            Self { machine: Machine::new(start), start }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn begun(&self, seconds: u64) -> Begun {
            Begun { at: self.at(seconds), wall: Timestamp(i64::try_from(seconds).unwrap() * 1000) }
        }

        fn answered(&mut self, began: u64, now: u64) -> bool {
            self.machine.answered(self.begun(began), self.at(now), PACE)
        }

        fn unanswered(&mut self, began: u64, now: u64) -> bool {
            self.machine.unanswered(self.begun(began), self.at(now), format!("{now}"), PACE)
        }

        /// In seconds after the start.
        fn due(&self) -> u64 {
            self.machine.due().saturating_duration_since(self.start).as_secs()
        }

        fn is_down_since(&self, seconds: i64) -> bool {
            matches!(self.machine.reach(), Reach::Down { since, .. } if since.0 == seconds * 1000)
        }
    }

    #[test]
    fn nothing_is_known_until_the_first_answer() {
        let mut story = Story::new();
        assert_eq!((story.machine.reach(), story.due()), (&Reach::Unknown, 0));
        assert!(story.answered(0, 1));
        assert_eq!((story.machine.reach(), story.due()), (&Reach::Up { since: Timestamp(0) }, 61));
        assert!(!story.answered(61, 61), "up already");
        assert_eq!(story.machine.reach(), &Reach::Up { since: Timestamp(0) });
    }

    #[test]
    fn a_backend_is_down_once_no_probe_was_answered_for_a_time() {
        let mut story = Story::new();
        story.answered(0, 0);
        assert!(!story.unanswered(60, 60) && story.due() == 61, "one failure is none");
        assert!(!story.unanswered(61, 69));
        assert!(story.unanswered(69, 70), "ten seconds after the first");
        assert!(story.is_down_since(60));
        assert!(!story.unanswered(71, 71), "no news");
        assert!(story.is_down_since(60));
        assert_eq!(story.machine.reach(), &Reach::Down { since: Timestamp(60_000), because: "71".into() });
    }

    #[test]
    fn a_probe_that_hangs_counts_from_its_beginning() {
        let mut story = Story::new();
        story.answered(0, 0);
        assert!(!story.unanswered(60, 65));
        assert!(story.unanswered(60, 70), "twice its patience");
        assert!(story.is_down_since(60));
    }

    #[test]
    fn an_answer_in_between_begins_anew() {
        let mut story = Story::new();
        story.answered(0, 0);
        story.unanswered(60, 65);
        assert!(!story.answered(66, 66), "it never was down");
        assert!(!story.unanswered(70, 75), "ten seconds after the first failure, and five after the last answer");
        assert!(story.unanswered(70, 80) && story.is_down_since(70));
        assert!(story.answered(90, 90), "back");
        assert_eq!(story.machine.reach(), &Reach::Up { since: Timestamp(90_000) });
    }

    #[test]
    fn calls_that_fail_never_make_a_backend_down() {
        let mut story = Story::new();
        story.answered(0, 0);
        for second in 1..1000 {
            story.machine.stumbled(story.at(second), PACE);
        }
        assert_eq!(story.machine.reach(), &Reach::Up { since: Timestamp(0) });
        assert_eq!(story.due(), 1, "but it is probed");
    }

    #[test]
    fn calls_that_fail_do_not_have_it_probed_all_the_time() {
        let mut story = Story::new();
        story.answered(0, 5);
        story.machine.stumbled(story.at(5), PACE);
        assert_eq!(story.due(), 6);
        story.answered(6, 6);
        story.machine.stumbled(story.at(30), PACE);
        assert_eq!(story.due(), 30);
    }

    #[test]
    fn calls_that_work_spare_a_probe_and_end_no_silence() {
        let mut story = Story::new();
        story.answered(0, 0);
        story.machine.worked(story.at(50), PACE);
        assert_eq!(story.due(), 110);
        story.unanswered(110, 115);
        story.unanswered(110, 120);
        story.machine.worked(story.at(125), PACE);
        assert!(story.is_down_since(110), "it may have found its work done");
        assert!(story.due() <= 125, "but it is probed at once");
    }

    #[test]
    fn probes_of_what_is_down_back_off_to_the_interval() {
        let mut story = Story::new();
        story.unanswered(0, 5);
        let mut now = 10;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            story.unanswered(0, now);
            pauses.push(story.due() - now);
            now = story.due();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
