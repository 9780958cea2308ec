//! Who asks: the tenant of the path, the request's id, and the conditions in its headers.

use crate::error::ApiError;
use crate::query::Query;
use crate::{Api, DEFAULT_TENANT};
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use engine::requests::Caller;
use serde::Deserialize;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest request id or idempotency key that is taken.
pub(crate) const WORD_MAX: usize = 255;
/// The longest tenant's id. Keystone's are 32 digits; its own column has room for 64 characters.
pub(crate) const TENANT_MAX: usize = 64;
/// The longest path with its query string that is read. The HTTP library refuses what is longer than 64 KiB by itself, with the same
/// status and no body.
const URI_MAX: usize = 16 << 10;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: taken from `X-Request-Id` where it is a plain word, else made.
#[derive(Clone)]
struct RequestId(String);

/// What a path says behind the tenant.
#[derive(Deserialize)]
pub(crate) struct Named {
    pub(crate) id: String,
}

/// Names the request, writes the bodies of errors, and refuses absurd addresses and other sites' pages.
pub(crate) async fn identify(mut request: Request, routes: Router, api: Api) -> Result<Response, Infallible> {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id.clone()));
    let too_long = request.uri().path_and_query().is_some_and(|asked| asked.as_str().len() > URI_MAX);
    let mut response = if too_long {
        let message = format!("the path and the query string are longer than {URI_MAX} bytes together");
        axum::response::IntoResponse::into_response(ApiError::new(StatusCode::URI_TOO_LONG, "uri-too-long", message))
    } else if !request.method().is_safe() && is_foreign(request.headers()) {
        let message = "a page of another site may not change anything here; use the page at / or a client that is no browser";
        axum::response::IntoResponse::into_response(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message))
    } else {
        crate::finish(request, routes, &api).await?
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>().or_else(|| foreign(&response)) {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let body = error.body(&id);
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        // Of an answer to HEAD the server sends the head alone.
        *response.body_mut() = Body::from(body);
    }
    if let Ok(value) = HeaderValue::try_from(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// The tenant of the path, to know whose turn it is. All that name none, or not as it is spelled, are one: nobody has more turns by more
/// spellings.
pub fn tenant_of(uri: &Uri) -> &str {
    let tenant = uri.path().strip_prefix("/v1beta/").and_then(|rest| rest.split('/').next());
    tenant.filter(|tenant| is_tenant(tenant)).unwrap_or_default()
}

/// Whether a browser sends it on behalf of another site's page. Unless it only reads that is refused: `POST` without a body (`retry`,
/// `recover`) is a request that any page may send to any address, without being asked first. What is no browser says neither of the two
/// headers.
///
/// A browser says of a request where it comes from in `Sec-Fetch-Site`, on plain HTTP to loopback addresses only; in `Origin` always,
/// where it changes something.
fn is_foreign(headers: &HeaderMap) -> bool {
    if let Some(from) = headers.get("sec-fetch-site") {
        return !matches!(from.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let told = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes());
    told.is_none_or(|origin| headers.get(header::HOST).is_none_or(|host| !host.as_bytes().eq_ignore_ascii_case(origin)))
}

/// The id that a request has given itself, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let given = word(headers, REQUEST_ID.as_str()).ok().flatten().filter(|id| id.chars().all(|c| c.is_ascii_graphic()));
    given.unwrap_or_else(new_id)
}

/// An id that no other request has, of this or any other start. By a key of this process: to ask the system for so many random bytes each time is
/// a call to the kernel, 2% of a `GET`.
fn new_id() -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let half = |which: u8| KEY.hash_one((count, which));
    let bytes = (u128::from(half(0)) << 64 | u128::from(half(1))).to_be_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// An error that the framework answered by itself, as plain text: it becomes JSON as all others.
fn foreign(response: &Response) -> Option<ApiError> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let message = || status.canonical_reason().unwrap_or("the request cannot be answered").to_lowercase();
    is_error.then(|| ApiError::new(status, "bad-request", message()))
}

/// A header's value, if it is there. One that cannot be honoured is an error: a condition or a key that is passed over in
/// silence is worse than none.
fn word(headers: &HeaderMap, name: &str) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all(name).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(ApiError::bad(format!("the header {name} is there more than once; send it once")));
    }
    match value.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= WORD_MAX => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => Err(ApiError::bad(format!("the header {name} must be 1 to {WORD_MAX} ASCII characters"))),
    }
}

/// The caller, from the path and the headers. What a handler does with an idempotency key also needs the body's hash: see
/// [`Asking::idempotent`].
pub(crate) struct Asking {
    pub(crate) caller: Caller,
    key: Option<String>,
    pub(crate) path: String,
}

/// What a path says of who asks.
#[derive(Deserialize)]
struct Owner {
    tenant: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(Owner { tenant }) =
            Path::from_request_parts(parts, state).await.map_err(|_| ApiError::bad("the path has no tenant, or is not UTF-8"))?;
        // It is taken, as nobody else asks for it.
        let request_id = parts.extensions.remove::<RequestId>().map(|id| id.0).unwrap_or_default();
        let mut asking = Self::of(tenant, parts.uri.path().to_owned(), request_id, &parts.headers)?;
        if !parts.method.is_safe() {
            asking.caller.dry_run = Query::of(&parts.uri)?.flag("dryRun")?;
        }
        Ok(asking)
    }
}

/// What a tenant may be called: words that no shell, path, table or log reads otherwise. [`TENANT_PATTERN`] says the same.
pub(crate) fn is_tenant(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | ':');
    (1..=TENANT_MAX).contains(&text.len()) && text.chars().all(fine) && !text.starts_with(['-', '.'])
}

/// [`is_tenant`] for the API document.
pub(crate) const TENANT_PATTERN: &str = "^[A-Za-z0-9_@:][A-Za-z0-9_.@:-]{0,63}$";

fn revision(given: &str) -> Result<u64, ApiError> {
    let tag = given.strip_prefix("W/").unwrap_or(given);
    let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(given);
    // What follows the revision tells apart what is shown beside it, and is nothing that a change can be held to.
    let (written, beside) = bare.split_once('-').map_or((bare, None), |(revision, beside)| (revision, Some(beside)));
    let is_ours = beside.is_none_or(|beside| beside.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    // As it is written and no other way: `parse` also takes `+7` and `007`, which are no tags of ours.
    let revision = written.parse::<u64>().ok().filter(|revision| is_ours && revision.to_string() == written);
    revision.ok_or_else(|| ApiError::bad(format!("If-Match {given:?} is no revision; give the ETag of the resource")))
}

impl Asking {
    /// Who asks, by the path's tenant and the request's headers.
    pub(crate) fn of(tenant: String, path: String, request_id: String, headers: &HeaderMap) -> Result<Self, ApiError> {
        if !is_tenant(&tenant) {
            let message = format!(
                "a tenant is 1 to {TENANT_MAX} of letters, digits, - _ . @ and :, and begins with neither - nor . (not {tenant:?})"
            );
            return Err(ApiError::bad(message));
        }
        let is_admin = tenant == DEFAULT_TENANT;
        let if_match = match word(headers, "if-match")? {
            Some(given) if given != "*" => Some(revision(&given)?),
            Some(_) | None => None,
        };
        let actor = tenant.clone();
        let caller = Caller { tenant, is_admin, actor, request_id, idempotency: None, if_match, dry_run: false };
        Ok(Self { caller, key: word(headers, "idempotency-key")?, path })
    }

    /// Refuses `If-Match` where the engine does not hold a change to it: passed over, it would lose another's change.
    pub(crate) fn unconditional(&self, kind: &str) -> Result<(), ApiError> {
        match self.caller.if_match {
            Some(_) => Err(ApiError::bad(format!("If-Match is not supported for a {kind}; leave it out"))),
            None => Ok(()),
        }
    }

    /// Refuses a dry run where there is none: passed over, what was only to be tried would be done.
    pub(crate) fn for_real(&self, what: &str) -> Result<(), ApiError> {
        match self.caller.dry_run {
            true => Err(ApiError::bad(format!("there is no dry run of {what}; leave dryRun out"))),
            false => Ok(()),
        }
    }

    /// The caller with the idempotency key bound to this path and body, if the request has a key.
    pub(crate) fn idempotent(self, body: &[u8]) -> Caller {
        let bound = self.key.map(|key| (key, fingerprint(&self.path, body)));
        Caller { idempotency: bound, ..self.caller }
    }
}

/// A fingerprint of a request, to tell whether a key is used for the same one again. Not a secret and no defence: a tenant can
/// only ever collide with itself. Four FNV-1a sums with different starts.
fn fingerprint(path: &str, body: &[u8]) -> [u8; 32] {
    let mut sums = [0_u8; 32];
    for (lane, sum) in sums.chunks_exact_mut(8).enumerate() {
        let start = 0xcbf2_9ce4_8422_2325_u64 ^ (lane as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = path.bytes().chain([0]).chain(body.iter().copied());
        let hash = bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        sum.copy_from_slice(&hash.to_le_bytes());
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_an_id_of_its_own() {
        let ids: std::collections::BTreeSet<_> = (0..1000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 1000);
        let is_random = |id: &String| uuid::Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 4);
        assert!(ids.iter().all(is_random));
    }
}
