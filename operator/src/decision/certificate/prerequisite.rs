//! What a decision about a Certificate may need that costs a request, and is therefore obtained only when a decision asks for it.

use std::sync::Arc;

use crds::meta::SecretKeySelector;

use super::{CertificateChain, FetchRenewalInfo, FetchedRenewalInfo, Passwords};
use crate::pki::{KeyKind, PrivateKey};

/// What has to be known, or to exist, before the rest can be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// The issuer's server has to be asked when to renew.
    RenewalInfo(FetchRenewalInfo),
    /// The next key has to be made and stored. Until it is durable, no action that uses it can be decided.
    NextKey {
        /// The name of the Secret that keeps it.
        secret_name: String,
        /// Where it comes from.
        source: KeySource,
    },
    /// The key and the chain have to be read from the Certificate's Secret.
    KeyPair,
    /// The passwords of keystores have to be read from the Secrets that hold them.
    KeystorePasswords(Vec<SecretKeySelector>),
}

/// Where the next private key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// It is generated.
    Generate(KeyKind),
    /// It is the one in the Certificate's Secret, because `spec.privateKey.rotationPolicy` is Never.
    Reuse,
}

/// What was obtained in this reconcile. `None` was not asked for.
#[derive(Debug, Default)]
pub struct Obtained {
    /// For [`Prerequisite::RenewalInfo`].
    pub renewal_info: Option<FetchedRenewalInfo>,
    /// For [`Prerequisite::KeyPair`].
    pub key_pair: Option<KeyPair>,
    /// For [`Prerequisite::KeystorePasswords`].
    pub passwords: Option<Passwords>,
}

/// The key and the chain in a Certificate's Secret.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// `tls.key`.
    pub key: Arc<PrivateKey>,
    /// `tls.crt`.
    pub chain: CertificateChain,
    /// `ca.crt`, PEM, if the operator's field manager owns it.
    pub ca: Option<Vec<u8>>,
}

/// An object that is missing or not usable, as [`ReconcileError::Waiting`](crate::error::ReconcileError::Waiting) reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Which object, such as `the Secret "passwords"`.
    pub what: String,
    /// What it lacks, and what to do.
    pub why: String,
}

/// Why a decision ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// It can't be made yet.
    Prerequisite(Prerequisite),
    /// The next step can't be taken. It is always the one before the status is written.
    WaitingFor(Dependency),
}

impl From<Prerequisite> for Stop {
    fn from(prerequisite: Prerequisite) -> Self {
        Self::Prerequisite(prerequisite)
    }
}
