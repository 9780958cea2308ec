//! What the controller claims to have happened to one volume: its journals, read as one order of steps, and the state between each two.
//!
//! The sizes are not in the journal; they follow from what was asked and how it ended.

use super::history::{Ask, Asked, History};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The most entries of one volume that are read; a round makes a few hundred.
const ENTRIES_MAX: usize = 10_000;

/// A volume between two steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Its status; none before it was made and once it is gone.
    pub(super) word: Option<String>,
    /// Its size in GiB, if it follows from what was asked.
    pub(super) size: Option<u64>,
    /// The size that a running extend goes to.
    pub(super) target: Option<u64>,
    pub(super) multi: bool,
    pub(super) snapshots: BTreeMap<String, String>,
    pub(super) attachments: BTreeMap<String, Attachment>,
}

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) word: String,
    /// Whether a detach runs: the word is `attached` still.
    pub(super) leaves: bool,
}

/// One commit.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) revision: u64,
    /// The request that asked for it, or nothing.
    pub(super) request: String,
    /// Whether the volume itself changed, and not only a snapshot or an attachment of it.
    pub(super) is_own: bool,
}

/// The steps of a volume; `states[n]` is what was before `steps[n]`.
#[derive(Debug, Default)]
pub(super) struct Claim {
    pub(super) volume: String,
    pub(super) steps: Vec<Step>,
    pub(super) states: Vec<State>,
    /// Where the journal contradicts itself.
    pub(super) gaps: Vec<String>,
}

impl State {
    /// The word of a resource, wherever it stands.
    pub(super) fn word_of(&self, kind: &str, id: &str) -> Option<&str> {
        match kind {
            "snapshot" => self.snapshots.get(id).map(String::as_str),
            "attachment" => self.attachments.get(id).map(|attachment| attachment.word.as_str()),
            _ => self.word.as_deref(),
        }
    }

    /// Attachments that are, or may be, exported. Source: lifecycle page, "Volume".
    pub(super) fn live(&self) -> impl Iterator<Item = (&String, &Attachment)> {
        let is_live = |word: &str| ["attaching", "attached", "errorDetaching"].contains(&word);
        self.attachments.iter().filter(move |(_, attachment)| is_live(&attachment.word))
    }

    /// Snapshots that are there in some way.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&String, &String)> {
        self.snapshots.iter().filter(|(_, word)| *word != "deleted")
    }
}

impl Claim {
    /// Reads what is claimed of a volume and its parts (as `snapshots/ID`, `attachments/ID`), each of which has a journal of its own;
    /// nothing if one is not answered.
    pub(super) fn read(history: &History, volume: &str, parts: &BTreeSet<String>, asked: &BTreeMap<&str, &Asked>) -> Option<Self> {
        let mut claim = Self { volume: volume.to_owned(), states: vec![State::default()], ..Self::default() };
        let mut entries = Vec::new();
        for part in std::iter::once(&format!("volumes/{volume}")).chain(parts) {
            let journal = history.get(&format!("/block/{part}/journal?limit={ENTRIES_MAX}"))?;
            entries.extend(journal.as_array()?.iter().cloned());
        }
        // Stable: entries of one journal keep their order.
        entries.sort_by_key(|entry| entry["revision"].as_u64());
        entries.iter().for_each(|entry| claim.follow(entry, asked));
        Some(claim)
    }

    fn follow(&mut self, entry: &Value, asked: &BTreeMap<&str, &Asked>) {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let (kind, id, to, request) = (text("kind"), text("id"), text("to"), text("requestId"));
        let revision = entry["revision"].as_u64().unwrap_or_default();
        let last = self.steps.last().map_or(0, |step| step.revision);
        if revision != last {
            self.steps.push(Step { revision, request: request.to_owned(), is_own: false });
            self.states.push(self.state().clone());
        }
        let volume = self.volume.clone();
        if let Some(step) = self.steps.last_mut() {
            step.is_own |= kind == "volume";
        }
        let state = self.states.last_mut().expect("there is one before the first step");
        let was = state.word_of(kind, id).map(str::to_owned);
        if was.as_deref() != entry["from"].as_str() {
            self.gaps.push(format!("revision {revision}: {kind} {id} was {was:?}, and goes from {}", entry["from"]));
        }
        let ask = asked.get(request).map(|asked| &asked.ask);
        let ended = [&entry["ended"]["operation"], &entry["ended"]["how"]].map(|word| word.as_str().unwrap_or_default());
        match kind {
            "snapshot" => drop(state.snapshots.insert(id.to_owned(), to.to_owned())),
            "attachment" => {
                // An entry that changes no status and ends nothing tells nothing of whether it leaves.
                let stays = was.as_deref() == Some(to) && ended[0].is_empty() && text("cause") != "detach";
                let before = stays && state.attachments.get(id).is_some_and(|attachment| attachment.leaves);
                let leaves = before || to == "attached" && text("cause") == "detach" && ended[0] != "detach";
                state.attachments.insert(id.to_owned(), Attachment { word: to.to_owned(), leaves });
            }
            // What clones is told by the volume that is cloned, too: it is not what becomes of that.
            _ if id == volume => state.volume(to, ask.filter(|ask| !matches!(ask, Ask::Clone { .. }) || was.is_none()), ended),
            _ => self.gaps.push(format!("revision {revision}: {kind} {id} is no part of it")),
        }
    }

    /// What it is at last.
    pub(super) fn state(&self) -> &State {
        self.states.last().expect("there is one before the first step")
    }

    /// Which step a request is; the first, if it is several.
    pub(super) fn step_of(&self, request: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.request == request)
    }

    /// The states, as indices, that a volume of this revision can have been read in: until it changed itself the next time.
    pub(super) fn read_at(&self, revision: u64) -> (usize, usize) {
        let from = self.until(revision);
        let own = self.steps[from..].iter().position(|step| step.is_own);
        (from, own.map_or(self.steps.len(), |more| from + more))
    }

    /// How many steps are at or before this revision: the index of the state that was then.
    pub(super) fn until(&self, revision: u64) -> usize {
        self.steps.partition_point(|step| step.revision <= revision)
    }
}

impl State {
    fn volume(&mut self, to: &str, ask: Option<&Ask>, ended: [&str; 2]) {
        match ask {
            Some(Ask::Create { size, multi }) => (self.size, self.multi) = (Some(*size), *multi),
            Some(Ask::Clone { size, .. }) => self.size = Some(*size),
            Some(Ask::Extend { size, .. }) => self.target = Some(*size),
            Some(Ask::Retry { .. } | Ask::Recover { .. }) => self.size = None,
            Some(_) | None => {}
        }
        if ended[0] == "extend" {
            self.size = self.target.take().filter(|_| ended[1] == "done");
        }
        self.word = (to != "deleted").then(|| to.to_owned());
    }
}
