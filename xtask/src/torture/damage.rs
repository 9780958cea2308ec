//! What nobody can prevent: the records damaged between two runs, and the data folder removed under the server. It must be told; nothing
//! may be lost or invented in silence, and nothing acknowledged that is lost.
//!
//! SQLite has no checksums of pages: a bit flipped inside a word (a name, say) is read as it stands, and no one can tell. What is held
//! to here is what statuses promise: that a resource exists, and its size.

use super::history::{Answer, Ask, History, Sent};
use super::load::Dice;
use super::place::{Controller, Place};
use super::report::Totals;
use super::storm::{host, made};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How many volumes are recorded: enough for several pages of the database.
const VOLUMES: usize = 12;
/// How soon the server must say that its folder is gone.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// The files of the records.
const RECORDS: [&str; 2] = ["berth.db", "berth.db-wal"];

/// Damages the records between two runs, then removes the folder of a third. Gives the violations.
pub(super) fn torture(folder: &Path, dice: &mut Dice, totals: &mut Totals) -> Result<Vec<String>> {
    let data = folder.join("data");
    let place = Place::new(folder, &data)?;
    let mut found = damaged(&place, dice, totals)?;
    place.end_data_plane()?;
    std::fs::remove_dir_all(&data).context("cannot tidy up")?;
    found.extend(removed(&place, totals)?);
    place.end_data_plane()?;
    if found.is_empty() {
        std::fs::remove_dir_all(folder).context("cannot tidy up")?;
    }
    Ok(found)
}

/// What a record promises: that the resource is there, and its size.
type Promises = BTreeMap<String, u64>;

fn promises(history: &History) -> Option<Promises> {
    let volumes = history.get("/block/volumes?limit=1000")?;
    let of = |volume: &Value| Some((volume["id"].as_str()?.to_owned(), volume["sizeBytes"].as_u64()?));
    volumes.as_array()?.iter().map(of).collect()
}

fn damaged(place: &Place, dice: &mut Dice, totals: &mut Totals) -> Result<Vec<String>> {
    let controller = place.start(None, &[])?.context("it did not start")?;
    let history = History::new(&place.base());
    let host = host(&history)?;
    for at in 0..VOLUMES {
        let volume = made(&history, Ask::Create { size: 1 + dice.below(3) as u64, multi: false }, "volumes", "available")?;
        if at % 3 == 0 {
            made(&history, Ask::Attach { volume, host: host.clone() }, "attachments", "attached")?;
        }
    }
    totals.count(&history.take());
    let before = promises(&history).context("the list is not answered")?;
    // A kill leaves a log that is read again at the next start; a stop leaves none.
    if dice.below(2) == 0 {
        controller.kill()?;
        totals.kills += 1;
    } else {
        controller.terminate()?;
    }
    place.end_data_plane()?;
    let what = harm(place.data(), dice)?;
    totals.faults += 1;
    let told = |why: String| format!("{what}: {why}");
    let Some(controller) = place.start(None, &[])? else {
        let words = place.last_words();
        let says = RECORDS.iter().any(|name| words.contains(name)) || words.contains(&*place.data().to_string_lossy());
        return Ok((!says)
            .then(|| told(format!("it does not start, and does not say what is damaged: {words}")))
            .into_iter()
            .collect());
    };
    let found = silent(&history, &before).into_iter().map(told).collect();
    drop::<Controller>(controller);
    Ok(found)
}

/// Harms the records in one of the ways that disks and people do. Gives what was done.
fn harm(data: &Path, dice: &mut Dice) -> Result<String> {
    let there: Vec<&str> =
        RECORDS.into_iter().filter(|name| data.join(name).metadata().is_ok_and(|facts| facts.len() > 0)).collect();
    let name = dice.pick(&there).context("there are records")?;
    let file = File::options().read(true).write(true).open(data.join(name)).context("it can be opened")?;
    let length = usize::try_from(file.metadata()?.len())?;
    let at = dice.below(length) as u64;
    if dice.below(2) == 0 {
        file.set_len(at).context("it can be cut")?;
        return Ok(format!("{name} of {length} bytes cut to {at}"));
    }
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    let bit = dice.below(8);
    file.write_all_at(&[byte[0] ^ (1 << bit)], at)?;
    Ok(format!("bit {bit} of byte {at} of {length} of {name} flipped"))
}

/// What is lost or invented without anybody telling.
fn silent(history: &History, before: &Promises) -> Vec<String> {
    let deadline = Instant::now() + TOLD_WITHIN;
    loop {
        let look = history.send("POST", "/doctor/look", &json!({}), None);
        let told = match look {
            Sent::Answered(200, told) => told.to_string(),
            // It says that it cannot read them.
            Sent::Answered(503, _) => return Vec::new(),
            Sent::Answered(..) | Sent::Refused | Sent::Lost => return vec!["the diagnosis is not answered".into()],
        };
        let Some(after) = promises(history) else { return Vec::new() };
        let differs = before.keys().chain(after.keys()).filter(|id| before.get(*id) != after.get(*id));
        let untold: Vec<String> = differs
            .filter(|id| !told.contains(id.as_str()))
            .map(|id| format!("{id} had {:?} bytes and has {:?}, and nobody tells", before.get(id), after.get(id)))
            .collect();
        if untold.is_empty() || Instant::now() > deadline {
            return untold;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn removed(place: &Place, totals: &mut Totals) -> Result<Vec<String>> {
    let controller = place.start(None, &[])?.context("it did not start")?;
    let history = History::new(&place.base());
    let volume = made(&history, Ask::Create { size: 1, multi: false }, "volumes", "available")?;
    // What runs may make a file there meanwhile.
    let deadline = Instant::now() + TOLD_WITHIN;
    while std::fs::remove_dir_all(place.data()).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    totals.faults += 1;
    let mut found = Vec::new();
    let answer = history.ask(Ask::Create { size: 1, multi: false }, Instant::now());
    if matches!(answer, Some(Answer::Accepted { .. })) {
        found.push(format!("its folder is removed, and a create is answered {answer:?}"));
    }
    let deadline = Instant::now() + TOLD_WITHIN;
    loop {
        match history.send("GET", &format!("/block/volumes/{volume}"), &Value::Null, None) {
            Sent::Answered(200, body) if body["status"] == "available" && body["health"]["state"] == "ok" => {
                if Instant::now() > deadline {
                    found.push(format!("its folder is removed, and {TOLD_WITHIN:?} later it says {body}"));
                    break;
                }
            }
            _ => break,
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    totals.count(&history.take());
    controller.kill()?;
    totals.kills += 1;
    Ok(found)
}
