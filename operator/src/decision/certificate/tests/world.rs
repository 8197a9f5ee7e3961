//! The model world.

use std::{collections::BTreeMap, time::Duration};

use crds::{
    certmanager::{CertificatePrivateKey, CertificateRequestStatus, KeyAlgorithm},
    fixtures,
};
use jiff::SignedDuration;
use k8s_openapi::ByteString;

use super::super::*;
use crate::pki::{self, Chain};

const START: &str = "2026-01-01T00:00:00Z";

/// What there is, and what has happened.
pub(super) struct World {
    pub(super) certificate: Certificate,
    pub(super) secret: Option<SecretView>,
    pub(super) requests: Vec<Arc<CertificateRequest>>,
    pub(super) keys: BTreeMap<String, PrivateKey>,
    pub(super) order_reason: Option<String>,
    pub(super) renewal_information: Option<RenewalInformation>,
    pub(super) rivals: Vec<Arc<Certificate>>,
    pub(super) now: Timestamp,
    pub(super) notes: Vec<EventNote>,
    pub(super) writes: usize,
    /// After how many more actions the process ends once, with what it remembers.
    pub(super) fuse: Option<usize>,
}

impl World {
    pub(super) fn new(change: impl FnOnce(&mut Certificate)) -> Self {
        let certificate = fixtures::certificate("web", |it| {
            it.metadata.namespace = Some("a".into());
            it.metadata.uid = Some("1".into());
            it.metadata.generation = Some(1);
            // Quick to make.
            it.spec.private_key = Some(CertificatePrivateKey {
                algorithm: Some(KeyAlgorithm::ECDSA),
                ..CertificatePrivateKey::default()
            });
            change(it);
        });
        Self {
            certificate,
            secret: None,
            requests: Vec::new(),
            keys: BTreeMap::new(),
            order_reason: None,
            renewal_information: None,
            rivals: Vec::new(),
            now: START.parse().expect("a time"),
            notes: Vec::new(),
            writes: 0,
            fuse: None,
        }
    }

    pub(super) fn decide(&self) -> Decision {
        let name = next_key_name(&self.certificate);
        let past = past_key_name(&self.certificate).filter(|name| self.keys.contains_key(name));
        decide(&View {
            certificate: &self.certificate,
            secret: self.secret.as_ref(),
            requests: &self.requests,
            order_reason: self.order_reason.as_deref(),
            rivals: &self.rivals,
            next_key: (&name, self.next_key()),
            past_key: past.as_deref(),
            renewal_information: self.renewal_information.clone(),
            backoff: IssuanceBackoff::default(),
            now: self.now,
        })
    }

    pub(super) fn next_key(&self) -> Option<&PrivateKey> {
        self.keys.get(&next_key_name(&self.certificate))
    }

    /// Does what is decided, until nothing is or `most` looks are over. Returns whether it came to rest.
    pub(super) fn run(&mut self, most: usize) -> bool {
        for _ in 0..most {
            let before = self.writes;
            let mut ended = false;
            for action in self.decide().actions {
                if self.fuse == Some(0) {
                    self.fuse = None;
                    ended = true;
                    break;
                }
                self.fuse = self.fuse.map(|left| left - 1);
                self.apply(action);
            }
            if self.writes == before && !ended {
                assert_ne!(self.decide().requeue, Requeue::After(Duration::ZERO), "it would never end");
                return true;
            }
        }
        false
    }

    pub(super) fn apply(&mut self, action: Action) {
        let desired = DesiredCertificate::parse(&self.certificate.spec).expect("a good spec");
        match action {
            Action::EnsureNextKey { name, reuse } => {
                assert!(!reuse, "the model has no Secret to take it from");
                self.keys.entry(name).or_insert_with(|| PrivateKey::generate(desired.key).expect("a key"));
                self.writes += 1;
            }
            Action::WriteStatus(status) => {
                if self.certificate.status.as_ref() != Some(&*status) {
                    self.certificate.status = Some(*status);
                    self.writes += 1;
                }
            }
            Action::CreateRequest { name, revision } => {
                let key = self.next_key().expect("the key comes first");
                let csr = desired.csr.sign_pem(key).expect("a CSR");
                let request =
                    objects::certificate_request::build(&self.certificate, &name, revision, "key", &csr);
                self.requests.push(Arc::new(request));
                self.writes += 1;
            }
            Action::DeleteRequest(name) => {
                self.requests.retain(|request| request.name_any() != name);
                self.writes += 1;
            }
            Action::WriteSecret { chain } => {
                let key = self.next_key().expect("the key is kept until then");
                let chain_read = Chain::from_pem(chain.as_bytes()).expect("a chain");
                let secret = objects::secret::certificate(
                    &self.certificate,
                    chain_read.leaf(),
                    &chain,
                    key,
                    desired.encoding,
                    BTreeMap::new(),
                );
                self.secret = Some(SecretView::parse(&secret.expect("a Secret")));
                self.writes += 1;
            }
            Action::DeleteNextKey(name) => {
                self.keys.remove(&name);
                self.writes += 1;
            }
            Action::WriteTemporary | Action::RewriteSecret => self.writes += 1,
            Action::Publish { note, .. } => self.notes.push(note),
        }
    }

    /// The request that is under way becomes something.
    pub(super) fn answer(&mut self, change: impl FnOnce(&mut CertificateRequestStatus)) {
        let request = self.requests.pop().expect("a request");
        let mut request = (*request).clone();
        change(request.status.get_or_insert_default());
        self.requests.push(Arc::new(request));
    }

    /// The CA issues what was asked for, valid for so long.
    pub(super) fn issue(&mut self) {
        let (key, now) = (self.next_key().expect("a key"), self.now);
        let names = self.certificate.spec.dns_names.clone().unwrap_or_default();
        // A CA of another name than the temporary one.
        let chain = pki::testing::issue(key, &names, now, SignedDuration::from_hours(90 * 24));
        self.answer(|status| {
            status.certificate = Some(ByteString(chain.into_bytes()));
            status.conditions.push(ready(ConditionStatus::True, "Issued", ""));
        });
    }

    pub(super) fn fail(&mut self, message: &str) {
        let time = condition::whole_seconds(self.now);
        self.answer(|status| {
            status.failure_time = Some(time);
            status.conditions.push(ready(ConditionStatus::False, "Failed", message));
        });
    }

    pub(super) fn wait(&mut self, duration: SignedDuration) {
        self.now += duration;
    }

    pub(super) fn condition(&self, type_: &str) -> Option<(ConditionStatus, String, String)> {
        let status = self.certificate.status.as_ref()?;
        let found = condition::find(&status.conditions, type_)?.clone();
        Some((found.status, found.reason?, found.message?))
    }

    pub(super) fn status(&self) -> &CertificateStatus {
        self.certificate.status.as_ref().expect("a status")
    }
}

pub(super) fn ready(status: ConditionStatus, reason: &str, message: &str) -> Condition {
    Condition {
        type_: condition::READY.to_owned(),
        status,
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        observed_generation: None,
        last_transition_time: None,
    }
}

/// One that has been issued.
pub(super) fn issued(change: impl FnOnce(&mut Certificate)) -> World {
    let mut world = World::new(change);
    assert!(world.run(5), "it asks without end");
    world.issue();
    assert!(world.run(5), "it does not come to rest");
    world
}
