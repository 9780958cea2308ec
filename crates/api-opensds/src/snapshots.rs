//! `/block/snapshots`.

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
use lifecycle::{Command, SnapshotId, Subject};

pub(crate) fn routes() -> Routes {
    collection("/block/snapshots", get(list).post(create))
        .route("/block/snapshots/{id}", get(show).put(update).delete(remove))
        .route("/block/snapshots/{id}/retry", command(retry))
        .route("/block/snapshots/{id}/recover", command(recover))
        .route("/block/snapshots/{id}/journal", get(journal))
}

type Answer = Result<Response, ApiError>;

async fn list(State(api): State<Api>, asking: Asking, query: Query) -> Answer {
    api.list(&asking.caller, Kind::Snapshot, &query).await
}

async fn create(State(api): State<Api>, asking: Asking, query: Query, body: Object) -> Answer {
    let wanted = query.wait_for(Kind::Snapshot)?;
    let body = body.without_id()?;
    let new = body.snapshot()?;
    let path = asking.path.clone();
    let caller = asking.idempotent(&body.raw);
    let (record, made, is_new) = match api.engine.create_snapshot(&caller, new).await {
        Ok((now, made)) => (now.record, made, true),
        Err(refusal) => match repeated(refusal)? {
            Subject::Snapshot(id) => (api.engine.snapshot(&caller, id).await.map_err(since_gone)?, id, false),
            Subject::Volume(_) | Subject::Attachment(_) => return Err(Refusal::KeyReused.into()),
        },
    };
    if caller.dry_run {
        let shown = api.snapshot(&record, made);
        return shown.map(|shown| dry::would_make(&shown, is_new)).ok_or_else(|| Refusal::missing(Subject::Snapshot(made)).into());
    }
    let answered = answer(&api, StatusCode::ACCEPTED, &record, made, &Known::default())?;
    Ok(once(located(answered, &path, made), &caller, record.state.id(), Subject::Snapshot(made), wanted))
}

/// A snapshot as it is on the wire, unless the legacy words hide it.
pub(crate) fn answer(api: &Api, status: StatusCode, record: &VolumeRecord, id: SnapshotId, known: &Known) -> Answer {
    let held = api.snapshot(record, id).filter(|_| !api.hides(record, Subject::Snapshot(id)));
    let shown = held.ok_or_else(|| Refusal::missing(Subject::Snapshot(id)))?;
    Ok(tagged(status, shown.tag(), known, &shown))
}

async fn show(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query, known: Known) -> Answer {
    api.show(&asking.caller, Subject::Snapshot(id("snapshot", &named.id)?), &query, &known).await
}

async fn update(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    let snapshot: SnapshotId = id("snapshot", &named.id)?;
    let now = api.engine.relabel(&asking.caller, Subject::Snapshot(snapshot), body.relabel()?).await?;
    if asking.caller.dry_run {
        return Ok(would_be(&api, Some(&now), snapshot));
    }
    answer(&api, StatusCode::OK, &now.record, snapshot, &Known::default())
}

async fn remove(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    let snapshot: SnapshotId = id("snapshot", &named.id)?;
    let wanted = query.wait_for(Kind::Snapshot)?;
    let volume = api.engine.snapshot(&asking.caller, snapshot).await?.state.id();
    let command = Command::DeleteSnapshot { id: snapshot };
    let now = api.engine.command(&asking.caller, volume, command).await?;
    if asking.caller.dry_run {
        return Ok(would_be(&api, now.as_ref(), snapshot));
    }
    Ok(once(StatusCode::ACCEPTED.into_response(), &asking.caller, volume, Subject::Snapshot(snapshot), wanted))
}

async fn retry(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    commanded(&api, &asking.caller, &named.id, &query, Command::Retry).await
}

async fn recover(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    commanded(&api, &asking.caller, &named.id, &query, Command::Recover).await
}

async fn commanded(api: &Api, caller: &Caller, text: &str, query: &Query, command: impl FnOnce(Subject) -> Command) -> Answer {
    let snapshot: SnapshotId = id("snapshot", text)?;
    let wanted = query.wait_for(Kind::Snapshot)?;
    let held = api.engine.snapshot(caller, snapshot).await?;
    let (volume, subject) = (held.state.id(), Subject::Snapshot(snapshot));
    let now = api.engine.command(caller, volume, command(subject)).await?;
    if caller.dry_run {
        return Ok(would_be(api, now.as_ref(), snapshot));
    }
    let done = answer(api, StatusCode::ACCEPTED, &now.map_or(held, |now| now.record), snapshot, &Known::default())?;
    Ok(once(done, caller, volume, subject, wanted))
}

/// The answer to a dry run. What the legacy words hide is gone.
fn would_be(api: &Api, now: Option<&VolumeNow>, id: SnapshotId) -> Response {
    let seen = now.filter(|now| !api.hides(&now.record, Subject::Snapshot(id)));
    dry::would_be(seen.and_then(|now| api.snapshot(&now.record, id)).as_ref())
}

async fn journal(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, query: Query) -> Answer {
    api.journal(&asking.caller, Subject::Snapshot(id("snapshot", &named.id)?), &query).await
}
