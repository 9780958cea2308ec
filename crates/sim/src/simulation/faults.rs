//! What can go wrong, where, and how often in one run.
//!
//! - A fault is of a kind ([`Fault`]) and strikes at a place ([`Place`]); which go together is [`EXPECTED`].
//! - Each run has a [`Weather`] of its own: some kinds off, some rare, some common, so that runs differ in kind and not only in
//!   detail (swarm testing: Groce and others, 2012). Once it is calm nothing strikes.
//!
//! Source: reliability page, "Fault kinds".

use super::dice::Dice;
use std::collections::BTreeSet;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its word, as counts and command lines spell it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

words!(
    /// Where a fault strikes.
    Place {
        /// A changing call to a driver.
        Driver = "driver",
        /// A changing call to an exporter.
        Exporter = "exporter",
        /// A question to a driver.
        Look = "look",
        /// A probe of a backend.
        Probe = "probe",
        /// A question to an exporter.
        ExportLook = "export-look",
        /// A commit.
        Commit = "commit",
        /// A read of the store.
        Read = "read",
        /// Anywhere, and unasked.
        World = "world",
    }
);

words!(
    /// A kind of fault.
    Fault {
        /// Refuses for good, and does nothing.
        Refuses = "refuses",
        /// Fails for now, and does nothing.
        Fails = "fails",
        /// Acts, and says that it failed.
        FailsAfterActing = "fails-after-acting",
        /// Nothing arrives; nobody knows that.
        LosesRequest = "loses-request",
        /// Acts, and its answer is lost.
        LosesAnswer = "loses-answer",
        /// Acts half, and its answer is lost.
        ActsHalf = "acts-half",
        /// Never answers, and has done nothing yet; it may once nobody waits any more.
        HangsBefore = "hangs-before",
        /// Acts half, and never answers.
        HangsHalfWay = "hangs-half-way",
        /// Acts, and never answers.
        HangsAfter = "hangs-after",
        /// Its answer is lost; it acts much later.
        ActsLate = "acts-late",
        /// Acts, and acts again later: a message that was delivered twice.
        ActsTwice = "acts-twice",
        /// Answers with facts that were not asked for.
        TellsOddFacts = "tells-odd-facts",
        /// Makes something larger than it was asked for, and says so.
        MakesOtherSize = "makes-other-size",
        /// Panics.
        Panics = "panics",
        /// Takes minutes instead of milliseconds.
        Slow = "slow",
        /// Cannot answer.
        Unanswered = "unanswered",
        /// The disk is full.
        DiskFull = "disk-full",
        /// Commits, and says that nobody knows.
        UnknownDone = "unknown-done",
        /// Does not commit, and says that nobody knows.
        UnknownNotDone = "unknown-not-done",
        /// The controller dies just before it is durable.
        CrashesBefore = "crashes-before",
        /// The controller dies just after it is durable.
        CrashesAfter = "crashes-after",
        /// The controller dies between any two of its steps.
        Crashes = "crashes",
        /// The controller dies again while it recovers.
        CrashesInRecovery = "crashes-in-recovery",
        /// The wall clock jumps ahead, by up to two hours.
        ClockAhead = "clock-ahead",
        /// The wall clock jumps back, by up to two hours.
        ClockBack = "clock-back",
        /// Somebody removes an object behind the controller's back.
        Vanishes = "vanishes",
        /// What had vanished is brought back as it was.
        Returns = "returns",
        /// Somebody shrinks an object.
        Shrinks = "shrinks",
        /// Somebody grows an object.
        Grows = "grows",
        /// Part of an object is lost.
        Damaged = "damaged",
        /// An object appears that nobody asked for.
        Appears = "appears",
        /// Somebody unknown begins to use a volume.
        StrayComes = "stray-comes",
        /// Somebody unknown stops using a volume.
        StrayGoes = "stray-goes",
        /// The data plane dies with everything that it serves.
        DataPlaneDies = "data-plane-dies",
        /// The controller is told only later that the data plane died.
        ToldLate = "told-late",
        /// The backend of a pool hangs as a whole, and goes on later.
        BackendHangs = "backend-hangs",
        /// The backend of a pool fails as a whole, until it is back.
        BackendFails = "backend-fails",
        /// The configuration marks a pool as retired at a restart.
        Retires = "retires",
    }
);

use Fault as F;
use Place as P;

/// Which faults strike where. A run over all seeds must hit each.
pub const EXPECTED: &[(Place, &[Fault])] = &[
    (
        P::Driver,
        &[
            F::Refuses,
            F::Fails,
            F::FailsAfterActing,
            F::LosesRequest,
            F::LosesAnswer,
            F::ActsHalf,
            F::HangsBefore,
            F::HangsHalfWay,
            F::HangsAfter,
            F::ActsLate,
            F::ActsTwice,
            F::TellsOddFacts,
            F::MakesOtherSize,
            F::Panics,
            F::Slow,
        ],
    ),
    (
        P::Exporter,
        &[
            F::Refuses,
            F::Fails,
            F::FailsAfterActing,
            F::LosesRequest,
            F::LosesAnswer,
            F::HangsBefore,
            F::HangsAfter,
            F::ActsLate,
            F::ActsTwice,
            F::TellsOddFacts,
            F::Panics,
            F::Slow,
        ],
    ),
    (P::Look, &[F::Unanswered, F::HangsBefore, F::Slow, F::TellsOddFacts, F::Panics]),
    (P::Probe, &[F::Unanswered, F::HangsBefore, F::Slow, F::Panics]),
    (P::ExportLook, &[F::Unanswered, F::HangsBefore, F::Slow, F::TellsOddFacts, F::Panics]),
    (P::Commit, &[F::Unanswered, F::DiskFull, F::UnknownDone, F::UnknownNotDone, F::Slow, F::CrashesBefore, F::CrashesAfter]),
    (P::Read, &[F::Unanswered, F::Slow]),
    (
        P::World,
        &[
            F::Crashes,
            F::CrashesInRecovery,
            F::ClockAhead,
            F::ClockBack,
            F::Vanishes,
            F::Returns,
            F::Shrinks,
            F::Grows,
            F::Damaged,
            F::Appears,
            F::StrayComes,
            F::StrayGoes,
            F::DataPlaneDies,
            F::ToldLate,
            F::BackendHangs,
            F::BackendFails,
            F::Retires,
        ],
    ),
];

/// How often each fault strikes in one run.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Of ten thousand occasions, per place, in the order of [`EXPECTED`].
    rates: Vec<Vec<u64>>,
    without: BTreeSet<Fault>,
    pub(crate) is_calm: bool,
}

/// How often a fault may strike: off, rare, now and then, common. Of ten thousand.
const RATES: [u64; 6] = [0, 0, 20, 60, 150, 400];
/// In the world faults are drawn at each of the crew's steps, which are far fewer than calls.
const WORLD_RATES: [u64; 6] = [0, 20, 50, 100, 200, 300];

impl Weather {
    /// The weather of one run; what is in `without` never strikes.
    pub(crate) fn draw(dice: &mut Dice, without: &BTreeSet<Fault>) -> Self {
        // Now and then nothing but what users and chance do.
        let is_mild = dice.below(8) == 0;
        let mut rates = Vec::new();
        for (place, faults) in EXPECTED {
            let of = if *place == Place::World { WORLD_RATES } else { RATES };
            let drawn = faults.iter().map(|_| dice.index(of.len()).map_or(0, |at| of[at]));
            rates.push(drawn.map(|rate| if is_mild { 0 } else { rate }).collect());
        }
        Self { rates, without: without.clone(), is_calm: false }
    }

    /// Whether a fault of the world happens where it is asked for by name.
    pub(crate) fn happens(&self, dice: &mut Dice, fault: Fault) -> bool {
        let rate = self.rates_of(Place::World).find(|(of, _)| *of == fault).map_or(0, |(_, rate)| rate);
        let drawn = dice.below(10_000);
        // Starts are few, so it is more likely at each of them than at a step.
        !self.is_calm && !self.without.contains(&fault) && drawn < 25 * rate
    }

    fn rates_of(&self, place: Place) -> impl Iterator<Item = (Fault, u64)> + '_ {
        let of = EXPECTED.iter().zip(&self.rates).find(|((of, _), _)| *of == place);
        of.into_iter().flat_map(|((_, faults), rates)| faults.iter().copied().zip(rates.iter().copied()))
    }

    /// Which fault strikes at this place now, if any.
    pub(crate) fn strike(&self, dice: &mut Dice, place: Place) -> Option<Fault> {
        if self.is_calm {
            return None;
        }
        let mut drawn = dice.below(10_000);
        for (fault, rate) in self.rates_of(place) {
            match drawn.checked_sub(rate) {
                Some(left) => drawn = left,
                // One that is left out leaves the others as they were: the story stays as close to the first as it can.
                None => return Some(fault).filter(|fault| !self.without.contains(fault) && *fault != Fault::Retires),
            }
        }
        None
    }
}
