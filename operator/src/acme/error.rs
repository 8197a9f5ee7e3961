//! What can go wrong with an ACME server, and what to do about it: one table, [`AcmeError::class`].

use std::{fmt::Write, time::Duration};

use hyper::StatusCode;
use instant_acme::{Identifier, Problem};

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It can't work like this, whoever tries: the address, the key or the server must change first.
    Fatal,
    /// The server asks to wait, this long if it says so. The same request is right afterwards.
    RateLimited {
        /// From the `Retry-After` header, RFC 9110 section 10.2.3.
        retry_after: Option<Duration>,
    },
    /// The server has looked at what was asked, and will not do it.
    Refused,
    /// It may work in a moment: retry with backoff.
    Transient,
}

/// Why a request to an ACME server has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// The address is one that must not be asked.
    #[error(
        "failed to talk to {url}: {address} is a link-local, loopback or metadata address, which no ACME server has"
    )]
    Address {
        /// What was asked.
        url: String,
        /// What it stands for.
        address: String,
    },
    /// The key can't sign.
    #[error("failed to sign a request with the account's key")]
    Key(#[from] crate::pki::KeyError),
    /// There is an answer, and it is not what an ACME server says.
    #[error("failed to understand {url}: {detail}")]
    Protocol {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: StatusCode,
        /// How long to wait, if the server said so.
        retry_after: Option<Duration>,
        /// What is wrong with it.
        detail: String,
    },
    /// The server says what is wrong, RFC 7807.
    #[error("{}", describe(problem))]
    Problem {
        /// What it says.
        problem: Problem,
        /// The HTTP status.
        status: StatusCode,
        /// How long to wait, if the server said so.
        retry_after: Option<Duration>,
    },
    /// There is no answer.
    #[error("failed to reach {url}: {detail}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why, with all causes.
        detail: String,
        /// How far it came.
        phase: Phase,
    },
    /// The directory does not offer what was asked for.
    #[error("failed to use the ACME server: it does not offer {0}")]
    Unsupported(String),
}

/// How far a request came that had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There was no connection: nobody has heard it.
    Connecting,
    /// The connection was lost: it may have been heard.
    Lost,
    /// The time was over: it may have been heard.
    TimedOut,
}

/// Prefix of the error types that ACME servers send, RFC 8555 section 6.7.
const PREFIX: &str = "urn:ietf:params:acme:error:";

impl AcmeError {
    /// The error type without its prefix, such as `rateLimited`.
    pub fn problem_type(&self) -> Option<&str> {
        match self {
            Self::Problem { problem, .. } => problem.r#type.as_deref()?.strip_prefix(PREFIX),
            _ => None,
        }
    }

    /// The problem as the server sent it.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Whether the same request may be made again at once. What only reads may be, unless the time is over already.
    pub(super) fn may_repeat(&self, reads_only: bool) -> bool {
        match self {
            Self::Unreachable { phase: Phase::Connecting, .. } => true,
            Self::Unreachable { phase: Phase::Lost, .. } => reads_only,
            _ => false,
        }
    }

    /// Whether the same order may be taken if it does not say what it replaces. `alreadyReplaced` is the answer that
    /// RFC 9773 section 5 asks for; servers that don't find what is replaced say much else, down to `serverInternal`.
    pub(super) fn may_be_caused_by_replaces(&self) -> bool {
        let answered = self.problem_type().is_some_and(|kind| kind != "badNonce");
        answered && matches!(self.class(), Class::Refused | Class::Transient)
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Address { .. } | Self::Key(_) | Self::Unsupported(_) => Class::Fatal,
            Self::Unreachable { .. } => Class::Transient,
            Self::Protocol { status, retry_after, .. } => match (*status, *retry_after) {
                (StatusCode::TOO_MANY_REQUESTS, retry_after) => Class::RateLimited { retry_after },
                (status, Some(_)) if status.is_server_error() => {
                    Class::RateLimited { retry_after: *retry_after }
                }
                (status, None) if status.is_server_error() => Class::Transient,
                // Cut off on the way, or a page that is no ACME: the first may pass, and the second is told apart where
                // the directory is read.
                (status, _) if status.is_success() => Class::Transient,
                _ => Class::Fatal,
            },
            Self::Problem { status, retry_after, .. } => match (self.problem_type(), *status) {
                (Some("rateLimited"), _) | (_, StatusCode::TOO_MANY_REQUESTS) => {
                    Class::RateLimited { retry_after: *retry_after }
                }
                (Some("badNonce"), _) => Class::Transient,
                // Refusals that some servers send as 500.
                (
                    Some(
                        "accountDoesNotExist"
                        | "alreadyReplaced"
                        | "badCSR"
                        | "badPublicKey"
                        | "caa"
                        | "connection"
                        | "dns"
                        | "externalAccountRequired"
                        | "incorrectResponse"
                        | "invalidContact"
                        | "invalidProfile"
                        | "malformed"
                        | "orderNotReady"
                        | "rejectedIdentifier"
                        | "tls"
                        | "unauthorized"
                        | "unsupportedContact"
                        | "unsupportedIdentifier"
                        | "userActionRequired",
                    ),
                    _,
                ) => Class::Refused,
                (_, status) if status.is_server_error() => match retry_after {
                    Some(_) => Class::RateLimited { retry_after: *retry_after },
                    None => Class::Transient,
                },
                _ => Class::Refused,
            },
        }
    }
}

/// A problem in the server's own words: the whole, then each part with the name that it is about.
fn describe(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or("about:blank");
    let detail = problem.detail.as_deref().unwrap_or("the server gives no reason");
    let mut text = format!("{detail} ({})", kind.strip_prefix(PREFIX).unwrap_or(kind));
    for part in &problem.subproblems {
        let name = match &part.identifier {
            Some(Identifier::Dns(name)) => name.clone(),
            Some(Identifier::Ip(address)) => address.to_string(),
            _ => "another name".to_owned(),
        };
        _ = write!(text, "; {name}: {}", part.detail.as_deref().unwrap_or("no reason"));
        if let Some(kind) = &part.r#type {
            _ = write!(text, " ({})", kind.strip_prefix(PREFIX).unwrap_or(kind));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16, retry_after: Option<u64>) -> AcmeError {
        let document =
            serde_json::json!({ "type": format!("{PREFIX}{kind}"), "detail": "words", "status": status });
        AcmeError::Problem {
            problem: serde_json::from_value(document).expect("a problem document"),
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn page(status: u16, retry_after: Option<u64>) -> AcmeError {
        AcmeError::Protocol {
            url: "https://acme.example.test/".into(),
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: retry_after.map(Duration::from_secs),
            detail: "it is HTML".into(),
        }
    }

    const fn limited(seconds: Option<u64>) -> Class {
        Class::RateLimited {
            retry_after: match seconds {
                Some(seconds) => Some(Duration::from_secs(seconds)),
                None => None,
            },
        }
    }

    #[test]
    fn every_answer_has_its_class() {
        for (error, class) in [
            (problem("badNonce", 400, None), Class::Transient),
            (problem("rateLimited", 429, Some(3600)), limited(Some(3600))),
            (problem("rateLimited", 403, None), limited(None)),
            (problem("serverInternal", 500, None), Class::Transient),
            (problem("serverInternal", 500, Some(60)), limited(Some(60))),
            (problem("serverInternal", 503, Some(10)), limited(Some(10))),
            (problem("something-new", 429, None), limited(None)),
            (problem("something-new", 500, None), Class::Transient),
            (problem("something-new", 400, None), Class::Refused),
            (problem("unauthorized", 403, None), Class::Refused),
            (problem("unauthorized", 500, None), Class::Refused),
            (problem("rejectedIdentifier", 400, None), Class::Refused),
            (problem("accountDoesNotExist", 400, None), Class::Refused),
            (problem("userActionRequired", 403, None), Class::Refused),
            (problem("externalAccountRequired", 403, None), Class::Refused),
            (problem("orderNotReady", 403, None), Class::Refused),
            (problem("alreadyReplaced", 409, None), Class::Refused),
            (problem("badCSR", 400, None), Class::Refused),
            (problem("caa", 403, None), Class::Refused),
            (problem("invalidProfile", 400, None), Class::Refused),
            (page(503, None), Class::Transient),
            (page(503, Some(30)), limited(Some(30))),
            (page(502, None), Class::Transient),
            (page(429, None), limited(None)),
            (page(404, None), Class::Fatal),
            (page(301, None), Class::Fatal),
            (page(200, None), Class::Transient),
            (
                AcmeError::Unreachable { url: String::new(), detail: String::new(), phase: Phase::Lost },
                Class::Transient,
            ),
            (AcmeError::Address { url: String::new(), address: String::new() }, Class::Fatal),
            (AcmeError::Unsupported("x".into()), Class::Fatal),
        ] {
            assert_eq!(error.class(), class, "{error:?}");
        }
    }

    #[test]
    fn what_is_replaced_is_left_out_where_that_may_help() {
        for (error, may_help) in [
            (problem("alreadyReplaced", 409, None), true),
            (problem("malformed", 400, None), true),
            (problem("unauthorized", 403, None), true),
            (problem("serverInternal", 500, None), true),
            (problem("serverInternal", 503, Some(10)), false),
            (problem("rateLimited", 429, None), false),
            (problem("badNonce", 400, None), false),
            (page(502, None), false),
        ] {
            assert_eq!(error.may_be_caused_by_replaces(), may_help, "{error:?}");
        }
    }

    #[test]
    fn the_message_is_the_servers_own_with_every_name() {
        let document = serde_json::json!({
            "type": "urn:ietf:params:acme:error:rejectedIdentifier",
            "detail": "some names can't be had",
            "subproblems": [
                { "type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it",
                  "identifier": { "type": "dns", "value": "a.example.test" } },
                { "detail": "no", "identifier": { "type": "ip", "value": "192.0.2.1" } },
            ],
        });
        let problem = serde_json::from_value(document).expect("a problem document");
        assert_eq!(
            describe(&problem),
            "some names can't be had (rejectedIdentifier); a.example.test: CAA forbids it (caa); 192.0.2.1: no"
        );
    }
}
