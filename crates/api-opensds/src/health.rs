//! How a resource's backend was last seen: `health` in bodies, and `availability` of pools.
//!
//! - `health` stands beside the status and never moves it: while a backend does not answer, a status says what was true when it last
//!   did, and `health` says that this is not known now, and since when.
//! - A tombstone is of nothing that a backend has, so no backend that is down makes it doubtful.

use crate::Api;
use crate::wire::{Text, time};
use engine::Reach;
use engine::records::VolumeRecord;
use engine::requests::{PoolNow, Unseen};
use lifecycle::{AttachmentPhase, ReasonCode, SnapshotPhase, Subject, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

/// What `health.state` and `availability.state` may be.
pub(crate) const HEALTH_WORDS: [&str; 3] = ["ok", "unknown", "error"];
/// See [`HEALTH_WORDS`].
pub(crate) const AVAILABILITY_WORDS: [&str; 3] = ["up", "down", "unknown"];
/// What `health.code` may be: the backend does not answer at all, or could not be looked at; or whoever serves an attachment does not.
pub(crate) const DOUBTS: [&str; 3] = [UNREACHABLE, UNSEEN, SILENT];
const UNREACHABLE: &str = "backendUnreachable";
const UNSEEN: &str = "backendUnseen";
const SILENT: &str = "exporterSilent";

/// How the backend was last seen.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_at: Option<Text<Timestamp>>,
    #[serde(flatten)]
    doubt: Option<Doubt>,
}

/// Why what is known may be out of date.
#[derive(Serialize)]
struct Doubt {
    code: &'static str,
    message: String,
    /// Nothing where nobody knows since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Text<Timestamp>>,
}

impl Health {
    /// Why nothing is known now, if so.
    pub(crate) const fn code(&self) -> Option<&'static str> {
        match &self.doubt {
            Some(doubt) => Some(doubt.code),
            None => None,
        }
    }
}

impl Api {
    /// The health of a volume, or of one of its parts whose status has this reason.
    pub(crate) fn health(&self, record: &VolumeRecord, subject: Subject, status_reason: Option<ReasonCode>) -> Health {
        let doubt = if is_tombstone(record, subject) { None } else { self.doubt(record).or_else(|| self.silence(record, subject)) };
        let state = &record.state;
        let word = if state.word(subject).starts_with("error") || status_reason == Some(ReasonCode::NotExported) {
            "error"
        } else if state.seen().0.is_known() && doubt.is_none() {
            "ok"
        } else {
            "unknown"
        };
        Health { state: word, checked_at: self.engine.checked_at(record, subject).map(Text), doubt }
    }

    fn doubt(&self, record: &VolumeRecord) -> Option<Doubt> {
        if let Reach::Down { since, because } = self.engine.reach(record.pool) {
            let message = format!("the backend of its pool does not answer: {because}");
            return Some(Doubt { code: UNREACHABLE, message, since: Some(Text(since)) });
        }
        let Unseen { since, message } = self.engine.unseen(record)?;
        Some(Doubt { code: UNSEEN, message, since: Some(Text(since)) })
    }

    /// Why nothing is known of an attachment's export, if so.
    fn silence(&self, record: &VolumeRecord, subject: Subject) -> Option<Doubt> {
        let Subject::Attachment(id) = subject else { return None };
        let is_exported = record.state.attachments().get(&id).is_some_and(|held| held.phase.is_live());
        if !is_exported || self.engine.exporter_answers(record, id) {
            return None;
        }
        let protocol = record.attachments.get(&id).map_or("", |about| &about.protocol);
        let message =
            format!("whoever serves {protocol} does not answer, or was not asked yet; the attachment is as it was last known");
        Some(Doubt { code: SILENT, message, since: None })
    }
}

fn is_tombstone(record: &VolumeRecord, subject: Subject) -> bool {
    let state = &record.state;
    match subject {
        Subject::Volume(_) => false,
        Subject::Snapshot(id) => state.snapshots().get(&id).is_some_and(|held| matches!(held.phase, SnapshotPhase::Deleted)),
        Subject::Attachment(id) => state.attachments().get(&id).is_some_and(|held| matches!(held.phase, AttachmentPhase::Detached)),
    }
}

/// Whether a pool's backend answers.
pub(crate) fn availability(pool: &PoolNow) -> Value {
    match &pool.reach {
        Reach::Unknown => json!({"state": "unknown", "message": "the backend has not answered since the controller was started"}),
        Reach::Up { since } => json!({"state": "up", "since": time(*since)}),
        Reach::Down { since, because } => json!({"state": "down", "since": time(*since), "message": because}),
    }
}

/// Whether a pool or its dock can be used, in OpenSDS' words.
pub(crate) fn status(pool: &PoolNow, wanted: bool) -> &'static str {
    if pool.capacity.is_some() && !pool.reach.is_down() && wanted { "available" } else { "unavailable" }
}
