//! What must hold of an Order in every course.

use std::time::Duration;

use crds::{
    acme::{OrderStatus, State},
    condition::whole_seconds,
};
use jiff::Timestamp;
use k8s_openapi::ByteString;

use super::{
    super::{ISSUED, after},
    World,
};
use crate::decision::order::{OrderProgress, is_final};

/// How long an Order may wait without a reason in its status.
const SILENCE: Duration = Duration::from_secs(10);

/// No course needs more reconciles: an order is polled every second at most, and expires after two hours.
pub(super) const MOST_RECONCILES: usize = 10_000;

impl World {
    /// Nothing happens any more, so the Order must be in a final state, with its cause.
    pub(super) fn check_end(&self) -> Result<(), String> {
        let status = self.status();
        ensure(is_final(status.state), "it waits, and nothing will enqueue it")?;
        ensure(self.challenges.is_empty(), "there are Challenges left")?;
        ensure(self.memory.progress == OrderProgress::default(), "its progress is not forgotten")?;
        ensure(self.published.len() <= 1, "its failure is published twice")?;
        if status.state == Some(State::Valid) {
            let issued = ISSUED.1.to_pem().into_bytes();
            return ensure(status.certificate == Some(ByteString(issued)), "it has no certificate");
        }
        ensure(status.failure_time.is_some(), "it has no failure time")?;
        ensure(self.interruptions > 0 || self.published.len() == 1, "its failure is not published")
    }

    /// Whether a status that stays like this until `time` says why, and when the next attempt is.
    pub(super) fn check_reason(&self, time: Timestamp) -> Result<(), String> {
        if self.unwritten {
            return Ok(());
        }
        let polling_since = self.memory.polling_since.filter(|since| after(*since, SILENCE) < time);
        if is_final(self.status().state) || after(self.now, SILENCE) >= time && polling_since.is_none() {
            return Ok(());
        }
        let reason = self.status().reason.unwrap_or_default();
        let named = match self.cause.as_deref() {
            Some(cause) => reason.contains(cause),
            None => reason.contains("no route") || !self.is_ready && reason.contains("Issuer \"issuer\""),
        };
        ensure(named, format!("the reason {reason:?} does not name {:?}", self.cause))?;
        match self.next {
            Some(next) if after(self.now, SILENCE) < next => {
                if reason.ends_with(" is within a minute") {
                    return ensure(next <= after(self.now, Duration::from_mins(1)), "it takes longer");
                }
                let stated = reason.rsplit(" is at ").next().and_then(|text| text.parse::<Timestamp>().ok());
                let is_stated = stated.is_some_and(|stated| {
                    stated == whole_seconds(next).0 || stated > next && self.resync == Some(next)
                });
                ensure(is_stated, format!("the reason {reason:?} is not until {next}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_failure(&self, status: &OrderStatus) -> Result<(), String> {
        let reason = status.reason.as_deref().unwrap_or_default();
        let has_any = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
        let named = match self.cause.as_deref() {
            Some("the order is ") => has_any(&["CAA forbids it", "without giving a reason"]),
            Some(cause) => has_any(&[cause]),
            None => has_any(&["DNS problem", "does not advertise a profile", "failed to read"]),
        };
        ensure(named, format!("the reason {reason:?} does not name {:?}", self.cause))
    }
}

pub(super) fn ensure(holds: bool, what: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}
