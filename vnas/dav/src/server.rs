//! Connections: accepted, counted, bounded, and drained at the end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Door;
use crate::stall::StallGuard;
use crate::strangers::{Stranger, Strangers};

/// Bytes of a request's head, at most: a URL of the longest path, and headers.
const HEAD_LIMIT_BYTES: usize = 48 * 1024;
/// Headers of a request, at most.
const HEADERS_LIMIT: usize = 100;
/// Bytes read or written at a time, at most, and so of a connection's buffers.
const BUFFER_BYTES: usize = 128 * 1024;
/// How long to wait when no connection can be accepted, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a door until `shutdown`, then lets requests under way end for as long as the door's configuration says.
/// Whoever connects speaks TLS where `tls` is given, else plain HTTP.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    door: Arc<Door>,
    shutdown: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(door.config.connections_limit));
    let strangers = Arc::new(Strangers::default());
    let tasks = TaskTracker::new();
    // Ends what has not ended by itself.
    let abort = CancellationToken::new();
    loop {
        let next = async {
            let accepted = listener.accept().await;
            if places.available_permits() == 0 {
                strangers.make_room();
            }
            (Arc::clone(&places).acquire_owned().await, accepted)
        };
        let (place, accepted) = tokio::select! {
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let Ok(place) = place else { break };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (door, acceptor) = (Arc::clone(&door), acceptor.clone());
        let (shutdown, abort, stranger) = (shutdown.clone(), abort.clone(), strangers.enter());
        tasks.spawn(async move {
            let _place = place;
            let leave = stranger.leave();
            door.stats.opened();
            tokio::select! {
                () = abort.cancelled() => {}
                () = leave.cancelled() => tracing::debug!(%remote, "a connection nobody signed in on made room"),
                () = connection(stream, remote, acceptor, &door, stranger, shutdown) => {}
            }
            door.stats.closed();
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(door.config.drain_timeout, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "requests under way were broken off");
        abort.cancel();
        tasks.wait().await;
    }
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    door: &Arc<Door>,
    stranger: Stranger,
    shutdown: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "a connection was gone at once");
        return;
    }
    let Some(acceptor) = acceptor else { return speak(stream, remote, door, stranger, shutdown).await };
    match tokio::time::timeout(door.config.handshake_timeout, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, remote, door, stranger, shutdown).await,
        Ok(Err(error)) => tracing::debug!(%remote, %error, "the TLS handshake failed"),
        Err(_) => tracing::debug!(%remote, "the TLS handshake took too long"),
    }
}

async fn speak<S>(stream: S, remote: SocketAddr, door: &Arc<Door>, stranger: Stranger, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let door = Arc::clone(door);
        request.extensions_mut().insert(stranger.clone());
        async move { Ok::<_, Infallible>(door.answer(request, remote).await) }
    });
    let stream = TokioIo::new(StallGuard::new(stream, door.config.stall_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.config.head_timeout)
        .max_headers(HEADERS_LIMIT)
        .max_header_size(HEAD_LIMIT_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(stream, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%remote, %error, "a connection ended badly");
    }
}
