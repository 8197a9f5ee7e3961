//! The connection to the API server: how many requests are in flight, and when it was last reached.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Response, StatusCode};
use kube::{
    Client, Config,
    client::{ClientBuilder, DynBody},
};
use tokio::time::Instant;
use tower::util::MapResponseLayer;

use super::fair_requests::FairRequests;
use crate::{decision::fair_queue::Slots, sync::lock};

/// How many requests of a client may wait for their response, a third of these in one namespace. Each has a connection of its own
/// (HTTP/1.1). Watches do not count once they are open.
pub const MAX_CONCURRENT_REQUESTS: usize = 48;

/// How many of these are for one namespace while others have requests, too: one request of another then waits for few at the server.
pub const CONTENDED: usize = 2;

/// When the API server was last reached, by any client of this process.
#[derive(Clone, Debug)]
pub struct Contact(Arc<Mutex<Instant>>);

impl Default for Contact {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Contact {
    /// Notes that the API server was reached just now.
    pub fn note(&self) {
        *lock(&self.0) = Instant::now();
    }

    /// For how long the API server has not been reached.
    pub fn lost_for(&self) -> Duration {
        lock(&self.0).elapsed()
    }
}

/// A client that notes each contact, and sends nothing after the end of a leader's term. It is bound to the async runtime in which it
/// is created.
///
/// # Errors
/// The configuration is invalid.
pub fn connect(config: Config, contact: Contact) -> kube::Result<Client> {
    let note_contact = move |response: Response<Box<DynBody>>| {
        if is_contact(response.status()) {
            contact.note();
        }
        response
    };
    let client = ClientBuilder::try_from(config)?
        .with_layer(&MapResponseLayer::new(note_contact))
        .with_layer(&FairRequests::new(Slots::few(MAX_CONCURRENT_REQUESTS).contended(CONTENDED)));
    Ok(client.build())
}

/// Whether a response shows that the API server serves this process. A restart helps against credentials that it no longer accepts.
fn is_contact(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::UNAUTHORIZED
}

#[cfg(test)]
mod tests {
    use futures::future::try_join_all;
    use tokio::{
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;

    /// Sends requests that are never answered.
    async fn send(client: &Client, namespace: &str, count: usize) -> anyhow::Result<Vec<String>> {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/a");
        let sent = (0..count).map(async |_| {
            client
                .request_text(hyper::Request::get(&path).body(Vec::new())?)
                .await
                .map_err(anyhow::Error::from)
        });
        try_join_all(sent).await
    }

    /// Accepts connections until none comes for a while.
    async fn accept_all(server: &TcpListener) -> anyhow::Result<Vec<TcpStream>> {
        let mut open = vec![timeout(Duration::from_secs(30), server.accept()).await??.0];
        while let Ok(accepted) = timeout(Duration::from_millis(500), server.accept()).await {
            open.push(accepted?.0);
        }
        Ok(open)
    }

    #[tokio::test]
    async fn requests_of_one_namespace_delay_no_other() -> anyhow::Result<()> {
        let server = TcpListener::bind("127.0.0.1:0").await?;
        let config = Config::new(format!("http://{}", server.local_addr()?).parse()?);
        let client = connect(config, Contact::default())?;
        let noisy = send(&client, "noisy", 4 * MAX_CONCURRENT_REQUESTS);
        let others = async {
            let noisy = accept_all(&server).await?;
            anyhow::ensure!(noisy.len() == MAX_CONCURRENT_REQUESTS / 3, "{} of one namespace", noisy.len());
            tokio::select! {
                answers = send(&client, "quiet", 1) => anyhow::bail!("the server answered: {answers:?}"),
                accepted = timeout(Duration::from_secs(30), server.accept()) => drop(accepted??),
            }
            Ok(())
        };
        tokio::select! {
            answers = noisy => anyhow::bail!("the server answered: {answers:?}"),
            outcome = others => outcome,
        }
    }

    #[test]
    fn errors_of_the_server_are_no_contact() {
        for (status, expected) in
            [(200, true), (404, true), (409, true), (401, false), (500, false), (503, false)]
        {
            assert_eq!(StatusCode::from_u16(status).map(is_contact).ok(), Some(expected), "{status}");
        }
    }
}
