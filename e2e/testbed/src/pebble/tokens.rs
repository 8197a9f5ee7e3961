//! Answers HTTP-01 challenges of a Pebble on the host, RFC 8555 section 8.3.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use axum::{Router, extract::Path, http::StatusCode, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};

use super::server::{HOST_HTTP_PORT, Pebble};

/// A server of tokens where a Pebble asks for them, whatever the name. It ends when it is dropped.
#[derive(Debug)]
pub struct TokenServer {
    tokens: Arc<Mutex<HashMap<String, String>>>,
    task: JoinHandle<io::Result<()>>,
}

impl TokenServer {
    /// Serves on [`Pebble::address`]; there can be one for each Pebble.
    pub async fn start(pebble: &Pebble) -> Result<Self> {
        let tokens: Arc<Mutex<HashMap<String, String>>> = Arc::default();
        let known = Arc::clone(&tokens);
        let find = async move |Path(token): Path<String>| {
            known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&token)
                .cloned()
                .ok_or(StatusCode::NOT_FOUND)
        };
        let router = Router::new().route("/.well-known/acme-challenge/{token}", get(find));
        let listener = TcpListener::bind((pebble.address(), HOST_HTTP_PORT))
            .await
            .context("failed to listen where Pebble asks for tokens")?;
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { tokens, task })
    }

    /// Serves one more token.
    pub fn add(&self, token: &str, key_authorization: &str) {
        self.tokens().insert(token.to_owned(), key_authorization.to_owned());
    }

    /// Serves none any more.
    pub fn forget(&self) {
        self.tokens().clear();
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
