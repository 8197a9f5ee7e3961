//! Orders: places them at the ACME server, creates their Challenges, and downloads their certificates.
//!
//! Knows where an Order's facts come from and how its requests are sent. Must not know what an answer means: that is in
//! `decision/order`. Next: `gather.rs` for the reads, `apply.rs` for the requests and writes.

mod apply;
mod gather;

use std::{sync::Arc, time::Duration};

use crds::acme::{Order, OrderStatus};
use jiff::Timestamp;
use kube::{Api, ResourceExt};

use self::{apply::Effects, gather::Gathered};
use super::report::{Report, Reports, ServerOf};
use crate::{
    cache::Cache,
    context::Context,
    decision::{
        Requeue,
        order::{self, Next},
        restoration,
    },
    error::ReconcileError,
    objects::metadata::Identity,
};

/// The controller's name in metrics and events, as in cert-manager.
pub(super) const NAME: &str = "orders";
const MANAGER: &str = "cert-manager-orders";

impl Reports for Order {
    const MANAGER: &'static str = MANAGER;

    const SERVER: Option<ServerOf<Self>> = Some(server);

    type Status = OrderStatus;

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn reported(&self, report: Report<'_>, _: Timestamp) -> Option<Self::Status> {
        match report {
            Report::Problem(problem) => order::report(self, &problem.message),
            Report::Solved(problem) => order::solved(self, &problem.message),
        }
    }
}

/// The server of an Order. A final one sends no request.
fn server(order: &Order, cache: &Cache) -> Option<String> {
    let is_final = order::is_final(order.status.as_ref().and_then(|status| status.state));
    cache.server(&order.spec.issuer_ref, order.namespace_or_empty()).filter(|_| !is_final)
}

pub(super) async fn reconcile(object: Arc<Order>, context: Arc<Context>) -> Result<Requeue, ReconcileError> {
    let uid = object.uid().unwrap_or_default();
    if object.metadata.deletion_timestamp.is_some() {
        context.memory.orders.forget(&uid);
        return Ok(Requeue::Resync);
    }
    let Some(gathered) = Gathered::of(&object, &context) else { return Ok(Requeue::Resync) };
    if let Some(wait) = restoration_wait(&object, &context) {
        return Ok(Requeue::After(wait));
    }
    let effects = Effects { context: &context, order: &object, issuer: &gathered.issuer };
    let status = object.status.clone().unwrap_or_default();
    let progress = context.memory.orders.get(&uid).unwrap_or_default();
    let mut decision = order::decide(&gathered.view(&status, &progress, context.now()));
    loop {
        // Before anything else that may fail: the progress has the URL of an order that was just placed.
        effects.remember(&decision.progress);
        match decision.next {
            Next::Send(request) => {
                let answer = effects.send(&request).await?;
                let view = gathered.view(&decision.status, &decision.progress, context.now());
                decision = order::on_answer(&view, &request, answer);
            }
            Next::Finish { actions, outcome } => {
                effects.apply(actions, &decision.status).await?;
                return outcome.into();
            }
        }
    }
}

/// Stores the URLs of orders that were just placed, for the next process. The controllers have stopped.
pub(super) async fn store_urls(context: &Context) {
    for order in context.cache.orders.all() {
        let progress = context.memory.orders.get(order.uid_or_empty());
        let Some(status) = progress.and_then(|progress| progress.placed_status()) else { continue };
        if let Err(error) = apply::store_placed(context, &order, &status).await {
            tracing::warn!(
                namespace = order.namespace_or_empty(),
                name = order.name_any(),
                error = error.chain(),
                "failed to store the URL of an order"
            );
        }
    }
}

/// How long an Order waits because the namespace is being restored, and its certificate may come with that.
fn restoration_wait(order: &Order, context: &Context) -> Option<Duration> {
    let created = order.creation_timestamp()?.0;
    let restored = context.memory.restored.get(order.namespace_or_empty());
    let is_final = order::is_final(order.status.as_ref().and_then(|status| status.state));
    restoration::wait(restored, created, context.now()).filter(|_| !is_final)
}
