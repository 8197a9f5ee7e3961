//! What the failure of an ACME request means for whatever made the request: one table for orders, challenges, issuers and renewal
//! information.
//!
//! Knows the classes of [`AcmeError`]; must not know what is being retried. Next: `order.rs`, `challenge.rs` and `issuer.rs`, which turn a
//! reaction into a status and a time.

use std::time::Duration;

use crate::acme::{AcmeError, Class};

/// How long to wait if the server rate-limits a request without saying for how long.
pub const DEFAULT_WAIT: Duration = Duration::from_mins(1);

/// The longest wait that a server can impose, except for a new order. After a longer `Retry-After`, it is tried again after this
/// time.
pub const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// The longest wait before a new order is placed again. Limits on orders last up to a week, and some CAs count rejected orders.
pub const LONGEST_NEW_ORDER_WAIT: Duration = Duration::from_hours(24);

/// The shortest wait after a rate limit, so that `Retry-After: 0` does not become a loop.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// What to do after an ACME request has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The same request may succeed: retry it with backoff.
    Retry,
    /// The server asks to wait this long. The same request is right afterwards.
    WaitFor(Duration),
    /// The server has lost the account: the issuer finds or registers it again, then the same request is right.
    RecoverAccount,
    /// The server rejects what was asked, or it can never work as configured: this attempt has failed.
    Fail,
}

impl Reaction {
    /// The reaction to an error.
    pub fn to(error: &AcmeError) -> Self {
        reaction(error.class(), error.problem_type())
    }

    /// The reaction to an error of newOrder.
    pub fn to_new_order(error: &AcmeError) -> Self {
        match error.class() {
            Class::RateLimited { retry_after } => Self::WaitFor(bounded(retry_after, LONGEST_NEW_ORDER_WAIT)),
            Class::Fatal | Class::Refused | Class::Transient => Self::to(error),
        }
    }
}

/// The reaction to a class of error. `problem_type` is the error type of [RFC 8555 section 6.7](https://www.rfc-editor.org/rfc/rfc8555#section-6.7)
/// without its prefix, if the server sent a problem document.
///
/// ```
/// use std::time::Duration;
///
/// use operator::{acme::Class, decision::{Reaction, reaction}};
///
/// let limited = Class::RateLimited { retry_after: Some(Duration::from_secs(30)) };
/// assert_eq!(reaction(limited, Some("rateLimited")), Reaction::WaitFor(Duration::from_secs(30)));
/// assert_eq!(reaction(Class::Refused, Some("rejectedIdentifier")), Reaction::Fail);
/// ```
pub fn reaction(class: Class, problem_type: Option<&str>) -> Reaction {
    match (class, problem_type) {
        (Class::Transient, _) => Reaction::Retry,
        (Class::RateLimited { retry_after }, _) => Reaction::WaitFor(bounded(retry_after, LONGEST_WAIT)),
        (Class::Refused, Some("accountDoesNotExist")) => Reaction::RecoverAccount,
        (Class::Refused | Class::Fatal, _) => Reaction::Fail,
    }
}

fn bounded(retry_after: Option<Duration>, longest: Duration) -> Duration {
    retry_after.unwrap_or(DEFAULT_WAIT).clamp(SHORTEST_WAIT, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaction_covers_every_class() {
        let limited = |retry_after| Class::RateLimited { retry_after };
        for (class, problem_type, expected) in [
            (Class::Transient, None, Reaction::Retry),
            (Class::Transient, Some("serverInternal"), Reaction::Retry),
            (limited(None), None, Reaction::WaitFor(DEFAULT_WAIT)),
            (limited(Some(Duration::ZERO)), None, Reaction::WaitFor(SHORTEST_WAIT)),
            (limited(Some(Duration::MAX)), Some("rateLimited"), Reaction::WaitFor(LONGEST_WAIT)),
            (Class::Refused, Some("accountDoesNotExist"), Reaction::RecoverAccount),
            (Class::Refused, Some("caa"), Reaction::Fail),
            (Class::Refused, None, Reaction::Fail),
            (Class::Fatal, Some("accountDoesNotExist"), Reaction::Fail),
            (Class::Fatal, None, Reaction::Fail),
        ] {
            assert_eq!(reaction(class, problem_type), expected, "{class:?} {problem_type:?}");
        }
    }
}
