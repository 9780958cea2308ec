//! REST v1beta as OpenSDS speaks it, and the additive routes.
//!
//! [`router`] is all there is to call. A handler parses, calls the engine, renders; what is allowed is decided in `lifecycle`,
//! HTTP statuses stand in one table (`error`), and each boundary has one conversion (`wire` out, `body` in, `query` for lists).
//!
//! Kept of OpenSDS: routes, casing, `AttachStatus`, bare arrays, success codes, `null` bodies, defaults. Not kept: its faults
//! (a PUT that sets status or size, a POST that overwrites an id, 404 and 400 for trouble of ours).

#![forbid(unsafe_code)]

mod attachments;
mod body;
mod caller;
mod doctor;
mod dry;
mod error;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod hosts;
mod lists;
mod machine;
mod markup;
mod openapi;
mod pools;
mod profiles;
mod query;
mod reference;
mod snapshots;
mod system;
mod volumes;
mod wait;
mod wire;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
pub use caller::tenant_of;
use engine::Engine;
pub use machine::{statemachine, statemachine_svg};
pub use openapi::openapi;
pub use reference::command_lines;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::Instant;
use tower::{ServiceExt as _, service_fn};

/// How the dialect is spoken.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Which attachment words are spoken.
    pub attachment_words: AttachmentWords,
    /// How many streams of events may be open at once.
    pub streams: usize,
}

/// How many streams may be open where nobody says: each costs some 20 kB and a connection.
pub const STREAMS: usize = 8000;

impl Default for Settings {
    fn default() -> Self {
        Self { attachment_words: AttachmentWords::default(), streams: STREAMS }
    }
}

/// Which attachment words are spoken. Source: lifecycle page, "Words on the wire".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachmentWords {
    /// The seed's: `attached`, `errorDetaching`, …
    #[default]
    Seed,
    /// OpenSDS': `available`, `errorDeleting`, …; tombstones answer 404.
    Legacy,
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) engine: Arc<Engine>,
    pub(crate) settings: Settings,
    pub(crate) hub: Arc<events::Hub>,
}

/// The tenant that is the administrator. Source: OpenSDS wire page, section 1.
pub(crate) const DEFAULT_TENANT: &str = "e93b4c0934da416eb9c8d120c5d04d96";
/// The largest body that is read.
pub(crate) const BODY_MAX: usize = 1 << 20;

/// Every route of the API, answering from `engine`.
pub fn router(engine: Arc<Engine>, settings: Settings) -> Router {
    let hub = Arc::new(events::Hub::new(settings.streams));
    let api = Api { engine, settings, hub };
    let routes = Router::new()
        .route("/", get(system::versions))
        .route("/livez", get(system::live))
        .route("/readyz", get(system::ready))
        .route("/version", get(system::version))
        .route("/openapi.json", get(system::openapi))
        .route("/docs", get(reference::page))
        .route("/docs/style.css", get(reference::style))
        .route("/v1beta/statemachine", get(machine::show))
        .route("/{version}", get(system::one_version))
        .merge(of_tenant().0)
        .fallback(system::unknown_route)
        .method_not_allowed_fallback(system::unknown_method)
        .with_state(api.clone());
    // Around all routes together: a layer is one of each route, and is cloned and boxed for every request.
    Router::new().fallback_service(service_fn(move |request| caller::identify(request, routes.clone(), api.clone())))
}

fn of_tenant() -> Routes {
    volumes::routes()
        .merge(snapshots::routes())
        .merge(attachments::routes())
        .merge(hosts::routes())
        .merge(profiles::routes())
        .merge(pools::routes())
        .merge(doctor::routes())
        .merge(events::routes())
}

/// Does to its end what a request asks to be changed, whether or not its client is still there: what was committed is then worked on,
/// and not left until somebody comes by. What only reads ends with its client, and so does waiting for what comes of a change.
pub(crate) async fn finish(request: Request, routes: Router, api: &Api) -> Result<Response, Infallible> {
    if request.method().is_safe() {
        return routes.oneshot(request).await;
    }
    let begun = Instant::now();
    let whose = api.engine.turns_of(tenant_of(request.uri()));
    match tokio::spawn(whose.take(routes.oneshot(request))).await {
        Ok(answer) => Ok(api.awaited(answer?, begun).await),
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        // The runtime ends, and this with it.
        Err(_) => std::future::pending().await,
    }
}

/// Routes below `/v1beta/{tenant}`. They are not nested: a nested router writes the address of every request anew.
pub(crate) struct Routes(Router<Api>);

impl Routes {
    pub(crate) fn new() -> Self {
        Self(Router::new())
    }

    /// `path` as it goes on behind the tenant.
    pub(crate) fn route(self, path: &str, methods: MethodRouter<Api>) -> Self {
        Self(self.0.route(&format!("/v1beta/{{tenant}}{path}"), methods))
    }

    pub(crate) fn merge(self, others: Self) -> Self {
        Self(self.0.merge(others.0))
    }
}

/// The collection's routes, with and without a trailing slash, as OpenSDS answers both.
pub(crate) fn collection(path: &str, methods: MethodRouter<Api>) -> Routes {
    Routes::new().route(path, methods.clone()).route(&format!("{path}/"), methods)
}

/// `POST` of a command without a body.
pub(crate) fn command<H, T>(handler: H) -> MethodRouter<Api>
where
    H: axum::handler::Handler<T, Api>,
    T: 'static,
{
    post(handler)
}
