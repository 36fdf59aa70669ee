//! Serving the API over a listener the caller made, in clear or over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Api, router};

/// Connections at a time, at most; further ones wait in the system's queue.
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
    while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let remote = Remote { address, encrypted: acceptor.is_some() };
        let router = router.clone().layer(axum::Extension(remote));
        let (acceptor, shutdown) = (acceptor.clone(), shutdown.clone());
        connections.spawn(async move {
            let _slot = slot;
            let _ = stream.set_nodelay(true);
            match acceptor {
                None => connection(stream, router, shutdown).await,
                Some(acceptor) => handshake(&acceptor, stream, router, shutdown).await,
            }
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
