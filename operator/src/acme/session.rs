//! Requests that are signed with an account key: nonces, and when a request may be resent. Must not know what a request
//! means. Next: `server/mod.rs` for connections, `jws.rs` for signatures.

use std::{sync::Arc, time::Duration};

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::{AccountKey, AcmeError, AcmeResponse, Server};

/// How often a request is signed with a fresh nonce because the server rejects the last one. Test servers commonly
/// reject one nonce in twenty. With this limit a server that rejects half of them still works, and one that rejects all
/// of them fails.
const MAX_NONCE_TRIES: usize = 20;

/// How often a request is sent if the server is unreachable, and the pause between tries, which grows linearly. This
/// covers the restart of a load balancer; longer outages are the caller's to retry.
pub(super) const MAX_CONNECT_TRIES: u32 = 3;
pub(super) const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A signer of requests: a key and, once known, the URL of its account. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Session {
    server: Arc<Server>,
    key: Arc<AccountKey>,
    account_url: Option<String>,
    namespace: Arc<str>,
}

impl Session {
    /// Returns a session without an account: its requests carry the public key, as newAccount requires.
    pub fn new(server: Arc<Server>, key: Arc<AccountKey>) -> Self {
        Self { server, key, account_url: None, namespace: Arc::default() }
    }

    /// Returns the same session with an account, whose URL its requests carry.
    pub fn with_account(&self, account_url: impl Into<String>) -> Self {
        Self { account_url: Some(account_url.into()), ..self.clone() }
    }

    /// Returns the same session for the objects of a namespace: its requests take turns with those of others.
    pub fn for_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.into(), ..self.clone() }
    }

    /// The server that requests go to.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The key that signs requests.
    pub fn key(&self) -> &Arc<AccountKey> {
        &self.key
    }

    /// The URL of the account, if known.
    pub fn account_url(&self) -> Option<&str> {
        self.account_url.as_deref()
    }

    /// Sends a payload, RFC 8555 section 6.2.
    ///
    /// # Errors
    /// The server is unreachable or rejects the request.
    pub async fn post(&self, url: &str, payload: &Value) -> Result<AcmeResponse, AcmeError> {
        self.send(url, payload.to_string().as_bytes()).await?.into_result()
    }

    /// Fetches a resource, RFC 8555 section 6.3.
    ///
    /// # Errors
    /// The server is unreachable or rejects the request.
    pub async fn post_as_get(&self, url: &str) -> Result<AcmeResponse, AcmeError> {
        self.send(url, b"").await?.into_result()
    }

    /// Signs and sends a payload, and returns whatever the server responds.
    ///
    /// A request is resent with a fresh nonce if the server rejected only the nonce, or if there was no response and
    /// either the server can't have received it or it only reads. Nothing else is resent: a second newOrder would be a
    /// second order.
    pub(super) async fn send(&self, url: &str, payload: &[u8]) -> Result<AcmeResponse, AcmeError> {
        self.server.check_resource(url).await?;
        let reads_only = payload.is_empty();
        let mut nonce_tries = 0;
        let mut connect_tries = 0;
        let mut fresh_nonce = None;
        loop {
            let permit = self.server.permit(self.account_url.as_deref(), &self.namespace).await;
            let nonce = match fresh_nonce.take() {
                Some(nonce) => nonce,
                None => self.server.nonce().await?,
            };
            let body = self.key.sign(url, &nonce, self.account_url.as_deref(), payload)?;
            let response = match self.server.send(Method::POST, url, Some(body)).await {
                Ok(response) => response,
                Err(error) => {
                    connect_tries += 1;
                    if connect_tries == MAX_CONNECT_TRIES || !error.may_resend(reads_only) {
                        return Err(error);
                    }
                    drop(permit);
                    sleep(CONNECT_PAUSE * connect_tries).await;
                    continue;
                }
            };
            nonce_tries += 1;
            if nonce_tries < MAX_NONCE_TRIES && is_bad_nonce(&response) {
                // The rejection carries a usable nonce, RFC 8555 section 6.5.
                fresh_nonce = response.nonce;
                continue;
            }
            if let Some(nonce) = &response.nonce {
                self.server.store_nonce(nonce.clone());
            }
            return Ok(response);
        }
    }
}

fn is_bad_nonce(response: &AcmeResponse) -> bool {
    response.status == StatusCode::BAD_REQUEST
        && response.clone().into_result().err().is_some_and(|error| error.problem_type() == Some("badNonce"))
}
