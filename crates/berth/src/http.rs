//! The HTTP listener: bounded, timed, and gentle at shutdown.
//!
//! - at most [`CONNECTIONS_MAX`] connections; further ones wait in the kernel's queue;
//! - a client that dribbles its header or body is cut off;
//! - on shutdown, answers under way are finished for a bounded time.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// How many connections are served at once: well under the usual limit of 20,000 files a process, which volumes need too.
const CONNECTIONS_MAX: usize = 8000;
/// How long one request may take in all: longer than the longest long poll (60 s).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// How long answers under way are awaited at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to pause when no connection can be accepted (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop` resolves. A client has `header_timeout` to send a request's header.
pub(crate) async fn serve(listener: TcpListener, router: Router, header_timeout: Duration, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, router.clone(), header_timeout));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::info!("some answers were still under way at shutdown; their clients see the connection close");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

fn connection(
    stream: TcpStream,
    router: Router,
    header_timeout: Duration,
) -> hyper::server::conn::http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Send,
> {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| answer(router.clone(), request));
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
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json; charset=utf-8"));
    response
}
