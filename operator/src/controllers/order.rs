//! Orders: places them at the ACME server, makes their Challenges, and fetches their certificates.

use std::{sync::Arc, time::Duration};

use crds::acme::{Authorization, Challenge, OfferedChallenge, Order, OrderStatus, State};
use futures::{StreamExt, TryStreamExt, future, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube::{Api, ResourceExt, runtime::reflector::ObjectRef};

use crate::{
    acme::{
        Account, AcmeError, AuthorizationState, AuthorizationStatus, ChallengeType, Class, Identifier,
        NewOrder, OrderState, OrderStatus as ServerStatus,
    },
    context::{AnyIssuer, Context, IssuerLookup, Lately},
    decision::{
        Requeue, backoff,
        challenge::Phase,
        limits::{Turn, is_about_new_orders},
        order::{self, Step, View, Wanted},
    },
    error::ReconcileError,
    k8s,
    objects::{self, EventNote, metadata::controlled_by},
    pki::Csr,
};

/// Its name, as cert-manager's metrics and events have it.
pub(super) const NAME: &str = "orders";
const MANAGER: &str = "cert-manager-orders";

/// How many authorizations are read at once.
const AT_ONCE: usize = 8;

/// How long a server is waited for at most.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

pub(super) async fn reconcile(object: Arc<Order>, context: Arc<Context>) -> Result<Requeue, ReconcileError> {
    if object.metadata.deletion_timestamp.is_some() {
        context.orders.forget(&object.uid().unwrap_or_default());
        return Ok(Requeue::Resync);
    }
    let namespace = object.namespace().unwrap_or_default();
    // One that somebody made by hand has no request that we approved.
    if !is_requested(&object, &context) {
        return Ok(Requeue::Resync);
    }
    let IssuerLookup::Found(issuer) = context.issuer(&object.spec.issuer_ref, &namespace) else {
        return Ok(Requeue::Resync);
    };
    let Some(acme) = &issuer.acme else { return Ok(Requeue::Resync) };
    let challenges = challenges(&object, &context);
    let status = object.status.clone().unwrap_or_default();
    let memory = context.orders.get(&object.uid().unwrap_or_default()).unwrap_or_default();
    let step = order::decide(&View {
        order: &object,
        status: &status,
        acme,
        challenges: &challenges,
        finalized: memory.finalized,
    });
    let api = context.api(&namespace);
    Reconciling { context: &context, order: &object, api, issuer: &issuer, status, memory }.apply(step).await
}

/// Whether an Order belongs to a CertificateRequest that is there and approved.
fn is_requested(order: &Order, context: &Context) -> bool {
    let Some(owner) = controlled_by(&order.metadata, "CertificateRequest") else { return false };
    let namespace = order.namespace().unwrap_or_default();
    let reference = ObjectRef::new(&owner.name).within(&namespace);
    context.stores.requests.get(&reference).is_some_and(|request| {
        let conditions = request.status.as_ref().map_or(&[][..], |status| &status.conditions);
        request.uid().as_deref() == Some(&owner.uid)
            && request.spec.request == order.spec.request
            && crds::condition::is_true(conditions, crds::condition::APPROVED)
    })
}

/// The Challenges of an Order, by owner.
fn challenges(order: &Order, context: &Context) -> Vec<Arc<Challenge>> {
    let (namespace, uid) = (order.namespace().unwrap_or_default(), order.uid().unwrap_or_default());
    let mut names = context.indexes.challenges_by_order.names(&namespace, &uid);
    names.sort();
    let known = names
        .iter()
        .filter_map(|name| context.stores.challenges.get(&ObjectRef::new(name).within(&namespace)));
    let is_its = |challenge: &Arc<Challenge>| {
        controlled_by(&challenge.metadata, "Order").is_some_and(|owner| owner.uid == uid)
    };
    known.filter(is_its).map(|challenge| as_it_stands(challenge, context)).collect()
}

/// A Challenge with what its controller knows and has not written.
fn as_it_stands(mut challenge: Arc<Challenge>, context: &Context) -> Arc<Challenge> {
    let memory = context.challenges.get(&challenge.uid().unwrap_or_default());
    if memory.is_some_and(|memory| memory.phase == Phase::Valid) {
        let status = Arc::make_mut(&mut challenge).status.get_or_insert_default();
        status.state = Some(State::Valid);
    }
    challenge
}

/// What is remembered of an Order between two looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Whether the CSR was sent.
    finalized: bool,
    /// How often the server was asked.
    polls: u32,
    /// Which of the server's calls to wait is being waited for.
    until: Option<Timestamp>,
    /// Its turn among the account's new orders.
    turn: Option<Timestamp>,
}

struct Reconciling<'a> {
    context: &'a Context,
    order: &'a Order,
    api: Api<Order>,
    issuer: &'a AnyIssuer,
    status: OrderStatus,
    memory: Memory,
}

impl Reconciling<'_> {
    async fn apply(mut self, step: Step) -> Result<Requeue, ReconcileError> {
        if let Step::CleanUp(challenges) = step {
            self.context.orders.forget(&self.order.uid().unwrap_or_default());
            let again = if challenges.is_empty() { Requeue::Resync } else { Requeue::After(Lately::MOMENT) };
            return self.delete_challenges(challenges).await.map(|()| again);
        }
        if let Some(wait) = self.still_waiting() {
            return Ok(Requeue::After(wait));
        }
        let outcome = self.take(step).await;
        match outcome {
            Err(ReconcileError::Acme(error)) => self.judge(error).await,
            outcome => outcome,
        }
    }

    /// How long the server's last call to wait still holds.
    fn still_waiting(&self) -> Option<Duration> {
        let until = self.memory.until?;
        Duration::try_from(until.duration_since(self.context.now())).ok().filter(|wait| !wait.is_zero())
    }

    async fn take(&mut self, step: Step) -> Result<Requeue, ReconcileError> {
        match step {
            Step::Place => self.place().await,
            Step::ReadAuthorizations => {
                let (account, state) = self.look().await?;
                self.read_authorizations(&account, &state).await
            }
            Step::Challenge { create, delete } => {
                self.delete_challenges(delete).await?;
                self.create_challenges(create).await.map(|()| Requeue::Resync)
            }
            Step::Wait { reason } => {
                self.status.reason = reason;
                self.write().await.map(|()| Requeue::Resync)
            }
            Step::Finalize => self.finalize().await,
            Step::Poll => {
                let (account, state) = self.look().await?;
                self.follow(&account, state).await
            }
            Step::Fail { state, reason } => self.fail(state, reason).await.map(|()| Requeue::Resync),
            Step::CleanUp(challenges) => self.delete_challenges(challenges).await.map(|()| Requeue::Resync),
        }
    }

    /// What the server says of the order.
    async fn look(&self) -> Result<(Account, OrderState), ReconcileError> {
        let account = self.context.account(self.issuer).await?;
        let state = account.order(self.status.url.as_deref().unwrap_or_default()).await?;
        Ok((account, state))
    }

    async fn place(&mut self) -> Result<Requeue, ReconcileError> {
        let account = self.context.account(self.issuer).await?;
        if let Some(message) = self.missing_profile(&account).await? {
            self.fail(State::Errored, message).await?;
            return Ok(Requeue::Resync);
        }
        if let Some(turn) = self.await_turn(&account).await? {
            return Ok(Requeue::at(turn, self.context.now()));
        }
        let placed = account.new_order(&self.wanted()).await;
        let (url, state) = placed.inspect_err(|error| self.close_new_orders(&account, error))?;
        tracing::info!(order_url = url, "placed the order");
        self.status.url = Some(url);
        self.status.finalize_url = Some(state.finalize.clone());
        match self.read_authorizations(&account, &state).await {
            Ok(next) => Ok(next),
            Err(error) => {
                // The URL above all: with it, nothing is ordered twice.
                self.status.state = Some(State::Pending);
                self.write().await?;
                Err(error)
            }
        }
    }

    /// How long a new order has to wait for its turn; one that renews something has none to wait for.
    async fn await_turn(&mut self, account: &Account) -> Result<Option<Timestamp>, ReconcileError> {
        if order::renews(self.order) {
            return Ok(None);
        }
        let url = account.session().account_url().unwrap_or_default();
        let (limit, now) = (self.issuer.new_orders, self.context.now());
        match self.context.accounts.new_order_turn(url, limit, now, self.memory.turn) {
            Turn::Now => {
                self.memory.turn = None;
                self.remember();
                Ok(None)
            }
            Turn::At(turn) => {
                self.memory.turn = Some(turn);
                self.memory.until = Some(turn);
                self.remember();
                self.status.reason = Some(order::waits_for_turn(limit, turn));
                self.write().await?;
                Ok(Some(turn))
            }
        }
    }

    /// Keeps the account's other new orders from collecting the same refusal.
    fn close_new_orders(&self, account: &Account, error: &AcmeError) {
        let detail = error.problem().and_then(|problem| problem.detail.as_deref()).unwrap_or_default();
        if let Class::RateLimited { retry_after: Some(wait) } = error.class()
            && is_about_new_orders(detail)
            && let Ok(until) = self.context.now().checked_add(wait.min(LONGEST_WAIT))
        {
            let url = account.session().account_url().unwrap_or_default();
            self.context.accounts.close_new_orders(url, self.issuer.new_orders, until);
        }
    }

    fn wanted(&self) -> NewOrder {
        let spec = &self.order.spec;
        let mut names: Vec<_> = spec.dns_names.iter().flatten().cloned().collect();
        if let Some(name) = spec.common_name.as_ref().filter(|name| !name.is_empty() && !names.contains(name))
            && name.parse::<std::net::IpAddr>().is_err()
        {
            names.push(name.clone());
        }
        names.sort();
        let addresses = spec.ip_addresses.iter().flatten().filter_map(|address| address.parse().ok());
        let identifiers =
            names.into_iter().map(Identifier::Dns).chain(addresses.map(Identifier::Ip)).collect();
        let not_after = spec.duration.and_then(|duration| {
            self.context.now().checked_add(SignedDuration::from_nanos(duration.as_nanos())).ok()
        });
        NewOrder { identifiers, profile: spec.profile.clone(), not_after, replaces: spec.replaces.clone() }
    }

    /// What is wrong with the profile that is asked for, if anything is.
    async fn missing_profile(&self, account: &Account) -> Result<Option<String>, ReconcileError> {
        let Some(profile) = &self.order.spec.profile else { return Ok(None) };
        let directory = account.session().server().directory().await?;
        if directory.meta.profiles.contains_key(profile) {
            return Ok(None);
        }
        let offered: Vec<_> = directory.meta.profiles.keys().map(String::as_str).collect();
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        Ok(Some(format!(
            "acme: certificate authority does not advertise a profile with name {profile:?}; it offers: {offered}"
        )))
    }

    /// Reads each authorization once, and keeps what it offers.
    async fn read_authorizations(
        &mut self,
        account: &Account,
        state: &OrderState,
    ) -> Result<Requeue, ReconcileError> {
        let reads = stream::iter(state.authorizations.clone()).map(|url| async move {
            account.authorization(&url).await.map(|state| authorization(url, &state))
        });
        // In the server's order.
        let authorizations: Vec<_> = reads.buffered(AT_ONCE).try_collect().await?;
        self.status.authorizations = Some(authorizations);
        self.status.finalize_url = Some(state.finalize.clone());
        self.status.state = Some(match state.status {
            ServerStatus::Ready => State::Ready,
            _ => State::Pending,
        });
        self.status.reason = None;
        self.write().await.map(|()| Requeue::Resync)
    }

    async fn create_challenges(&self, wanted: Vec<Wanted>) -> Result<(), ReconcileError> {
        let account = self.context.account(self.issuer).await?;
        let challenges = self.context.api::<Challenge>(&self.order.namespace().unwrap_or_default());
        let made = wanted.into_iter().filter_map(|Wanted { authorization, offered, type_, solver }| {
            let offered = authorization.challenges.as_ref()?.get(offered)?;
            let key_authorization = account.key().key_authorization(&offered.token);
            Some(objects::challenge::build(
                self.order,
                &authorization,
                offered,
                type_,
                &solver,
                key_authorization,
            ))
        });
        let creates = stream::iter(made)
            .map(|challenge| {
                let challenges = challenges.clone();
                async move { k8s::create(&challenges, MANAGER, &challenge).await }
            })
            .buffer_unordered(AT_ONCE);
        creates.try_collect::<Vec<_>>().await.map(drop)
    }

    async fn delete_challenges(&self, names: Vec<String>) -> Result<(), ReconcileError> {
        let challenges = self.context.api::<Challenge>(&self.order.namespace().unwrap_or_default());
        let uid = self.order.uid().unwrap_or_default();
        let deletes = stream::iter(names)
            .map(|name| (format!("{uid}/{name}"), name))
            .filter(|(deleted, _)| future::ready(!self.context.lately.is(deleted, self.context.now())))
            .map(|(deleted, name)| {
                let challenges = challenges.clone();
                async move {
                    k8s::delete(&challenges, &name, None).await?;
                    self.context.lately.put(deleted, self.context.now());
                    Ok::<_, ReconcileError>(())
                }
            })
            .buffer_unordered(AT_ONCE);
        deletes.try_collect::<Vec<_>>().await.map(drop)
    }

    async fn finalize(&mut self) -> Result<Requeue, ReconcileError> {
        let account = self.context.account(self.issuer).await?;
        let csr = match Csr::from_pem(&self.order.spec.request.0) {
            Ok(csr) => csr,
            Err(error) => {
                return self.fail(State::Errored, error.to_string()).await.map(|()| Requeue::Resync);
            }
        };
        let url = self.status.url.clone().unwrap_or_default();
        let finalize_url = self.status.finalize_url.clone().unwrap_or_default();
        match account.finalize(&url, &finalize_url, &csr.der).await {
            Ok(state) => {
                self.memory = Memory { finalized: true, ..Memory::default() };
                self.remember();
                self.follow(&account, state).await
            }
            // All is shown, and the server has not counted it yet, or has given the order up.
            Err(error) if error.problem_type() == Some("orderNotReady") => {
                let state = account.order(&url).await?;
                self.follow(&account, state).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Goes by what the server says of the order.
    async fn follow(&mut self, account: &Account, state: OrderState) -> Result<Requeue, ReconcileError> {
        match (state.status, &state.certificate) {
            (ServerStatus::Valid, Some(url)) => self.download(account, url).await.map(|()| Requeue::Resync),
            (ServerStatus::Invalid, _) => {
                let words = |problem: &crate::acme::Problem| problem.detail.clone().unwrap_or_default();
                let reason = state.error.as_ref().map(words).filter(|words| !words.is_empty());
                let reason = reason
                    .unwrap_or_else(|| "the server has given the order up, and does not say why".to_owned());
                self.fail(State::Invalid, reason).await.map(|()| Requeue::Resync)
            }
            // What is pending, ready or processing goes on, and what is valid has its certificate in a moment.
            _ => {
                if matches!(state.status, ServerStatus::Pending | ServerStatus::Ready) {
                    self.memory.finalized = false;
                }
                let wait = backoff::poll(self.memory.polls, state.retry_after);
                self.memory.polls = self.memory.polls.saturating_add(1);
                let wait_until = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
                self.memory.until = self.context.now().checked_add(wait_until).ok();
                self.remember();
                Ok(Requeue::After(wait))
            }
        }
    }

    fn remember(&self) {
        self.context.orders.put(self.order.uid().unwrap_or_default(), self.memory);
    }

    async fn download(&mut self, account: &Account, url: &str) -> Result<(), ReconcileError> {
        let preferred = self.issuer.acme.as_ref().and_then(|acme| acme.preferred_chain.as_deref());
        let chain = match account.preferred_chain(url, preferred.unwrap_or_default()).await? {
            Ok(chain) => chain,
            Err(error) => return self.fail(State::Errored, error.to_string()).await,
        };
        self.status.certificate = Some(ByteString(chain.to_pem().into_bytes()));
        self.status.state = Some(State::Valid);
        self.status.reason = None;
        self.write().await
    }

    /// What an error of the server means for the order.
    async fn judge(mut self, error: AcmeError) -> Result<Requeue, ReconcileError> {
        let now = self.context.now();
        match error.class() {
            Class::Transient => {
                self.status.reason = Some(error.to_string());
                self.write().await?;
                Err(error.into())
            }
            Class::RateLimited { retry_after } => {
                let wait = retry_after.unwrap_or(Duration::from_mins(1)).min(LONGEST_WAIT);
                let until =
                    now.checked_add(SignedDuration::try_from(wait).unwrap_or_default()).unwrap_or(now);
                self.memory.until = Some(until);
                self.remember();
                let until = crds::condition::whole_seconds(until).0;
                self.status.reason = Some(format!("{error}; the next attempt is at {until}"));
                self.write().await?;
                Ok(Requeue::After(wait))
            }
            // The server has lost the account: the issuer looks for it again, and makes it if need be.
            Class::Refused if error.problem_type() == Some("accountDoesNotExist") => {
                self.context.look_up_account(&self.issuer.key);
                self.status.reason = Some(error.to_string());
                self.write().await?;
                Err(error.into())
            }
            Class::Refused | Class::Fatal => {
                self.fail(State::Errored, error.to_string()).await?;
                Ok(Requeue::Resync)
            }
        }
    }

    async fn fail(&mut self, state: State, reason: String) -> Result<(), ReconcileError> {
        self.status.state = Some(state);
        self.status.failure_time = Some(crds::condition::whole_seconds(self.context.now()));
        self.status.reason = Some(reason.clone());
        tracing::warn!(?state, reason, "the order failed");
        self.write().await?;
        let note = EventNote::warning("Failed", reason);
        self.context.publish(MANAGER, &note, self.order);
        Ok(())
    }

    async fn write(&self) -> Result<(), ReconcileError> {
        let old = self.order.status.as_ref();
        self.context.write_status(&self.api, MANAGER, self.order, old, &self.status).await.map(drop)
    }
}

/// An authorization as it is kept.
fn authorization(url: String, state: &AuthorizationState) -> Authorization {
    let identifier = match &state.identifier {
        Identifier::Dns(name) => name.trim_start_matches("*.").to_owned(),
        Identifier::Ip(address) => address.to_string(),
        _ => String::new(),
    };
    let challenges = state.challenges.iter().filter(|challenge| !challenge.token.is_empty());
    let offered = challenges.map(|challenge| OfferedChallenge {
        token: challenge.token.clone(),
        type_: type_name(&challenge.r#type),
        url: challenge.url.clone(),
    });
    Authorization {
        challenges: Some(offered.collect()),
        identifier: Some(identifier),
        initial_state: Some(match state.status {
            AuthorizationStatus::Valid => State::Valid,
            AuthorizationStatus::Pending => State::Pending,
            _ => State::Invalid,
        }),
        url,
        wildcard: Some(state.wildcard).filter(|wildcard| *wildcard),
    }
}

/// What the server calls a type of challenge.
fn type_name(of: &ChallengeType) -> String {
    match of {
        ChallengeType::Dns01 => "dns-01".to_owned(),
        ChallengeType::Http01 => "http-01".to_owned(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        ChallengeType::Unknown(name) => name.clone(),
        other => format!("{other:?}").to_lowercase(),
    }
}
