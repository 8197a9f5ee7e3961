//! Sends an Order's requests, and does what was decided.

use std::time::Duration;

use crds::acme::{Challenge, Order, OrderStatus};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{Api, ResourceExt};
use tokio::time::timeout;

use super::MANAGER;
use crate::{
    accounts::{LimitedAccount, Reach},
    acme::Account,
    cache::AnyIssuer,
    context::Context,
    decision::{
        Requeue,
        new_orders::Asking,
        order::{Action, Answer, OrderProgress, Outcome, Request, placed_only},
    },
    error::{ReconcileError, Tried},
    k8s,
    objects::metadata::Identity,
};

/// How many requests for one Order are in flight at most.
const MAX_CONCURRENT_REQUESTS: usize = 8;

/// The key of an expectation: a Challenge was deleted, which the watch has not shown yet.
pub(super) fn deletion(order_uid: &str, challenge: &str) -> String {
    format!("{order_uid}/{challenge}")
}

/// What can be done for one Order.
pub(super) struct Effects<'a> {
    pub(super) context: &'a Context,
    pub(super) order: &'a Order,
    pub(super) issuer: &'a AnyIssuer,
}

impl Effects<'_> {
    /// Keeps an Order's progress for its next reconcile. One without progress takes no memory.
    pub(super) fn remember(&self, progress: &OrderProgress) {
        let uid = self.order.uid().unwrap_or_default();
        if *progress == OrderProgress::default() {
            self.context.memory.orders.forget(&uid);
        } else {
            self.context.memory.orders.put(uid, progress.clone());
        }
    }

    /// Makes a request. A failed ACME request is an answer, too.
    ///
    /// # Errors
    /// The account can't be used.
    pub(super) async fn send(&self, request: &Request) -> Result<Answer, ReconcileError> {
        match self.answer(request).await {
            Err(ReconcileError::Acme(error)) => Ok(Answer::Failed(error)),
            answer => answer,
        }
    }

    async fn answer(&self, request: &Request) -> Result<Answer, ReconcileError> {
        let account = self.account().await?;
        Ok(match request {
            Request::Stored => Answer::Stored(self.stored().await?),
            Request::Profiles => {
                let directory = account.session().server().directory().await?;
                Answer::Profiles(directory.meta.profiles.keys().cloned().collect())
            }
            Request::Slot { limit, held } => {
                let now = self.context.now();
                let asking = Asking {
                    namespace: self.order.namespace_or_empty(),
                    order: &self.order.uid().unwrap_or_default(),
                    held: *held,
                };
                let account = self.limited(&account);
                Answer::Slot(self.context.accounts.new_order_slot(account, *limit, now, &asking))
            }
            Request::Place(order) => {
                let placed = account.new_order(order).await;
                if let Err(error) = &placed
                    && let Some(replaces) = &order.replaces
                {
                    tracing::info!(%error, replaces, "failed to place an order that replaces a certificate");
                }
                let (url, state) = placed?;
                tracing::info!(order_url = url, "placed the order");
                Answer::Placed { url, state }
            }
            Request::Order { url } => Answer::Order(account.order(url).await?),
            Request::Authorizations { urls, within } => {
                let account = &account;
                let reads = stream::iter(urls.clone())
                    .map(|url| async move { account.authorization(&url).await.map(|state| (url, state)) });
                // In the order of the request.
                let reads = reads.buffered(MAX_CONCURRENT_REQUESTS).try_collect();
                match timeout(within.unwrap_or(Duration::MAX), reads).await {
                    Ok(read) => Answer::Authorizations(read?),
                    Err(_) => Answer::SlowAuthorizations,
                }
            }
            Request::KeyAuthorizations(plans) => {
                let key = account.key();
                let derived =
                    plans.iter().map(|plan| (plan.clone(), key.key_authorization(&plan.offered.token)));
                Answer::KeyAuthorizations(derived.collect())
            }
            Request::Finalize { url, finalize_url, csr } => {
                Answer::Order(account.finalize(url, finalize_url, csr).await?)
            }
            Request::Certificate { url, preferred_chain } => {
                Answer::Certificate(account.preferred_chain(url, preferred_chain).await?)
            }
        })
    }

    /// The status of the Order at the API server, unless that has another one of its name by now.
    async fn stored(&self) -> Result<Option<OrderStatus>, ReconcileError> {
        let (namespace, name) = (self.order.namespace_or_empty(), self.order.name_any());
        let read = self.context.kube.api::<Order>(namespace).get_opt(&name).await;
        let read = read.tried(|| format!("read Order {namespace}/{name}"))?;
        let same = read.filter(|read| read.metadata.uid == self.order.metadata.uid);
        Ok(same.map(|order| order.status.unwrap_or_default()))
    }

    /// Does what was decided, in that order, up to the first failure.
    pub(super) async fn apply(
        &self,
        actions: Vec<Action>,
        status: &OrderStatus,
    ) -> Result<(), ReconcileError> {
        for action in actions {
            match action {
                Action::CloseNewOrders { until } => {
                    let account = self.limited(&self.account().await?);
                    let (limit, now) = (self.issuer.new_orders, self.context.now());
                    self.context.accounts.close_new_orders(account, limit, now, until);
                }
                Action::RecoverAccount => self.context.recover_account(&self.issuer.key),
                Action::DeleteChallenges(names) => self.delete(names).await?,
                Action::CreateChallenges(challenges) => self.create(challenges).await?,
                Action::WriteStatus => self.write(status).await?,
                Action::Publish(event) => {
                    tracing::warn!(state = ?status.state, reason = event.message, "the order failed");
                    self.context.kube.publish(MANAGER, &event, self.order, self.context.now());
                }
            }
        }
        Ok(())
    }

    async fn account(&self) -> Result<Account, ReconcileError> {
        self.context.account(self.issuer, self.order.namespace_or_empty()).await
    }

    async fn delete(&self, names: Vec<String>) -> Result<(), ReconcileError> {
        let (challenges, uid) = (&self.challenges(), &self.order.uid().unwrap_or_default());
        let deletes = stream::iter(names).map(|name| async move {
            k8s::delete(challenges, &name, None).await?;
            self.context.memory.expectations.expect(deletion(uid, &name), self.context.now());
            Ok::<_, ReconcileError>(())
        });
        deletes.buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await
    }

    async fn create(&self, objects: Vec<Challenge>) -> Result<(), ReconcileError> {
        let challenges = &self.challenges();
        let creates = stream::iter(objects)
            .map(|challenge| async move { k8s::create(challenges, MANAGER, &challenge).await.map(drop) });
        creates.buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await
    }

    async fn write(&self, status: &OrderStatus) -> Result<(), ReconcileError> {
        let orders = self.context.kube.api::<Order>(&self.order.namespace().unwrap_or_default());
        let (kube, old) = (&self.context.kube, self.order.status.as_ref());
        let written = kube.write_status(&orders, MANAGER, self.order, old, status).await;
        if written.is_err()
            && let Err(error) = store_placed(self.context, self.order, status).await
        {
            tracing::debug!(error = error.chain(), "failed to store the URL of an order alone");
        }
        written.map(drop)
    }

    fn limited(&self, account: &Account) -> LimitedAccount {
        (self.issuer.config.acme().map(Reach::of).unwrap_or_default(), account.url().to_owned())
    }

    fn challenges(&self) -> Api<Challenge> {
        self.context.kube.api(&self.order.namespace().unwrap_or_default())
    }
}

/// Stores the URL of an order that was just placed alone, whatever else keeps its status from being written: the next process
/// would place another order. The definition of Orders rejects another URL, so no version is needed.
pub(super) async fn store_placed(
    context: &Context,
    order: &Order,
    status: &OrderStatus,
) -> Result<(), ReconcileError> {
    let Some(placed) = placed_only(order.status.as_ref(), status) else { return Ok(()) };
    let mut any_version = order.clone();
    any_version.metadata.resource_version = None;
    let orders = context.kube.api::<Order>(order.namespace_or_empty());
    let old = order.status.as_ref();
    context.kube.write_status(&orders, MANAGER, &any_version, old, &placed).await.map(drop)
}

impl From<Outcome> for Result<Requeue, ReconcileError> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Requeue(requeue) => Ok(requeue),
            Outcome::Retry { error: source, after } => Err(ReconcileError::AcmeRetry { source, after }),
        }
    }
}
