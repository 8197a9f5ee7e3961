//! The connection to the API server: how many requests are in flight, and when it was last reached.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::{Response, StatusCode};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, DynBody},
};
use tokio::time::Instant;
use tower::{
    limit::ConcurrencyLimitLayer,
    util::{MapRequestLayer, MapResponseLayer},
};

use crate::{fence, sync::lock};

/// How many requests of a client may wait for their response. Each has a connection of its own (HTTP/1.1). Watches do not count once they are open.
pub const MAX_CONCURRENT_REQUESTS: usize = 64;

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
    let check_fence = |request: hyper::Request<Body>| {
        fence::check();
        request
    };
    let note_contact = move |response: Response<Box<DynBody>>| {
        if is_contact(response.status()) {
            contact.note();
        }
        response
    };
    let client = ClientBuilder::try_from(config)?
        .with_layer(&MapRequestLayer::new(check_fence))
        .with_layer(&MapResponseLayer::new(note_contact))
        .with_layer(&ConcurrencyLimitLayer::new(MAX_CONCURRENT_REQUESTS));
    Ok(client.build())
}

/// Whether a response shows that the API server serves this process. A restart helps against credentials that it no longer accepts.
fn is_contact(status: StatusCode) -> bool {
    !status.is_server_error() && status != StatusCode::UNAUTHORIZED
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    #[tokio::test]
    async fn requests_beyond_the_limit_wait() -> anyhow::Result<()> {
        let server = TcpListener::bind("127.0.0.1:0").await?;
        let config = Config::new(format!("http://{}", server.local_addr()?).parse()?);
        let client = connect(config, Contact::default())?;
        let send = async |client: Client| -> anyhow::Result<String> {
            Ok(client.request_text(hyper::Request::get("/").body(Vec::new())?).await?)
        };
        let requests = join_all((0..2 * MAX_CONCURRENT_REQUESTS).map(|_| send(client.clone())));
        let connections = async {
            let mut open = Vec::new();
            while open.len() < MAX_CONCURRENT_REQUESTS {
                open.push(timeout(Duration::from_secs(30), server.accept()).await??);
            }
            let one_more = timeout(Duration::from_millis(200), server.accept()).await;
            anyhow::ensure!(one_more.is_err(), "more requests are in flight");
            Ok(())
        };
        tokio::select! {
            answers = requests => anyhow::bail!("the server answered: {answers:?}"),
            outcome = connections => outcome,
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
