//! Seeds that found a bug: each is played again by every test run, with a line on what it found.

/// A seed that found a bug.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// The seed.
    pub seed: u64,
    /// How many steps it takes.
    pub steps: u64,
    /// What it found.
    pub found: &'static str,
}

/// The seeds. Stories change when the engine or the simulation does; that these pass is no proof, and costs nothing.
pub const KEPT: &[Kept] = &[
    Kept { seed: 103, steps: 40, found: "a creation that was accepted answered 404, as somebody had deleted its volume meanwhile" },
    Kept { seed: 43, steps: 40, found: "a snapshot that was being taken ended without a word as its volume was forgotten" },
    Kept { seed: 105, steps: 400, found: "an errorExtending volume vanished, the slow look saw it, and its status said nothing" },
    Kept { seed: 526, steps: 400, found: "an exporter's panic ended recovery, the slow look and the sweep for good" },
];
