//! The HTTP listener: bounded, timed, and gentle at shutdown.
//!
//! - as many connections as are configured; further ones are told to come back, and where even that is too much, closed;
//! - a client that dribbles its header or body is cut off;
//! - on shutdown, answers under way are finished for a bounded time.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use engine::{Engine, Whose};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How many connections too many are told so at once; a storm of them must not cost what the limit is there to keep.
const REFUSALS_MAX: usize = 64;
/// How long one of those may take to ask, and to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take nothing of what is sent to it: then its client is gone, or does not read.
const STALLED_AFTER: Duration = Duration::from_secs(90);
/// How long one request may take in all: longer than the longest long poll (60 s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// How long answers under way are awaited at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to pause when no connection can be accepted (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the listener holds its clients to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many connections there may be.
    pub(crate) connections: usize,
    /// How long a client may take to send the header of a request.
    pub(crate) header_timeout: Duration,
}

/// Serves `router` on `listener` until `stop` resolves.
///
/// A connection takes the turns of the tenant whom its last request named: that of the next one is not known before it is read, and is mostly
/// the same.
pub(crate) async fn serve(listener: TcpListener, router: Router, engine: Engine, limits: Limits, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            if let Ok(place) = refusals.clone().try_acquire_owned() {
                tokio::spawn(async move {
                    // Whoever does not ask in time is not told.
                    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refused(stream)).await;
                    drop(place);
                });
            }
            continue;
        };
        let whose = engine.turns_of("");
        let connection = graceful.watch(connection(stream, router.clone(), whose.clone(), limits.header_timeout));
        tokio::spawn(whose.take(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(place);
        }));
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::info!("some answers were still under way at shutdown; their clients see the connection close");
    }
}

async fn accept(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let stalled_after = u32::try_from(STALLED_AFTER.as_millis()).expect("some seconds");
    rustix::net::sockopt::set_tcp_user_timeout(&stream, stalled_after)?;
    Ok(stream)
}

/// Answers one request of a connection that is one too many.
async fn refused(stream: TcpStream) -> hyper::Result<()> {
    let service = hyper::service::service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(too_many()) });
    hyper::server::conn::http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await
}

fn too_many() -> Response<Body> {
    let body = r#"{"code":503,"message":"as many connections are open as may be; close some, or raise [http] connections","type":"too-many-connections","status":503}"#;
    let mut response = failure(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    response
}

fn connection(
    stream: TcpStream,
    router: Router,
    whose: Whose,
    header_timeout: Duration,
) -> hyper::server::conn::http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Send,
> {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let is_anothers = whose.is(api_opensds::tenant_of(request.uri()));
        let answering = answer(router.clone(), request);
        async move {
            if is_anothers {
                // It was read in the turn of whoever asked before. What it asks for is done in its own.
                tokio::task::yield_now().await;
            }
            answering.await
        }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(stream), service)
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    use tower::ServiceExt;
    let answering = router.oneshot(request.map(Body::new));
    match tokio::time::timeout(REQUEST_TIMEOUT, answering).await {
        Ok(answer) => answer,
        Err(_) => Ok(too_slow()),
    }
}

fn too_slow() -> Response<Body> {
    let body = r#"{"code":408,"message":"the request was not finished in time; send it again"}"#;
    failure(StatusCode::REQUEST_TIMEOUT, body)
}

fn failure(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json; charset=utf-8"));
    response
}
