//! Requests that are signed with an account's key: nonces, retries and answers.

use std::{sync::Arc, time::Duration};

use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::{AccountKey, AcmeError, AcmeResponse, Server};

/// How often a request is signed anew because the server refuses its nonce. Servers that refuse one in twenty to test
/// their clients are common; one that refuses half of them still gets an answer, and one that refuses all is given up.
const NONCE_TRIES: usize = 20;

/// How often a request is made where the server can't be reached, and the pause between: what a restart of a load balancer
/// takes. More is for whoever asks again later.
pub(super) const REACH_TRIES: u32 = 3;
pub(super) const REACH_PAUSE: Duration = Duration::from_millis(100);

/// Who asks: a key, and the account that it belongs to where there is one already.
#[derive(Clone, Debug)]
pub struct Session {
    server: Arc<Server>,
    key: Arc<AccountKey>,
    account_url: Option<String>,
}

impl Session {
    /// Someone who has a key, and no account yet or one that is not known.
    pub fn new(server: Arc<Server>, key: Arc<AccountKey>) -> Self {
        Self { server, key, account_url: None }
    }

    /// The same with an account, by its URL.
    pub fn with_account(&self, account_url: impl Into<String>) -> Self {
        Self { account_url: Some(account_url.into()), ..self.clone() }
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// The key.
    pub fn key(&self) -> &Arc<AccountKey> {
        &self.key
    }

    /// The account's URL.
    pub fn account_url(&self) -> Option<&str> {
        self.account_url.as_deref()
    }

    /// Asks with a payload, RFC 8555 section 6.2.
    ///
    /// # Errors
    /// There is no answer, or the server refuses.
    pub async fn post(&self, url: &str, payload: &Value) -> Result<AcmeResponse, AcmeError> {
        self.send(url, payload.to_string().as_bytes()).await?.into_result()
    }

    /// Reads a resource, RFC 8555 section 6.3.
    ///
    /// # Errors
    /// There is no answer, or the server refuses.
    pub async fn post_as_get(&self, url: &str) -> Result<AcmeResponse, AcmeError> {
        self.send(url, b"").await?.into_result()
    }

    /// Asks, signed anew as long as only the nonce is refused, or nothing was heard of a request that can't have been
    /// heard or that may be repeated; any other answer is the answer. A second newOrder would be a second order.
    pub(super) async fn send(&self, url: &str, payload: &[u8]) -> Result<AcmeResponse, AcmeError> {
        let reads_only = payload.is_empty();
        let mut nonce_tries = 0;
        let mut reach_tries = 0;
        let mut refused = None;
        loop {
            let permit = self.server.permit(self.account_url.as_deref()).await;
            // What was refused comes with a good one.
            let nonce = match refused.take() {
                Some(nonce) => nonce,
                None => self.server.nonce().await?,
            };
            let body = self.key.sign(url, &nonce, self.account_url.as_deref(), payload)?;
            let response = match self.server.send(Method::POST, url, Some(body)).await {
                Ok(response) => response,
                Err(error) => {
                    reach_tries += 1;
                    if reach_tries == REACH_TRIES || !error.may_repeat(reads_only) {
                        return Err(error);
                    }
                    drop(permit);
                    sleep(REACH_PAUSE * reach_tries).await;
                    continue;
                }
            };
            nonce_tries += 1;
            if nonce_tries < NONCE_TRIES && is_bad_nonce(&response) {
                refused = response.nonce;
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
