//! `/block/attachments`.

use crate::body::Object;
use crate::caller::{Asking, Named};
use crate::error::ApiError;
use crate::lists::{Known, id, located, repeated, since_gone, tagged};
use crate::query::Query;
use crate::wait::once;
use crate::{Api, Routes, collection, command, dry};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::records::VolumeRecord;
use engine::requests::{Caller, Refusal, VolumeNow};
use engine::store::Kind;
use lifecycle::{AttachmentId, Command, Subject};

pub(crate) fn routes() -> Routes {
    collection("/block/attachments", get(list).post(create))
        .route("/block/attachments/{id}", get(show).put(update).delete(remove))
        .route("/block/attachments/{id}/retry", command(retry))
        .route("/block/attachments/{id}/recover", command(recover))
        .route("/block/attachments/{id}/journal", get(journal))
}

type Answer = Result<Response, ApiError>;

async fn list(State(api): State<Api>, asking: Asking, query: Query) -> Answer {
    api.list(&asking.caller, Kind::Attachment, &query).await
}

async fn create(State(api): State<Api>, asking: Asking, query: Query, body: Object) -> Answer {
    let wanted = query.wait_for(Kind::Attachment)?;
    let body = body.without_id()?;
    let new = body.attachment()?;
    let path = asking.path.clone();
    let caller = asking.idempotent(&body.raw);
    let (record, made, is_new) = match api.engine.create_attachment(&caller, new).await {
        Ok((now, made)) => (now.record, made, true),
        Err(refusal) => match repeated(refusal)? {
            Subject::Attachment(id) => (api.engine.attachment(&caller, id).await.map_err(since_gone)?, id, false),
            Subject::Volume(_) | Subject::Snapshot(_) => return Err(Refusal::KeyReused.into()),
        },
    };
    if caller.dry_run {
        let shown = api.attachment(&record, made, None);
        return shown
            .map(|shown| dry::would_make(&shown, is_new))
            .ok_or_else(|| Refusal::missing(Subject::Attachment(made)).into());
    }
    let answered = answer(&api, StatusCode::ACCEPTED, &record, made, &Known::default()).await?;
    Ok(once(located(answered, &path, made), &caller, record.state.id(), Subject::Attachment(made), wanted))
}

/// An attachment as it is on the wire, unless the legacy words hide it.
pub(crate) async fn answer(api: &Api, status: StatusCode, record: &VolumeRecord, id: AttachmentId, known: &Known) -> Answer {
    let gone = || Refusal::missing(Subject::Attachment(id));
    let state = record.state.attachments().get(&id).filter(|_| !api.hides(record, Subject::Attachment(id)));
    let clients = match state.ok_or_else(gone)?.connection() {
        Some(_) => api.clients(record, id).await,
        None => None,
    };
    // Clients come and go, and the volume grows, without a new revision of the attachment: "not modified" would be a lie.
    let unconditional = Known::default();
    let known = if clients.is_some() { &unconditional } else { known };
    let shown = api.attachment(record, id, clients).ok_or_else(gone)?;
    Ok(tagged(status, shown.tag(), known, &shown))
}

async fn show(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query, known: Known) -> Answer {
    api.show(&asking.caller, Subject::Attachment(id("attachment", &named.id)?), &query, &known).await
}

async fn update(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    let attachment: AttachmentId = id("attachment", &named.id)?;
    let now = api.engine.relabel(&asking.caller, Subject::Attachment(attachment), body.relabel()?).await?;
    if asking.caller.dry_run {
        return Ok(would_be(&api, Some(&now), attachment));
    }
    answer(&api, StatusCode::OK, &now.record, attachment, &Known::default()).await
}

async fn remove(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    let attachment: AttachmentId = id("attachment", &named.id)?;
    let wanted = query.wait_for(Kind::Attachment)?;
    let volume = api.engine.attachment(&asking.caller, attachment).await?.state.id();
    let command = Command::Detach { id: attachment, force: query.flag("force")? };
    let now = api.engine.command(&asking.caller, volume, command).await?;
    if asking.caller.dry_run {
        return Ok(would_be(&api, now.as_ref(), attachment));
    }
    Ok(once(StatusCode::ACCEPTED.into_response(), &asking.caller, volume, Subject::Attachment(attachment), wanted))
}

async fn retry(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    commanded(&api, &asking.caller, &named.id, &query, Command::Retry).await
}

async fn recover(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    commanded(&api, &asking.caller, &named.id, &query, Command::Recover).await
}

async fn commanded(api: &Api, caller: &Caller, text: &str, query: &Query, command: impl FnOnce(Subject) -> Command) -> Answer {
    let attachment: AttachmentId = id("attachment", text)?;
    let wanted = query.wait_for(Kind::Attachment)?;
    let held = api.engine.attachment(caller, attachment).await?;
    let (volume, subject) = (held.state.id(), Subject::Attachment(attachment));
    let now = api.engine.command(caller, volume, command(subject)).await?;
    if caller.dry_run {
        return Ok(would_be(api, now.as_ref(), attachment));
    }
    let done = answer(api, StatusCode::ACCEPTED, &now.map_or(held, |now| now.record), attachment, &Known::default()).await?;
    Ok(once(done, caller, volume, subject, wanted))
}

/// The answer to a dry run. What the legacy words hide is gone.
fn would_be(api: &Api, now: Option<&VolumeNow>, id: AttachmentId) -> Response {
    let seen = now.filter(|now| !api.hides(&now.record, Subject::Attachment(id)));
    dry::would_be(seen.and_then(|now| api.attachment(&now.record, id, None)).as_ref())
}

async fn journal(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    api.journal(&asking.caller, Subject::Attachment(id("attachment", &named.id)?), &query).await
}
