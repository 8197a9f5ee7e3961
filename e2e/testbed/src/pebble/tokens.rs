//! Answers the HTTP-01 requests of a Pebble on the host; see RFC 8555 section 8.3.
//! Knows tokens only, and neither names nor orders. Next: `acme.rs`, the client that solves challenges with it.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use axum::{Router, extract::Path, http::StatusCode, routing::get};
use tokio::{net::TcpListener, task::JoinHandle};

use super::server::{HOST_HTTP_PORT, Pebble};

/// A server for the HTTP-01 requests of a Pebble, for any name. It stops when it is dropped.
#[derive(Debug)]
pub struct TokenServer {
    tokens: Arc<Mutex<HashMap<String, String>>>,
    task: JoinHandle<io::Result<()>>,
}

impl TokenServer {
    /// Listens on [`Pebble::address`]. There can be one per Pebble.
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
            .context("failed to listen for Pebble's HTTP-01 requests")?;
        let task = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { tokens, task })
    }

    /// Adds a token.
    pub fn add(&self, token: &str, key_authorization: &str) {
        self.tokens().insert(token.to_owned(), key_authorization.to_owned());
    }

    /// Removes all tokens.
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
