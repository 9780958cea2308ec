//! What a run did: counts, faults that struck, and the edges of the status diagrams that were walked.

use super::faults::{EXPECTED, Fault, Place};
use lifecycle::Resource;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// A change of a status: whose, from which word, to which.
pub type Walked = (Resource, &'static str, &'static str);

/// What one or several runs did.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Runs.
    pub seeds: u64,
    /// Users' commands.
    pub commands: u64,
    /// Of them, accepted.
    pub accepted: u64,
    /// Calls to the ports.
    pub operations: u64,
    /// Commits that were made.
    pub commits: u64,
    /// Deaths of the controller.
    pub crashes: u64,
    /// Simulated time, in milliseconds.
    pub simulated: u64,
    /// The longest time that anything took to settle once faults had stopped, in milliseconds.
    pub settled_in: u64,
    /// Faults that struck.
    pub faults: BTreeMap<(Place, Fault), u64>,
    /// Changes of statuses that were seen.
    pub edges: BTreeMap<Walked, u64>,
}

impl Tally {
    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.commands += other.commands;
        self.accepted += other.accepted;
        self.operations += other.operations;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.simulated += other.simulated;
        self.settled_in = self.settled_in.max(other.settled_in);
        other.faults.iter().for_each(|(key, count)| *self.faults.entry(*key).or_default() += count);
        other.edges.iter().for_each(|(key, count)| *self.edges.entry(*key).or_default() += count);
    }

    /// Faults that never struck.
    #[must_use]
    pub fn faults_missed(&self) -> Vec<(Place, Fault)> {
        let all = EXPECTED.iter().flat_map(|(place, faults)| faults.iter().map(|fault| (*place, *fault)));
        all.filter(|key| !self.faults.contains_key(key)).collect()
    }

    /// Changes of a status that the rules allow and no run made, but for those that cannot be made ([`UNREACHED`]).
    #[must_use]
    pub fn edges_missed(&self) -> Vec<Walked> {
        let all = lifecycle::edges().into_iter().map(|edge| (edge.resource, edge.from, edge.to));
        all.filter(|edge| !self.edges.contains_key(edge) && !UNREACHED.contains(edge)).collect()
    }

    /// One line of figures; the runs took so long together.
    #[must_use]
    pub fn summary(&self, took: Duration) -> String {
        let seconds = took.as_secs_f64().max(0.001);
        let every = |all: usize, missed: usize| format!("{} of {all}", all - missed);
        let edges = lifecycle::edges().len() - UNREACHED.len();
        let faults = EXPECTED.iter().map(|(_, faults)| faults.len()).sum();
        format!(
            "{} seeds, {} operations in {seconds:.1} s ({:.0} a second), {} commands ({} accepted), {} commits, {} starts after a death, \
             {} faults; {} simulated hours, settled within {} s; reached {} changes of status and {} kinds of fault",
            self.seeds,
            self.operations,
            self.operations as f64 / seconds,
            self.commands,
            self.accepted,
            self.commits,
            self.crashes,
            self.faults.values().sum::<u64>(),
            self.simulated / 3_600_000,
            self.settled_in / 1000,
            every(edges, self.edges_missed().len()),
            every(faults, self.faults_missed().len()),
        )
    }

    /// The counts as a table for people.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").expect("a string takes all");
        line(format_args!("faults that struck:"));
        for (place, faults) in EXPECTED {
            let counts: Vec<_> = faults
                .iter()
                .map(|fault| format!("{} {}", fault.word(), self.faults.get(&(*place, *fault)).copied().unwrap_or_default()))
                .collect();
            line(format_args!("  {:<12} {}", place.word(), counts.join(", ")));
        }
        line(format_args!("changes of status (from > to, how often):"));
        for resource in Resource::ALL {
            let of = self.edges.iter().filter(|((held, ..), _)| held == resource);
            let counts: Vec<_> = of.map(|((_, from, to), count)| format!("{}>{} {count}", end(from), end(to))).collect();
            line(format_args!("  {:<12} {}", resource.word(), counts.join(", ")));
        }
        text
    }
}

fn end(word: &'static str) -> &'static str {
    if word.is_empty() { "-" } else { word }
}

/// Edges that the rules allow and the engine never asks of them, each with the reason.
pub const UNREACHED: &[Walked] = &[];
