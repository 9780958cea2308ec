//! `/profiles` and their custom properties.

use crate::body::Object;
use crate::caller::{Asking, Named};
use crate::error::ApiError;
use crate::lists::{Known, id, json, located, tagged};
use crate::query::Query;
use crate::{Api, Routes, collection, dry, wire};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use engine::requests::ProfileFields;
use engine::store::Kind;

pub(crate) fn routes() -> Routes {
    collection("/profiles", get(list).post(create))
        .route("/profiles/{id}", get(show).put(update).delete(remove))
        .route("/profiles/{id}/customProperties", get(custom).post(set_custom))
        .route("/profiles/{id}/customProperties/{key}", delete(remove_custom))
}

type Answer = Result<Response, ApiError>;

async fn list(State(api): State<Api>, asking: Asking, query: Query) -> Answer {
    api.list(&asking.caller, Kind::Profile, &query).await
}

async fn create(State(api): State<Api>, asking: Asking, body: Object) -> Answer {
    let body = body.without_id()?;
    let profile = api.engine.create_profile(&asking.caller, body.profile()?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_make(&wire::profile(&profile), true));
    }
    let made = tagged(StatusCode::OK, profile.about.revision, &Known::default(), &wire::profile(&profile));
    Ok(located(made, &asking.path, profile.id))
}

async fn show(State(api): State<Api>, _asking: Asking, Path(named): Path<Named>, known: Known) -> Answer {
    let profile = api.engine.profile(id("profile", &named.id)?).await?;
    Ok(tagged(StatusCode::OK, profile.about.revision, &known, &wire::profile(&profile)))
}

async fn update(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    asking.unconditional("profile")?;
    let profile = api.engine.update_profile(&asking.caller, id("profile", &named.id)?, body.profile_update()?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be(Some(&wire::profile(&profile))));
    }
    Ok(tagged(StatusCode::OK, profile.about.revision, &Known::default(), &wire::profile(&profile)))
}

async fn remove(State(api): State<Api>, asking: Asking, Path(named): Path<Named>) -> Answer {
    asking.unconditional("profile")?;
    api.engine.delete_profile(&asking.caller, id("profile", &named.id)?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be_gone());
    }
    Ok(StatusCode::OK.into_response())
}

async fn custom(State(api): State<Api>, _asking: Asking, Path(named): Path<Named>) -> Answer {
    let profile = api.engine.profile(id("profile", &named.id)?).await?;
    Ok(json(StatusCode::OK, &wire::custom(&profile)))
}

async fn set_custom(State(api): State<Api>, asking: Asking, Path(named): Path<Named>, body: Object) -> Answer {
    asking.unconditional("profile")?;
    let profile = api.engine.update_profile(&asking.caller, id("profile", &named.id)?, body.custom_properties()?).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be(Some(&wire::profile(&profile))));
    }
    Ok(json(StatusCode::OK, &wire::custom(&profile)))
}

async fn remove_custom(State(api): State<Api>, asking: Asking, Path((_, text, key)): Path<(String, String, String)>) -> Answer {
    asking.unconditional("profile")?;
    let fields = ProfileFields { remove_custom: vec![key], ..ProfileFields::default() };
    let profile = api.engine.update_profile(&asking.caller, id("profile", &text)?, fields).await?;
    if asking.caller.dry_run {
        return Ok(dry::would_be(Some(&wire::profile(&profile))));
    }
    Ok(StatusCode::OK.into_response())
}
