//! What to do about an Issuer or ClusterIssuer: generate its key, find or register its account, or say why it can't work.
//!
//! Knows what the spec, the key and the responses of the CA mean. Must not know how a key is generated or a request sent, which
//! `controllers/issuer.rs` does. Next: `account.rs` for what follows from the CA's responses.

mod account;
mod spec;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crds::{
    acme::AcmeIssuer,
    certmanager::IssuerStatus,
    condition::{self, Condition, ConditionStatus},
};
use jiff::Timestamp;

pub use self::account::{
    AccountError, BindingSecretError, contact_urls, external_account, on_account_error, on_registered,
    updates_contact,
};
pub use self::spec::{MAX_SOLVER_BYTES, MAX_SOLVERS_BYTES};
use super::{Requeue, problem::with_next_attempt, retry::LONGEST_UNWATCHED};
use crate::{objects::EventNote, reason::Reason};

/// How long an issuer that the CA has rejected waits for a change there.
const RETRY_REFUSED_AFTER: Duration = Duration::from_mins(5);

/// How long it takes at most to notice that the Secret with the account's key was deleted or changed. It has no label that Secrets
/// are watched by.
pub const KEY_CHECK: Duration = Duration::from_secs(45);

/// What is known of the Secret with the account's private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyView {
    /// The Secret does not exist.
    Absent,
    /// The Secret exists, and the data key is missing or empty.
    Empty,
    /// The key can't be read: why.
    Invalid(String),
    /// The key can be used.
    Present {
        /// Base64 of the SHA-256 over it, as in `status.acme.lastPrivateKeyHash`.
        hash: String,
    },
}

/// What is remembered of an issuer whose requests to the CA fail. Losing it costs requests, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuerProgress {
    /// The generation of the spec that failed: another one is tried immediately.
    pub generation: Option<i64>,
    /// A hash of the MAC key that failed, if the issuer has an external account: another one is tried immediately.
    pub mac_key: Option<u64>,
    /// How many attempts have failed in a row.
    pub failures: u32,
    /// When to try again. Events enqueue an issuer earlier, for example the watch event of its own status; nothing is repeated
    /// then.
    pub next_attempt: Timestamp,
}

/// What is known of an issuer when something is decided about it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The UID, from which jitter comes.
    pub uid: &'a str,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The spec.
    pub acme: &'a AcmeIssuer,
    /// The status.
    pub status: &'a IssuerStatus,
    /// The account's private key.
    pub key: &'a KeyView,
    /// A hash of the MAC key of the external account, if that was read. It is, if the last attempt failed.
    pub mac_key: Option<u64>,
    /// Whether the CA has rejected a request because it does not know the account.
    pub account_lost: bool,
    /// What is remembered, if the last attempt failed.
    pub progress: Option<IssuerProgress>,
    /// UTC.
    pub now: Timestamp,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Use the account with this URL: the status has it, and nothing has changed since.
    UseAccount(String),
    /// Do nothing until the next attempt.
    Wait(Duration),
    /// Generate the account's private key, unless the Secret exists by now.
    GenerateKey,
    /// Find the account of the key at the CA, or register one, and keep its contact up to date.
    Register,
    /// Record that the issuer can't work.
    Refuse(Box<Outcome>),
}

/// The end of a reconcile: what is recorded, in this order, and when the next one is.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The status to write, if it differs.
    pub status: IssuerStatus,
    /// The event to publish.
    pub event: Option<EventNote>,
    /// What to remember; `None` forgets the failures.
    pub progress: Option<IssuerProgress>,
    /// When to reconcile again.
    pub requeue: Requeue,
}

/// The status of an issuer whose reconcile failed. One that is ready stays ready: its account was found.
pub fn report(status: &IssuerStatus, generation: Option<i64>, problem: &str, now: Timestamp) -> IssuerStatus {
    let mut status = status.clone();
    if !condition::is_true(&status.conditions, condition::READY) {
        let new = Condition {
            type_: condition::READY.to_owned(),
            status: ConditionStatus::False,
            reason: Some(Reason::ErrInitIssuer.as_str().to_owned()),
            message: Some(problem.to_owned()),
            observed_generation: generation,
            last_transition_time: None,
        };
        condition::set(&mut status.conditions, new, now);
    }
    status
}

/// The event about an issuer that is left alone. `type_` is the name of the field of its spec that configures it.
pub fn unsupported(type_: &str) -> EventNote {
    EventNote::warning(
        Reason::UnsupportedType,
        format!(
            "the issuer is of the type {type_}, which this operator does not support, so it is left alone. Use an issuer with \
             spec.acme, or run another program that serves this one, such as cert-manager"
        ),
    )
}

/// Decides what to do next.
pub fn decide(view: &View<'_>) -> Step {
    if let Err(problem) = spec::check(view.acme) {
        return refuse(view, problem);
    }
    let hash = match usable_key(view) {
        Ok(hash) => hash,
        Err(step) => return step,
    };
    match (view.known_account(hash), view.time_to_next_attempt()) {
        (Some(uri), _) => Step::UseAccount(uri),
        // The Secret with the MAC key may be corrected, and no watch shows it.
        (None, Some(left)) if view.acme.external_account_binding.is_some() => {
            Step::Wait(left.min(LONGEST_UNWATCHED))
        }
        (None, Some(left)) => Step::Wait(left),
        (None, None) => Step::Register,
    }
}

/// The hash of the key, or the step that has to come first.
fn usable_key<'a>(view: &View<'a>) -> Result<&'a str, Step> {
    let secret = &view.acme.private_key_secret_ref.name;
    let problem = match view.key {
        KeyView::Present { hash } => return Ok(hash),
        KeyView::Absent if view.acme.disable_account_key_generation != Some(true) => {
            return Err(Step::GenerateKey);
        }
        KeyView::Absent => format!(
            "Failed to verify ACME account: the Secret {secret:?} with the account's private key does not exist, and \
             disableAccountKeyGeneration is set. Create the Secret, or let the operator generate the key"
        ),
        KeyView::Empty => format!(
            "Account private key is invalid: the Secret {secret:?} has no data under {:?}. Add the key there, or delete the \
             Secret to have one generated",
            data_key(view.acme)
        ),
        KeyView::Invalid(why) => format!("Account private key is invalid: the Secret {secret:?}: {why}"),
    };
    Err(refuse(view, (Reason::ErrVerifyACMEAccount, problem)))
}

fn refuse(view: &View<'_>, (reason, message): (Reason, String)) -> Step {
    Step::Refuse(Box::new(view.refused(reason, message)))
}

/// The key of the account's private key in the data of its Secret.
pub fn data_key(acme: &AcmeIssuer) -> &str {
    acme.private_key_secret_ref.key.as_deref().filter(|key| !key.is_empty()).unwrap_or("tls.key")
}

/// The contact of the account, as the status keeps it.
fn email(acme: &AcmeIssuer) -> String {
    acme.email.as_deref().unwrap_or_default().to_lowercase()
}

impl View<'_> {
    /// The URL of the account in the status, if it was found for this spec and key, and the CA knows it.
    fn known_account(&self, hash: &str) -> Option<String> {
        let account = self.status.acme.as_ref()?;
        let is_ready = self.ready_condition().is_some_and(|ready| {
            // cert-manager writes the generation as well. A condition without one counts as the present generation's.
            ready.status == ConditionStatus::True
                && ready.observed_generation.zip(self.generation).is_none_or(|(seen, now)| seen == now)
        });
        let uri = account.uri.as_deref().unwrap_or_default();
        let known = is_ready
            && !self.account_lost
            && spec::host(uri) == spec::host(&self.acme.server)
            && account.last_registered_email.as_deref().unwrap_or_default() == email(self.acme)
            // Other operators may leave no hash: then the account is looked up once with the key that there is.
            && account.last_private_key_hash.as_deref() == Some(hash);
        known.then(|| uri.to_owned())
    }

    /// How long the next attempt has to wait, if it has to.
    fn time_to_next_attempt(&self) -> Option<Duration> {
        let progress = self
            .progress
            .filter(|failed| failed.generation == self.generation && failed.mac_key == self.mac_key)?;
        let left = Duration::try_from(progress.next_attempt.duration_since(self.now)).ok()?;
        (!left.is_zero()).then_some(left)
    }

    fn ready_condition(&self) -> Option<&Condition> {
        condition::find(&self.status.conditions, condition::READY)
    }

    /// An issuer that waits for a user.
    fn refused(&self, reason: Reason, message: String) -> Outcome {
        let event = self.event(reason, &message);
        Outcome {
            status: self.with_ready(
                ConditionStatus::False,
                reason,
                with_next_attempt(message, LONGEST_UNWATCHED, self.now),
            ),
            event,
            progress: None,
            // It may wait for a Secret that no watch shows.
            requeue: Requeue::After(LONGEST_UNWATCHED),
        }
    }

    /// The event for a failure: one for each cause, none for its retries.
    fn event(&self, reason: Reason, cause: &str) -> Option<EventNote> {
        let published = self.ready_condition().is_some_and(|ready| {
            ready.status == ConditionStatus::False
                && ready.reason.as_deref() == Some(reason.as_str())
                && ready.message.as_deref().is_some_and(|message| message.starts_with(cause))
        });
        (!published).then(|| EventNote::warning(reason, cause))
    }

    /// The status with another `Ready` condition.
    fn with_ready(&self, ready: ConditionStatus, reason: Reason, message: String) -> IssuerStatus {
        let mut status = self.status.clone();
        let new = Condition {
            type_: condition::READY.to_owned(),
            status: ready,
            reason: Some(reason.as_str().to_owned()),
            message: Some(message),
            observed_generation: self.generation,
            last_transition_time: None,
        };
        condition::set(&mut status.conditions, new, self.now);
        status
    }
}
