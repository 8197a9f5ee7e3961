//! What the operator remembers between two reconciles of an object. All of it may be lost at any time: it saves requests, and nothing
//! depends on it for correctness.
//!
//! Knows values and lifetimes; must not do I/O. Next: `expectations.rs` for what was written and is not in the cache yet, `settled.rs` for
//! Certificates with nothing to do.

mod chains;
mod expectations;
mod renewal_info;
mod settled;
mod sweep;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;

pub use self::{
    chains::Chains,
    expectations::Expectations,
    renewal_info::{RenewalInfoRequest, RenewalInfoRequests},
    settled::{Settled, SettledCertificates},
    sweep::sweep,
};
use crate::{
    accounts::IssuerKey,
    decision::{
        certificate::Pace, challenge::ChallengeProgress, issuer::IssuerProgress, order::OrderProgress,
        problem::Problem, restoration, shim::Checked,
    },
    ephemeral_map::EphemeralMap,
    objects::EventNote,
    pki::PrivateKey,
};

/// Everything that is remembered, by what it is about.
pub struct Memory {
    /// When the process started, UTC.
    pub started: Timestamp,
    /// Objects that were created or deleted and may not be in the cache yet.
    pub expectations: Expectations,
    /// Certificates with nothing to do until a time or a change.
    pub settled: SettledCertificates,
    /// Requests for renewal information, and their responses.
    pub renewal_info: RenewalInfoRequests,
    /// Chains that were just issued, by UID of the CertificateRequest or Order.
    pub chains: Chains,
    /// Private keys of issuances in progress, by UID of the Certificate and name of the Secret.
    pub next_keys: EphemeralMap<(String, String), Arc<PrivateKey>>,
    /// Next-key Secrets that were deleted, by UID of the Certificate and name, until the watch reports the deletion.
    pub deleted_keys: EphemeralMap<(String, String), ()>,
    /// Orders that this process has created and not placed yet, by namespace and name: no other process can have placed them.
    pub created_orders: EphemeralMap<(String, String), ()>,
    /// Progress of Orders, by UID.
    pub orders: EphemeralMap<String, OrderProgress>,
    /// Progress of Challenges, by UID.
    pub challenges: EphemeralMap<String, ChallengeProgress>,
    /// Challenges whose route has something new in its status, by UID.
    pub woken: EphemeralMap<String, ()>,
    /// What the status of a Challenge's route said, by UID of the route, as a hash.
    pub route_statuses: EphemeralMap<String, u64>,
    /// The issuances of a Certificate in a row, by UID.
    pub paces: EphemeralMap<String, Pace>,
    /// The Secrets with keystore passwords that were read for a Certificate, by its UID.
    pub passwords: EphemeralMap<String, Vec<SecretVersion>>,
    /// Why the last reconcile of an object failed, by UID.
    pub problems: EphemeralMap<String, Problem>,
    /// The events that were last published about an Ingress or an issuer that is left alone, by UID: each is published once.
    pub notes: EphemeralMap<String, Vec<EventNote>>,
    /// What a check of a Certificate's managed fields has found, by UID: the resourceVersion, and that nothing has to change.
    pub checked_updates: EphemeralMap<String, (String, Checked)>,
    /// Progress of issuers whose requests to the CA fail, by UID.
    pub issuers: EphemeralMap<String, IssuerProgress>,
    /// Issuers whose account the server no longer knows.
    pub lost_accounts: EphemeralMap<IssuerKey, ()>,
    /// When an object of a backup was last created in a namespace.
    pub restored: EphemeralMap<String, Timestamp>,
    /// Whether this process may approve requests to a signer, and when the API server said so, UTC.
    pub approvals: EphemeralMap<String, (bool, Timestamp)>,
    /// Since when a namespace has had no Challenge.
    pub idle_since: EphemeralMap<String, Timestamp>,
    /// EndpointSlices as they were last written, by namespace and name.
    pub slices: EphemeralMap<(String, String), EndpointSlice>,
    namespace_locks: EphemeralMap<String, Arc<tokio::sync::Mutex<()>>>,
}

/// A Secret as it was read.
#[derive(Clone, Debug)]
pub struct SecretVersion {
    /// Its name.
    pub name: String,
    /// Its resourceVersion; `None` if it was missing.
    pub version: Option<String>,
}

impl Memory {
    /// An empty memory of a process that started at a time.
    pub fn new(started: Timestamp) -> Self {
        Self {
            started,
            expectations: Expectations::default(),
            settled: SettledCertificates::default(),
            renewal_info: RenewalInfoRequests::default(),
            chains: Chains::default(),
            next_keys: EphemeralMap::default(),
            deleted_keys: EphemeralMap::default(),
            created_orders: EphemeralMap::default(),
            orders: EphemeralMap::default(),
            challenges: EphemeralMap::default(),
            woken: EphemeralMap::default(),
            route_statuses: EphemeralMap::default(),
            paces: EphemeralMap::default(),
            passwords: EphemeralMap::default(),
            problems: EphemeralMap::default(),
            notes: EphemeralMap::default(),
            checked_updates: EphemeralMap::default(),
            issuers: EphemeralMap::default(),
            lost_accounts: EphemeralMap::default(),
            restored: EphemeralMap::default(),
            approvals: EphemeralMap::default(),
            idle_since: EphemeralMap::default(),
            slices: EphemeralMap::default(),
            namespace_locks: EphemeralMap::default(),
        }
    }

    /// The lock for what only one reconcile at a time may do in a namespace.
    pub fn namespace_lock(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        self.namespace_locks.get_or_insert_with(namespace.to_owned(), Arc::default)
    }

    /// Notes that an object of a backup was created in a namespace just now.
    pub fn note_restoration(&self, namespace: String, now: Timestamp) {
        self.restored.retain(|_, restored| restoration::may_continue(*restored, now));
        self.restored.put(namespace, now);
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.renewal_info.forget(uid);
        self.chains.take(uid);
        self.orders.forget(uid);
        self.challenges.forget(uid);
        self.woken.forget(uid);
        self.route_statuses.forget(uid);
        self.paces.forget(uid);
        self.passwords.forget(uid);
        self.problems.forget(uid);
        self.notes.forget(uid);
        self.checked_updates.forget(uid);
        self.issuers.forget(uid);
        self.next_keys.retain(|(owner, _), _| owner != uid);
        self.deleted_keys.retain(|(owner, _), ()| owner != uid);
    }
}
