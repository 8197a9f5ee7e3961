//! One controller per kind: it reads the world, asks `decision` what to do, and does that.
//!
//! ```text
//! watch ──▶ cache ──▶ queue ──▶ reconcile: gather (read) ▶ decide (pure) ▶ apply (write)
//!   └─ enqueues dependents          ▲ requeued after a while, or after an error with backoff
//! ```
//!
//! Next: `watched.rs` for which change enqueues what, `runner.rs` for how an object is reconciled, then one of the controllers.

mod approval;
mod certificate;
mod chains;
mod challenge;
mod enqueue;
mod issuer;
mod order;
mod report;
mod request;
mod runner;
mod scope;
mod shim;
mod solver_endpoints;
mod tasks;
mod watched;
mod watches;

use std::time::Duration;

use tokio::time::timeout;

use self::runner::{Controller, RESYNC, run};
pub use self::{certificate::MAX_CONCURRENT_RENEWAL_INFO, watched::MOST_LISTENER_SETS, watches::start};
use crate::context::Context;

/// Stores what the next process needs and is only in memory, after the controllers have stopped. Takes at most two seconds.
pub async fn hand_over(context: &Context) {
    if timeout(Duration::from_secs(2), order::store_urls(context)).await.is_err() {
        tracing::warn!("failed to store the URLs of all orders in time");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use crds::fixtures;
    use hyper::StatusCode;
    use jiff::Timestamp;
    use serde_json::{from_value, json};

    use super::*;
    use crate::{
        decision::order::{Answer, IssuerView, OrderProgress, Renewal, Request, View, new_order, on_answer},
        k8s::testing,
        net::Proxy,
        sync::lock,
    };

    /// Without the URL, the next process would place a second order.
    #[tokio::test]
    async fn next_process_gets_the_url_of_a_placed_order() {
        let order = fixtures::order("web-1-1", |it| {
            (it.metadata.namespace, it.metadata.uid) = (Some("a".to_owned()), Some("1".to_owned()));
        });
        let (writes, stored) = (Arc::new(Mutex::new(Vec::new())), json!(order));
        let seen = Arc::clone(&writes);
        let client = testing::client(move |method, path, body| {
            lock(&seen).push(format!("{method} {path} {}", body["status"]["url"]));
            let stored = stored.clone();
            async move { testing::json(StatusCode::OK, &stored) }
        });
        let context = Context::for_test(client, Proxy::default());
        let issuer = fixtures::issuer("issuer", |_| {});
        let (status, progress) = (order.status.clone().unwrap_or_default(), OrderProgress::default());
        let view = View {
            order: &order,
            status: &status,
            progress: &progress,
            issuer: IssuerView {
                acme: issuer.spec.acme.as_ref().expect("an ACME issuer"),
                has_account: true,
                new_orders: None,
            },
            challenges: &[],
            submitted: &[],
            left_behind: &[],
            deleted: &[],
            renewal: Renewal::Nothing,
            created_here: true,
            now: Timestamp::UNIX_EPOCH,
        };
        let state = json!({ "status": "pending", "finalize": "https://ca.test/finalize/1" });
        let answer = Answer::Placed {
            url: "https://ca.test/order/1".to_owned(),
            state: from_value(state).expect("a state"),
        };
        let request = Request::Place(new_order(&order.spec, Timestamp::UNIX_EPOCH));
        let placed = on_answer(&view, &request, answer).progress;
        context.memory.orders.put("1".to_owned(), placed);
        context.cache.orders.take_writer().expect("the first call").put(&Arc::new(order));

        hand_over(&context).await;

        let path = "/apis/acme.cert-manager.io/v1/namespaces/a/orders/web-1-1/status";
        assert_eq!(*lock(&writes), [format!("PATCH {path} \"https://ca.test/order/1\"")]);
    }
}
