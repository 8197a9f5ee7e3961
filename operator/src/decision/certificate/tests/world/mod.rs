//! The model world: a Certificate with everything that decisions about it depend on, an API server that conflicts and lags, a CA, and a
//! process that can end between any two effects.

mod actors;
mod effects;

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    annotations::secret::TLS_CRT,
    certmanager::{CertificatePrivateKey, JksKeystore, KeyAlgorithm, Keystores as WireKeystores},
    fixtures,
    meta::SecretKeySelector,
};
use hyper::StatusCode;
use k8s_openapi::api::core::v1::Secret;

use super::*;
use crate::{
    decision::backoff::IssuanceBackoff,
    pki::{Chain, PrivateKey},
};

const START: &str = "2026-01-01T00:00:00Z";

/// What the issuer's server responds when it is asked when to renew.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server {
    NoAccount,
    /// It has not responded yet.
    Silent,
    Unsupported,
    /// It suggests an hour that starts this long after the certificate is issued.
    Suggests(SignedDuration),
    Fails(StatusCode, Option<Duration>),
}

/// What happens once, between two effects of a reconcile.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The process ends, with everything that it remembers.
    Crash,
    /// A user edits the spec, so that a write of the status conflicts.
    EditSpec,
    /// A user deletes the Secret.
    DeleteSecret,
    /// A user deletes the latest CertificateRequest.
    DeleteRequest,
}

/// A reconcile ended early: it is retried.
#[derive(Debug)]
pub(super) struct Interrupted;

pub(super) struct World {
    pub(super) certificate: Certificate,
    pub(super) secret: Option<Secret>,
    /// The Secret that was deleted last: a backup has it.
    pub(super) lost_secret: Option<Secret>,
    pub(super) requests: Vec<Arc<CertificateRequest>>,
    pub(super) keys: BTreeMap<String, Arc<PrivateKey>>,
    pub(super) order_reason: Option<String>,
    pub(super) rivals: Vec<Arc<Certificate>>,
    pub(super) pace: Option<Pace>,
    /// Whether each request changes the pace.
    pub(super) is_paced: bool,
    /// When an object of a backup was last created.
    pub(super) restored: Option<Timestamp>,
    pub(super) issuer: Option<IssuerView>,
    pub(super) unsupported: Option<&'static str>,
    pub(super) server: Server,
    pub(super) set_secret_owner_ref: bool,
    /// The password in the Secret "passwords".
    pub(super) password: Option<&'static str>,
    pub(super) now: Timestamp,
    pub(super) notes: Vec<EventNote>,
    /// Why the Secret was written.
    pub(super) rewrites: Vec<Finding>,
    pub(super) writes: usize,
    /// What the last reconcile was waiting for.
    pub(super) waiting_for: Option<Dependency>,
    /// Happens after this many effects.
    pub(super) fault: Option<(usize, Fault)>,
    /// Whether the next reconcile sees the requests and keys of the one before.
    pub(super) lags: bool,
    cached_requests: Vec<Arc<CertificateRequest>>,
    /// Keys and requests that the process remembers.
    remembered: BTreeSet<String>,
    /// The certificate that the server was asked about last, and when.
    pub(super) last_check: Option<(String, Timestamp)>,
}

/// What a reconcile has read.
struct Observed {
    certificate: Certificate,
    secret: Option<SecretView>,
    requests: Vec<Arc<CertificateRequest>>,
    next_key_name: String,
    next_request_name: String,
    next_key: Option<Arc<PrivateKey>>,
    past_key: Option<String>,
    obtained: Obtained,
}

impl World {
    pub(super) fn new(change: impl FnOnce(&mut Certificate)) -> Self {
        let certificate = fixtures::certificate("web", |it| {
            it.metadata.namespace = Some("a".into());
            it.metadata.uid = Some("1".into());
            it.metadata.generation = Some(1);
            // Fast to generate.
            it.spec.private_key = Some(CertificatePrivateKey {
                algorithm: Some(KeyAlgorithm::ECDSA),
                ..CertificatePrivateKey::default()
            });
            change(it);
        });
        Self {
            certificate,
            secret: None,
            lost_secret: None,
            requests: Vec::new(),
            keys: BTreeMap::new(),
            order_reason: None,
            rivals: Vec::new(),
            pace: None,
            is_paced: false,
            restored: None,
            issuer: Some(IssuerView { ready: true, renewal_information_source: None }),
            unsupported: None,
            server: Server::Unsupported,
            set_secret_owner_ref: false,
            password: Some("secret"),
            now: START.parse().expect("a time"),
            notes: Vec::new(),
            rewrites: Vec::new(),
            writes: 0,
            waiting_for: None,
            fault: None,
            lags: false,
            cached_requests: Vec::new(),
            remembered: BTreeSet::new(),
            last_check: None,
        }
    }

    fn observe(&mut self) -> Observed {
        let next_key_name = next_key_name(&self.certificate);
        let lags = std::mem::take(&mut self.lags);
        if !lags {
            self.cached_requests.clone_from(&self.requests);
        }
        let named = self.certificate.status.as_ref().and_then(|it| it.next_private_key_secret_name.as_ref());
        let visible = !lags || named.is_some() || self.remembered.contains(&next_key_name);
        Observed {
            certificate: self.certificate.clone(),
            secret: self.secret_view(),
            requests: self.cached_requests.clone(),
            next_key: self.keys.get(&next_key_name).filter(|_| visible).cloned(),
            next_key_name,
            next_request_name: names::certificate_request(
                &self.certificate.name_any(),
                next_revision(&self.certificate),
            ),
            past_key: past_key_name(&self.certificate).filter(|name| self.keys.contains_key(name)),
            obtained: Obtained::default(),
        }
    }

    /// What the Secret contains. The test CA puts no key identifier into certificates, and gives all the same serial number. Here each gets
    /// a key identifier of its own, so that each has an identifier for renewal information (RFC 9773 section 4.1).
    pub(super) fn secret_view(&self) -> Option<SecretView> {
        let mut view = SecretView::parse(self.secret.as_ref()?);
        if let Part::Valid(leaf) = &mut view.leaf {
            let identity = format!("{} {:?} {:?}", leaf.not_before, leaf.dns_names, leaf.public_key_der);
            leaf.authority_key_identifier = Some(identity.into_bytes());
        }
        Some(view)
    }

    fn decide_on(&self, observed: &Observed) -> Result<Decision, Prerequisite> {
        decide(&View {
            certificate: &observed.certificate,
            secret: observed.secret.as_ref(),
            requests: &observed.requests,
            order_reason: self.order_reason.as_deref(),
            order_counts: true,
            next_request_name: &observed.next_request_name,
            left_behind: None,
            is_requested: false,
            pace: self.pace,
            restored: self.restored,
            problem: None,
            advice: None,
            rivals: &self.rivals,
            next_key: NextKey { secret_name: &observed.next_key_name, key: observed.next_key.as_ref() },
            past_key: observed.past_key.as_deref(),
            issuer: self.issuer,
            unsupported: self.unsupported,
            obtained: &observed.obtained,
            backoff: IssuanceBackoff::default(),
            set_secret_owner_ref: self.set_secret_owner_ref,
            started: START.parse().expect("a time"),
            now: self.now,
        })
    }

    /// The decision, or what it needs first, without any effect.
    pub(super) fn decide(&mut self) -> Result<Decision, Prerequisite> {
        let observed = self.observe();
        self.decide_on(&observed)
    }

    /// When the Certificate is reconciled again. Nothing may be missing for the decision.
    pub(super) fn requeue(&mut self) -> Requeue {
        self.decide().expect("nothing is missing").requeue
    }

    /// Reconciles until nothing is written any more, at most this often. Returns whether that is so.
    pub(super) fn run(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let before = self.writes;
            if let Ok(requeue) = self.reconcile()
                && self.writes == before
            {
                assert_ne!(requeue, Requeue::After(Duration::ZERO), "it would reconcile without end");
                return true;
            }
        }
        false
    }

    pub(super) fn reconcile(&mut self) -> Result<Requeue, Interrupted> {
        let mut observed = self.observe();
        let mut rounds = 0..5;
        let decision = loop {
            assert!(rounds.next().is_some(), "a prerequisite is asked for again");
            match self.decide_on(&observed) {
                Ok(decision) => break decision,
                Err(prerequisite) => self.obtain(prerequisite, &mut observed)?,
            }
        };
        for action in decision.actions {
            self.strike()?;
            self.perform(action, &observed)?;
        }
        self.waiting_for = decision.waiting_for;
        Ok(decision.requeue)
    }

    /// Lets the fault happen, if it is time.
    fn strike(&mut self) -> Result<(), Interrupted> {
        let Some((left, fault)) = self.fault.take() else { return Ok(()) };
        if left > 0 {
            self.fault = Some((left - 1, fault));
            return Ok(());
        }
        match fault {
            Fault::Crash => {
                self.remembered.clear();
                self.last_check = None;
                return Err(Interrupted);
            }
            Fault::EditSpec => self.edit_spec(),
            Fault::DeleteSecret => self.secret = None,
            Fault::DeleteRequest => _ = self.requests.pop(),
        }
        Ok(())
    }

    /// The next key, if it is stored.
    pub(super) fn next_key(&self) -> Option<&Arc<PrivateKey>> {
        self.keys.get(&next_key_name(&self.certificate))
    }

    pub(super) fn leaf(&self) -> Option<LeafCertificate> {
        Chain::from_pem(&self.data(TLS_CRT)?).ok().map(|chain| chain.leaf().clone())
    }

    pub(super) fn status(&self) -> &CertificateStatus {
        self.certificate.status.as_ref().expect("a status")
    }

    pub(super) fn renewal_time(&self) -> String {
        self.status().renewal_time.as_ref().expect("a renewal time").0.to_string()
    }

    /// The status and the reason of a condition.
    pub(super) fn condition(&self, type_: &str) -> Option<(ConditionStatus, &str)> {
        let found = condition::find(&self.certificate.status.as_ref()?.conditions, type_)?;
        Some((found.status, found.reason.as_deref()?))
    }

    pub(super) fn message(&self, type_: &str) -> &str {
        let found = condition::find(&self.status().conditions, type_);
        found.and_then(|found| found.message.as_deref()).expect("a message")
    }

    /// How many warnings with a reason were published.
    pub(super) fn warnings(&self, reason: Reason) -> usize {
        self.notes.iter().filter(|note| note.warning && note.reason == reason).count()
    }
}

pub(super) fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

pub(super) fn condition_of(type_: &str, status: ConditionStatus, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status,
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        observed_generation: None,
        last_transition_time: None,
    }
}

/// `spec.keystores` with a Java keystore, whose password is in the Secret "passwords".
pub(super) fn jks_with_password_reference() -> Box<WireKeystores> {
    let reference = SecretKeySelector { name: "passwords".into(), key: Some("jks".into()) };
    let jks = JksKeystore { create: true, password_secret_ref: Some(reference), ..JksKeystore::default() };
    Box::new(WireKeystores { jks: Some(jks), pkcs12: None })
}

/// A Certificate that has been issued.
pub(super) fn issued(change: impl FnOnce(&mut Certificate)) -> World {
    let mut world = World::new(change);
    assert!(world.run(5), "a certificate is requested");
    world.issue();
    assert!(world.run(5), "it settles");
    world
}
