//! The end of a round: faults have stopped. Everything settles, all that was ever said is compared with all there is, and what is left
//! is deleted without a rest.

use super::checker::contradictions;
use super::claim::Claim;
use super::disk::{Records, SETTLED_WITHIN, clear, disagreements, records_and_claims, settle};
use super::history::{Answer, Ask, Asked, History};
use super::place::Place;
use super::report::Totals;
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a data plane that serves nothing may live on once its controller was told to stop.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Judges what happened to a controller that runs. `ever` are volumes known to have been made; if only processes failed (`is_clean`),
/// nothing may have ended in an error. Gives the violations.
pub(super) fn judge(
    history: &History,
    place: &Place,
    ever: BTreeSet<String>,
    is_clean: bool,
    totals: &mut Totals,
) -> Result<Vec<String>> {
    let mut found = settle(history, SETTLED_WITHIN);
    let mut volumes = ever;
    volumes.extend(Records::read(history).iter().flat_map(|records| records.volumes().map(str::to_owned).collect::<Vec<_>>()));
    for volume in &volumes {
        history.ask(Ask::Read { volume: volume.clone() }, Instant::now());
    }
    found.extend(disagreements(history, place, is_clean)?);
    let asked = history.take();
    totals.count(&asked);
    let claims = claims(history, &asked, &volumes, &mut found);
    totals.steps += claims.iter().map(|claim| claim.steps.len() as u64).sum::<u64>();
    found.extend(records_and_claims(history, &claims));
    found.extend(contradictions(&asked, &claims));
    found.extend(clear(history, place));
    totals.count(&history.take());
    let (nothing, nobody) = (BTreeSet::new(), BTreeMap::new());
    let unsaid =
        |volume: &&String| Claim::read(history, volume, &nothing, &nobody).is_none_or(|claim| claim.state().word.is_some());
    found.extend(volumes.iter().filter(unsaid).map(|volume| format!("{volume} is gone, and its journal does not say so")));
    found.extend(place.said().lines().filter(|line| is_panic(line)).map(|line| format!("something panicked: {line}")));
    Ok(found)
}

/// A panic that nobody asked for.
fn is_panic(line: &str) -> bool {
    line.contains("panicked at") || (line.contains("panicked") && !line.contains("fail point hit"))
}

fn claims(history: &History, asked: &[Asked], volumes: &BTreeSet<String>, found: &mut Vec<String>) -> Vec<Claim> {
    let parts = parts(history, asked);
    let asked: BTreeMap<&str, &Asked> = asked.iter().map(|one| (one.id.as_str(), one)).collect();
    let (mut claims, none) = (Vec::new(), BTreeSet::new());
    for volume in volumes {
        match Claim::read(history, volume, parts.get(volume).unwrap_or(&none), &asked) {
            Some(claim) if !claim.steps.is_empty() => claims.push(claim),
            Some(_) => found.push(format!("volume {volume} was made, and has no journal")),
            None => found.push(format!("the journal of volume {volume} is not answered")),
        }
    }
    claims
}

/// The snapshots and attachments that each volume ever had, by what was answered and by what is listed, tombstones too.
fn parts(history: &History, asked: &[Asked]) -> BTreeMap<String, BTreeSet<String>> {
    let mut parts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |volume: &str, part: String| parts.entry(volume.to_owned()).or_default().insert(part);
    for one in asked {
        if let (Ask::Attach { volume, .. }, Answer::Accepted { id: Some(id), .. }) = (&one.ask, &one.answer) {
            add(volume, format!("attachments/{id}"));
        }
        if let (Ask::Snapshot { volume }, Answer::Accepted { id: Some(id), .. }) = (&one.ask, &one.answer) {
            add(volume, format!("snapshots/{id}"));
        }
    }
    for list in ["attachments?limit=10000", "attachments?limit=10000&status=detached", "snapshots?limit=10000"] {
        let listed = history.get(&format!("/block/{list}"));
        for one in listed.as_ref().and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            add(text("volumeId"), format!("{}/{}", list.split('?').next().unwrap_or_default(), text("id")));
        }
    }
    parts
}

/// Stops a controller that has nothing left to serve; nothing of it may run on.
pub(super) fn stop(controller: super::place::Controller, place: &Place) -> Result<Vec<String>> {
    let mut found = Vec::new();
    match controller.terminate()? {
        Some(status) if status.success() => {}
        Some(status) => found.push(format!("told to stop, it ended with {status}: {}", place.last_words())),
        None => found.push("told to stop, it had to be killed".into()),
    }
    let deadline = Instant::now() + ENDED_WITHIN;
    while let Some(status) = place.data_plane()? {
        if Instant::now() > deadline {
            found.push(format!("its data plane, which serves nothing, runs on: {status} {}", place.last_words()));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(found)
}
