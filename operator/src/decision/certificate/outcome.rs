//! The result of a CertificateRequest, as its conditions state it.

use crds::{
    certmanager::CertificateRequest,
    condition::{self, ConditionStatus},
};

use crate::{decision::request, reason::Reason};

/// What an issuer has signed.
pub(super) struct Issued {
    /// PEM, leaf first.
    pub chain: Vec<u8>,
    /// The certificate of the CA, PEM, if the issuer provides it. ACME issuers don't.
    pub ca: Option<Vec<u8>>,
}

/// The result of a CertificateRequest. Conditions are checked in cert-manager's order.
pub(super) enum Outcome {
    Failed { reason: Reason, message: String },
    Issued(Issued),
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
                let reason = if type_ == condition::DENIED { Reason::Denied } else { Reason::InvalidRequest };
                return Self::Failed { reason, message: text(&found.message) };
            }
        }
        let Some(ready) = condition::find(&status.conditions, condition::READY) else {
            return Self::Pending(None);
        };
        match (ready.status, ready.reason.as_deref(), &status.certificate) {
            (ConditionStatus::False, Some(reason), _) if reason == Reason::Failed.as_str() => {
                Self::Failed { reason: Reason::Failed, message: text(&ready.message) }
            }
            (ConditionStatus::True, _, Some(chain)) => Self::Issued(Issued {
                chain: chain.0.clone(),
                ca: status.ca.clone().map(|ca| ca.0).filter(|ca| !ca.is_empty()),
            }),
            _ => {
                // Waiting for its Order, or for an issuer that was just created, is normal and not worth a message.
                let is_normal =
                    |message: &String| message.starts_with(request::WAITING) || message == request::UNCHECKED;
                Self::Pending(ready.message.clone().filter(|message| !is_normal(message)))
            }
        }
    }
}
