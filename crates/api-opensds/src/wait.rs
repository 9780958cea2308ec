//! Long polls: `?waitFor=available&timeout=30` on a `GET`, and on a request that changes a status.
//!
//! A request that changes something is accepted, and durable, before anything is waited for. Waiting ends with its client, and nothing
//! that goes wrong with it keeps the answer from being sent that says so.

use crate::error::ApiError;
use crate::lists::{Known, json};
use crate::query::{Query, WaitFor};
use crate::{Api, AttachmentWords, attachments, snapshots, volumes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use engine::records::VolumeRecord;
use engine::requests::{Caller, Refusal};
use engine::store::Kind;
use lifecycle::{Subject, VolumeId};
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// How long a store may take to tell how something is once the time is over, before the answer goes without it.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// What an accepted request waits for before it is answered: see [`Api::awaited`].
#[derive(Clone)]
struct Awaited {
    caller: Caller,
    volume: VolumeId,
    subject: Subject,
    wanted: WaitFor,
}

/// The answer to an accepted request, to be sent once `subject`, which is of `volume`, is as it is wanted.
pub(crate) fn once(
    mut accepted: Response,
    caller: &Caller,
    volume: VolumeId,
    subject: Subject,
    wanted: Option<WaitFor>,
) -> Response {
    if let Some(wanted) = wanted {
        accepted.extensions_mut().insert(Awaited { caller: caller.clone(), volume, subject, wanted });
    }
    accepted
}

impl Api {
    /// A resource as it is, or as it is once what the query waits for is so, or the time is over.
    pub(crate) async fn show(&self, caller: &Caller, subject: Subject, query: &Query, known: &Known) -> Result<Response, ApiError> {
        let Some(wanted) = query.wait_for(kind(subject))? else {
            let seen = self.seen(caller, subject).await?.ok_or_else(|| Refusal::missing(subject))?;
            return self.answer(StatusCode::OK, &seen, subject, known).await;
        };
        let (how, seen) = match self.volume_of(caller, subject).await? {
            Some(volume) => self.wait(caller, volume, subject, &wanted, Instant::now() + wanted.timeout).await?,
            None => (How::Gone, None),
        };
        match seen {
            Some(seen) => Ok(waited(self.answer(StatusCode::OK, &seen, subject, known).await?, how)),
            // The journal still knows what was there, and who waited for its end is told of it.
            None if waits_for_end(&wanted) && self.was_there(caller, subject).await => {
                Ok(waited(self.end_of(StatusCode::OK, subject), How::Reached))
            }
            None => Err(Refusal::missing(subject).into()),
        }
    }

    /// The answer to an accepted request that began then: once what it waits for is so, or the time is over, what tells of the resource. Where
    /// that cannot be told, the answer is what it would have been without waiting.
    pub(crate) async fn awaited(&self, mut accepted: Response, begun: Instant) -> Response {
        let Some(Awaited { caller, volume, subject, wanted }) = accepted.extensions_mut().remove() else { return accepted };
        let deadline = begun + wanted.timeout;
        let waiting = async {
            let (how, seen) = self.wait(&caller, volume, subject, &wanted, deadline).await?;
            let answer = match seen {
                Some(seen) => self.answer(StatusCode::ACCEPTED, &seen, subject, &Known::default()).await?,
                None => self.end_of(StatusCode::ACCEPTED, subject),
            };
            Ok::<_, ApiError>(waited(answer, how))
        };
        let Ok(Ok(mut answer)) = tokio::time::timeout_at(deadline + LOOK_MAX, waiting).await else { return accepted };
        if let Some(place) = accepted.headers_mut().remove(header::LOCATION) {
            answer.headers_mut().insert(header::LOCATION, place);
        }
        answer
    }

    async fn answer(&self, status: StatusCode, seen: &VolumeRecord, subject: Subject, known: &Known) -> Result<Response, ApiError> {
        match subject {
            Subject::Volume(_) => Ok(volumes::answer(self, status, seen, known)),
            Subject::Snapshot(id) => snapshots::answer(self, status, seen, id, known),
            Subject::Attachment(id) => attachments::answer(self, status, seen, id, known).await,
        }
    }

    async fn volume_of(&self, caller: &Caller, subject: Subject) -> Result<Option<VolumeId>, ApiError> {
        match subject {
            Subject::Volume(id) => Ok(Some(id)),
            Subject::Snapshot(_) | Subject::Attachment(_) => Ok(self.seen(caller, subject).await?.map(|record| record.state.id())),
        }
    }

    /// Waits until the resource has one of the statuses asked for, or is gone, or the time is over, or the controller stops. Gives what tells of
    /// it, as it was seen then. The waiter is made before the first look, so that no commit falls in between.
    async fn wait(
        &self,
        caller: &Caller,
        volume: VolumeId,
        subject: Subject,
        wanted: &WaitFor,
        deadline: Instant,
    ) -> Result<(How, Option<VolumeRecord>), ApiError> {
        let mut waiter = self.engine.wait(volume);
        let mut stops = pin!(self.engine.ended());
        loop {
            let Some(seen) = self.seen(caller, subject).await? else {
                return Ok((if waits_for_end(wanted) { How::Reached } else { How::Gone }, None));
            };
            let word = self.word(&seen, subject);
            if wanted.statuses.iter().any(|wanted| wanted == word || (wanted == "deleted" && word == "detached")) {
                return Ok((How::Reached, Some(seen)));
            }
            let is_over = tokio::select! {
                () = &mut stops => true,
                waited = tokio::time::timeout_at(deadline, waiter.changed()) => waited.is_err(),
            };
            // Also where commits come faster than they are looked at.
            if is_over || Instant::now() >= deadline {
                return Ok((How::Timeout, Some(seen)));
            }
        }
    }

    /// What tells of the resource; nothing once it is gone.
    async fn seen(&self, caller: &Caller, subject: Subject) -> Result<Option<VolumeRecord>, ApiError> {
        let found = match subject {
            Subject::Volume(id) => self.engine.volume(caller, id).await.map(|now| now.record),
            Subject::Snapshot(id) => self.engine.snapshot(caller, id).await,
            Subject::Attachment(id) => self.engine.attachment(caller, id).await,
        };
        match found {
            Ok(record) => Ok(Some(record).filter(|record| !self.hides(record, subject))),
            Err(Refusal::NotFound { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// The resource's status as the wire spells it.
    fn word(&self, record: &VolumeRecord, subject: Subject) -> &'static str {
        let own = record.state.word(subject);
        match subject {
            Subject::Volume(_) | Subject::Snapshot(_) => own,
            Subject::Attachment(id) => self.attachment(record, id, None).map_or(own, |shown| shown.status),
        }
    }

    async fn was_there(&self, caller: &Caller, subject: Subject) -> bool {
        self.engine.journal(caller, subject, 0, 1).await.is_ok_and(|entries| !entries.is_empty())
    }

    /// What is told of a resource whose record is gone.
    pub(crate) fn end_of(&self, status: StatusCode, subject: Subject) -> Response {
        let seed = self.settings.attachment_words == AttachmentWords::Seed;
        let word = if seed && matches!(subject, Subject::Attachment(_)) { "detached" } else { "deleted" };
        json(status, &serde_json::json!({"id": subject.id().to_string(), "status": word}))
    }
}

fn waits_for_end(wanted: &WaitFor) -> bool {
    wanted.statuses.iter().any(|status| status == "deleted" || status == "detached")
}

const fn kind(subject: Subject) -> Kind {
    match subject {
        Subject::Volume(_) => Kind::Volume,
        Subject::Snapshot(_) => Kind::Snapshot,
        Subject::Attachment(_) => Kind::Attachment,
    }
}

/// How waiting ended.
#[derive(Clone, Copy)]
enum How {
    Reached,
    Timeout,
    /// The resource is gone, which was not waited for.
    Gone,
}

/// Tells how waiting ended.
fn waited(mut response: Response, how: How) -> Response {
    let how = match how {
        How::Reached => "reached",
        How::Timeout => "timeout",
        How::Gone => "gone",
    };
    response.headers_mut().insert("x-wait", HeaderValue::from_static(how));
    response
}
