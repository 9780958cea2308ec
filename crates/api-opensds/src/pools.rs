//! `/pools`, `/docks`, `/availabilityZones`: what the configuration and the backends say; and the lists that are always empty.

use crate::caller::Asking;
use crate::error::ApiError;
use crate::lists::json;
use crate::query::Query;
use crate::{Api, collection, wire};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::requests::PoolNow;

pub(crate) fn routes() -> Router<Api> {
    collection("/pools", "/pools/", get(pools))
        .merge(collection("/docks", "/docks/", get(docks)))
        .merge(collection("/availabilityZones", "/availabilityZones/", get(zones)))
        .merge(collection("/block/replications", "/block/replications/", get(nothing)))
        .merge(collection("/block/volumeGroups", "/block/volumeGroups/", get(nothing)))
        .route("/pools/{id}", get(pool))
        .route("/docks/{id}", get(dock))
}

type Answer = Result<Response, ApiError>;

/// What lists can be sorted by. Source: OpenSDS wire page, section 5.
const POOL_SORTS: &[&str] = &["id", "name", "status", "availabilityZone", "dockId"];
/// See [`POOL_SORTS`].
const DOCK_SORTS: &[&str] = &["id", "name", "status", "endpoint", "driverName", "description"];

async fn pools(State(api): State<Api>, _asking: Asking, query: Query) -> Answer {
    let rows = api.engine.pools().await?.iter().map(wire::pool).collect();
    Ok(json(StatusCode::OK, &query.page(rows, POOL_SORTS)?))
}

async fn docks(State(api): State<Api>, _asking: Asking, query: Query) -> Answer {
    let rows = api.engine.pools().await?.iter().map(wire::dock).collect();
    Ok(json(StatusCode::OK, &query.page(rows, DOCK_SORTS)?))
}

async fn zones(State(api): State<Api>, _asking: Asking) -> Answer {
    Ok(json(StatusCode::OK, &api.engine.zones()))
}

/// Replications and groups are no part of this server; clients that list them find none.
async fn nothing(_asking: Asking) -> Answer {
    Ok(json(StatusCode::OK, &Vec::<String>::new()))
}

async fn pool(State(api): State<Api>, _asking: Asking, Path((_, text)): Path<(String, String)>) -> Answer {
    let found = find(&api, |pool| pool.id.to_string() == text).await?;
    found
        .map(|pool| json(StatusCode::OK, &wire::pool(&pool)))
        .ok_or_else(|| ApiError::not_found(format!("pool {text} does not exist")))
}

async fn dock(State(api): State<Api>, _asking: Asking, Path((_, text)): Path<(String, String)>) -> Answer {
    let found = find(&api, |pool| wire::dock_id(pool.id.0).to_string() == text).await?;
    found
        .map(|pool| json(StatusCode::OK, &wire::dock(&pool)))
        .ok_or_else(|| ApiError::not_found(format!("dock {text} does not exist")))
}

async fn find(api: &Api, wanted: impl Fn(&PoolNow) -> bool) -> Result<Option<PoolNow>, ApiError> {
    Ok(api.engine.pools().await?.into_iter().find(wanted))
}
