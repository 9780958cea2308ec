//! The clients: fio's nbd engine and nbdcopy, and how one turn of one of them is measured.

use super::servers::{SIZE, Served, Way};
use crate::bench::controller::processor_time;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Fio {
        direction: &'static str,
        block: u32,
        depth: u32,
    },
    /// nbdcopy from the server to nowhere.
    CopyOut,
    /// nbdcopy of a local file into the server.
    CopyIn,
}

/// A row of the table.
pub(super) struct Case {
    load: Load,
    way: Way,
    pub(super) clients: u32,
}

/// What one turn measured.
pub(super) struct Figure {
    /// In the case's unit, per second.
    pub(super) rate: f64,
    /// The server's processor time for one unit, in microseconds.
    pub(super) cost: f64,
}

const fn random(direction: &'static str, depth: u32) -> Load {
    Load::Fio { direction, block: 4 << 10, depth }
}

const fn sequential(direction: &'static str) -> Load {
    Load::Fio { direction, block: 1 << 20, depth: 4 }
}

/// All rows, in order.
pub(super) fn cases() -> Vec<Case> {
    let fio = [
        random("randread", 1),
        random("randread", 32),
        random("randwrite", 1),
        random("randwrite", 32),
        sequential("read"),
        sequential("write"),
    ];
    let copies = [Load::CopyOut, Load::CopyIn];
    let rows = |way, clients, loads: &[Load]| loads.iter().map(|load| Case { load: *load, way, clients }).collect::<Vec<_>>();
    [
        rows(Way::Full, 1, &fio),
        rows(Way::Full, 8, &fio),
        rows(Way::Full, 1, &copies),
        rows(Way::Sparse, 1, &[fio[1], fio[3], fio[4], fio[5]]),
        rows(Way::Sparse, 1, &copies),
        rows(Way::Tcp, 1, &fio),
        rows(Way::Tcp, 1, &copies),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Case {
    pub(super) fn name(&self) -> String {
        let way = match self.way {
            Way::Full => "full",
            Way::Sparse => "sparse",
            Way::Tcp => "full over TCP",
        };
        match self.load {
            Load::Fio { direction, block, depth } => format!("{direction} {} KiB at depth {depth}, {way}", block >> 10),
            Load::CopyOut => format!("nbdcopy out, {way}"),
            Load::CopyIn => format!("nbdcopy in, {way}"),
        }
    }

    /// What is counted: requests if they are small, MiB if they are large.
    pub(super) const fn unit(&self) -> &'static str {
        match self.load {
            Load::Fio { block, .. } if block < 1 << 20 => "requests",
            _ => "MiB",
        }
    }

    /// One turn of one server. `source` is what is copied in.
    pub(super) fn measure(&self, server: &Served, source: &str, each: Duration) -> Result<Figure> {
        let reach = server.reach(self.way);
        if self.way == Way::Sparse {
            run("qemu-io", &["-f", "raw", "-d", "unmap", "-c", &format!("discard 0 {SIZE}"), &reach.uri])?;
        }
        let before = processor_time(reach.process)?;
        let (done, took) = match self.load {
            Load::Fio { direction, block, depth } => self.fio(&reach.uri, direction, block, depth, each)?,
            Load::CopyOut => copies(each, &reach.uri, "null:")?,
            Load::CopyIn => copies(each, source, &reach.uri)?,
        };
        let cost = (processor_time(reach.process)? - before) / done;
        Ok(Figure { rate: done / took, cost })
    }

    /// How many units were done in how many seconds.
    fn fio(&self, uri: &str, direction: &str, block: u32, depth: u32, each: Duration) -> Result<(f64, f64)> {
        let told = run(
            "fio",
            &[
                "--name=bench",
                "--ioengine=nbd",
                "--thread",
                "--time_based",
                "--group_reporting",
                "--output-format=json",
                &format!("--uri={uri}"),
                &format!("--rw={direction}"),
                &format!("--bs={block}"),
                &format!("--iodepth={depth}"),
                &format!("--numjobs={}", self.clients),
                &format!("--size={SIZE}"),
                &format!("--runtime={}ms", each.as_millis()),
            ],
        )?;
        // Notes may come before the JSON.
        let json = told.get(told.find('{').context("fio told nothing")?..).unwrap_or_default();
        let told: Value = serde_json::from_str(json).context("fio's output")?;
        let job = &told["jobs"][0][if direction.ends_with("read") { "read" } else { "write" }];
        let done = if self.unit() == "MiB" { job["io_bytes"].as_f64().map(|bytes| bytes / MIB) } else { job["total_ios"].as_f64() };
        let done = done.filter(|done| *done > 0.0).context("fio did nothing")?;
        Ok((done, job["runtime"].as_f64().context("fio's runtime")? / 1e3))
    }
}

const MIB: f64 = 1_048_576.0;

/// Copies again and again. How many MiB were copied in how many seconds.
fn copies(each: Duration, from: &str, to: &str) -> Result<(f64, f64)> {
    let begun = Instant::now();
    let mut done = 0.0;
    while begun.elapsed() < each {
        run("nbdcopy", &[from, to])?;
        #[expect(clippy::cast_precision_loss, reason = "a size of few bits")]
        let size = SIZE as f64 / MIB;
        done += size;
    }
    Ok((done, begun.elapsed().as_secs_f64()))
}

/// Runs a client, and gives what it printed.
pub(super) fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {errors}", args.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
