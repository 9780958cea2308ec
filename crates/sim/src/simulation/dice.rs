//! Chance that can be repeated: everything random in a simulation is drawn from here.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): a few lines, no state but one number, and good enough to choose faults by.

/// A row of numbers that depends on its seed alone.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of their own, so that drawing more from one row does not shift another.
    pub(crate) const fn fork(&mut self) -> Self {
        Self(self.draw())
    }

    pub(crate) const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, or 0. The bias of the remainder is far below what anybody here would notice.
    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.draw() % limit }
    }

    /// A number from `least` to `most`, both included.
    pub(crate) const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True so many times in a thousand.
    pub(crate) const fn chance(&mut self, in_thousand: u64) -> bool {
        self.below(1000) < in_thousand
    }

    /// An index into something of this length, if it has any.
    pub(crate) fn index(&mut self, length: usize) -> Option<usize> {
        (length > 0).then(|| usize::try_from(self.below(length as u64)).unwrap_or(0))
    }
}
