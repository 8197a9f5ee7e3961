//! Why a reconcile did not come to its end, and what to do about it.

use std::time::Duration;

use crate::{
    acme::AcmeError,
    decision::Reaction,
    error_chain::ErrorChain,
    pki::{CsrError, KeyError, KeystoreError},
};

/// Why a reconcile did not come to its end. All of these are tried again.
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
    /// The CSR could not be made.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The time is over.
    #[error("failed to finish within {} s", .0.as_secs())]
    Deadline(Duration),
    /// The key could not be made or read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key store could not be made.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The API server did not do it.
    #[error("failed to {what}")]
    Kube {
        /// Such as `create Order a/b`.
        what: String,
        /// Why.
        source: Box<kube::Error>,
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
    /// Something that is needed is not there yet.
    #[error("failed to go on: {0}")]
    NotYet(String),
    /// A bug in the operator. This object is retried; others are not affected.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

impl ReconcileError {
    /// For logs and metrics: one word in PascalCase.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Acme(_) | Self::AcmeRetry { .. } => "AcmeError",
            Self::Csr(_) => "CsrError",
            Self::Deadline(_) => "DeadlineExceeded",
            Self::Invalid { .. } => "InvalidObject",
            Self::Internal(_) => "InternalError",
            Self::Key(_) => "KeyError",
            Self::Keystore(_) => "KeystoreError",
            Self::Kube { .. } if self.is_conflict() => "Conflict",
            Self::Kube { .. } => "ApiServerError",
            Self::NotYet(_) => "NotYet",
            Self::Waiting { .. } => "DependencyMissing",
        }
    }

    /// Whether the object had changed meanwhile: what is new will be seen at once.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { source, .. } if matches!(&**source, kube::Error::Api(status) if status.is_conflict() || status.is_not_found()))
    }

    /// Whether the namespace is going: what is in it goes by itself.
    pub fn is_terminating(&self) -> bool {
        let cause = |status: &kube::core::Status| {
            status
                .details
                .iter()
                .flat_map(|details| &details.causes)
                .any(|cause| cause.reason == "NamespaceTerminating")
        };
        matches!(self, Self::Kube { source, .. } if matches!(&**source, kube::Error::Api(status) if cause(status)))
    }

    /// How long to wait before the retry, if a decision or the ACME server has set that.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::AcmeRetry { after, .. } => Some(*after),
            Self::Acme(error) => match Reaction::to(error) {
                Reaction::WaitFor(wait) => Some(wait),
                Reaction::Retry | Reaction::RecoverAccount | Reaction::Fail => None,
            },
            _ => None,
        }
    }

    /// The whole chain of causes.
    pub fn chain(&self) -> String {
        ErrorChain(self).to_string()
    }
}

/// Says what was tried where the API server did not do it.
pub(crate) trait Tried<T> {
    /// `what` completes "failed to".
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError>;
}

impl<T> Tried<T> for Result<T, kube::Error> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ReconcileError> {
        self.map_err(|source| ReconcileError::Kube { what: what(), source: Box::new(source) })
    }
}
