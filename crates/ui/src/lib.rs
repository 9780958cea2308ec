//! The page: what a browser shows at `/`, held in the binary.
//!
//! [`over`] is all there is to call. It answers what the page is made of, and leaves everything else to the API below it.
//!
//! - The page is plain ES modules and style sheets: nothing is built, and nothing comes from elsewhere. What others wrote lies in
//!   `assets/vendor` with its licence and its checksum.
//! - `/` is the page only for who asks for `text/html`; for all others it is OpenSDS' list of versions, as ever.
//! - Every answer forbids what the page does not need: no script but its own files, no style or script within the document, no frame.

#![forbid(unsafe_code)]

mod assets;

use assets::Asset;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use tower::{ServiceExt as _, service_fn};

/// Where everything but the document itself is found.
const BELOW: &str = "/ui/";
/// The document.
const PAGE: &str = "index.html";

/// What the page may do. Trusted types are named although the page makes none: text can then never become markup.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// What every answer carries besides.
const GUARDS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Names bear no version, so what is kept is asked for again each time: mostly the answer is 304, and never is one module older than
/// the others.
const KEEP: HeaderValue = HeaderValue::from_static("no-cache");

/// The page over the API: `/` for browsers and `/ui/…`, and `api` for the rest.
pub fn over(api: Router) -> Router {
    // Around all routes together: a layer is one of each route, and is cloned and boxed for every request.
    Router::new().fallback_service(service_fn(move |request| page_or_api(request, api.clone())))
}

async fn page_or_api(request: Request, api: Router) -> Result<Response, Infallible> {
    let path = request.uri().path();
    if let Some(name) = path.strip_prefix(BELOW) {
        return Ok(match *request.method() {
            Method::GET | Method::HEAD => file(assets::find(name), &request),
            _ => guarded((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response()),
        });
    }
    if path != "/" || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return api.oneshot(request).await;
    }
    let mut response =
        if wants_html(request.headers()) { file(assets::find(PAGE), &request) } else { api.oneshot(request).await? };
    // Whoever keeps either answer must not give it to those who asked for the other.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Whether `text/html` is named in `Accept`, as browsers do; `*/*` alone is what clients of the API send.
fn wants_html(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    ranges.into_iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        let is_refused = parts.any(|part| part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|q| q <= 0.0));
        is_html && !is_refused
    })
}

fn file(asset: Option<&Asset>, request: &Request) -> Response {
    let Some(asset) = asset else { return guarded(StatusCode::NOT_FOUND.into_response()) };
    let tag = asset.tag();
    let is_kept = request
        .headers()
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|tags| tags.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag));
    let mut response = if is_kept {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        // Of an answer to HEAD the server sends the head alone.
        ([(header::CONTENT_TYPE, asset.kind())], Body::from(asset.bytes)).into_response()
    };
    response.headers_mut().insert(header::ETAG, HeaderValue::from_str(&tag).expect("a tag is hexadecimal digits in quotes"));
    response.headers_mut().insert(header::CACHE_CONTROL, KEEP);
    guarded(response)
}

fn guarded(mut response: Response) -> Response {
    response.headers_mut().extend(GUARDS.map(|(name, value)| (Some(name), value)));
    response
}
