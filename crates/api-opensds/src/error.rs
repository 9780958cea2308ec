//! What goes wrong, as HTTP: one table from the engine's refusals to statuses, and one body.
//!
//! The body is OpenSDS' `{"code", "message"}` plus the fields of RFC 9457 under names that old clients ignore.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::requests::Refusal;
use engine::store::StoreError;
use lifecycle::{CommandKind, Obstacle};
use serde::Serialize;

/// When to ask again after a 503, in seconds: stores and backends that stumble mostly answer again at once.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// The same for a pool whose backend is down: about as often as that is probed.
const RETRY_AFTER_DOWN: HeaderValue = HeaderValue::from_static("10");

/// The kind of the answer about a pool whose backend is down.
const POOL_DOWN: &str = "pool-down";

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) kind: &'static str,
    pub(crate) message: String,
    /// The resource's present status and what is allowed on it now.
    pub(crate) resource: Option<(&'static str, Vec<&'static str>)>,
}

/// The body of an error answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    code: u16,
    message: &'a str,
    r#type: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<&'a [&'static str]>,
    request_id: &'a str,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), resource: None }
    }

    /// The request is malformed, or refers to something that does not exist.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// The body as JSON.
    pub(crate) fn body(&self, request_id: &str) -> Vec<u8> {
        let body = ErrorBody {
            code: self.status.as_u16(),
            message: &self.message,
            r#type: self.kind,
            status: self.status.as_u16(),
            resource_status: self.resource.as_ref().map(|(status, _)| *status),
            allowed: self.resource.as_ref().map(|(_, allowed)| allowed.as_slice()),
            request_id,
        };
        serde_json::to_vec(&body).expect("a struct of strings and numbers is JSON")
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let (status, kind) = match &refusal {
            Refusal::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found"),
            Refusal::BadReference(_) => (StatusCode::BAD_REQUEST, "bad-reference"),
            Refusal::NotAllowed(no) if no.obstacle == Obstacle::Missing => (StatusCode::NOT_FOUND, "not-found"),
            Refusal::NotAllowed(_) => (StatusCode::CONFLICT, "not-allowed-now"),
            Refusal::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Refusal::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Refusal::Changed(_) => (StatusCode::PRECONDITION_FAILED, "changed"),
            Refusal::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
            Refusal::Repeated(_) => (StatusCode::CONFLICT, "repeated"),
            Refusal::TooBroad(_) => (StatusCode::UNPROCESSABLE_ENTITY, "too-broad"),
            Refusal::PoolDown { .. } => (StatusCode::SERVICE_UNAVAILABLE, POOL_DOWN),
            Refusal::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let resource = match refusal {
            Refusal::NotAllowed(no) if no.obstacle != Obstacle::Missing => {
                Some((no.status, no.allowed.iter().map(|kind| CommandKind::word(*kind)).collect()))
            }
            _ => None,
        };
        Self { status, kind, message, resource }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (status, kind) = match error {
            StoreError::TooBroad(_) | StoreError::TooMuchToSort(_) => (StatusCode::UNPROCESSABLE_ENTITY, "too-broad"),
            StoreError::Unavailable(_) | StoreError::Corrupt(..) | StoreError::Slow => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
            }
        };
        Self::new(status, kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    /// The status alone: the body is written where the request's id is known, by [`crate::caller::identify`].
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let after = if self.kind == POOL_DOWN { RETRY_AFTER_DOWN } else { RETRY_AFTER };
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifecycle::Timestamp;

    #[test]
    fn a_pool_that_is_down_is_asked_again_later_than_what_stumbles() {
        let down = Refusal::PoolDown { pool: "p".into(), since: Timestamp(0), because: "it hangs".into() };
        for (refusal, after) in [(down, "10"), (Refusal::Unavailable("busy".into()), "1")] {
            let response = ApiError::from(refusal).into_response();
            assert_eq!(
                (response.status(), &response.headers()[header::RETRY_AFTER]),
                (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static(after))
            );
        }
    }
}
