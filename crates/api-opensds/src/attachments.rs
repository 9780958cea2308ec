//! `/block/attachments`.

use crate::body::Object;
use crate::caller::{Asking, Named};
use crate::error::ApiError;
use crate::lists::{Known, id, located, repeated, since_gone, tagged, waited};
use crate::query::Query;
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

async fn create(State(api): State<Api>, asking: Asking, body: Object) -> Answer {
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
            .ok_or_else(|| ApiError::not_found(format!("attachment {made} does not exist")));
    }
    let answered = answer(&api, StatusCode::ACCEPTED, &record, made, &Known::default()).await?;
    Ok(located(answered, &path, made))
}

async fn answer(api: &Api, status: StatusCode, record: &VolumeRecord, id: AttachmentId, known: &Known) -> Answer {
    let gone = || ApiError::not_found(format!("attachment {id} does not exist"));
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
    let attachment: AttachmentId = id("attachment", &named.id)?;
    let caller = &asking.caller;
    let subject = Subject::Attachment(attachment);
    let mut reached = None;
    if let (Some(wanted), Ok(held)) = (query.wait_for(Kind::Attachment)?, api.engine.attachment(caller, attachment).await) {
        reached = Some(api.wait(caller, held.state.id(), subject, &wanted).await?);
    }
    let shown = match api.engine.attachment(caller, attachment).await {
        Ok(record) => answer(&api, StatusCode::OK, &record, attachment, &known).await,
        Err(refusal) => Err(refusal.into()),
    };
    match (shown, reached) {
        (Ok(shown), Some(reached)) => Ok(waited(shown, reached)),
        (Ok(shown), None) => Ok(shown),
        (Err(missing), _) if missing.status == StatusCode::NOT_FOUND => api.gone(caller, subject, &query).await.ok_or(missing),
        (Err(error), _) => Err(error),
    }
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
    let held = api.engine.attachment(&asking.caller, attachment).await?;
    let wanted = Command::Detach { id: attachment, force: query.flag("force")? };
    let now = api.engine.command(&asking.caller, held.state.id(), wanted).await?;
    if asking.caller.dry_run {
        return Ok(would_be(&api, now.as_ref(), attachment));
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn retry(State(api): State<Api>, asking: Asking, Path(named): Path<Named>) -> Answer {
    commanded(&api, &asking.caller, &named.id, Command::Retry).await
}

async fn recover(State(api): State<Api>, asking: Asking, Path(named): Path<Named>) -> Answer {
    commanded(&api, &asking.caller, &named.id, Command::Recover).await
}

async fn commanded(api: &Api, caller: &Caller, text: &str, command: impl FnOnce(Subject) -> Command) -> Answer {
    let attachment: AttachmentId = id("attachment", text)?;
    let held = api.engine.attachment(caller, attachment).await?;
    let now = api.engine.command(caller, held.state.id(), command(Subject::Attachment(attachment))).await?;
    if caller.dry_run {
        return Ok(would_be(api, now.as_ref(), attachment));
    }
    answer(api, StatusCode::ACCEPTED, &now.map_or(held, |now| now.record), attachment, &Known::default()).await
}

/// The answer to a dry run. What the legacy words hide is gone.
fn would_be(api: &Api, now: Option<&VolumeNow>, id: AttachmentId) -> Response {
    let seen = now.filter(|now| !api.hides(&now.record, Subject::Attachment(id)));
    dry::would_be(seen.and_then(|now| api.attachment(&now.record, id, None)).as_ref())
}

async fn journal(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    api.journal(&asking.caller, Subject::Attachment(id("attachment", &named.id)?), &query).await
}
