//! The result of a CertificateRequest, as its conditions state it.

use crds::{
    certmanager::CertificateRequest,
    condition::{self, ConditionStatus},
};

use crate::decision::request;

/// The result of a CertificateRequest. Conditions are checked in cert-manager's order.
pub(super) enum Outcome {
    Failed { reason: String, message: String },
    Issued(Vec<u8>),
    Pending(Option<String>),
}

impl Outcome {
    pub(super) fn of(request: &CertificateRequest) -> Self {
        let Some(status) = &request.status else { return Self::Pending(None) };
        let text = |of: &Option<String>| of.clone().unwrap_or_default();
        for type_ in [condition::INVALID_REQUEST, condition::DENIED] {
            if let Some(found) = condition::find(&status.conditions, type_)
                && found.status == ConditionStatus::True
            {
                let reason = if type_ == condition::DENIED { "Denied" } else { "InvalidRequest" };
                return Self::Failed { reason: reason.to_owned(), message: text(&found.message) };
            }
        }
        let Some(ready) = condition::find(&status.conditions, condition::READY) else {
            return Self::Pending(None);
        };
        match (ready.status, ready.reason.as_deref(), &status.certificate) {
            (ConditionStatus::False, Some("Failed"), _) => {
                Self::Failed { reason: "Failed".to_owned(), message: text(&ready.message) }
            }
            (ConditionStatus::True, _, Some(chain)) => Self::Issued(chain.0.clone()),
            _ => {
                // Waiting for its Order is normal, and not worth a message.
                let message = ready.message.clone();
                Self::Pending(message.filter(|message| !message.starts_with(request::WAITING)))
            }
        }
    }
}
