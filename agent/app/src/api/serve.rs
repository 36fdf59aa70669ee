//! Serving the API over a listener the caller made, in clear or over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use shoal_dav::Strangers;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Api, router};

/// Connections at a time, at most. For a further one the oldest on which nobody has signed in makes room; where there is
/// none it waits.
const CONNECTIONS_LIMIT: usize = 256;
/// How long a connection may take for a handshake or a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long requests under way may take when the agent stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);
/// After an accept that failed (out of descriptors), how long to wait for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote {
    pub(super) address: SocketAddr,
    pub(super) encrypted: bool,
}

/// Serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    api: Arc<Api>,
    shutdown: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let router = router(api);
    let connections = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
    let strangers = Arc::new(Strangers::default());
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if slots.available_permits() == 0 {
            strangers.make_room();
        }
        let Some(Ok(slot)) = shutdown.run_until_cancelled(slots.clone().acquire_owned()).await else { break };
        let stranger = strangers.enter();
        let remote = Remote { address, encrypted: acceptor.is_some() };
        let router = router.clone().layer(axum::Extension(remote)).layer(axum::Extension(stranger.clone()));
        let (acceptor, shutdown) = (acceptor.clone(), shutdown.clone());
        connections.spawn(async move {
            let _slot = slot;
            let _ = stream.set_nodelay(true);
            let serving = async {
                match acceptor {
                    None => connection(stream, router, shutdown).await,
                    Some(acceptor) => handshake(&acceptor, stream, router, shutdown).await,
                }
            };
            let _ = stranger.leave().run_until_cancelled(serving).await;
        });
    }
    connections.close();
    let _ = tokio::time::timeout(DRAIN_DEADLINE, connections.wait()).await;
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream, router: axum::Router, shutdown: CancellationToken) {
    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_DEADLINE, acceptor.accept(stream)).await {
        connection(stream, router, shutdown).await;
    }
}

async fn connection<S>(stream: S, router: axum::Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => {}
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            let _ = serving.await;
        }
    }
}
