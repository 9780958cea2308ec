//! `/pools`, `/docks`, `/availabilityZones`: what the configuration and the backends say; and the lists that are always empty.

use crate::caller::{Asking, Named};
use crate::error::ApiError;
use crate::lists::json;
use crate::query::Query;
use crate::{Api, Routes, collection, wire};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use engine::requests::PoolNow;

pub(crate) fn routes() -> Routes {
    collection("/pools", get(pools))
        .merge(collection("/docks", get(docks)))
        .merge(collection("/availabilityZones", get(zones)))
        .merge(collection("/block/replications", get(nothing)))
        .merge(collection("/block/volumeGroups", get(nothing)))
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

async fn pool(State(api): State<Api>, _asking: Asking, Path(Named { id }): Path<Named>) -> Answer {
    let found = find(&api, |pool| pool.id.to_string() == id).await?;
    found
        .map(|pool| json(StatusCode::OK, &wire::pool(&pool)))
        .ok_or_else(|| ApiError::not_found(format!("pool {id} does not exist")))
}

async fn dock(State(api): State<Api>, _asking: Asking, Path(Named { id }): Path<Named>) -> Answer {
    let found = find(&api, |pool| wire::dock_id(pool.id.0).to_string() == id).await?;
    found
        .map(|pool| json(StatusCode::OK, &wire::dock(&pool)))
        .ok_or_else(|| ApiError::not_found(format!("dock {id} does not exist")))
}

async fn find(api: &Api, wanted: impl Fn(&PoolNow) -> bool) -> Result<Option<PoolNow>, ApiError> {
    Ok(api.engine.pools().await?.into_iter().find(wanted))
}
