//! `GET /block/events`: what is, and then every change, as it happens.
//!
//! - `ask`: what a reader asked for; `event`: one event and how it is written; `feed`: the one task that follows the journal;
//!   `desk`: what waits for each reader; `index`: who may be interested in what; `reader`: one reader's life.
//!
//! Invariants:
//! - events of the journal go out in its order, and the id of each is a place in it: whoever comes back with the last id that they saw
//!   misses nothing and sees nothing twice;
//! - of one resource the revisions strictly increase, and the latest always arrives. What was passed over in between is told
//!   (`coalescedFrom`), and is not passed over at all with `all=true`;
//! - a reader that does not keep up costs nobody else: what waits for it is bounded, and it reads the journal when it is back;
//! - an event is written once, and the bytes are shared.
//!
//! Source: architecture page, "REST beyond the OpenSDS routes".

mod ask;
mod desk;
mod event;
mod feed;
mod index;
mod reader;

use crate::caller::Asking;
use crate::error::ApiError;
use crate::query::Query;
use crate::{Api, Routes};
use ask::Wanted;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use desk::Desk;
use event::Format;
use reader::Reader;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Semaphore, mpsc};

pub(crate) use ask::{KINDS, PARAMETERS};

/// How many chunks may wait for a reader's connection besides what the system buffers: what else it misses waits at the desk.
const CHUNKS: usize = 2;
/// When to ask again for a stream where there are as many as may be, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

pub(crate) fn routes() -> Routes {
    Routes::new().route("/block/events", get(events))
}

/// What all streams share.
pub(crate) struct Hub {
    desk: Arc<Desk>,
    places: Arc<Semaphore>,
    most: usize,
    is_fed: OnceLock<()>,
}

impl Hub {
    /// At most `most` streams at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { desk: Arc::default(), places: Arc::new(Semaphore::new(most)), most, is_fed: OnceLock::new() }
    }
}

async fn events(State(api): State<Api>, asking: Asking, query: Query, headers: HeaderMap) -> Result<Response, ApiError> {
    let format = Format::accepted(&headers);
    let Ok(place) = api.hub.places.clone().try_acquire_owned() else { return Ok(crowded(api.hub.most)) };
    let wanted = Wanted::parse(&api, &asking.caller, &query, &headers).await?;
    api.hub.is_fed.get_or_init(|| feed::start(&api));
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let whose = api.engine.turns_of(&asking.caller.tenant);
    let reader = Reader::open(api, asking.caller, wanted, format, sender).await?;
    tokio::spawn(whose.take(async move {
        reader.run().await;
        drop(place);
    }));
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), receiver))
    });
    let fixed = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // A proxy that gathers an answer before it passes it on would hold back what is to be seen at once.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((StatusCode::OK, fixed, Body::from_stream(stream)).into_response())
}

fn crowded(most: usize) -> Response {
    let message = format!("{most} streams are open, which is as many as may be; close some, or raise [http] streams");
    let mut response = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-streams", message).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}
