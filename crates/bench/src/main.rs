//! What `cargo xtask bench` measures with: a process beside the controller, as a client is, in a build as fast as the controller's.
//!
//! - `load`: clients that cost little themselves, in a closed loop or at a fixed rate;
//! - `watch`: who listens to the events;
//! - `limits`: what stands beside the figures: a trivial HTTP handler, and a log that is only appended to;
//! - `store`: the store alone, with the commits that the engine makes;
//! - `instant`: a controller whose driver does nothing, and the file driver without a controller;
//! - `work`: fixed workloads whose instructions are counted;
//! - `fill`: a store and a pool of as many volumes as are asked for.
//!
//! Each but `work` prints one line of JSON. What is measured when, how often, and beside what is `xtask`'s business.

#![expect(clippy::print_stdout, reason = "a command prints")]

mod figures;
mod fill;
mod instant;
mod limits;
mod load;
mod store;
mod watch;
mod work;

use anyhow::Result;
use bench::{TENANT, records};
use clap::Parser;

/// One measurement.
#[derive(Parser)]
enum Measure {
    /// Clients of a server.
    Load(load::Options),
    /// Watchers of the events, and how soon they are told of a commit.
    Watch(watch::Watch),
    /// Watchers that have nothing to hear, and what they cost.
    Idle(watch::Idle),
    /// Answers every request with the same body, until it is killed.
    Trivial(limits::Trivial),
    /// Appends to a file and syncs it, for everybody who waits at once.
    Log(limits::Log),
    /// Commits to a store as creating volumes does.
    Store(store::Options),
    /// Serves as a controller does, with a driver that does nothing, until it is killed.
    Instant(instant::Instantly),
    /// Has the file driver make volumes.
    Files(instant::Files),
    /// Does a fixed piece of work, to be counted.
    Work(work::Options),
    /// Writes volumes, with snapshots, into the store and the pool of a controller that does not run.
    Fill(fill::Options),
}

fn main() -> Result<()> {
    match Measure::parse() {
        Measure::Load(options) => load::run(&options),
        Measure::Watch(options) => watch::told(&options),
        Measure::Idle(options) => watch::idle(&options),
        Measure::Trivial(options) => limits::trivial(options),
        Measure::Log(options) => limits::log(&options),
        Measure::Store(options) => store::run(&options),
        Measure::Instant(options) => instant::serve(&options),
        Measure::Files(options) => instant::files(&options),
        Measure::Work(options) => work::run(&options),
        Measure::Fill(options) => fill::run(&options),
    }
}
