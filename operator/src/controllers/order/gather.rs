//! What is known about an Order: from the watches, and from memory.

use std::{borrow::Cow, sync::Arc};

use crds::{
    acme::{AcmeIssuer, Challenge, Order, OrderStatus, State},
    annotations::request::CERTIFICATE_NAME,
    certmanager::CertificateRequest,
    condition::HasConditions,
};
use jiff::Timestamp;
use kube::ResourceExt;

use super::apply::deletion;
use crate::{
    cache::{AnyIssuer, IssuerLookup},
    context::Context,
    decision::{
        challenge::Phase,
        order::{self, IssuerView, OrderProgress, Renewal, View, is_left_behind},
    },
    objects::{
        self,
        metadata::{Identity, controller_of_kind},
        names,
    },
};

/// What does not change within a reconcile.
pub(super) struct Gathered<'a> {
    order: Cow<'a, Order>,
    /// Its issuer.
    pub(super) issuer: Box<AnyIssuer>,
    acme: AcmeIssuer,
    has_account: bool,
    challenges: Vec<Arc<Challenge>>,
    submitted: Vec<String>,
    left_behind: Vec<String>,
    deleted: Vec<String>,
    renewal: Renewal,
    created_here: bool,
}

impl<'a> Gathered<'a> {
    /// `None` for an Order that must not be acted upon: no approved request asks for it, its issuer is missing or has no
    /// ACME server, or the issuer has another account than the one that the Order was placed with.
    pub(super) fn of(order: &'a Order, context: &Context) -> Option<Self> {
        if !is_requested(order, context) {
            return None;
        }
        let namespace = order.namespace().unwrap_or_default();
        let IssuerLookup::Found(issuer) = context.cache.issuer(&order.spec.issuer_ref, &namespace) else {
            return None;
        };
        let acme = issuer.config.acme()?.clone();
        if objects::order::is_of_another_account(order, issuer.account()) {
            // Its request replaces it.
            return None;
        }
        let challenges = challenges(order, context);
        let uid = order.uid().unwrap_or_default();
        let names = challenges.iter().map(|challenge| challenge.name_any());
        let now = context.now();
        let deleted =
            names.filter(|name| context.memory.expectations.is_pending(&deletion(&uid, name), now)).collect();
        let is_submitted = |challenge: &&Arc<Challenge>| {
            let progress = context.memory.challenges.get(challenge.uid_or_empty());
            progress.is_some_and(|progress| progress.is_submitted())
        };
        let submitted =
            challenges.iter().filter(is_submitted).map(|challenge| challenge.name_any()).collect();
        let has_account = has_account(&issuer, context);
        let left_behind = left_behind(order, &challenges, context);
        let is_placed = order.status.as_ref().is_some_and(|status| status.url.is_some());
        let renewal = if is_placed { Renewal::Nothing } else { renewal(order, issuer.account(), context) };
        let key = (namespace, order.name_any());
        let created_here = context.memory.created_orders.get(&key).is_some();
        if is_placed && created_here {
            // It is in its status now.
            context.memory.created_orders.forget(&key);
        }
        Some(Self {
            order: context.cache.routed(order),
            issuer,
            acme,
            has_account,
            challenges,
            submitted,
            left_behind,
            deleted,
            renewal,
            created_here,
        })
    }

    /// All of it, as a decision sees it.
    pub(super) fn view<'b>(
        &'b self,
        status: &'b OrderStatus,
        progress: &'b OrderProgress,
        now: Timestamp,
    ) -> View<'b> {
        let issuer = IssuerView {
            acme: &self.acme,
            has_account: self.has_account,
            new_orders: self.issuer.new_orders,
        };
        View {
            order: &self.order,
            status,
            progress,
            issuer,
            challenges: &self.challenges,
            submitted: &self.submitted,
            left_behind: &self.left_behind,
            deleted: &self.deleted,
            renewal: self.renewal,
            created_here: self.created_here,
            now,
        }
    }
}

/// Whether an Order serves a CertificateRequest that exists and is approved. One that a user created does not.
fn is_requested(order: &Order, context: &Context) -> bool {
    let Some(owner) = controller_of_kind::<CertificateRequest>(&order.metadata) else { return false };
    let namespace = order.namespace().unwrap_or_default();
    context.cache.requests.get(&namespace, &owner.name).is_some_and(|request| {
        context.cache.order_of(&request).is_some_and(|its| its.metadata.uid == order.metadata.uid)
            && crds::condition::is_true(request.conditions(), crds::condition::APPROVED)
    })
}

/// What an Order renews of what earlier requests of its Certificate were issued. `account` is the URL of its issuer's account.
fn renewal(order: &Order, account: Option<&str>, context: &Context) -> Renewal {
    let Some(certificate) = order.annotations().get(CERTIFICATE_NAME) else { return Renewal::Nothing };
    let namespace = order.namespace().unwrap_or_default();
    let names = context.cache.indexes.requests_by_certificate.names(&namespace, certificate);
    let latest = order::latest_requests(names);
    let earlier = latest.iter().filter_map(|name| context.cache.requests.get(&namespace, name));
    let renewals = earlier.map(|earlier| {
        let its_order = context.cache.order_of(&earlier);
        order::renewal(order, account, &earlier, its_order.as_deref())
    });
    renewals.max().unwrap_or_default()
}

/// Whether an issuer's account is in use already, or can be taken into use.
fn has_account(issuer: &AnyIssuer, context: &Context) -> bool {
    let has_uri = issuer.status.acme.as_ref().is_some_and(|acme| acme.uri.is_some());
    context.accounts.get(&issuer.key, &issuer.version).is_some() || issuer.is_ready() && has_uri
}

/// The Challenges that an Order owns.
fn challenges(order: &Order, context: &Context) -> Vec<Arc<Challenge>> {
    let (namespace, uid) = (order.namespace().unwrap_or_default(), order.uid().unwrap_or_default());
    let mut names = context.cache.indexes.challenges_by_order.names(&namespace, &uid);
    names.sort();
    let known = names.iter().filter_map(|name| context.cache.challenges.get(&namespace, name));
    let is_its = |challenge: &Arc<Challenge>| {
        controller_of_kind::<Order>(&challenge.metadata).is_some_and(|owner| owner.uid == uid)
    };
    known.filter(is_its).map(|challenge| with_memory(challenge, context)).collect()
}

/// Names of Challenges that an Order does not own, and needs the names of.
fn left_behind(order: &Order, own: &[Arc<Challenge>], context: &Context) -> Vec<String> {
    let namespace = order.namespace().unwrap_or_default();
    let authorizations = order.status.iter().flat_map(|status| status.authorizations.iter().flatten());
    let names = authorizations.map(|authorization| names::challenge(&order.name_any(), &authorization.url));
    names
        .filter(|name| own.iter().all(|challenge| challenge.name_any() != *name))
        .filter_map(|name| context.cache.challenges.get(&namespace, &name))
        .filter(|challenge| is_left_behind(challenge, order))
        .map(|challenge| challenge.name_any())
        .collect()
}

/// A Challenge with what its controller knows and has not written: if it becomes valid quickly, a status write is not worth its
/// time, as the Order deletes it next.
fn with_memory(mut challenge: Arc<Challenge>, context: &Context) -> Arc<Challenge> {
    let progress = context.memory.challenges.get(&challenge.uid().unwrap_or_default());
    if progress.is_some_and(|progress| progress.phase == Phase::Valid) {
        let status = Arc::make_mut(&mut challenge).status.get_or_insert_default();
        status.state = Some(State::Valid);
    }
    challenge
}
