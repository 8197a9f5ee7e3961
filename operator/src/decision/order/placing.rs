//! What is ordered, and what is stored of the server's answer.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use crds::{
    acme::{Authorization, OfferedChallenge, Order, OrderSpec, OrderStatus, State},
    annotations::order::ACCOUNT,
    certmanager::CertificateRequest,
    condition::{self, HasConditions},
};
use hyper::Uri;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{challenges::type_name, non_empty};
use crate::{
    acme::{AuthorizationState, AuthorizationStatus, Challenge, Identifier, NewOrder},
    decision::problem::with_time,
    pki::Csr,
};

/// How many CertificateRequests of a Certificate are read: the one of the Order, those of the revisions before it, and others that users
/// may have created.
const MOST_EARLIER: usize = 8;

/// The longest type of a challenge that the status of an Order can hold.
const MAX_TYPE_LENGTH: usize = 64;

/// The order to place for an Order. The common name is one of its names.
///
/// ```
/// use crds::fixtures;
/// use operator::{acme::Identifier, decision::order::new_order};
///
/// let order = fixtures::order("web", |it| it.spec.common_name = Some("a.example.test".into()));
/// let names = ["a.example.test", "web.example.test"].map(|name| Identifier::Dns(name.into()));
/// assert_eq!(new_order(&order.spec, "2026-01-01T00:00:00Z".parse()?).identifiers, names);
/// # Ok::<(), jiff::Error>(())
/// ```
pub fn new_order(spec: &OrderSpec, now: Timestamp) -> NewOrder {
    let mut names: Vec<_> = spec.dns_names.iter().flatten().cloned().collect();
    if let Some(name) = spec.common_name.as_ref().filter(|name| !name.is_empty() && !names.contains(name))
        && name.parse::<IpAddr>().is_err()
    {
        names.push(name.clone());
    }
    names.sort();
    let addresses = spec.ip_addresses.iter().flatten().filter_map(|address| address.parse().ok());
    let not_after = spec
        .duration
        .and_then(|duration| now.checked_add(SignedDuration::from_nanos(duration.as_nanos())).ok());
    NewOrder {
        identifiers: names.into_iter().map(Identifier::Dns).chain(addresses.map(Identifier::Ip)).collect(),
        profile: spec.profile.clone(),
        not_after,
        replaces: spec.replaces.clone(),
    }
}

/// What an Order renews. CAs don't count renewals among an account's new orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renewal {
    /// Nothing: it is a new order.
    #[default]
    Nothing,
    /// A certificate for some of the names: a renewal if the CA accepts which certificate it replaces.
    SomeNames,
    /// A certificate for exactly these names.
    AllNames,
}

/// Which of the CertificateRequests of a Certificate, by name, say whether an Order renews: those of the latest revisions, because names
/// end with the number of the revision. Users choose how many earlier ones there are.
///
/// ```
/// use operator::decision::order::latest_requests;
///
/// let names = (1..=1000).map(|revision| format!("web-{revision}")).collect();
/// assert_eq!(latest_requests(names)[..2], ["web-1000", "web-999"]);
/// ```
pub fn latest_requests(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable_by(|one, other| (other.len(), other).cmp(&(one.len(), one)));
    names.truncate(MOST_EARLIER);
    names
}

/// What an Order renews of an earlier request of its Certificate. `earlier_order` is that request's Order, and `account` the URL of the
/// issuer's account: the issuer may have changed its server meanwhile. Users can write annotations, but not that a request was issued.
pub fn renewal(
    order: &Order,
    account: Option<&str>,
    earlier: &CertificateRequest,
    earlier_order: Option<&Order>,
) -> Renewal {
    let is_of_server = earlier_order.zip(account).is_some_and(|(of, account)| is_of_server(of, account));
    if !is_of_server
        || !condition::is_true(earlier.conditions(), condition::READY)
        || earlier.spec.issuer_ref.identity() != order.spec.issuer_ref.identity()
    {
        return Renewal::Nothing;
    }
    let Ok(csr) = Csr::from_pem(&earlier.spec.request.0) else { return Renewal::Nothing };
    let lowercase =
        |names: Vec<String>| names.iter().map(|name| name.to_lowercase()).collect::<BTreeSet<_>>();
    let addresses = csr.ip_addresses.iter().map(ToString::to_string);
    let issued = lowercase(csr.dns_names.into_iter().chain(addresses).collect());
    let ordered = new_order(&order.spec, Timestamp::UNIX_EPOCH).identifiers;
    let ordered = lowercase(ordered.iter().map(text_of).collect());
    if issued == ordered {
        Renewal::AllNames
    } else if issued.is_disjoint(&ordered) {
        Renewal::Nothing
    } else {
        Renewal::SomeNames
    }
}

/// Whether an Order was placed at the server of an account. cert-manager does not note the account.
fn is_of_server(order: &Order, account: &str) -> bool {
    let placed_by = order.annotations().get(ACCOUNT);
    let placed_as = order.status.as_ref().and_then(|status| status.url.as_ref());
    let server = |url: &str| url.parse::<Uri>().ok()?.authority().map(ToString::to_string);
    placed_by.or(placed_as).and_then(|url| server(url)).is_some_and(|of| Some(of) == server(account))
}

/// The status with the URLs of an order that was just placed and nothing else that is new, if they are not stored yet.
pub fn placed_only(stored: Option<&OrderStatus>, status: &OrderStatus) -> Option<OrderStatus> {
    let stored = stored.cloned().unwrap_or_default();
    let is_new = non_empty(stored.url.as_deref()).is_none() && non_empty(status.url.as_deref()).is_some();
    is_new.then(|| OrderStatus {
        url: status.url.clone(),
        finalize_url: status.finalize_url.clone(),
        state: stored.state.or(Some(State::Pending)),
        ..stored
    })
}

/// Why a profile can't be ordered, if the server does not advertise it. The message is cert-manager's.
///
/// ```
/// use operator::decision::order::missing_profile;
///
/// let offered = ["classic".to_owned(), "tlsserver".to_owned()];
/// assert_eq!(missing_profile("classic", &offered), None);
/// assert!(missing_profile("shortlived", &offered).is_some_and(|reason| reason.ends_with("profile with name shortlived")));
/// ```
pub fn missing_profile(profile: &str, offered: &[String]) -> Option<String> {
    if offered.iter().any(|name| name == profile) {
        return None;
    }
    Some(format!(
        "Failed to create Order: acme: certificate authority does not advertise a profile with name {profile}"
    ))
}

/// Why a new order is not placed yet, for people. `limit` is how many the CA allows in three hours.
pub(super) fn waiting_for_slot(limit: Option<u32>, slot: Timestamp) -> String {
    let why = limit.map_or_else(
        || "the CA asked for a pause in new orders".to_owned(),
        |limit| format!("the CA allows {limit} new orders in 3 hours"),
    );
    with_time(format_args!("waiting for a new-order slot: {why}"), slot)
}

/// What is wrong with the authorizations of an order, if the server asks for more than control of the ordered names: each of
/// them once. Otherwise it could have the operator prove control of names that were never requested.
pub(super) fn unordered(
    spec: &OrderSpec,
    now: Timestamp,
    authorizations: &[Authorization],
) -> Option<String> {
    let identifiers = new_order(spec, now).identifiers;
    let mut ordered: HashSet<_> = identifiers.iter().map(|it| text_of(it).to_lowercase()).collect();
    let stray = authorizations.iter().find_map(|authorization| {
        let star = if authorization.wildcard == Some(true) { "*." } else { "" };
        let name =
            format!("{star}{}", authorization.identifier.as_deref().unwrap_or_default()).to_lowercase();
        (!ordered.remove(&name)).then_some((name, &authorization.url))
    });
    stray.map(|(name, url)| {
        format!(
            "the ACME server asks for control of {name:?} in the authorization {url}, but the order is not for that name, or \
             another authorization is for it. Have the CA correct this, or use another CA"
        )
    })
}

/// The name or address; empty if it is neither.
fn text_of(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Dns(name) => name.clone(),
        Identifier::Ip(address) => address.to_string(),
        _ => String::new(),
    }
}

/// Whether a challenge can be presented. Its token becomes part of a URL, and has at most 128 characters of base64url here
/// (RFC 8555 section 8.3).
fn is_presentable(challenge: &Challenge) -> bool {
    let is_base64url = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    (1..=128).contains(&challenge.token.len())
        && challenge.token.bytes().all(is_base64url)
        && type_name(&challenge.r#type).len() <= MAX_TYPE_LENGTH
}

/// What is stored of an authorization. Its identifier is empty if it is neither a DNS name nor an IP address.
pub(super) fn stored_authorization(url: String, state: &AuthorizationState) -> Authorization {
    let text = text_of(&state.identifier);
    let name = text.strip_prefix("*.");
    let challenges = state.challenges.iter().filter(|challenge| is_presentable(challenge));
    let offered = challenges.map(|challenge| OfferedChallenge {
        token: challenge.token.clone(),
        type_: type_name(&challenge.r#type),
        url: challenge.url.clone(),
    });
    Authorization {
        challenges: Some(offered.collect()),
        identifier: Some(name.unwrap_or(&text).to_owned()),
        initial_state: Some(match state.status {
            AuthorizationStatus::Valid => State::Valid,
            AuthorizationStatus::Pending => State::Pending,
            AuthorizationStatus::Invalid
            | AuthorizationStatus::Revoked
            | AuthorizationStatus::Expired
            | AuthorizationStatus::Deactivated => State::Invalid,
        }),
        url,
        wildcard: Some(state.wildcard || name.is_some()).filter(|wildcard| *wildcard),
    }
}
