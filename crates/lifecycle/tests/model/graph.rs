//! An explicit-state model checker: every reachable state, breadth first, and what can be reached from each.
//!
//! - Safety: [`System::broken`] is asked of every state; the first one found is reported with the shortest path to it.
//! - Progress is decided over the *whole* graph, backwards from the goals, since a search along paths misses cycles:
//!   from every state every calm run settles (an attractor, so that a cycle counts as failure), and from every state calm steps
//!   and users' commands can reach the end.
//! - States are compared by value, not by fingerprint: nothing is missed to a collision.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::{Debug, Write};
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// What kind of step it is, for the question of progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What happens while nothing fails.
    Calm,
    /// A user's command that changes something.
    User,
    /// A fault, a coincidence, or time passing.
    Fault,
}

/// What is explored.
pub(crate) trait System {
    /// A state, compared by value.
    type State: Copy + Eq + Hash + Debug;
    /// A step, as the counterexample shows it.
    type Step: Copy + Debug;

    /// Where it begins.
    fn start(&mut self) -> Self::State;
    /// Appends every step that is possible in `state`.
    fn steps(&mut self, state: &Self::State, out: &mut Vec<(Self::Step, Kind, Self::State)>);
    /// The promise that `state` breaks.
    fn broken(&mut self, state: &Self::State) -> Option<String>;
    /// Whether nothing is under way.
    fn is_settled(&self, state: &Self::State) -> bool;
    /// Whether everything is gone.
    fn is_gone(&self, state: &Self::State) -> bool;
    /// The state for people.
    fn show(&self, state: &Self::State) -> String;
}

/// What an exploration without a counterexample found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explored {
    /// Distinct reachable states.
    pub(crate) states: usize,
    /// Steps between them.
    pub(crate) steps: usize,
}

/// A promise that is broken, and how to get there.
#[derive(Debug)]
pub(crate) struct Counterexample {
    /// The promise.
    pub(crate) promise: String,
    /// The shortest path, for people.
    pub(crate) path: String,
}

/// Stops an exploration that has outgrown memory: more than any scope here needs.
const MAX_STATES: usize = 30_000_000;

/// Multiplies and rotates: fast for small keys, and deterministic, so that runs can be compared.
#[derive(Default)]
pub(crate) struct QuickHasher(u64);

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }
    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
    fn finish(&self) -> u64 {
        // The table takes its bucket from the low bits and its tag from the high ones: both must depend on everything.
        self.0 ^ (self.0 >> 32)
    }
}

/// A map with [`QuickHasher`].
pub(crate) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<QuickHasher>>;

struct Graph<S> {
    states: Vec<S>,
    parents: Vec<u32>,
    calm: Vec<(u32, u32)>,
    user: Vec<(u32, u32)>,
    steps: usize,
}

/// Explores everything, then decides progress.
///
/// # Errors
/// The first broken promise.
pub(crate) fn explore<T: System>(system: &mut T) -> Result<Explored, Counterexample> {
    let graph = search(system)?;
    let stuck = |reached: Vec<bool>| reached.iter().position(|reached| !reached);
    if let Some(state) = stuck(settling(system, &graph)) {
        return Err(counterexample(system, &graph, state, "progress: faults have stopped, and yet it may never settle".into()));
    }
    if let Some(state) = stuck(ending(system, &graph)) {
        return Err(counterexample(system, &graph, state, "progress: no commands of users lead to a clean deletion".into()));
    }
    Ok(Explored { states: graph.states.len(), steps: graph.steps })
}

fn search<T: System>(system: &mut T) -> Result<Graph<T::State>, Counterexample> {
    let start = system.start();
    let mut index: QuickMap<T::State, u32> = QuickMap::default();
    index.insert(start, 0);
    let mut graph = Graph { states: vec![start], parents: vec![0], calm: vec![], user: vec![], steps: 0 };
    let mut out = Vec::new();
    let mut at = 0;
    while at < graph.states.len() {
        let state = graph.states[at];
        out.clear();
        system.steps(&state, &mut out);
        if let Some(promise) = system.broken(&state) {
            return Err(counterexample(system, &graph, at, promise));
        }
        graph.steps += out.len();
        let from = number(at);
        for (_, kind, next) in &out {
            let to = match index.entry(*next) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let to = *new.insert(number(graph.states.len()));
                    graph.states.push(*next);
                    graph.parents.push(from);
                    to
                }
            };
            match kind {
                Kind::Calm => graph.calm.push((from, to)),
                Kind::User => graph.user.push((from, to)),
                Kind::Fault => {}
            }
        }
        assert!(graph.states.len() < MAX_STATES, "the scope has more than {MAX_STATES} states; make it smaller");
        at += 1;
    }
    Ok(graph)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("MAX_STATES fits")
}

/// The edges turned round: who leads to each state.
struct Backwards {
    first: Vec<u32>,
    from: Vec<u32>,
}

impl Backwards {
    fn new<'a>(states: usize, edges: impl Iterator<Item = &'a (u32, u32)> + Clone) -> Self {
        let mut first = vec![0; states + 1];
        for (_, to) in edges.clone() {
            first[*to as usize + 1] += 1;
        }
        for at in 0..states {
            first[at + 1] += first[at];
        }
        let mut from = vec![0; first[states] as usize];
        let mut free = first.clone();
        for (source, to) in edges {
            from[free[*to as usize] as usize] = *source;
            free[*to as usize] += 1;
        }
        Self { first, from }
    }

    fn of(&self, state: u32) -> &[u32] {
        &self.from[self.first[state as usize] as usize..self.first[state as usize + 1] as usize]
    }
}

/// From which states *every* calm run ends in a settled state.
fn settling<T: System>(system: &T, graph: &Graph<T::State>) -> Vec<bool> {
    let mut left = vec![0_u32; graph.states.len()];
    for (from, _) in &graph.calm {
        left[*from as usize] += 1;
    }
    let backwards = Backwards::new(graph.states.len(), graph.calm.iter());
    let mut reached: Vec<bool> = graph.states.iter().map(|state| system.is_settled(state)).collect();
    let mut queue: Vec<u32> = (0..).zip(&reached).filter(|(_, settled)| **settled).map(|(state, _)| state).collect();
    while let Some(state) = queue.pop() {
        for from in backwards.of(state) {
            let at = *from as usize;
            left[at] -= 1;
            if left[at] == 0 && !reached[at] {
                reached[at] = true;
                queue.push(*from);
            }
        }
    }
    reached
}

/// From which states *some* run of calm steps and commands ends with everything gone.
fn ending<T: System>(system: &T, graph: &Graph<T::State>) -> Vec<bool> {
    let backwards = Backwards::new(graph.states.len(), graph.calm.iter().chain(&graph.user));
    let mut reached: Vec<bool> = graph.states.iter().map(|state| system.is_gone(state)).collect();
    let mut queue: Vec<u32> = (0..).zip(&reached).filter(|(_, gone)| **gone).map(|(state, _)| state).collect();
    while let Some(state) = queue.pop() {
        for from in backwards.of(state) {
            if !std::mem::replace(&mut reached[*from as usize], true) {
                queue.push(*from);
            }
        }
    }
    reached
}

fn counterexample<T: System>(system: &mut T, graph: &Graph<T::State>, state: usize, promise: String) -> Counterexample {
    let mut states = vec![state];
    while let Some(at) = states.last().copied().filter(|at| *at != 0) {
        states.push(graph.parents[at] as usize);
    }
    states.reverse();
    let mut path = format!("{promise}\n   0. {}\n", system.show(&graph.states[0]));
    for (count, pair) in states.windows(2).enumerate() {
        let (before, after) = (graph.states[pair[0]], graph.states[pair[1]]);
        let mut out = Vec::new();
        system.steps(&before, &mut out);
        let step = out.iter().find(|(_, _, next)| *next == after).map(|(step, ..)| *step);
        let step = step.expect("the parent led here");
        writeln!(path, "{:4}. {step:?}\n      {}", count + 1, system.show(&after)).expect("a string takes all");
    }
    Counterexample { promise, path }
}
