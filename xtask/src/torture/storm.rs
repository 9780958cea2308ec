//! The torture at random: rounds of load, live clients and faults, each ended by a verdict.

use super::faults::{Arena, Fault};
use super::history::{Answer, Ask, History};
use super::live::Client;
use super::load::{CLIENTS, Dice, Load};
use super::place::{Controller, Place, ground};
use super::points::Point;
use super::report::Totals;
use super::verdict::{judge, stop};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long each round's load lasts: a handful of faults, and a history of some thousand requests.
const ROUND: Duration = Duration::from_secs(8);
/// The disk of the records and the pool: volumes are sparse, and copies of them hold little.
const DISK_MIB: u64 = 512;
/// After how many rounds records are damaged and a folder is removed, which takes a few seconds: often enough for hundreds in an hour.
const DAMAGED_EACH: u64 = 2;
/// How soon what is made before a load is accepted: a pool that was broken a moment ago may have to be probed first.
const MADE_WITHIN: Duration = Duration::from_secs(10);
/// After so many violations it ends: the first ones tell enough.
const VIOLATIONS_MAX: usize = 100;
/// How often the figures so far are told.
const TOLD_EVERY: Duration = Duration::from_secs(5 * 60);
/// How many live clients write, each to a volume of its own.
const WRITERS: u64 = 2;

/// Tortures from `seed` until `until`. A round with violations is told at once, and the next begins in an arena of its own: one
/// finding does not end a night. Gives the figures and the violations.
pub(super) fn torture(folder: &Path, seed: u64, until: Instant, points: &[Point]) -> Result<(Totals, Vec<String>)> {
    let (mut totals, mut violations, mut told) = (Totals::default(), Vec::new(), Instant::now());
    let mut arena = None;
    for round in 0.. {
        if Instant::now() > until || violations.len() > VIOLATIONS_MAX {
            break;
        }
        let here = match arena.take() {
            Some(arena) => arena,
            None => self::arena(&folder.join(format!("from-round-{round}")), points)?,
        };
        // Where something could not even be asked, that is a finding too.
        let found = whole_round(&here, folder, seed, round, &mut totals).unwrap_or_else(|why| vec![format!("{why:#}")]);
        totals.rounds += 1;
        match found.is_empty() {
            true => arena = Some(here),
            false => violations.extend(found.into_iter().map(|found| format!("round {round} of seed {seed}: {found}")).inspect(
                |found| {
                    println!("violation: {found}");
                },
            )),
        }
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            totals.violations = violations.len() as u64;
            println!("== torture: {totals}");
        }
    }
    Ok((totals, violations))
}

fn arena(folder: &Path, points: &[Point]) -> Result<Arena> {
    let ground = ground(DISK_MIB);
    let data = ground.as_ref().map_or_else(|| folder.join("disk"), |ground| ground.root().to_owned()).join("data");
    Ok(Arena { place: Place::new(folder, &data)?, ground, points: points.to_vec(), doubt: Arc::default() })
}

/// A round, and now and then damage after it.
fn whole_round(arena: &Arena, folder: &Path, seed: u64, round: u64, totals: &mut Totals) -> Result<Vec<String>> {
    let mut found = self::round(arena, seed, round, totals)?;
    if round.is_multiple_of(DAMAGED_EACH) {
        let folder = folder.join(format!("damage-{round}"));
        found.extend(super::damage::torture(&folder, &mut Dice::new(seed, !round), totals)?);
    }
    Ok(found)
}

fn round(arena: &Arena, seed: u64, round: u64, totals: &mut Totals) -> Result<Vec<String>> {
    let mut dice = Dice::new(seed, round << 8);
    arena.place.forget_said();
    let controller = arena.start()?;
    let history = History::new(&arena.place.base()).in_doubt_while(&arena.doubt);
    let host = host(&history)?;
    let until = Instant::now() + ROUND;
    let load = Load::new(&history, &host, until + ROUND);
    let writers = writers(&history, &host, &load, seed, round)?;
    let (controller, is_clean, faults) = std::thread::scope(|scope| {
        for client in 1..=CLIENTS {
            let (load, dice) = (&load, Dice::new(seed, (round << 8) + client));
            scope.spawn(move || load.run(dice));
        }
        // Also when a fault itself fails: or the clients would ask for ever.
        let _over = Over(&load.is_over);
        strikes(arena, controller, until, &mut dice, totals)
    })?;
    // What the last faults left to be tried again later is tried again at once by a new start; it must all be over soon then.
    controller.kill()?;
    totals.kills += 1;
    let controller = arena.start()?;
    let mut found = Vec::new();
    for writer in writers {
        match writer.end() {
            Ok(done) => {
                totals.flushes += done.flushes;
                totals.reconnects += done.connections.saturating_sub(2);
            }
            Err(why) => found.push(format!("a live client: {why:#}")),
        }
    }
    found.extend(judge(&history, &arena.place, load.ever(), is_clean, totals)?);
    found.extend(stop(controller, &arena.place)?);
    if !found.is_empty() {
        found.push(format!("the faults of round {round} were {faults:?}"));
    }
    Ok(found)
}

/// Ends the load when dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One fault after the other, with a while of peace between them.
fn strikes(
    arena: &Arena,
    mut controller: Controller,
    until: Instant,
    dice: &mut Dice,
    totals: &mut Totals,
) -> Result<(Controller, bool, Vec<Fault>)> {
    let mut faults = Vec::new();
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100 + dice.below(900) as u64));
        let fault = Fault::choose(dice, arena.ground.is_some());
        faults.push(fault);
        controller = arena.strike(fault, controller, dice, totals)?;
    }
    let is_clean = faults.iter().all(|fault| fault.is_clean());
    Ok((controller, is_clean, faults))
}

/// A host on the loopback address, the same in each round.
pub(super) fn host(history: &History) -> Result<String> {
    use super::history::Sent;
    let hosts = history.get("/host/hosts").context("the hosts are not answered")?;
    if let Some(id) = hosts[0]["id"].as_str() {
        return Ok(id.to_owned());
    }
    let body = json!({"hostName": "h", "ip": "127.0.0.1", "osType": "linux", "accessMode": "agentless"});
    match history.send("POST", "/host/hosts", &body, None) {
        Sent::Answered(200, body) => Ok(body["id"].as_str().context("an id")?.to_owned()),
        Sent::Answered(code, body) => anyhow::bail!("the host was answered with {code} {body}"),
        Sent::Refused | Sent::Lost => anyhow::bail!("the host was not answered"),
    }
}

/// Volumes that no fault of the load's own touches, and a client that writes to each.
fn writers(history: &History, host: &str, load: &Load<'_>, seed: u64, round: u64) -> Result<Vec<Client>> {
    (0..WRITERS)
        .map(|writer| {
            let volume = made(history, Ask::Create { size: 1, multi: false }, "volumes", "available")?;
            load.remember(&volume);
            let ask = Ask::Attach { volume, host: host.to_owned() };
            let attachment = made(history, ask, "attachments", "attached")?;
            let attached = history.get(&format!("/block/attachments/{attachment}")).context("it is there")?;
            let uri = attached["connectionInfo"]["data"]["uri"].as_str().context("a uri")?;
            Client::writes(uri, seed ^ (round << 8) ^ writer)
        })
        .collect()
}

/// Asks for what makes something, and waits until it has this status. Gives its id.
pub(super) fn made(history: &History, ask: Ask, kind: &str, status: &str) -> Result<String> {
    let answer = history.ask(ask.clone(), Instant::now() + MADE_WITHIN);
    let Some(Answer::Accepted { id: Some(id), .. }) = answer else { anyhow::bail!("{ask:?} was answered {answer:?}") };
    let now = history.get(&format!("/block/{kind}/{id}?waitFor={status},error&timeout=10")).context("it is not answered")?;
    anyhow::ensure!(now["status"] == status, "{ask:?} became {now}");
    Ok(id)
}
