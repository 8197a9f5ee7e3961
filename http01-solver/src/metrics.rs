//! What the solver counts, as text for Prometheus. Must not use labels that a client chooses. Next: `serve.rs`, which counts connections.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::map_response,
    response::Response,
    routing::get,
};

/// Counters of one server. They start at zero.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    replaced: AtomicU64,
    answered: AtomicU64,
    not_found: AtomicU64,
}

impl Metrics {
    pub(crate) fn count_connection(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_replaced_connection(&self) {
        self.0.replaced.fetch_add(1, Ordering::Relaxed);
    }

    /// Accepted connections, and those that were closed to make room.
    #[cfg(test)]
    pub(crate) fn connections(&self) -> (u64, u64) {
        (self.0.connections.load(Ordering::Relaxed), self.0.replaced.load(Ordering::Relaxed))
    }

    /// Has a router's responses counted, by whether they have a key authorization.
    pub fn count_responses(&self, router: Router) -> Router {
        let counters = Arc::clone(&self.0);
        router.layer(map_response(move |response: Response| {
            let is_answer = response.status() == StatusCode::OK;
            let counter = if is_answer { &counters.answered } else { &counters.not_found };
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::ready(response)
        }))
    }

    /// Returns the router for Prometheus, which is served on another port.
    pub fn router(&self) -> Router {
        let metrics = self.clone();
        let text =
            move || std::future::ready(([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.text()));
        Router::new().route("/metrics", get(text))
    }

    fn text(&self) -> String {
        let Counters { connections, replaced, answered, not_found } = &*self.0;
        let [connections, replaced, answered, not_found] =
            [connections, replaced, answered, not_found].map(|counter| counter.load(Ordering::Relaxed));
        format!(
            "# HELP acme_solver_connections_total Accepted connections for challenges.\n\
             # TYPE acme_solver_connections_total counter\n\
             acme_solver_connections_total {connections}\n\
             # HELP acme_solver_replaced_connections_total Connections that were closed to make room for others.\n\
             # TYPE acme_solver_replaced_connections_total counter\n\
             acme_solver_replaced_connections_total {replaced}\n\
             # HELP acme_solver_requests_total Requests, by whether the host and the token were those of a Challenge.\n\
             # TYPE acme_solver_requests_total counter\n\
             acme_solver_requests_total{{result=\"answered\"}} {answered}\n\
             acme_solver_requests_total{{result=\"not_found\"}} {not_found}\n"
        )
    }
}
