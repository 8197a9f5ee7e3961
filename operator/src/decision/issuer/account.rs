//! What follows from an attempt to find or register an account (RFC 8555 section 7.3).

use crds::{
    acme::{AcmeIssuer, AcmeIssuerStatus},
    certmanager::IssuerStatus,
    condition::ConditionStatus,
};
use jiff::Timestamp;

use super::{IssuerProgress, Outcome, RETRY_REFUSED_AFTER, View, email, spec};
use crate::{
    acme::{AccountStatus, AcmeError, ExternalAccountKey, MacKeyError},
    decision::{
        Reaction, Requeue, backoff,
        problem::{with_regular_attempts, with_time},
        retry::LONGEST_UNWATCHED,
    },
    objects::EventNote,
    reason::Reason,
};

/// The number of doublings that an issuer's backoff starts with: its first wait is 16 s, less the jitter. An issuer is not as urgent
/// as the certificates that it issues.
const FIRST_RETRY: u32 = 4;

/// Why there is no account that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The CA was not reached, or did not register the account.
    #[error("Failed to register ACME account: {0}")]
    Register(AcmeError),
    /// The CA did not accept another contact.
    #[error("Failed to update ACME account: {0}")]
    UpdateContact(AcmeError),
    /// The Secret of `externalAccountBinding` can't be used.
    #[error("Failed to register ACME account: {0}")]
    BindingSecret(BindingSecretError),
    /// The CA knows the account, and accepts no orders of it.
    #[error(
        "Failed to register ACME account: the CA says that the account {url} is {}. To fix it, {}",
        status.as_str(),
        use_another_key(secret)
    )]
    NotValid {
        /// The URL of the account.
        url: String,
        /// Its status.
        status: AccountStatus,
        /// The name of the Secret with its private key.
        secret: String,
    },
}

/// How a user gets another account.
fn use_another_key(secret: &str) -> String {
    format!("delete the Secret {secret:?} with its private key to have another account registered")
}

/// Why the Secret of `externalAccountBinding` can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingSecretError {
    /// The Secret or its data key does not exist.
    #[error(
        "the Secret {name:?} in the namespace {namespace:?} has no value under {data_key:?}. Put the MAC key there that the CA gave \
         for spec.acme.externalAccountBinding"
    )]
    Missing {
        /// The name of the Secret.
        name: String,
        /// The namespace of the Secret.
        namespace: String,
        /// The key in the data of the Secret.
        data_key: String,
    },
    /// The value is not a MAC key.
    #[error(transparent)]
    MacKey(#[from] MacKeyError),
}

impl AccountError {
    /// The reason of the condition, as cert-manager has it.
    const fn reason(&self) -> Reason {
        match self {
            Self::Register(_) | Self::BindingSecret(_) | Self::NotValid { .. } => {
                Reason::ErrRegisterACMEAccount
            }
            Self::UpdateContact(_) => Reason::ErrUpdateACMEAccount,
        }
    }
}

/// The contact of the account as the CA gets it: a URL, or nothing.
pub fn contact_urls(acme: &AcmeIssuer) -> Vec<String> {
    let email = email(acme);
    if email.is_empty() { Vec::new() } else { vec![format!("mailto:{email}")] }
}

/// Whether the CA has to be given the contact of the account `uri`, which it has returned with the contacts `at_ca`. Some CAs return
/// none; then the contact that was registered last counts, if that was for the same account.
pub fn updates_contact(acme: &AcmeIssuer, status: &IssuerStatus, uri: &str, at_ca: &[String]) -> bool {
    let is_current = |account: &AcmeIssuerStatus| {
        account.uri.as_deref() == Some(uri)
            && account.last_registered_email.clone().unwrap_or_default() == email(acme)
    };
    status.acme.as_ref().is_some_and(|account| !is_current(account))
        || (!at_ca.is_empty() && at_ca != contact_urls(acme))
}

/// The account that the user has with the CA already, if the issuer names one. `mac_key` is the value in the Secret.
///
/// # Errors
/// [`AccountError::BindingSecret`]
pub fn external_account(
    acme: &AcmeIssuer,
    namespace: &str,
    mac_key: Option<&[u8]>,
) -> Result<Option<ExternalAccountKey>, AccountError> {
    let Some(binding) = &acme.external_account_binding else { return Ok(None) };
    let missing = || BindingSecretError::Missing {
        name: binding.key_secret_ref.name.clone(),
        namespace: namespace.to_owned(),
        data_key: binding.key_secret_ref.key.clone().unwrap_or_default(),
    };
    let read = mac_key.ok_or_else(missing).and_then(|mac_key| {
        ExternalAccountKey::new(binding.key_id.clone(), mac_key).map_err(BindingSecretError::MacKey)
    });
    read.map(Some).map_err(AccountError::BindingSecret)
}

/// Decides what follows from an account that was found or registered, with this URL and for the key with this hash.
pub fn on_registered(view: &View<'_>, uri: &str, key_hash: String) -> Outcome {
    let message = "The ACME account was registered with the ACME server".to_owned();
    let account = AcmeIssuerStatus {
        last_private_key_hash: Some(key_hash),
        last_registered_email: Some(email(view.acme)).filter(|email| !email.is_empty()),
        uri: Some(uri.to_owned()),
    };
    let status = view.with_ready(ConditionStatus::True, Reason::ACMEAccountRegistered, message);
    Outcome {
        status: IssuerStatus { acme: Some(account), ..status },
        event: replaced_account(view, uri),
        progress: None,
        requeue: Requeue::Resync,
    }
}

/// The event about another account of the same server that the issuer no longer uses, because its key is gone.
fn replaced_account(view: &View<'_>, uri: &str) -> Option<EventNote> {
    let before =
        view.status.acme.as_ref()?.uri.as_deref().filter(|before| !before.is_empty() && *before != uri)?;
    if spec::host(before) != spec::host(uri) {
        return None;
    }
    let secret = &view.acme.private_key_secret_ref.name;
    let message = format!(
        "the private key in the Secret {secret:?} was deleted or changed: the account {uri} replaces {before}. If CAA records \
         (accounturi) or raised rate limits name the old account, put its key back into the Secret, for example from a backup"
    );
    Some(EventNote::warning(Reason::AccountReplaced, message))
}

/// Decides what follows from a failed attempt.
pub fn on_account_error(view: &View<'_>, error: &AccountError) -> Outcome {
    match error {
        AccountError::Register(source) | AccountError::UpdateContact(source) => {
            let cause = format!("{error}{}", advice(view, source.problem_type()));
            failed(view, error.reason(), &cause, Reaction::to(source))
        }
        AccountError::NotValid { .. } => failed(view, error.reason(), &error.to_string(), Reaction::Fail),
        AccountError::BindingSecret(_) => view.refused(error.reason(), error.to_string()),
    }
}

/// An issuer whose request was not successful. It is tried again later each time.
fn failed(view: &View<'_>, reason: Reason, cause: &str, reaction: Reaction) -> Outcome {
    let failures = view.progress.filter(|it| it.generation == view.generation).map_or(0, |it| it.failures);
    let wait = match reaction {
        // A retry finds or registers the account again.
        Reaction::Retry | Reaction::RecoverAccount => {
            backoff::after_error(failures.saturating_add(FIRST_RETRY), view.uid)
        }
        // Even a server that always asks to wait for one second gets fewer requests each time.
        Reaction::WaitFor(wait) => wait.max(backoff::after_error(failures, view.uid)),
        Reaction::Fail => RETRY_REFUSED_AFTER,
    };
    let next_attempt = view.now.checked_add(wait).unwrap_or(Timestamp::MAX);
    let binds = view.acme.external_account_binding.is_some();
    let message = if matches!(reaction, Reaction::WaitFor(_)) {
        with_time(cause, next_attempt)
    } else {
        with_regular_attempts(cause)
    };
    Outcome {
        status: view.with_ready(ConditionStatus::False, reason, message),
        event: view.event(reason, cause),
        progress: Some(IssuerProgress {
            generation: view.generation,
            mac_key: view.mac_key,
            failures: failures.saturating_add(1),
            next_attempt,
        }),
        requeue: Requeue::After(if binds { wait.min(LONGEST_UNWATCHED) } else { wait }),
    }
}

/// What a user can do about a rejected account. `problem` is the error type without its prefix (RFC 8555 section 6.7).
fn advice(view: &View<'_>, problem: Option<&str>) -> String {
    let text = match problem {
        Some("invalidContact" | "unsupportedContact") => ". Correct spec.acme.email",
        Some("externalAccountRequired") => {
            ". To fix it, set spec.acme.externalAccountBinding to the key ID and the MAC key that the CA gives its customers"
        }
        Some("malformed" | "unauthorized") if view.acme.external_account_binding.is_some() => {
            ". Check that spec.acme.externalAccountBinding has a key ID and a MAC key that the CA gave out together, and that \
             they are still valid"
        }
        // Most CAs say so of an account that was deactivated.
        Some("unauthorized") => {
            let remedy = use_another_key(&view.acme.private_key_secret_ref.name);
            return format!(". If the account was deactivated, {remedy}");
        }
        _ => "",
    };
    text.to_owned()
}
