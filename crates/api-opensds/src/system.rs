//! Versions, health, and what answers where there is no route.

use crate::Api;
use crate::error::ApiError;
use crate::lists::json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json as value};
use std::sync::LazyLock;

/// What OpenSDS tells of its version, to the letter. Source: OpenSDS wire page, section 2.
fn v1beta() -> Value {
    value!({"name": "v1beta", "description": "v1beta version", "status": "CURRENT", "updatedAt": "2017-07-10T14:36:58.014Z"})
}

pub(crate) async fn versions() -> Response {
    json(StatusCode::OK, &[v1beta()])
}

pub(crate) async fn one_version(Path(version): Path<String>) -> Result<Response, ApiError> {
    match version.as_str() {
        "v1beta" => Ok(json(StatusCode::OK, &v1beta())),
        _ => Err(ApiError::not_found(format!("version {version} does not exist (there is: v1beta)"))),
    }
}

pub(crate) async fn version() -> Response {
    json(StatusCode::OK, &value!({"name": "berth", "version": env!("CARGO_PKG_VERSION")}))
}

pub(crate) async fn openapi() -> Response {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(crate::openapi);
    json(StatusCode::OK, &*DOCUMENT)
}

pub(crate) async fn live() -> Response {
    StatusCode::OK.into_response()
}

pub(crate) async fn ready(State(api): State<Api>) -> Result<Response, ApiError> {
    match api.engine.ready().await {
        Ok(()) => Ok(json(StatusCode::OK, &value!({"ready": true}))),
        Err(why) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", why)),
    }
}

/// The route's methods are told in `Allow`, which the router sets.
pub(crate) async fn unknown_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not served at {}; the header Allow tells what is", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
}

pub(crate) async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no {method} {}", uri.path()))
}
