//! Why a reconcile did not come to its end, and what to do about it.

use std::time::Duration;

use crate::{
    acme::{AcmeError, Class},
    error_chain::ErrorChain,
    pki::{CsrError, KeyError, KeystoreError},
};

/// Why a reconcile did not come to its end. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The ACME server did not do it.
    #[error(transparent)]
    Acme(#[from] AcmeError),
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
    /// Something that is needed is not there yet.
    #[error("failed to go on: {0}")]
    NotYet(String),
    /// A mistake in this program. The object is tried again; the others go on.
    #[error("failed by a mistake of this program: {0}")]
    Panic(String),
}

impl ReconcileError {
    /// For logs and metrics: one word in PascalCase.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Acme(_) => "AcmeError",
            Self::Csr(_) => "CsrError",
            Self::Deadline(_) => "DeadlineExceeded",
            Self::Key(_) => "KeyError",
            Self::Keystore(_) => "KeystoreError",
            Self::Kube { .. } if self.is_conflict() => "Conflict",
            Self::Kube { .. } => "ApiServerError",
            Self::NotYet(_) => "NotYet",
            Self::Panic(_) => "Panic",
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

    /// How long the ACME server asked to wait, if that is why.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Acme(error) => match error.class() {
                Class::RateLimited { retry_after } => retry_after,
                Class::Fatal | Class::Refused | Class::Transient => None,
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
