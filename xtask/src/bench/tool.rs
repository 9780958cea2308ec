//! The measuring process: what is measured with, in a build as fast as what is measured.

use super::controller::{Server, TENANT, get, target};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn tool() -> Command {
    Command::new(target().join("release/bench"))
}

/// Runs one measurement to its end, and reads its figures.
pub(super) fn measure(args: &[String]) -> Result<Value> {
    let output = tool().args(args).stderr(Stdio::inherit()).output().context("cannot run the measuring process")?;
    ensure!(output.status.success(), "measuring {args:?} failed");
    serde_json::from_slice(&output.stdout).context("no figures")
}

/// The words of a command line.
pub(super) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Requests of so many clients to a server.
pub(super) fn load(server: &Server, ask: &str, path: &str, clients: usize, seconds: f64, more: &str) -> Result<Value> {
    asked(server.address()?, server.pid(), ask, path, &format!("--clients {clients} --seconds {seconds} {more}"))
}

fn asked(to: &str, pid: u32, ask: &str, path: &str, more: &str) -> Result<Value> {
    let mut args = words(&format!("load --to {to} --pid {pid} --ask {ask} {more} --path"));
    args.push(path.to_owned());
    measure(&args)
}

/// Volumes enough that one of them, at random, is mostly not among those that the store keeps in memory.
const AGED: usize = 30_000;
/// So few that they are, once they were asked for.
const FEW: usize = 1000;

/// Files of ids of volumes that were made before.
pub(super) struct Aged {
    /// Of [`AGED`] of them.
    pub(super) many: PathBuf,
    /// Of [`FEW`].
    pub(super) few: PathBuf,
}

/// Has a server make volumes, and writes their ids into files of this name.
pub(super) fn age(server: &Server, file: &Path) -> Result<Aged> {
    let collection = format!("/v1beta/{TENANT}/block/volumes");
    let mut made = 0;
    while made < AGED as u64 {
        made += load(server, "accept", &collection, 64, 1.0, "--warm 0")?["count"].as_u64().context("a count")?;
    }
    while get(&server.agent, &server.url("/block/volumes?status=creating&limit=1"))? != json!([]) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (mut ids, mut marker) = (Vec::new(), String::new());
    while ids.len() < AGED {
        let page = get(&server.agent, &server.url(&format!("/block/volumes?limit=1000{marker}")))?;
        let page = page.as_array().context("a list")?.iter().filter_map(|volume| volume["id"].as_str());
        let before = ids.len();
        ids.extend(page.map(str::to_owned));
        ensure!(ids.len() > before, "only {before} volumes are listed");
        marker = format!("&marker={}", ids[ids.len() - 1]);
    }
    let aged = Aged { many: file.with_extension("many"), few: file.with_extension("few") };
    std::fs::write(&aged.many, ids.join("\n"))?;
    std::fs::write(&aged.few, ids[..FEW].join("\n"))?;
    Ok(aged)
}

/// A server that stands beside the controller, of the measuring process's own.
pub(super) struct Beside {
    child: Child,
    address: String,
}

impl Beside {
    /// One that answers everything with this body and looks at nothing.
    pub(super) fn trivial(body: &str) -> Result<Self> {
        Self::start(&["trivial", "--body", body])
    }

    /// A controller whose driver does nothing, with a store in this folder.
    pub(super) fn instant(folder: &Path) -> Result<Self> {
        Self::start(&["instant", "--folder", &folder.display().to_string()])
    }

    fn start(args: &[&str]) -> Result<Self> {
        let mut child = tool().args(args).stdout(Stdio::piped()).spawn().context("cannot start it")?;
        let mut address = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    /// As [`load`].
    pub(super) fn load(&self, ask: &str, path: &str, clients: usize, seconds: f64, more: &str) -> Result<Value> {
        asked(&self.address, self.child.id(), ask, path, &format!("--clients {clients} --seconds {seconds} {more}"))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The middle of several figures, with the least and the most.
pub(super) struct Spread {
    pub(super) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Of one field of each.
    pub(super) fn of(told: &[Value], field: &str) -> Self {
        let mut all: Vec<f64> = told.iter().filter_map(|value| value[field].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        let at = |index: usize| all.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(all.len() / 2), least: at(0), most: at(all.len().saturating_sub(1)) }
    }

    /// Of one field of what was measured, as a part of what was measured beside it: the ratio of the medians, with the least and the most of the
    /// ratios of the rounds, of which each pair met the same noise.
    pub(super) fn ratio(of: &[Value], beside: &[Value], field: &str) -> Self {
        let median = Self::of(of, field).median / Self::of(beside, field).median;
        let figure = |value: &Value| value[field].as_f64().unwrap_or(f64::NAN);
        let pairs = of.iter().zip(beside).map(|(of, beside)| figure(of) / figure(beside));
        let (least, most) = pairs.fold((f64::NAN, f64::NAN), |(least, most), ratio| (ratio.min(least), ratio.max(most)));
        Self { median, least, most }
    }

    /// As `median (least to most)`, with so many digits behind the point, `scale` times as large.
    pub(super) fn tell(&self, scale: f64, digits: usize) -> String {
        let [median, least, most] = [self.median, self.least, self.most].map(|figure| figure * scale);
        format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_ratio_is_of_the_medians_and_its_ends_are_of_the_rounds() {
        let told = |rates: [f64; 3]| rates.map(|rate| json!({ "rate": rate }));
        let ratio = Spread::ratio(&told([100.0, 300.0, 200.0]), &told([50.0, 100.0, 400.0]), "rate");
        assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 0.5, 3.0));
        assert_eq!(ratio.tell(1.0, 2), "2.00 (0.50 to 3.00)");
    }
}
