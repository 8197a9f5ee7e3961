//! Serves a router with timeouts and size limits against slow or hostile clients, and drains when it is asked to stop.

use std::{pin::pin, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, time::timeout};

/// Time in which a client must send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time after which a connection is closed.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum size of the head of a request, in bytes.
const HEAD_LIMIT: usize = 16 << 10;

/// Time for which open connections may continue while draining.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the router until `stop` completes, and then drains: it accepts no new connections, and returns when all open
/// connections have ended or a timeout has passed.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LIMIT);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // Errors and timeouts are the client's: nothing here can react to them.
            _ = timeout(CONNECTION_TIMEOUT, connection).await;
        });
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open when draining ended");
    }
}
