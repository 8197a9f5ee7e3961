//! Why a reconcile failed, and what that says about the retry.
//!
//! Knows the errors of all I/O modules. Must not decide when to retry. Next: `decision/retry.rs`.

use std::time::Duration;

use crate::{
    acme::AcmeError,
    decision::{Reaction, retry::Failure},
    error_chain::ErrorChain,
    k8s::error_text,
    pki::{CsrError, KeyError, KeystoreError},
    reason::Reason,
};

/// Why a reconcile failed. Every failure is retried.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// An ACME request failed, and no decision has said yet when to retry it.
    #[error(transparent)]
    Acme(#[from] AcmeError),
    /// An ACME request failed, and a decision has said when to retry it.
    #[error("{source}")]
    AcmeRetry {
        /// Why, in the server's words.
        source: AcmeError,
        /// From now.
        after: Duration,
    },
    /// The CSR could not be built or signed.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The reconcile took too long and was canceled.
    #[error("failed to finish the reconcile within {} s", .0.as_secs())]
    Deadline(Duration),
    /// A private key could not be generated or parsed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key store could not be built.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The API server rejected a request or did not answer.
    #[error("failed to {what}: {}", error_text(&**error))]
    Kube {
        /// What was tried, such as `create Order a/b`.
        what: String,
        /// Why.
        error: Box<kube::Error>,
    },
    /// Another object holds something that can't be used. Retried with backoff, and when that object changes.
    #[error("failed to use {what}: {why}")]
    Invalid {
        /// Which object, such as `the key in the Secret "a/b"`.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another object is missing or not ready. Retried with backoff, and when that object changes.
    #[error("waiting for {what}: {why}")]
    Waiting {
        /// Which object, such as `the private key Secret "web-1"`.
        what: String,
        /// What it lacks and what happens next.
        why: String,
    },
    /// A bug in the operator. This object is retried; others are not affected.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

impl ReconcileError {
    /// The reason, for logs and events.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Acme(_) | Self::AcmeRetry { .. } => Reason::AcmeError,
            Self::Csr(_) => Reason::CsrError,
            Self::Deadline(_) => Reason::DeadlineExceeded,
            Self::Invalid { .. } => Reason::InvalidObject,
            Self::Internal(_) => Reason::InternalError,
            Self::Key(_) => Reason::KeyError,
            Self::Keystore(_) => Reason::KeystoreError,
            Self::Kube { .. } if self.failure() == Failure::Conflict => Reason::Conflict,
            Self::Kube { .. } if self.is_rejected() => Reason::Rejected,
            Self::Kube { .. } => Reason::ApiServerError,
            Self::Waiting { .. } => Reason::DependencyMissing,
        }
    }

    /// What the error means for the retry.
    pub fn failure(&self) -> Failure {
        match self {
            Self::AcmeRetry { after, .. } => Failure::Wait(*after),
            Self::Acme(error) => match Reaction::to(error) {
                Reaction::WaitFor(wait) => Failure::Wait(wait),
                Reaction::Retry | Reaction::RecoverAccount | Reaction::Fail => Failure::Other,
            },
            Self::Kube { error, .. } => match &**error {
                kube::Error::Api(status) if is_terminating(status) => Failure::NamespaceTerminating,
                kube::Error::Api(status) if status.is_conflict() || is_gone(status) => Failure::Conflict,
                _ => Failure::Unwatched,
            },
            Self::Invalid { .. } | Self::Waiting { .. } => Failure::Unwatched,
            Self::Csr(_) | Self::Deadline(_) | Self::Internal(_) | Self::Key(_) | Self::Keystore(_) => {
                Failure::Other
            }
        }
    }

    /// Whether the API server, or an admission webhook or policy, rejects what was to be written.
    pub fn is_rejected(&self) -> bool {
        let Self::Kube { error, .. } = self else { return false };
        matches!(&**error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422))
    }

    /// The fields of the spec that the API server does not accept, each with the reason.
    pub fn invalid_fields(&self) -> Vec<(String, String)> {
        let Self::Kube { error, .. } = self else { return Vec::new() };
        let kube::Error::Api(status) = &**error else { return Vec::new() };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let fields = causes.filter(|cause| status.code == 422 && cause.field.starts_with("spec"));
        fields.map(|cause| (cause.field.clone(), cause.message.clone())).collect()
    }

    /// The error with all its causes.
    pub fn chain(&self) -> String {
        ErrorChain(self).to_string()
    }
}

/// Whether an object was deleted meanwhile. A namespace or a kind that does not exist is for a user to correct.
fn is_gone(status: &kube::core::Status) -> bool {
    let kind = status.details.as_ref().map_or("", |details| details.kind.as_str());
    status.is_not_found() && !matches!(kind, "" | "namespaces")
}

/// Whether a request was rejected because its namespace is being deleted.
fn is_terminating(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Adds to an error of the API server what was tried.
pub(crate) trait Tried<T> {
    /// `what` completes "failed to".
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError>;
}

impl<T> Tried<T> for Result<T, kube::Error> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError> {
        self.map_err(|error| ReconcileError::Kube { what: what(), error: Box::new(error) })
    }
}
