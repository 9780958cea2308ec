//! Every fail point, with each of its actions: a fixed life of a volume that passes them all, in which one strikes; then a restart, and
//! the same verdict as after any torture.
//!
//! The list comes from the binary (`berth fail-points`), so that none is left out; a point that the life does not pass is a violation.

use super::history::{Answer, Ask, History, Sent};
use super::live::Client;
use super::place::{Controller, Place, ground};
use super::report::Totals;
use super::storm::host;
use super::verdict::{judge, stop};
use crate::bench::controller::binary;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many lives are lived at once: most of each is waiting for syncs.
const AT_ONCE: usize = 4;
/// The disk of all of them: ext4, as only a pool that copies passes every point.
const DISK_MIB: u64 = 768;
/// How long a life lasts beyond its last step: the store's log is moved every 200 ms.
const LINGERED: Duration = Duration::from_secs(1);
/// How long a step of a life may take in which nothing has struck yet.
const PATIENCE: Duration = Duration::from_secs(20);

/// A point.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) name: String,
    actions: Vec<String>,
}

impl Point {
    /// All that the binary has.
    pub(super) fn all() -> Result<Vec<Self>> {
        let output = Command::new(binary()).arg("fail-points").output().context("cannot run the binary")?;
        let text = String::from_utf8(output.stdout).context("names are text")?;
        let read = |line: &str| {
            let (name, actions) = line.split_once('\t').with_context(|| format!("not understood: {line}"))?;
            Ok(Self { name: name.into(), actions: actions.split(',').map(str::to_owned).collect() })
        };
        let points = text.lines().map(read).collect::<Result<Vec<_>>>()?;
        ensure!(!points.is_empty(), "the binary has no fail points");
        Ok(points)
    }

    /// Whether it is passed in the data plane's process.
    pub(super) fn is_of_data_plane(&self) -> bool {
        self.name.contains("data plane: ") && !self.name.contains("launch")
    }

    /// The errors that it can return.
    pub(super) fn fails(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().map(String::as_str).filter(|action| ["eio", "enospc"].contains(action))
    }

    /// What it is tortured with: to die, and each error.
    fn tortures(&self) -> impl Iterator<Item = &str> {
        std::iter::once("kill").chain(self.fails())
    }
}

/// Strikes at every point with every action. Gives the figures and the violations.
pub(super) fn torture(folder: &Path, points: &[Point]) -> Result<(Totals, Vec<String>)> {
    let ground = ground(DISK_MIB);
    let disk = ground.as_ref().map_or_else(|| folder.join("disk"), |ground| ground.root().to_owned());
    let all: Vec<(&Point, &str)> = points.iter().flat_map(|point| point.tortures().map(move |action| (point, action))).collect();
    let next = AtomicUsize::new(0);
    let sum = Mutex::new((Totals::default(), Vec::new()));
    let one_after_the_other = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((point, action)) = all.get(at) else { return Ok(()) };
            let mut totals = Totals::default();
            let (folder, data) = (folder.join(format!("life-{at}")), disk.join(format!("life-{at}")));
            let found = life(&folder, &data, point, action, &mut totals);
            let found = found.unwrap_or_else(|why| vec![format!("{why:#}")]);
            let mut sum = sum.lock().expect("nobody panics while holding it");
            sum.0 += totals;
            // The disk is small, and the next one needs room; what was said is kept if it may be of use.
            std::fs::remove_dir_all(&data).context("cannot tidy up")?;
            if found.is_empty() {
                std::fs::remove_dir_all(&folder).context("cannot tidy up")?;
            }
            for found in found {
                let found = format!("{action} at \"{}\": {found}", point.name);
                println!("violation: {found}");
                sum.1.push(found);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one_after_the_other)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a life does not panic"))
    })?;
    Ok(sum.into_inner().expect("nobody panics while holding it"))
}

/// One life.
fn life(folder: &Path, data: &Path, point: &Point, action: &str, totals: &mut Totals) -> Result<Vec<String>> {
    let place = Place::new(folder, data)?;
    let history = History::new(&place.base());
    let mut ever = BTreeSet::new();
    let volume = interrupted(&place, &history)?;
    ever.insert(volume.clone());
    let armed = format!("{}={action}", point.name);
    if let Some(controller) = place.start(Some(&armed), &[])? {
        let mut life = Life { place: &place, history: &history, ever: &mut ever };
        let is_over = life.live(&volume).is_none();
        // What an error left is tried again meanwhile, by the one that met it.
        if is_over && action != "kill" {
            super::disk::settle(&history, Duration::from_secs(1));
        }
        end(controller, &place)?;
    }
    let mut found = Vec::new();
    if place.hits() == 0 {
        found.push("it was not passed: the life in xtask/src/torture/points.rs must pass every point".to_owned());
    }
    if point.is_of_data_plane() {
        place.end_data_plane()?;
    }
    totals.points += 1;
    totals.hits += place.hits() as u64;
    totals.kills += u64::from(action == "kill");
    totals.faults += u64::from(action != "kill");
    let controller = place.start(None, &[])?.with_context(|| format!("it does not start again: {}", place.last_words()))?;
    found.extend(judge(&history, &place, ever, action == "kill", totals)?);
    found.extend(stop(controller, &place)?);
    Ok(found)
}

/// Tells it to stop, which is a step too, or kills what does not.
fn end(mut controller: Controller, place: &Place) -> Result<()> {
    if controller.is_alive() && place.hits() == 0 {
        controller.terminate()?;
        return Ok(());
    }
    controller.kill()
}

/// Leaves a volume whose creation was interrupted with a file half made, as an earlier kill does. Gives its id.
fn interrupted(place: &Place, history: &History) -> Result<String> {
    let slow = place.start(None, &["--slow-ms", "1000"])?.context("a slow one did not start")?;
    host(history)?;
    let answer = history.ask(Ask::Create { size: 1, multi: false }, Instant::now());
    let Some(Answer::Accepted { id: Some(id), .. }) = answer else { anyhow::bail!("the first volume was answered {answer:?}") };
    let begun = Instant::now();
    let folder = place.data().join("pools/default").join(&id[33..36]);
    let is_begun = || std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(is_leftover)));
    while !is_begun() {
        ensure!(begun.elapsed() < Duration::from_secs(10), "the slow driver did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    slow.kill()?;
    // So that the next one starts one of its own, armed as it is.
    place.end_data_plane()?;
    Ok(id)
}

fn is_leftover(entry: std::fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().ends_with(".tmp")
}

/// A life that is lived until something strikes.
struct Life<'a> {
    place: &'a Place,
    history: &'a History,
    ever: &'a mut BTreeSet<String>,
}

impl Life<'_> {
    /// Lives it; nothing once it was struck.
    fn live(&mut self, volume: &str) -> Option<()> {
        let host = host(self.history).ok()?;
        let volume = volume.to_owned();
        self.until("volumes", &volume, "available")?;
        let attachment = self.make(Ask::Attach { volume: volume.clone(), host: host.clone() }, "attachments", "attached")?;
        let write = "write -P 0x5a 0 256k";
        let uri = self.uri(&attachment)?;
        let mut qemu = Command::new("timeout");
        qemu.args(["5", "qemu-io", "-f", "raw", "-c", write, "-c", "flush", &uri]).stdin(Stdio::null());
        let _ = qemu.stdout(Stdio::null()).stderr(Stdio::null()).status();
        self.is_whole()?;
        self.detach(&volume, &attachment, false)?;
        self.until("volumes", &volume, "available")?;
        let snapshot = self.make(Ask::Snapshot { volume: volume.clone() }, "snapshots", "available")?;
        let clone = Ask::Clone { volume: volume.clone(), snapshot: snapshot.clone(), size: 1 };
        let clone = self.make(clone, "volumes", "available")?;
        self.ask(Ask::Extend { volume: volume.clone(), size: 2 })?;
        self.until("volumes", &volume, "available")?;
        let attachment = self.make(Ask::Attach { volume: clone.clone(), host }, "attachments", "attached")?;
        let holder = self.uri(&attachment).and_then(|uri| Client::holds(&uri).ok());
        self.detach(&clone, &attachment, true)?;
        drop(holder);
        self.ask(Ask::DeleteSnapshot { volume: volume.clone(), snapshot: snapshot.clone() })?;
        self.until("snapshots", &snapshot, "deleted")?;
        self.ask(Ask::Delete { volume: volume.clone(), cascade: false })?;
        self.until("volumes", &volume, "deleted")?;
        self.linger()?;
        self.lose(&clone)
    }

    /// Lets that happen which comes with time alone, such as a checkpoint of the store.
    fn linger(&self) -> Option<()> {
        let deadline = Instant::now() + LINGERED;
        while Instant::now() < deadline {
            self.is_whole()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(())
    }

    /// Takes a volume's file away, lets that be seen, brings it back, and lets it be looked at again.
    fn lose(&self, volume: &str) -> Option<()> {
        let file = self.place.data().join("pools/default").join(&volume[33..36]).join(format!("{volume}.raw"));
        let aside = self.place.data().join("aside");
        std::fs::rename(&file, &aside).ok()?;
        let seen = matches!(self.history.send("POST", "/doctor/look", &json!({}), None), Sent::Answered(200, _));
        let lost = seen.then(|| self.until("volumes", volume, "error"));
        std::fs::rename(&aside, &file).ok()?;
        lost??;
        self.ask(Ask::Recover { volume: volume.to_owned() })?;
        self.until("volumes", volume, "available")
    }

    fn is_whole(&self) -> Option<()> {
        (self.place.hits() == 0).then_some(())
    }

    fn ask(&self, ask: Ask) -> Option<Answer> {
        let answer = self.history.ask(ask, Instant::now())?;
        self.is_whole().map(|()| answer)
    }

    fn make(&mut self, ask: Ask, kind: &str, status: &str) -> Option<String> {
        let makes_volume = kind == "volumes";
        // It is remembered also if the answer was the last that was heard.
        let Some(Answer::Accepted { id: Some(id), .. }) = self.history.ask(ask, Instant::now()) else { return None };
        if makes_volume {
            self.ever.insert(id.clone());
        }
        self.until(kind, &id, status).map(|()| id)
    }

    fn detach(&self, volume: &str, attachment: &str, force: bool) -> Option<()> {
        let (volume, attachment) = (volume.to_owned(), attachment.to_owned());
        self.ask(Ask::Detach { volume, attachment: attachment.clone(), force })?;
        self.until("attachments", &attachment, "detached")
    }

    fn until(&self, kind: &str, id: &str, status: &str) -> Option<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.history.get(&format!("/block/{kind}/{id}?waitFor={status},error&timeout=1"));
            self.is_whole()?;
            let now = now?;
            match now["status"] == status {
                true => return Some(()),
                false if Instant::now() > deadline => return None,
                false => {}
            }
        }
    }

    fn uri(&self, attachment: &str) -> Option<String> {
        let attached = self.history.get(&format!("/block/attachments/{attachment}"))?;
        attached["connectionInfo"]["data"]["uri"].as_str().map(str::to_owned)
    }
}
