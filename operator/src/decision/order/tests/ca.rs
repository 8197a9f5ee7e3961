//! An ACME server in memory, which runs the course that a test has drawn: any state of RFC 8555 section 7.1.6, any failure,
//! any wait.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use super::{ISSUED, after, names};
use crate::{
    acme::{AuthorizationState, Identifier, NewOrder, OrderState, Phase},
    decision::{
        order::{Answer, Request},
        testing::Failure,
    },
    pki::{Chain, Csr},
};

/// What a server does with every order, and how it fails.
#[derive(Clone, Debug)]
pub(super) struct CaCourse {
    /// For each identifier, whether its authorization is valid from the start.
    pub(super) authorized: Vec<bool>,
    /// Profiles that the directory advertises.
    pub(super) profiles: Vec<String>,
    /// How long it takes to notice that the last challenge is valid.
    pub(super) ready_after: Duration,
    /// How long it takes from the CSR to the end.
    pub(super) done_after: Duration,
    /// The `Retry-After` header of an order that is not done, in seconds.
    pub(super) retry_after: Option<u64>,
    /// How an order ends.
    pub(super) end: End,
    /// Whether a second order for the same identifiers is the first one again.
    pub(super) reuses: bool,
    /// How long an order can be completed.
    pub(super) lifetime: Duration,
    /// What becomes of the first requests.
    pub(super) faults: Vec<Option<Fault>>,
    /// What becomes of all requests after these, or of those of one kind.
    pub(super) failure: Option<(Failure, Option<&'static str>)>,
}

/// How an order ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a certificate.
    Issued,
    /// It becomes valid first, and has a certificate later.
    IssuedLate,
    /// With a certificate that is not X.509.
    Unreadable,
    /// The server makes it invalid, with an error or without.
    Invalid { says_why: bool },
    /// Not at all: it expires, and is invalid then or unknown to the server.
    Never { forgotten: bool },
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server does not do it.
    Fails(Failure),
    /// The server does it, but the answer is lost.
    AnswerLost,
    /// The server takes more time than there may be.
    Slow,
}

/// An order at the server.
#[derive(Debug)]
struct CaOrder {
    /// When it was placed, UTC.
    placed: Timestamp,
    /// Whether control of each identifier was proven.
    proven: Vec<bool>,
    proven_at: Timestamp,
    finalized_at: Option<Timestamp>,
    /// Whether the operator may place another one: the answer was lost, or the process ended before the URL was written.
    excused: bool,
}

#[derive(Debug)]
pub(super) struct Ca {
    pub(super) course: CaCourse,
    faults: VecDeque<Option<Fault>>,
    orders: Vec<CaOrder>,
    /// How many requests it has received since [`CaCourse::failure`] was the answer first.
    pub(super) requests_since_failure: usize,
}

impl Ca {
    pub(super) fn new(course: CaCourse) -> Self {
        Self { faults: course.faults.clone().into(), course, orders: Vec::new(), requests_since_failure: 0 }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The request is one that the operator must not send.
    pub(super) fn answer(&mut self, request: &Request, now: Timestamp) -> Result<Answer, String> {
        let is_failing = |kind: Option<&str>| kind.is_none_or(|kind| kind == request_name(request));
        let failure = self.course.failure.filter(|(_, kind)| is_failing(*kind));
        let is_over = self.faults.is_empty();
        if self.requests_since_failure > 0 || is_over && failure.is_some() {
            self.requests_since_failure += 1;
        }
        let fault =
            self.faults.pop_front().unwrap_or_else(|| failure.map(|(failure, _)| Fault::Fails(failure)));
        match fault {
            Some(Fault::Slow) if matches!(request, Request::Authorizations { within: Some(_), .. }) => {
                Ok(Answer::SlowAuthorizations)
            }
            None | Some(Fault::Slow) => self.perform(request, now),
            Some(Fault::Fails(failure)) => Ok(Answer::Failed(failure.error())),
            Some(Fault::AnswerLost) => {
                if matches!(self.perform(request, now)?, Answer::Placed { .. }) {
                    self.excuse_second_order();
                }
                Ok(Answer::Failed(Failure::Unreachable(Phase::Lost).error()))
            }
        }
    }

    /// From now on, the operator can't know of the orders that it has placed.
    pub(super) fn excuse_second_order(&mut self) {
        self.orders.iter_mut().for_each(|order| order.excused = true);
    }

    /// Control of an identifier was proven.
    pub(super) fn prove(&mut self, authorization_url: &str, now: Timestamp) {
        let (order, index) = self.find_authorization(authorization_url);
        self.orders[order].proven[index] = true;
        self.orders[order].proven_at = now;
    }

    fn perform(&mut self, request: &Request, now: Timestamp) -> Result<Answer, String> {
        Ok(match request {
            Request::Profiles => Answer::Profiles(self.course.profiles.clone()),
            Request::Place(order) => self.place(order, now)?,
            Request::Order { url } => self.order(url, now)?,
            Request::Authorizations { urls, .. } => Answer::Authorizations(
                urls.iter().map(|url| (url.clone(), self.authorization(url))).collect(),
            ),
            Request::Finalize { url, finalize_url, csr } => {
                let sent = Csr::from_pem(ISSUED.0.as_bytes()).map_err(|error| error.to_string())?;
                if *finalize_url != format!("{url}/finalize") || *csr != sent.der {
                    return Err(format!("the CSR goes to {finalize_url} or is another one"));
                }
                self.finalize(url, now)?
            }
            Request::Certificate { .. } if self.course.end == End::Unreadable => {
                Answer::Certificate(Chain::from_pem(b"-----BEGIN CERTIFICATE-----"))
            }
            Request::Certificate { .. } => Answer::Certificate(Ok(ISSUED.1.clone())),
            Request::Stored | Request::Slot { .. } | Request::KeyAuthorizations(_) => {
                return Err("the server was asked what only the operator knows".to_owned());
            }
        })
    }

    fn place(&mut self, order: &NewOrder, now: Timestamp) -> Result<Answer, String> {
        let wanted: Vec<_> = names(self.course.authorized.len()).into_iter().map(Identifier::Dns).collect();
        if order.identifiers != wanted {
            return Err(format!("the order is for {:?}", order.identifiers));
        }
        let last = self.orders.len().checked_sub(1);
        if let Some(last) = last.filter(|last| self.course.reuses && self.is_pending(*last, now)) {
            return Ok(Answer::Placed { url: url(last), state: self.state(last, now) });
        }
        if self.orders.iter().any(|order| !order.excused) {
            return Err("one attempt has placed two orders".to_owned());
        }
        let proven = self.course.authorized.clone();
        self.orders.push(CaOrder { placed: now, proven, proven_at: now, finalized_at: None, excused: false });
        let placed = self.orders.len() - 1;
        Ok(Answer::Placed { url: url(placed), state: self.state(placed, now) })
    }

    fn order(&self, order_url: &str, now: Timestamp) -> Result<Answer, String> {
        let order = self.find(order_url)?;
        if self.course.end == (End::Never { forgotten: true }) && self.is_expired(order, now) {
            return Ok(Answer::Failed(Failure::problem("malformed", 404).error()));
        }
        Ok(Answer::Order(self.state(order, now)))
    }

    fn finalize(&mut self, order_url: &str, now: Timestamp) -> Result<Answer, String> {
        let order = self.find(order_url)?;
        match self.status(order, now) {
            "ready" => self.orders[order].finalized_at = Some(now),
            // `acme` fetches the order then, and returns it.
            "processing" | "valid" => {}
            _ => return Ok(Answer::Failed(Failure::problem("orderNotReady", 403).error())),
        }
        Ok(Answer::Order(self.state(order, now)))
    }

    fn authorization(&self, authorization_url: &str) -> AuthorizationState {
        let (order, index) = self.find_authorization(authorization_url);
        let challenge = |type_: &str| {
            let (url, token) = (format!("{authorization_url}/{type_}"), format!("t{index}"));
            json!({ "type": type_, "url": url, "token": token, "status": "pending" })
        };
        let document = json!({
            "identifier": { "type": "dns", "value": names(3)[index] },
            "status": if self.orders[order].proven[index] { "valid" } else { "pending" },
            "challenges": [challenge("dns-01"), challenge("http-01")],
        });
        serde_json::from_value(document).expect("an authorization")
    }

    fn state(&self, order: usize, now: Timestamp) -> OrderState {
        let status = self.status(order, now);
        let certificate = (status == "valid" && self.has_certificate(order, now))
            .then(|| format!("{}/certificate", url(order)));
        let error = (status == "invalid" && self.course.end == End::Invalid { says_why: true })
            .then(|| json!({ "type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it" }));
        let authorizations = 0..self.course.authorized.len();
        let document = json!({
            "status": status,
            "authorizations": authorizations.map(|index| authorization(order, index)).collect::<Vec<_>>(),
            "finalize": format!("{}/finalize", url(order)),
            "certificate": certificate,
            "error": error,
        });
        let state: OrderState = serde_json::from_value(document).expect("an order");
        OrderState { retry_after: self.course.retry_after.map(Duration::from_secs), ..state }
    }

    fn status(&self, index: usize, now: Timestamp) -> &'static str {
        let order = &self.orders[index];
        match order.finalized_at {
            Some(finalized) if after(finalized, self.course.done_after) <= now => match self.course.end {
                End::Issued | End::IssuedLate | End::Unreadable => "valid",
                End::Invalid { .. } => "invalid",
                End::Never { .. } if self.is_expired(index, now) => "invalid",
                End::Never { .. } => "processing",
            },
            Some(_) => "processing",
            None if self.is_expired(index, now) => "invalid",
            None if self.is_pending(index, now) => "pending",
            None => "ready",
        }
    }

    fn is_pending(&self, index: usize, now: Timestamp) -> bool {
        let order = &self.orders[index];
        let is_proven = order.proven.iter().all(|proven| *proven);
        let is_noticed = after(order.proven_at, self.course.ready_after) <= now;
        !self.is_expired(index, now) && order.finalized_at.is_none() && !(is_proven && is_noticed)
    }

    fn is_expired(&self, index: usize, now: Timestamp) -> bool {
        after(self.orders[index].placed, self.course.lifetime) <= now
    }

    fn has_certificate(&self, index: usize, now: Timestamp) -> bool {
        let late = if self.course.end == End::IssuedLate { Duration::from_secs(30) } else { Duration::ZERO };
        let finalized = self.orders[index].finalized_at;
        finalized.is_some_and(|finalized| after(finalized, self.course.done_after + late) <= now)
    }

    fn find_authorization(&self, authorization_url: &str) -> (usize, usize) {
        authorization_url
            .rsplit_once("/authorization/")
            .and_then(|(order, index)| Some((self.find(order).ok()?, index.parse().ok()?)))
            .expect("the URL of an authorization")
    }

    fn find(&self, order_url: &str) -> Result<usize, String> {
        let found = (0..self.orders.len()).find(|order| url(*order) == order_url);
        found.ok_or_else(|| format!("there is no order {order_url:?}"))
    }
}

/// What a request is called in [`CaCourse::failure`] and in logs.
pub(super) const fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Stored => "stored",
        Request::Profiles => "profiles",
        Request::Slot { .. } => "slot",
        Request::Place(_) => "place",
        Request::Order { .. } => "order",
        Request::Authorizations { .. } => "authorizations",
        Request::KeyAuthorizations(_) => "key authorizations",
        Request::Finalize { .. } => "finalize",
        Request::Certificate { .. } => "certificate",
    }
}

fn url(order: usize) -> String {
    format!("https://ca.example.test/order/{order}")
}

fn authorization(order: usize, index: usize) -> String {
    format!("{}/authorization/{index}", url(order))
}
