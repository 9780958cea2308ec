//! Plays seeds of the simulation on every core, counts, and makes what fails small: `cargo xtask sim`.
//!
//! A seed is one thread's work, so that it plays the same whatever runs beside it.

#![expect(clippy::print_stdout, reason = "a command prints")]

use clap::Parser;
use sim::simulation::{Fault, Plan, Ran, STEPS, Tally, run, shrink};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much of a failing story is told.
const TOLD: usize = 60;

/// Plays the real engine against all that can go wrong, from seeds.
#[derive(Parser)]
struct Options {
    /// Play this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "minutes"])]
    seed: Option<u64>,
    /// Play so many seeds, from --from on.
    #[arg(long, conflicts_with = "minutes")]
    seeds: Option<u64>,
    /// Play for so long. The default, with one minute.
    #[arg(long)]
    minutes: Option<f64>,
    /// The first seed; the default differs each time.
    #[arg(long)]
    from: Option<u64>,
    /// How many steps the users take in each.
    #[arg(long, default_value_t = STEPS)]
    steps: u64,
    /// How many seeds are played beside each other; the default is one a core.
    #[arg(long)]
    jobs: Option<usize>,
    /// Kinds of fault that never strike.
    #[arg(long, value_parser = fault, value_delimiter = ',')]
    without: Vec<Fault>,
    /// The only kinds of fault that strike.
    #[arg(long, value_parser = fault, value_delimiter = ',', conflicts_with = "without")]
    only: Option<Vec<Fault>>,
    /// Tell the whole story of the seed.
    #[arg(long, requires = "seed")]
    story: bool,
    /// Show the failing seed as it is, without making it smaller.
    #[arg(long)]
    as_is: bool,
    /// Go on after a seed that fails, and tell of each in a line.
    #[arg(long)]
    keep_going: bool,
}

fn fault(word: &str) -> Result<Fault, String> {
    let words = || Fault::ALL.iter().map(|fault| fault.word()).collect::<Vec<_>>().join(", ");
    Fault::ALL.iter().copied().find(|fault| fault.word() == word).ok_or_else(|| format!("no such fault; there are: {}", words()))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let first = options.seed.or(options.from).unwrap_or_else(some_seed);
    let count = if options.seed.is_some() { Some(1) } else { options.seeds };
    let begun = Instant::now();
    let until = count.is_none().then(|| begun + Duration::from_secs_f64(60.0 * options.minutes.unwrap_or(1.0)));
    println!("seeds from {first}, {} steps each", options.steps);
    let (tally, failed) = play(&options, first, count.unwrap_or(u64::MAX), until);
    tell(&tally, begun.elapsed());
    match failed {
        None => ExitCode::SUCCESS,
        Some(_) if options.keep_going => ExitCode::FAILURE,
        Some(plan) => {
            blame(&options, &plan);
            ExitCode::FAILURE
        }
    }
}

/// A seed that differs each time.
fn some_seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() * 1000)
}

fn plan(options: &Options, seed: u64) -> Plan {
    let is_left_out = |fault: &&Fault| options.only.as_ref().is_some_and(|only| !only.contains(fault));
    let left_out = Fault::ALL.iter().filter(is_left_out);
    let without: BTreeSet<Fault> = options.without.iter().chain(left_out).copied().collect();
    Plan { steps: options.steps, without, is_told: options.story, ..Plan::new(seed) }
}

/// Plays seeds until all are played, time is up, or one fails.
fn play(options: &Options, first: u64, count: u64, until: Option<Instant>) -> (Tally, Option<Plan>) {
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let results = Mutex::new((Tally::default(), None));
    let jobs = options.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        return;
                    }
                    let plan = plan(options, first.wrapping_add(at));
                    let ran = run(&plan);
                    ran.story.iter().for_each(|line| println!("{line}"));
                    if options.seed.is_some() {
                        println!("hash {:016x}", ran.hash);
                    }
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.0.add(&ran.tally);
                    if let Some(violation) = &ran.violation {
                        println!("seed {}: {violation}", plan.seed);
                        is_over.fetch_or(!options.keep_going, Ordering::Relaxed);
                        results.1.get_or_insert(plan);
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn tell(tally: &Tally, took: Duration) {
    print!("{}", tally.report());
    println!("{}", tally.summary(took));
}

/// Tells of a plan that breaks a promise, made as small as can be.
fn blame(options: &Options, failing: &Plan) {
    let (plan, ran) = if options.as_is { (failing.clone(), run(failing)) } else { shrink(failing) };
    let Ran { violation, story, .. } = run(&Plan { is_told: true, ..plan.clone() });
    if !options.story {
        let from = story.len().saturating_sub(TOLD);
        story[from..].iter().for_each(|line| println!("{line}"));
    }
    println!("broken: {}", violation.or(ran.violation).map_or_else(String::new, |violation| violation.to_string()));
    println!("first seen with: {}", failing.command());
    println!("replay: {}", plan.command());
}
