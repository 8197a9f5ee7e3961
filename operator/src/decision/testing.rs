//! How an ACME server can fail: shared by the model worlds of orders, challenges and issuers.
//!
//! Knows the errors of `acme`; must not know which request fails. Next: `order/tests`, which draws from it.

use std::time::Duration;

use hyper::StatusCode;
use proptest::{option, prelude::*, sample::select};

use super::{LONGEST_NEW_ORDER_WAIT, LONGEST_WAIT, Reaction};
use crate::acme::{AcmeError, Phase};

/// One way in which an ACME request fails. Unlike the [`AcmeError`] that it stands for, it can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A problem document, RFC 8555 section 6.7.
    Problem {
        /// The error type without its prefix.
        type_: &'static str,
        /// The HTTP status.
        status: u16,
        /// The server's explanation.
        detail: &'static str,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// A page that is not an ACME response.
    Page {
        /// The HTTP status.
        status: u16,
        /// The `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// No response.
    Unreachable(Phase),
    /// The directory lacks what the request needs.
    Unsupported,
}

impl Failure {
    /// A problem without `Retry-After`.
    pub(crate) const fn problem(type_: &'static str, status: u16) -> Self {
        Self::Problem { type_, status, detail: "the detail", retry_after: None }
    }

    /// The error that the request returns.
    pub(crate) fn error(self) -> AcmeError {
        let url = "https://ca.example.test/".to_owned();
        let status_code = |status| StatusCode::from_u16(status).expect("an HTTP status");
        match self {
            Self::Problem { type_, status, detail, retry_after } => AcmeError::Problem {
                problem: serde_json::from_value(serde_json::json!({
                    "type": format!("urn:ietf:params:acme:error:{type_}"),
                    "detail": detail,
                }))
                .expect("a problem document"),
                status: status_code(status),
                retry_after: retry_after.map(Duration::from_secs),
            },
            Self::Page { status, retry_after } => AcmeError::Protocol {
                url,
                status: status_code(status),
                retry_after: retry_after.map(Duration::from_secs),
                detail: "it is HTML".to_owned(),
            },
            Self::Unreachable(phase) => {
                AcmeError::Unreachable { url, detail: "connection reset".to_owned(), phase }
            }
            Self::Unsupported => AcmeError::Unsupported("what the request needs".to_owned()),
        }
    }
}

/// Problem types with the HTTP statuses that servers send them with.
const PROBLEMS: [(&str, u16); 24] = [
    ("serverInternal", 500),
    ("serverInternal", 503),
    ("badNonce", 400),
    ("rateLimited", 429),
    ("rateLimited", 503),
    ("accountDoesNotExist", 400),
    ("orderNotReady", 403),
    ("malformed", 400),
    ("malformed", 404),
    ("unauthorized", 403),
    ("unauthorized", 500),
    ("badCSR", 400),
    ("rejectedIdentifier", 400),
    ("unsupportedIdentifier", 400),
    ("caa", 403),
    ("dns", 400),
    ("connection", 400),
    ("tls", 400),
    ("incorrectResponse", 403),
    ("externalAccountRequired", 403),
    ("userActionRequired", 403),
    ("invalidContact", 400),
    ("alreadyReplaced", 409),
    ("something-new", 400),
];

/// A `Retry-After` header in seconds: none, zero, short or absurdly long.
pub(crate) fn retry_after() -> impl Strategy<Value = Option<u64>> {
    option::of(prop_oneof![Just(0), 1_u64..120, Just(400_000_000)])
}

/// Any failure: each class of error, each problem type of RFC 8555 that changes what is done, each kind of `Retry-After`.
pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    // The words with which Let's Encrypt rejects an account that has placed too many orders, and others.
    let detail = prop_oneof![Just("the detail"), Just("too many new orders (300) from this account")];
    let problem =
        (select(&PROBLEMS[..]), detail, retry_after()).prop_map(|((type_, status), detail, retry_after)| {
            Failure::Problem { type_, status, detail, retry_after }
        });
    let page = (select(&[502_u16, 503, 429, 404, 301, 200][..]), retry_after())
        .prop_map(|(status, retry_after)| Failure::Page { status, retry_after });
    let unreachable = select(&[Phase::Connecting, Phase::Lost, Phase::TimedOut][..]);
    prop_oneof![
        6 => problem,
        2 => page,
        2 => unreachable.prop_map(Failure::Unreachable),
        1 => Just(Failure::Unsupported),
    ]
}

/// A failure stands for one reaction, so that a model which draws all of them covers the whole table.
#[test]
fn failures_cover_every_reaction() {
    let limited = Failure::Page { status: 429, retry_after: Some(30) };
    for (failure, reaction) in [
        (Failure::problem("serverInternal", 500), Reaction::Retry),
        (Failure::Unreachable(Phase::Lost), Reaction::Retry),
        (limited, Reaction::WaitFor(Duration::from_secs(30))),
        (Failure::problem("accountDoesNotExist", 400), Reaction::RecoverAccount),
        (Failure::problem("caa", 403), Reaction::Fail),
        (Failure::Unsupported, Reaction::Fail),
    ] {
        assert_eq!(Reaction::to(&failure.error()), reaction, "{failure:?}");
    }
}

proptest! {
    /// However long the server asks to wait, the wait is neither a loop nor longer than an hour, or than a day for new orders.
    #[test]
    fn waits_stay_within_bounds(failure in failure()) {
        let (error, shortest) = (failure.error(), Duration::from_secs(1));
        if let Reaction::WaitFor(wait) = Reaction::to(&error) {
            prop_assert!(wait >= shortest && wait <= LONGEST_WAIT, "{wait:?}");
        }
        if let Reaction::WaitFor(wait) = Reaction::to_new_order(&error) {
            prop_assert!(wait >= shortest && wait <= LONGEST_NEW_ORDER_WAIT, "{wait:?}");
        }
    }
}
