//! `/block/volumes`.

use crate::body::Object;
use crate::caller::{Asking, Named};
use crate::error::ApiError;
use crate::lists::{Known, id, json, located, repeated, since_gone, tagged, waited};
use crate::query::Query;
use crate::{Api, Routes, collection, command, dry};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
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

async fn create(State(api): State<Api>, asking: Asking, body: Object) -> Answer {
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
    Ok(located(accepted(&api, &now), &path, now.record.state.id()))
}

fn accepted(api: &Api, now: &VolumeNow) -> Response {
    let shown = api.volume(&now.record);
    tagged(StatusCode::ACCEPTED, shown.tag(), &Known::default(), &shown)
}

async fn show(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query, known: Known) -> Answer {
    let volume: VolumeId = id("volume", &named.id)?;
    let caller = &asking.caller;
    let reached = match query.wait_for(Kind::Volume)? {
        Some(wanted) => Some(api.wait(caller, volume, Subject::Volume(volume), &wanted).await?),
        None => None,
    };
    let now = match api.engine.volume(caller, volume).await {
        Ok(now) => now,
        Err(missing @ Refusal::NotFound { .. }) => {
            let gone = api.gone(caller, Subject::Volume(volume), &query).await;
            return gone.ok_or_else(|| missing.into());
        }
        Err(other) => return Err(other.into()),
    };
    let shown = api.volume(&now.record);
    let answer = tagged(StatusCode::OK, shown.tag(), &known, &shown);
    Ok(match reached {
        Some(reached) => waited(answer, reached),
        None => answer,
    })
}

async fn update(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    let volume: VolumeId = id("volume", &named.id)?;
    let now = api.engine.relabel(&asking.caller, Subject::Volume(volume), body.relabel()?).await?;
    let shown = api.volume(&now.record);
    if asking.caller.dry_run {
        return Ok(dry::would_be(Some(&shown)));
    }
    Ok(tagged(StatusCode::OK, shown.tag(), &Known::default(), &shown))
}

async fn remove(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    let volume: VolumeId = id("volume", &named.id)?;
    let wanted = if query.flag("forget")? { Command::Forget } else { Command::Delete { cascade: query.flag("cascade")? } };
    let now = api.engine.command(&asking.caller, volume, wanted).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be(now.as_ref().map(|now| api.volume(&now.record)).as_ref()));
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn resize(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    let size = body.size("newSize")?;
    commanded(&api, &asking.caller, &named.id, |_| Command::Extend { size }).await
}

async fn retry(State(api): State<Api>, asking: Asking, Path(named): Path<Named>) -> Answer {
    commanded(&api, &asking.caller, &named.id, |volume| Command::Retry(Subject::Volume(volume))).await
}

async fn recover(State(api): State<Api>, asking: Asking, Path(named): Path<Named>) -> Answer {
    commanded(&api, &asking.caller, &named.id, |volume| Command::Recover(Subject::Volume(volume))).await
}

async fn commanded(api: &Api, caller: &Caller, text: &str, command: impl FnOnce(VolumeId) -> Command) -> Answer {
    let volume: VolumeId = id("volume", text)?;
    match api.engine.command(caller, volume, command(volume)).await? {
        now if caller.dry_run => Ok(dry::would_be(now.as_ref().map(|now| api.volume(&now.record)).as_ref())),
        Some(now) => Ok(accepted(api, &now)),
        None => Ok(json(StatusCode::ACCEPTED, &serde_json::json!({"id": text, "status": "deleted"}))),
    }
}

async fn journal(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    api.journal(&asking.caller, Subject::Volume(id("volume", &named.id)?), &query).await
}
