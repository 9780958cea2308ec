//! Records against the world: the files of the pool, the exports of the data plane, and what `berth doctor` finds.

use super::claim::Claim;
use super::history::{Ask, GIB, History};
use super::place::Place;
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long after faults have stopped and a restart everything has settled. The engine's own goal is a second on an idle machine.
pub(super) const SETTLED_WITHIN: Duration = Duration::from_secs(20);
/// More than there ever is.
const ALL: &str = "limit=10000";
/// What the lists are called.
const KINDS: [&str; 3] = ["volumes", "snapshots", "attachments"];

/// Every volume, snapshot and attachment, as the lists tell them.
pub(super) struct Records([Vec<Value>; 3]);

impl Records {
    /// Nothing if a list is not answered.
    pub(super) fn read(history: &History) -> Option<Self> {
        let list = |kind: &str| history.get(&format!("/block/{kind}?{ALL}")).and_then(|body| body.as_array().cloned());
        Some(Self([list("volumes")?, list("snapshots")?, list("attachments")?]))
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        KINDS.into_iter().zip(&self.0).flat_map(|(kind, list)| list.iter().map(move |one| (kind, one)))
    }

    /// The ids of all volumes.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &str> {
        self.0[0].iter().map(|volume| text(volume, "id"))
    }

    fn moving(&self) -> Vec<String> {
        let is_moving = |one: &Value| {
            let status = text(one, "status");
            (status.ends_with("ing") && !status.starts_with("error")) || one["operation"].is_object()
        };
        self.all().filter(|(_, one)| is_moving(one)).map(|(kind, one)| format!("{kind} {one}")).collect()
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Waits until nothing is transient and nothing runs. What still is, is told.
pub(super) fn settle(history: &History, within: Duration) -> Vec<String> {
    let deadline = Instant::now() + within;
    loop {
        let moving = match Records::read(history) {
            Some(records) => records.moving(),
            None => vec!["the lists are not answered".into()],
        };
        if moving.is_empty() || Instant::now() > deadline {
            return moving.into_iter().map(|one| format!("not settled within {within:?}: {one}")).collect();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Where records, files, exports and the diagnosis do not agree. If nothing but processes failed (`is_clean`), nothing may be an error either.
pub(super) fn disagreements(history: &History, place: &Place, is_clean: bool) -> Result<Vec<String>> {
    let Some(records) = Records::read(history) else { return Ok(vec!["the lists are not answered".into()]) };
    let mut wrong = files_and_records(&records, place.data());
    if is_clean {
        let is_error = |one: &&(&'static str, &Value)| text(one.1, "status").starts_with("error");
        wrong.extend(
            records.all().filter(|one| is_error(&one)).map(|(kind, one)| format!("an error without a fault: {kind} {one}")),
        );
    }
    wrong.extend(exports(&records, place)?);
    wrong.extend(diagnosis(history, &records));
    Ok(wrong)
}

/// Every volume's and snapshot's file in the pool, with its size; other names too, as leftovers have.
fn files(folder: &Path) -> BTreeMap<String, u64> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                folders.push(path);
            } else if name.len() > 36 && name.as_bytes()[8] == b'-' {
                found.insert(name, entry.metadata().map_or(0, |facts| facts.len()));
            }
        }
    }
    found
}

fn files_and_records(records: &Records, data: &Path) -> Vec<String> {
    let mut on_disk = files(&data.join("pools"));
    let mut wrong = Vec::new();
    for (kind, one) in records.all().filter(|(kind, _)| *kind != "attachments") {
        let (id, status) = (text(one, "id"), text(one, "status"));
        let (name, size) = match kind {
            "volumes" => (format!("{id}.raw"), one["sizeBytes"].as_u64()),
            _ => (format!("{}@{id}.raw", text(one, "volumeId")), one["size"].as_u64().map(|gib| gib * GIB)),
        };
        if status.starts_with("error") {
            // It says itself that something is amiss; what is left of it is its own.
            on_disk.retain(|file, _| !file.starts_with(name.trim_end_matches("raw")));
            continue;
        }
        match on_disk.remove(&name) {
            held if held == size => {}
            held => wrong.push(format!("{name} has {held:?} bytes, and its record: {one}")),
        }
    }
    wrong.extend(on_disk.into_iter().map(|(name, size)| format!("{name} ({size} bytes) has no record")));
    wrong
}

/// What is served is what is attached, and nothing else.
fn exports(records: &Records, place: &Place) -> Result<Vec<String>> {
    let served = place.data_plane()?.map(|status| status["exports"].as_array().cloned().unwrap_or_default());
    let served: BTreeSet<String> = served.into_iter().flatten().map(|export| text(&export, "attachment").to_owned()).collect();
    let (mut wrong, mut may) = (Vec::new(), BTreeSet::new());
    for attachment in &records.0[2] {
        let (id, status) = (text(attachment, "id"), text(attachment, "status"));
        match status {
            "attached" if !served.contains(id) => wrong.push(format!("attached, and not served: {attachment}")),
            "attached" | "errorDetaching" => drop(may.insert(id.to_owned())),
            _ => {}
        }
    }
    wrong.extend(served.difference(&may).map(|id| format!("attachment {id} is served, and not attached")));
    Ok(wrong)
}

/// What the diagnosis finds after a look, beyond error statuses, which say themselves what they are.
fn diagnosis(history: &History, records: &Records) -> Vec<String> {
    let super::history::Sent::Answered(200, told) = history.send("POST", "/doctor/look", &serde_json::json!({}), None) else {
        return vec!["the diagnosis is not answered".into()];
    };
    let is_told = |finding: &Value| {
        let id = text(&finding["resource"], "id");
        records.all().any(|(_, one)| text(one, "id") == id && text(one, "status").starts_with("error"))
    };
    let findings = told["findings"].as_array().cloned().unwrap_or_default();
    findings.into_iter().filter(|finding| !is_told(finding)).map(|finding| format!("doctor: {finding}")).collect()
}

/// Where the records are not what the journals end in.
pub(super) fn records_and_claims(history: &History, claims: &[Claim]) -> Vec<String> {
    let Some(records) = Records::read(history) else { return vec!["the lists are not answered".into()] };
    let told = records.all().map(|(_, one)| (text(one, "id"), text(one, "status"))).collect::<BTreeMap<_, _>>();
    let mut claimed: BTreeMap<&str, &str> = BTreeMap::new();
    for claim in claims {
        let state = claim.state();
        claimed.extend(state.word.as_deref().map(|word| (claim.volume.as_str(), word)));
        claimed.extend(state.kept().map(|(id, word)| (id.as_str(), word.as_str())));
        claimed
            .extend(state.attachments.iter().filter(|(_, a)| a.word != "detached").map(|(id, a)| (id.as_str(), a.word.as_str())));
    }
    let ids: BTreeSet<&str> = told.keys().chain(claimed.keys()).copied().collect();
    let differs = ids.into_iter().filter(|id| told.get(id) != claimed.get(id));
    differs.map(|id| format!("{id} is {:?} by its record, and {:?} by the journal", told.get(id), claimed.get(id))).collect()
}

/// Deletes everything as a user would, and tells what is left then.
pub(super) fn clear(history: &History, place: &Place) -> Vec<String> {
    let Some(records) = Records::read(history) else { return vec!["the lists are not answered".into()] };
    let deadline = Instant::now() + SETTLED_WITHIN;
    let mut wrong = Vec::new();
    let owned = |one: &Value, key: &str| text(one, key).to_owned();
    for attachment in &records.0[2] {
        let (volume, attachment) = (owned(attachment, "volumeId"), owned(attachment, "id"));
        wrong.extend(refused(history, Ask::Detach { volume, attachment, force: true }, deadline));
    }
    wrong.extend(settle(history, SETTLED_WITHIN));
    for volume in records.volumes() {
        wrong.extend(refused(history, Ask::Delete { volume: volume.to_owned(), cascade: true }, deadline));
    }
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let left: Vec<String> = match Records::read(history) {
            Some(records) => records.all().map(|(kind, one)| format!("cannot be deleted: {kind} {one}")).collect(),
            None => vec!["the lists are not answered".into()],
        };
        if left.is_empty() || Instant::now() > deadline {
            wrong.extend(left);
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    wrong.extend(files(&place.data().join("pools")).into_keys().map(|name| format!("{name} is left after everything was deleted")));
    wrong
}

fn refused(history: &History, ask: Ask, deadline: Instant) -> Option<String> {
    use super::history::Answer;
    match history.ask(ask.clone(), deadline) {
        Some(Answer::Accepted { .. } | Answer::Refused { code: 404, .. }) => None,
        answer => Some(format!("{ask:?} was answered {answer:?}")),
    }
}
