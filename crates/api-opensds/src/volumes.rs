//! `/block/volumes`.

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
use axum::routing::{get, post};
use engine::records::VolumeRecord;
use engine::requests::{Caller, Refusal, VolumeNow};
use engine::store::Kind;
use lifecycle::{Command, Subject, VolumeId};

pub(crate) fn routes() -> Routes {
    collection("/block/volumes", get(list).post(create))
        .route("/block/volumes/{id}", get(show).put(update).delete(remove))
        .route("/block/volumes/{id}/resize", post(resize))
        .route("/block/volumes/{id}/retry", command(retry))
        .route("/block/volumes/{id}/recover", command(recover))
        .route("/block/volumes/{id}/journal", get(journal))
}

type Answer = Result<Response, ApiError>;

async fn list(State(api): State<Api>, asking: Asking, query: Query) -> Answer {
    api.list(&asking.caller, Kind::Volume, &query).await
}

async fn create(State(api): State<Api>, asking: Asking, query: Query, body: Object) -> Answer {
    let wanted = query.wait_for(Kind::Volume)?;
    let body = body.without_id()?;
    let new = body.volume()?;
    let path = asking.path.clone();
    let caller = asking.idempotent(&body.raw);
    let (now, is_new) = match api.engine.create_volume(&caller, new).await {
        Ok(now) => (now, true),
        Err(refusal) => match repeated(refusal)? {
            Subject::Volume(id) => (api.engine.volume(&caller, id).await.map_err(since_gone)?, false),
            Subject::Snapshot(_) | Subject::Attachment(_) => return Err(Refusal::KeyReused.into()),
        },
    };
    if caller.dry_run {
        return Ok(dry::would_make(&api.volume(&now.record), is_new));
    }
    let volume = now.record.state.id();
    Ok(once(located(accepted(&api, &now), &path, volume), &caller, volume, Subject::Volume(volume), wanted))
}

/// A volume as it is on the wire.
pub(crate) fn answer(api: &Api, status: StatusCode, record: &VolumeRecord, known: &Known) -> Response {
    let shown = api.volume(record);
    tagged(status, shown.tag(), known, &shown)
}

fn accepted(api: &Api, now: &VolumeNow) -> Response {
    answer(api, StatusCode::ACCEPTED, &now.record, &Known::default())
}

async fn show(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query, known: Known) -> Answer {
    api.show(&asking.caller, Subject::Volume(id("volume", &named.id)?), &query, &known).await
}

async fn update(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    let volume: VolumeId = id("volume", &named.id)?;
    let now = api.engine.relabel(&asking.caller, Subject::Volume(volume), body.relabel()?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be(Some(&api.volume(&now.record))));
    }
    Ok(answer(&api, StatusCode::OK, &now.record, &Known::default()))
}

async fn remove(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    let volume: VolumeId = id("volume", &named.id)?;
    let wanted = query.wait_for(Kind::Volume)?;
    let command = if query.flag("forget")? { Command::Forget } else { Command::Delete { cascade: query.flag("cascade")? } };
    let now = api.engine.command(&asking.caller, volume, command).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be(now.as_ref().map(|now| api.volume(&now.record)).as_ref()));
    }
    Ok(once(StatusCode::ACCEPTED.into_response(), &asking.caller, volume, Subject::Volume(volume), wanted))
}

async fn resize(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query, body: Object) -> Answer {
    let size = body.size("newSize")?;
    commanded(&api, &asking.caller, &named.id, &query, |_| Command::Extend { size }).await
}

async fn retry(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    commanded(&api, &asking.caller, &named.id, &query, |volume| Command::Retry(Subject::Volume(volume))).await
}

async fn recover(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    commanded(&api, &asking.caller, &named.id, &query, |volume| Command::Recover(Subject::Volume(volume))).await
}

async fn commanded(api: &Api, caller: &Caller, text: &str, query: &Query, command: impl FnOnce(VolumeId) -> Command) -> Answer {
    let volume: VolumeId = id("volume", text)?;
    let wanted = query.wait_for(Kind::Volume)?;
    let done = match api.engine.command(caller, volume, command(volume)).await? {
        now if caller.dry_run => return Ok(dry::would_be(now.as_ref().map(|now| api.volume(&now.record)).as_ref())),
        Some(now) => accepted(api, &now),
        None => api.end_of(StatusCode::ACCEPTED, Subject::Volume(volume)),
    };
    Ok(once(done, caller, volume, Subject::Volume(volume), wanted))
}

async fn journal(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    api.journal(&asking.caller, Subject::Volume(id("volume", &named.id)?), &query).await
}
