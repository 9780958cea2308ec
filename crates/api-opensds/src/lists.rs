//! Answers: single resources with their tag, lists that stream, and answers to a repeated request.

use crate::error::ApiError;
use crate::query::Query;
use crate::{Api, AttachmentWords};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Query as Pairs};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use engine::Listed;
use engine::ports::Client;
use engine::records::VolumeRecord;
use engine::requests::{Caller, Refusal};
use engine::store::{Field, Item, Kind, ListQuery, StoreError};
use lifecycle::{AttachmentId, AttachmentStatus, SnapshotStatus, Subject};
use serde::Serialize;
use serde_json::Value;
use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::mpsc;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// How many bytes an answer has room for before it grows: what tells of one volume fits.
const USUAL_BYTES: usize = 1 << 10;

/// How long an exporter may take to tell who is connected: it is asked on this machine, and looks in its memory.
const CLIENTS_TIMEOUT: Duration = Duration::from_secs(2);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::of(&parts.uri)
    }
}

impl Query {
    /// The query string of an address.
    pub(crate) fn of(uri: &Uri) -> Result<Self, ApiError> {
        let Pairs(pairs) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ApiError::bad(format!("the query string is malformed: {error}")))?;
        Ok(Self::parse(pairs))
    }
}

/// An id from the path. One that is no UUID names nothing.
pub(crate) fn id<T: FromStr + Display>(kind: &str, text: &str) -> Result<T, ApiError> {
    as_written(text).ok_or_else(|| ApiError::not_found(format!("{kind} {text} does not exist")))
}

/// An id as it is written and no other way: in capitals it would be a second name of the same thing, which no list shows.
pub(crate) fn as_written<T: FromStr + Display>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|id| id.to_string() == text)
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut bytes, body).expect("wire types are JSON");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// What a client has already: the tags in `If-None-Match`.
#[derive(Default)]
pub(crate) struct Known(Option<HeaderValue>);

impl Known {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.get(header::IF_NONE_MATCH).cloned())
    }

    fn has(&self, tag: &str) -> bool {
        let tags = self.0.as_ref().and_then(|value| value.to_str().ok());
        tags.is_some_and(|tags| tags.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Known {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// A resource with its tag, which begins with its revision; 304 if the client has it already.
pub(crate) fn tagged(status: StatusCode, tag: impl Display, known: &Known, body: &impl Serialize) -> Response {
    let tag = format!("\"{tag}\"");
    let mut response = if known.has(&tag) { StatusCode::NOT_MODIFIED.into_response() } else { json(status, body) };
    if let Ok(value) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// Tells where what was made is found: below the path that it was asked for at.
pub(crate) fn located(mut response: Response, collection: &str, id: impl Display) -> Response {
    if let Ok(value) = HeaderValue::try_from(format!("{}/{id}", collection.trim_end_matches('/'))) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// An item of a list as it is on the wire.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Shown<'a> {
    Volume(crate::wire::Volume<'a>),
    Snapshot(crate::wire::Snapshot<'a>),
    Attachment(crate::wire::Attachment<'a>),
    Other(Value),
}

impl Api {
    /// A list as a bare array, sent while it is read.
    pub(crate) async fn list(&self, caller: &Caller, kind: Kind, query: &Query) -> Result<Response, ApiError> {
        let mut asked = query.list(kind)?;
        let words = self.legacy_words(&mut asked);
        let mut batches = self.engine.list(caller, asked).await?;
        // The first batch is awaited, so that an error that comes at once is an answer and not a broken stream.
        let first = batches.recv().await.unwrap_or_else(|| Ok(Vec::new()))?;
        let (sender, receiver) = mpsc::channel::<Result<Bytes, StoreError>>(2);
        let whose = self.engine.turns_of(&caller.tenant);
        tokio::spawn(whose.take(self.clone().send_list(words, first, batches, sender)));
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let next = receiver.recv().await?;
            Some((next, receiver))
        });
        Ok((StatusCode::OK, [(header::CONTENT_TYPE, JSON)], Body::from_stream(stream)).into_response())
    }

    async fn send_list(
        self,
        words: Option<Vec<String>>,
        first: Vec<Item>,
        mut batches: Listed,
        sender: mpsc::Sender<Result<Bytes, StoreError>>,
    ) {
        let (mut batch, mut before) = (Ok(first), "[");
        loop {
            let chunk = batch.map(|items| self.chunk(&items, words.as_deref(), &mut before));
            let failed = chunk.is_err();
            if sender.send(chunk).await.is_err() || failed {
                return;
            }
            match batches.recv().await {
                Some(next) => batch = next,
                None => break,
            }
        }
        let end = if before == "[" { "[]" } else { "]" };
        // A client that is gone needs no end.
        let _ = sender.send(Ok(Bytes::from_static(end.as_bytes()))).await;
    }

    /// Makes a filter by status speak the store's words. Returns the words asked for, where rows must be compared with them
    /// once more: a running detach has a legacy word of its own, which the store does not know. Such a page may be shorter than
    /// its limit.
    fn legacy_words(&self, asked: &mut ListQuery) -> Option<Vec<String>> {
        let legacy = self.settings.attachment_words == AttachmentWords::Legacy && asked.kind == Kind::Attachment;
        let filter = asked.filters.iter_mut().find(|filter| legacy && filter.field == Field::Status)?;
        let known = filter.values.iter().map(|word| crate::wire::seed_word(word).to_owned()).collect();
        Some(std::mem::replace(&mut filter.values, known))
    }

    fn chunk(&self, items: &[Item], words: Option<&[String]>, before: &mut &'static str) -> Bytes {
        let mut out = Vec::new();
        let wanted = |shown: &Shown<'_>| match (shown, words) {
            (Shown::Attachment(attachment), Some(words)) => words.iter().any(|word| attachment.status == word),
            (Shown::Volume(_) | Shown::Snapshot(_) | Shown::Attachment(_) | Shown::Other(_), _) => true,
        };
        for shown in items.iter().filter_map(|item| self.item(item)).filter(wanted) {
            out.extend_from_slice(before.as_bytes());
            serde_json::to_writer(&mut out, &shown).expect("wire types are JSON");
            *before = ",";
        }
        out.into()
    }

    /// What an item of a list is on the wire; nothing if it is not shown.
    pub(crate) fn item<'a>(&self, item: &'a Item) -> Option<Shown<'a>> {
        let hidden = match item {
            Item::Snapshot(id, record) => self.hides(record, Subject::Snapshot(*id)),
            Item::Attachment(id, record) => self.hides(record, Subject::Attachment(*id)),
            Item::Volume(_) | Item::Other(_) => false,
        };
        if hidden {
            return None;
        }
        Some(match item {
            Item::Volume(record) => Shown::Volume(self.volume(record)),
            Item::Snapshot(id, record) => Shown::Snapshot(self.snapshot(record, *id)?),
            Item::Attachment(id, record) => Shown::Attachment(self.attachment(record, *id, None)?),
            Item::Other(record) => match &**record {
                engine::records::Record::Host(host) => Shown::Other(crate::wire::host(host)),
                engine::records::Record::Profile(profile) => Shown::Other(crate::wire::profile(profile)),
                engine::records::Record::Volume(_) | engine::records::Record::Pool(_) => return None,
            },
        })
    }

    /// Whether the legacy words hide this tombstone. Source: lifecycle page, "Words on the wire".
    pub(crate) fn hides(&self, record: &VolumeRecord, subject: Subject) -> bool {
        let state = &record.state;
        let is_tombstone = match subject {
            Subject::Volume(_) => false,
            Subject::Snapshot(id) => state.snapshots().get(&id).is_some_and(|held| held.status() == SnapshotStatus::Deleted),
            Subject::Attachment(id) => state.attachments().get(&id).is_some_and(|held| held.status() == AttachmentStatus::Detached),
        };
        is_tombstone && self.settings.attachment_words == AttachmentWords::Legacy
    }

    /// The clients connected to an export. An exporter that does not tell soon is one that cannot tell: no answer waits for it.
    pub(crate) async fn clients(&self, record: &VolumeRecord, attachment: AttachmentId) -> Option<Vec<Client>> {
        tokio::time::timeout(CLIENTS_TIMEOUT, self.engine.clients(record, attachment)).await.ok().flatten()
    }

    pub(crate) async fn journal(&self, caller: &Caller, subject: Subject, query: &Query) -> Result<Response, ApiError> {
        const LIMIT_DEFAULT: u64 = 1000;
        const LIMIT_MAX: u64 = 10_000;
        let since = query.number("since")?.unwrap_or(0);
        let limit = query.number("limit")?.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let entries = self.engine.journal(caller, subject, since, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
        Ok(json(StatusCode::OK, &entries.iter().map(crate::wire::journal).collect::<Vec<_>>()))
    }
}

/// What a repeated request made is gone since: no 404, as the path of the request is there.
pub(crate) fn since_gone(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::NotFound { kind, id } => {
            let message =
                format!("this request was done before and made {kind} {id}, which is gone since; use a new Idempotency-Key");
            ApiError::new(StatusCode::CONFLICT, "repeated", message)
        }
        other => other.into(),
    }
}

/// What a repeated request (by its idempotency key) made before; other refusals stay what they are.
pub(crate) fn repeated(refusal: Refusal) -> Result<Subject, ApiError> {
    match refusal {
        Refusal::Repeated(used) => Ok(used.made),
        other => Err(other.into()),
    }
}
