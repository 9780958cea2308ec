//! Answers to dry runs: `?dryRun=true` on a request that changes something.
//!
//! - 200 with what would be; else the very error of the real request. Nothing is changed either way.
//! - What would be made has no id yet: the real request gives it one.
//!
//! How a request is decided without being committed is the engine's: `Caller::dry_run`.

use crate::lists::json;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json as value};

/// What would be made; `is_new` is false of what the same request, by its idempotency key, has made before.
pub(crate) fn would_make(object: &impl Serialize, is_new: bool) -> Response {
    let mut object = shown(object);
    if let Some(fields) = object.as_object_mut().filter(|_| is_new) {
        fields.remove("id");
    }
    answer(object)
}

/// What something would be after the request; nothing of what would be gone at once.
pub(crate) fn would_be(object: Option<&impl Serialize>) -> Response {
    answer(object.map_or(Value::Null, shown))
}

/// What would be gone at once.
pub(crate) fn would_be_gone() -> Response {
    answer(Value::Null)
}

fn shown(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("wire types are JSON")
}

fn answer(object: Value) -> Response {
    let status = match &object {
        Value::Null => Some("deleted"),
        object => object["status"].as_str(),
    };
    let mut body = value!({"dryRun": true});
    if let Some(status) = status {
        body["status"] = status.into();
    }
    body["object"] = object;
    json(StatusCode::OK, &body)
}
