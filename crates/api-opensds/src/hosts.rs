//! `/host/hosts`.

use crate::body::Object;
use crate::caller::{Asking, Named};
use crate::error::ApiError;
use crate::lists::{Known, id, located, tagged};
use crate::query::Query;
use crate::{Api, Routes, collection, dry, wire};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::store::Kind;

pub(crate) fn routes() -> Routes {
    collection("/host/hosts", get(list).post(create)).route("/host/hosts/{id}", get(show).put(update).delete(remove))
}

type Answer = Result<Response, ApiError>;

async fn list(State(api): State<Api>, asking: Asking, query: Query) -> Answer {
    api.list(&asking.caller, Kind::Host, &query).await
}

async fn create(State(api): State<Api>, asking: Asking, body: Object) -> Answer {
    let body = body.without_id()?;
    let host = api.engine.create_host(&asking.caller, body.host()?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_make(&wire::host(&host), true));
    }
    let made = tagged(StatusCode::OK, host.about.revision, &Known::default(), &wire::host(&host));
    Ok(located(made, &asking.path, host.id))
}

async fn show(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, known: Known) -> Answer {
    let host = api.engine.host(&asking.caller, id("host", &named.id)?).await?;
    Ok(tagged(StatusCode::OK, host.about.revision, &known, &wire::host(&host)))
}

async fn update(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    asking.unconditional("host")?;
    let host = api.engine.update_host(&asking.caller, id("host", &named.id)?, body.host_update()?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be(Some(&wire::host(&host))));
    }
    Ok(tagged(StatusCode::OK, host.about.revision, &Known::default(), &wire::host(&host)))
}

async fn remove(State(api): State<Api>, asking: Asking, Path(named): Path<Named>) -> Answer {
    asking.unconditional("host")?;
    api.engine.delete_host(&asking.caller, id("host", &named.id)?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be_gone());
    }
    Ok(StatusCode::OK.into_response())
}
