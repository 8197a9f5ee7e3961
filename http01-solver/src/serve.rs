//! Serves a router with timeouts and limits against slow or hostile clients, and drains when it is asked to stop.

use std::{
    collections::{HashMap, VecDeque},
    io,
    pin::pin,
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::Metrics;

/// Time in which a client must send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Time after which a connection is closed.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum size of the head of a request, in bytes.
const HEAD_LIMIT: usize = 16 << 10;

/// Time for which open connections may continue while draining.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after the system could not accept a connection, because it is short of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Time between two log lines about the same error.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Serves the router until `stop` completes, and then drains: it accepts no new connections, and returns when all open
/// connections have ended or a timeout has passed.
///
/// At most `limit` connections are open at a time. A further one replaces the oldest: a request takes milliseconds, so clients that
/// keep connections open can't keep others out. Connections are counted in `metrics`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limit: usize,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    let graceful = GracefulShutdown::new();
    let mut connections = Connections { limit, open: VecDeque::new(), metrics };
    let mut errors = AcceptErrors::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_client(&error) => continue,
            Err(error) => {
                if errors.must_log(&error, Instant::now()) {
                    tracing::warn!(%error, "failed to accept connections, will retry");
                }
                connections.close_oldest().await;
                tokio::select! {
                    () = sleep(ACCEPT_PAUSE) => continue,
                    () = &mut stop => break,
                }
            }
        };
        connections.make_room().await;
        connections.metrics.count_connection();
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LIMIT);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        // Boxed, because the handle of a connection that has ended keeps the memory of its task.
        connections.open.push_back(tokio::spawn(Box::pin(async move {
            // Errors and timeouts are the client's: nothing here can react to them.
            _ = timeout(CONNECTION_TIMEOUT, connection).await;
        })));
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open when draining ended");
    }
}

/// The open connections, oldest first, and some that have ended.
struct Connections {
    limit: usize,
    open: VecDeque<JoinHandle<()>>,
    metrics: Metrics,
}

impl Connections {
    /// Ensures that a further connection does not exceed the limit.
    async fn make_room(&mut self) {
        if self.open.len() >= self.limit {
            self.open.retain(|connection| !connection.is_finished());
        }
        if self.open.len() >= self.limit {
            self.close_oldest().await;
        }
    }

    async fn close_oldest(&mut self) {
        self.open.retain(|connection| !connection.is_finished());
        if let Some(oldest) = self.open.pop_front() {
            self.metrics.count_replaced_connection();
            oldest.abort();
            // It ends with an error, because it was aborted.
            _ = oldest.await;
        }
    }
}

/// When each error, by its number in the system, was last logged.
#[derive(Default)]
struct AcceptErrors(HashMap<Option<i32>, Instant>);

impl AcceptErrors {
    fn must_log(&mut self, error: &io::Error, now: Instant) -> bool {
        let kind = error.raw_os_error();
        let is_due = self.0.get(&kind).is_none_or(|last| now.duration_since(*last) >= LOG_INTERVAL);
        if is_due {
            self.0.insert(kind, now);
        }
        is_due
    }
}

/// Whether the client closed the connection before it was accepted.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::advance,
    };

    use super::*;

    /// Idle connections up to the limit don't keep a request waiting: the oldest is closed, and the others stay open.
    #[tokio::test]
    async fn connection_beyond_the_limit_replaces_the_oldest() -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let metrics = Metrics::default();
        let stop = std::future::pending();
        let server = tokio::spawn(serve(listener, Router::new(), 3, metrics.clone(), stop));
        let mut idle = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).await?;
            // An answer says that the connection was accepted.
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
            anyhow::ensure!(stream.read(&mut [0; 1024]).await? > 0, "no answer");
            idle.push(stream);
        }
        let started = Instant::now();
        let mut request = TcpStream::connect(address).await?;
        request.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut response = String::new();
        timeout(HEAD_TIMEOUT, request.read_to_string(&mut response)).await??;
        anyhow::ensure!(response.starts_with("HTTP/1.1 404"), "{response}");
        anyhow::ensure!(started.elapsed() < HEAD_TIMEOUT / 2, "it waited for an idle connection to time out");
        let mut idle = idle.into_iter();
        let mut oldest = idle.next().expect("three connections");
        anyhow::ensure!(
            timeout(HEAD_TIMEOUT / 2, oldest.read(&mut [0; 16])).await?? == 0,
            "the oldest is open"
        );
        for mut other in idle {
            other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
            anyhow::ensure!(other.read(&mut [0; 1024]).await? > 0, "another connection was closed");
        }
        anyhow::ensure!(metrics.connections() == (4, 1), "counted {:?}", metrics.connections());
        server.abort();
        Ok(())
    }

    /// Connections that have ended count no more, and are forgotten.
    #[tokio::test]
    async fn ended_connections_make_room() {
        let mut connections = Connections { limit: 2, open: VecDeque::new(), metrics: Metrics::default() };
        let open = tokio::spawn(std::future::pending());
        let ended = tokio::spawn(async {});
        tokio::task::yield_now().await;
        connections.open.extend([open, ended]);
        connections.make_room().await;
        assert_eq!(connections.open.len(), 1, "only the ended connection is removed");
        assert!(!connections.open[0].is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn accept_errors_are_logged_once_a_minute_each() {
        let mut errors = AcceptErrors::default();
        let (files, memory) = (io::Error::from_raw_os_error(24), io::Error::from_raw_os_error(12));
        assert!(errors.must_log(&files, Instant::now()));
        advance(LOG_INTERVAL / 2).await;
        assert!(!errors.must_log(&files, Instant::now()), "the same error again");
        assert!(errors.must_log(&memory, Instant::now()), "another error");
        advance(LOG_INTERVAL / 2).await;
        assert!(errors.must_log(&files, Instant::now()), "a minute later");
    }
}
