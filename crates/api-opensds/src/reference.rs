//! `/docs`: the API document as a page that people read, made from `/openapi.json` at the first request.
//!
//! - It asks for nothing from elsewhere and runs no script: it works without a network, and under the strictest policy.
//! - Nothing about the API is written here. What is not in the document: the order of the chapters (`page`), the lines of the command
//!   line that do the same, and which exchanges of the tests are shown as examples (`examples`).

mod examples;
mod page;

use crate::machine::kept;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use std::sync::LazyLock;

pub use examples::command_lines;

/// Its own style and its own pictures, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn page(headers: HeaderMap) -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| page::page(&crate::openapi()));
    let mut response = kept(&headers, "text/html; charset=utf-8", PAGE.clone());
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

pub(crate) async fn style(headers: HeaderMap) -> Response {
    kept(&headers, "text/css; charset=utf-8", include_str!("reference/style.css").to_owned())
}
