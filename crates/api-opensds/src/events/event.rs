//! One event, and how it is written: as server-sent events, or as one JSON object a line.

use crate::Api;
use crate::wire;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, header};
use engine::records::{HostRecord, TenantId, VolumeRecord};
use engine::requests::PoolNow;
use engine::store::{Item, JournalEntry, Mark};
use engine::{Follower, Told};
use lifecycle::{AttachmentId, HostId, SnapshotId, Subject, VolumeId};
use serde_json::{Value, json};
use std::sync::OnceLock;
use uuid::Uuid;

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Server-sent events, as browsers read them.
    Sse,
    /// One JSON object a line.
    Lines,
}

impl Format {
    /// The one that a request accepts; server-sent events where it does not say.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let lines = |value: &HeaderValue| value.to_str().is_ok_and(|accepted| accepted.contains("application/x-ndjson"));
        if headers.get_all(header::ACCEPT).iter().any(lines) { Self::Lines } else { Self::Sse }
    }

    pub(super) const fn content_type(self) -> HeaderValue {
        match self {
            Self::Sse => HeaderValue::from_static("text/event-stream"),
            Self::Lines => HeaderValue::from_static("application/x-ndjson"),
        }
    }

    /// What begins a stream: how soon a browser may come back.
    pub(super) const fn preamble(self) -> &'static str {
        match self {
            Self::Sse => "retry: 1000\n\n",
            Self::Lines => "",
        }
    }

    /// Writes one event. `data` is a JSON object that is not empty.
    pub(super) fn write(self, out: &mut Vec<u8>, name: &str, id: Option<&str>, data: &str) {
        let parts: &[&str] = match (self, id) {
            (Self::Sse, Some(id)) => &["event: ", name, "\nid: ", id, "\ndata: ", data, "\n\n"],
            (Self::Sse, None) => &["event: ", name, "\ndata: ", data, "\n\n"],
            (Self::Lines, Some(id)) => &["{\"event\":\"", name, "\",\"eventId\":\"", id, "\",", &data[1..], "\n"],
            (Self::Lines, None) => &["{\"event\":\"", name, "\",", &data[1..], "\n"],
        };
        parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    }
}

/// The kinds of what events are about, as they are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum About {
    Volume(VolumeId),
    Snapshot(SnapshotId),
    Attachment(AttachmentId),
    Host(HostId),
    Pool(Uuid),
}

impl About {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Volume(_) => "volume",
            Self::Snapshot(_) => "snapshot",
            Self::Attachment(_) => "attachment",
            Self::Host(_) => "host",
            Self::Pool(_) => "pool",
        }
    }

    pub(super) const fn id(self) -> Uuid {
        match self {
            Self::Volume(id) => id.0,
            Self::Snapshot(id) => id.0,
            Self::Attachment(id) => id.0,
            Self::Host(id) => id.0,
            Self::Pool(id) => id,
        }
    }
}

impl From<Subject> for About {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Volume(id) => Self::Volume(id),
            Subject::Snapshot(id) => Self::Snapshot(id),
            Subject::Attachment(id) => Self::Attachment(id),
        }
    }
}

/// What tells whether somebody is interested.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) about: About,
    /// Whose; none for what everybody may see.
    pub(super) tenant: Option<TenantId>,
    /// The volume that it belongs to.
    pub(super) volume: Option<Uuid>,
    /// Of an attachment: to which host. Of a host: itself.
    pub(super) host: Option<HostId>,
    /// The status that it has, and the one that it had, in the seed's words.
    pub(super) statuses: [String; 2],
}

impl Facts {
    /// What an entry alone tells.
    pub(super) fn of(entry: &JournalEntry) -> Self {
        Self {
            about: entry.subject.into(),
            tenant: Some(entry.tenant.clone()),
            volume: Some(entry.volume.0),
            host: None,
            statuses: [entry.to.clone(), entry.from.clone().unwrap_or_default()],
        }
    }

    /// Whether this may be of whichever host: an attachment whose record is gone does not tell its host, so its end is told to whoever asks
    /// for a host of the tenant.
    pub(super) const fn may_be_of_any_host(&self) -> bool {
        matches!(self.about, About::Attachment(_)) && self.host.is_none()
    }

    /// What a record tells of a subject, that has no status before.
    fn of_record(record: &VolumeRecord, subject: Subject) -> Self {
        Self {
            about: subject.into(),
            tenant: Some(record.tenant.clone()),
            volume: Some(record.state.id().0),
            host: host_of(record, subject),
            statuses: [record.state.word(subject).to_owned(), String::new()],
        }
    }
}

/// One event. It is shared by all who get it, and written once for each format.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) facts: Facts,
    /// Its place in the journal; none for what has none.
    pub(super) mark: Option<Mark>,
    /// Whether a later event tells of the same resource, so that only who wants all of them is told this one.
    pub(super) is_passed: bool,
    data: String,
    /// Written as server-sent events, and as lines.
    written: [OnceLock<Bytes>; 2],
}

impl Event {
    pub(super) fn new(name: &'static str, facts: Facts, mark: Option<Mark>, data: &Value) -> Self {
        Self { name, facts, mark, is_passed: false, data: data.to_string(), written: Default::default() }
    }

    /// The bytes of the event, with its place in the store of this epoch if one is named; `from` is the revision since which others of the
    /// resource were passed over.
    pub(super) fn write(&self, out: &mut Vec<u8>, format: Format, epoch: Option<&str>, from: Option<u64>) {
        let id = epoch.and_then(|epoch| self.mark.map(|mark| place(epoch, mark)));
        match from {
            None if id.is_none() && self.mark.is_some() => format.write(out, self.name, None, &self.data),
            None => {
                let written = self.written[format as usize].get_or_init(|| {
                    let mut bytes = Vec::with_capacity(self.data.len() + 128);
                    format.write(&mut bytes, self.name, id.as_deref(), &self.data);
                    bytes.into()
                });
                out.extend_from_slice(written);
            }
            Some(from) => {
                let data = format!("{},\"coalescedFrom\":{from}}}", &self.data[..self.data.len() - 1]);
                format.write(out, self.name, id.as_deref(), &data);
            }
        }
    }
}

/// A place in the journal as an id of an event: `EPOCH-REVISION` behind a whole commit, `EPOCH-REVISION.N` behind one entry of it.
pub(super) fn place(epoch: &str, mark: Mark) -> String {
    if mark == Mark::behind(mark.revision) {
        format!("{epoch}-{}", mark.revision)
    } else {
        format!("{epoch}-{}.{}", mark.revision, mark.seq)
    }
}

impl Api {
    /// The event that an entry of the journal makes.
    ///
    /// # Errors
    /// The store cannot answer.
    pub(super) async fn change(&self, follower: &Follower, entry: &JournalEntry) -> Result<Event, engine::store::StoreError> {
        let told = follower.record(entry).await?;
        let about = About::from(entry.subject);
        let (object, host) = match &told {
            Told::Then(record) => (self.object(record, entry.subject), host_of(record, entry.subject)),
            // Of a later record only what never changes: an attachment's host.
            Told::Later(record) => (Value::Null, host_of(record, entry.subject)),
            Told::Gone => (Value::Null, None),
        };
        let ends = matches!(entry.to.as_str(), "deleted" | "detached") || entry.to.starts_with("forgotten");
        let mut data = json!({
            "kind": about.kind(),
            "id": about.id().to_string(),
            "revision": entry.mark.revision,
            "object": object,
            "transition": wire::journal(entry),
        });
        if ends {
            data["deleted"] = json!(true);
        }
        let facts = Facts { host, ..Facts::of(entry) };
        let is_passed = match told {
            Told::Then(_) => false,
            Told::Later(_) => true,
            // What is gone with its volume, or has left its tombstone behind: only its end is news.
            Told::Gone => !ends,
        };
        Ok(Event { is_passed, ..Event::new("change", facts, Some(entry.mark), &data) })
    }

    fn object(&self, record: &VolumeRecord, subject: Subject) -> Value {
        if self.hides(record, subject) {
            return Value::Null;
        }
        let shown = match subject {
            Subject::Volume(_) => serde_json::to_value(self.volume(record)),
            Subject::Snapshot(id) => serde_json::to_value(self.snapshot(record, id)),
            Subject::Attachment(id) => serde_json::to_value(self.attachment(record, id, None)),
        };
        shown.expect("wire types are JSON")
    }

    /// The event that shows what a list found, with its revision if it has one.
    pub(super) fn shown(&self, item: &Item) -> Option<(Event, u64)> {
        let (subject, record) = match item {
            Item::Volume(record) => (Subject::Volume(record.state.id()), record),
            Item::Snapshot(id, record) => (Subject::Snapshot(*id), record),
            Item::Attachment(id, record) => (Subject::Attachment(*id), record),
            Item::Other(record) => match &**record {
                engine::records::Record::Host(host) => return Some((host_event("snapshot", host), 0)),
                _ => return None,
            },
        };
        let object = serde_json::to_value(self.item(item)?).expect("wire types are JSON");
        let about = About::from(subject);
        let revision = object["revision"].as_u64().unwrap_or_default();
        let data = json!({"kind": about.kind(), "id": about.id().to_string(), "revision": revision, "object": object});
        Some((Event::new("snapshot", Facts::of_record(record, subject), None, &data), revision))
    }

    /// How far the operation of a resource is, if one runs.
    pub(super) fn progress(&self, record: &VolumeRecord, subject: Subject) -> Option<Event> {
        let object = self.object(record, subject);
        let operation = object.get("operation").filter(|running| running.is_object())?;
        let about = About::from(subject);
        let data = json!({"kind": about.kind(), "id": about.id().to_string(), "operation": operation});
        Some(Event::new("progress", Facts::of_record(record, subject), None, &data))
    }
}

/// A host as it is.
pub(super) fn host_event(name: &'static str, host: &HostRecord) -> Event {
    let data = json!({"kind": "host", "id": host.id.to_string(), "object": wire::host(host)});
    Event::new(name, host_facts(host), None, &data)
}

/// A host that is gone.
pub(super) fn host_gone(host: &HostRecord) -> Event {
    let data = json!({"kind": "host", "id": host.id.to_string(), "object": null, "deleted": true});
    Event::new("change", host_facts(host), None, &data)
}

fn host_facts(host: &HostRecord) -> Facts {
    let tenant = Some(host.tenant.clone());
    Facts { about: About::Host(host.id), tenant, volume: None, host: Some(host.id), statuses: Default::default() }
}

/// A pool as it is.
pub(super) fn pool_event(name: &'static str, pool: &PoolNow) -> Event {
    let facts = Facts { about: About::Pool(pool.id.0), tenant: None, volume: None, host: None, statuses: Default::default() };
    let data = json!({"kind": "pool", "id": pool.id.to_string(), "object": wire::pool(pool)});
    Event::new(name, facts, None, &data)
}

impl Event {
    /// Whether it says the same as another of the same thing.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

fn host_of(record: &VolumeRecord, subject: Subject) -> Option<HostId> {
    match subject {
        Subject::Attachment(id) => record.state.attachments().get(&id).map(|held| held.host),
        Subject::Volume(_) | Subject::Snapshot(_) => None,
    }
}
