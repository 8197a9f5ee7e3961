//! What a decision about a Certificate can do. Each action carries everything that it needs, so that nothing is read or chosen when it is
//! performed.

use std::{net::IpAddr, sync::Arc};

use crds::certmanager::CertificateStatus;

use super::{Cause, CertificateChain, Finding, SecretPlan};
use crate::{
    objects::EventNote,
    pki::{CsrRequest, PrivateKey},
};

/// Something to do, in the order of an issuance. An action that needs a private key has it, so it can't exist before the key is stored.
#[derive(Clone, Debug)]
pub enum Action {
    /// Writes the status, if it differs.
    WriteStatus(Box<CertificateStatus>),
    /// Issues a temporary certificate and writes it to the Secret. Clients don't trust it, but an ingress controller can start with it.
    WriteTemporary {
        /// The rest of the Secret.
        plan: Box<SecretPlan>,
        /// The names in the certificate.
        dns_names: Vec<String>,
        /// The addresses in the certificate.
        ip_addresses: Vec<IpAddr>,
    },
    /// Signs a CSR and creates a CertificateRequest with it.
    CreateRequest(Box<RequestPlan>),
    /// Deletes a CertificateRequest.
    DeleteRequest(String),
    /// Writes the Secret.
    WriteSecret {
        /// The rest of the Secret.
        plan: Box<SecretPlan>,
        /// What goes to `tls.crt`.
        chain: Box<CertificateChain>,
        /// Why, for logs.
        why: Finding,
    },
    /// Deletes the Secret with a next key.
    DeleteNextKey(String),
    /// Publishes an Event on the Certificate.
    Publish {
        /// Which controller of cert-manager publishes such an event.
        source: EventSource,
        /// What the event says.
        note: EventNote,
    },
}

/// The controller of cert-manager in whose name an event is published. Two, because Kubernetes merges events with the same source and
/// reason, and `Issuing` is the reason at both ends of an issuance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// It starts issuances.
    Trigger,
    /// It ends them.
    Issuing,
}

/// A CertificateRequest to be created.
#[derive(Clone, Debug)]
pub struct RequestPlan {
    /// Its name.
    pub name: String,
    /// The revision of the Certificate that it leads to.
    pub revision: i64,
    /// The key that signs the CSR.
    pub key: Arc<PrivateKey>,
    /// The Secret with that key.
    pub key_secret_name: String,
    /// What the CSR asks for.
    pub csr: CsrRequest,
    /// Why it is requested.
    pub cause: Cause,
    /// The identifier (RFC 9773 section 4.1) of the certificate that the new one replaces, for the CA's rate limits.
    pub replaces: Option<String>,
}
