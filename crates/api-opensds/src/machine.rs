//! `/v1beta/statemachine`: the rules as a document, a picture and a text, made from what the core does.
//!
//! - What exists is the core's (`lifecycle::table`); where it stands on paper is `layout`'s; nothing here decides.
//! - The same for everybody, and for as long as the process lives: it has a tag, and is made once.
//!
//! The words are the seed's, whatever words attachments are spoken in ([`crate::AttachmentWords`]).

mod document;
mod drawing;
mod layout;
mod svg;

use crate::error::ApiError;
use crate::query::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lifecycle::{Resource, table};

/// The document, as it is served.
#[must_use]
pub fn statemachine() -> serde_json::Value {
    document::document(Resource::ALL)
}

/// The picture of one kind of resource. A status that is named is lit.
#[must_use]
pub fn statemachine_svg(resource: Resource, lit: Option<&str>) -> String {
    svg::svg(drawing::Drawing::of(resource), lit)
}

/// The formats, as they are asked for.
pub(crate) const FORMATS: &[&str] = &["json", "svg", "mermaid"];

/// What a picture may do where it is opened as a page: show its own style, and nothing else.
const PICTURE_POLICY: &str = concat!("default-src 'none'; style-src '", include_str!("machine/style.sha256"), "'");

pub(crate) async fn show(headers: HeaderMap, query: Query) -> Result<Response, ApiError> {
    let resource = resource(&query)?;
    let drawn = resource.unwrap_or(Resource::Volume);
    let (kind, body) = match one_of(&query, "format", FORMATS)?.unwrap_or("json") {
        "svg" => {
            let words: Vec<_> = table::statuses(drawn).iter().map(|status| status.word).collect();
            ("image/svg+xml", statemachine_svg(drawn, one_of(&query, "state", &words)?))
        }
        "mermaid" => ("text/vnd.mermaid; charset=utf-8", table::mermaid(drawn, &table::kept_edges())),
        _ => {
            let one = resource.as_ref().map_or(Resource::ALL, std::slice::from_ref);
            ("application/json; charset=utf-8", document::document(one).to_string())
        }
    };
    let mut response = kept(&headers, kind, body);
    if kind == "image/svg+xml" {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PICTURE_POLICY));
    }
    Ok(response)
}

fn resource(query: &Query) -> Result<Option<Resource>, ApiError> {
    let words: Vec<_> = Resource::ALL.iter().map(|resource| resource.word()).collect();
    let asked = one_of(query, "resource", &words)?;
    Ok(Resource::ALL.iter().copied().find(|resource| Some(resource.word()) == asked))
}

/// The value of a key that takes only these.
fn one_of<'a>(query: &Query, key: &str, known: &[&'a str]) -> Result<Option<&'a str>, ApiError> {
    let Some(given) = query.one(key) else { return Ok(None) };
    match known.iter().find(|word| **word == given) {
        Some(word) => Ok(Some(word)),
        None => Err(ApiError::bad(format!("{key} must be one of {}, not {given:?}", known.join(", ")))),
    }
}

/// An answer that changes with the release alone: with a tag of its content, or 304 if the client has it.
pub(crate) fn kept(headers: &HeaderMap, kind: &'static str, body: String) -> Response {
    // FNV-1a: tells two releases apart, and is no defence against anybody.
    let sum = body.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let tag = format!("\"{sum:016x}\"");
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag || one.trim() == "*");
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        (StatusCode::OK, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
    };
    let kept = response.headers_mut();
    kept.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    kept.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        kept.insert(header::ETAG, tag);
    }
    response
}
