//! What the API server and the issuer's server do with what is obtained and performed.

use crds::annotations::{
    request::REPLACES,
    secret::{CA_CRT, TLS_CRT, TLS_KEY},
};
use serde_json::json;

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::Time};

use super::*;
use crate::{acme::AcmeError, pki};

/// The shortest time between two checks of renewal information: an hour, minus a tenth.
const SHORTEST_CHECK: SignedDuration = SignedDuration::from_mins(54);

impl World {
    pub(super) fn obtain(
        &mut self,
        prerequisite: Prerequisite,
        observed: &mut Observed,
    ) -> Result<(), Interrupted> {
        self.strike()?;
        match prerequisite {
            Prerequisite::RenewalInfo(fetch) => {
                let leaf = observed.secret.as_ref().and_then(SecretView::leaf).expect("a leaf");
                observed.obtained.renewal_info = Some(self.respond(&fetch, leaf.not_before));
            }
            Prerequisite::NextKey { secret_name, source } => {
                let key = match source {
                    KeySource::Generate(kind) => PrivateKey::generate(kind).expect("a key"),
                    KeySource::Reuse => self.read_key().ok_or(Interrupted)?,
                };
                self.writes += 1;
                self.remembered.insert(secret_name.clone());
                observed.next_key = Some(Arc::clone(self.keys.entry(secret_name).or_insert(Arc::new(key))));
            }
            Prerequisite::KeyPair => {
                let key = Arc::new(self.read_key().ok_or(Interrupted)?);
                let pem = String::from_utf8(self.data(TLS_CRT).ok_or(Interrupted)?).expect("text");
                let chain = CertificateChain::from_pem(pem).expect("a chain");
                observed.obtained.key_pair =
                    Some(KeyPair { key, chain, ca: self.data(CA_CRT).filter(|ca| !ca.is_empty()) });
            }
            Prerequisite::KeystorePasswords(references) => {
                let password = self.password.map(Password::from);
                let read = references.into_iter().map(|reference| (reference, password.clone()));
                observed.obtained.passwords = Some(Passwords(read.collect()));
            }
        }
        Ok(())
    }

    fn respond(&mut self, fetch: &FetchRenewalInfo, issued: Timestamp) -> FetchedRenewalInfo {
        let response = match self.server {
            Server::NoAccount => return FetchedRenewalInfo::NoAccount,
            Server::Silent => return FetchedRenewalInfo::Awaited,
            // Known from the directory: there is no request.
            Server::Unsupported => {
                return FetchedRenewalInfo::Response(Err(AcmeError::Unsupported("renewalInfo".into())));
            }
            Server::Suggests(after) => {
                let window = json!({ "start": issued + after, "end": issued + after + hours(1) });
                Ok(serde_json::from_value(json!({ "suggestedWindow": window })).expect("renewal information"))
            }
            Server::Fails(status, retry_after) => Err(AcmeError::Problem {
                problem: serde_json::from_value(json!({ "type": "urn:ietf:params:acme:error:serverInternal", "detail": "down for maintenance" })).expect("a problem"),
                status,
                retry_after,
            }),
        };
        let last = self.last_check.replace((fetch.identifier.clone(), self.now));
        if let Some((_, time)) = last.filter(|(identifier, _)| *identifier == fetch.identifier) {
            assert!(self.now.duration_since(time) >= SHORTEST_CHECK, "the server is asked too often");
        }
        FetchedRenewalInfo::Response(response)
    }

    pub(super) fn perform(&mut self, action: Action, observed: &Observed) -> Result<(), Interrupted> {
        match action {
            Action::WriteStatus(status) => self.write_status(*status, observed)?,
            Action::CreateRequest(plan) => self.create_request(*plan)?,
            Action::DeleteRequest(name) => {
                self.requests.retain(|request| request.name_any() != name);
                self.remembered.remove(&name);
                self.writes += 1;
            }
            Action::WriteSecret { plan, chain, why } => {
                if why.reason == Reason::Issuing {
                    // What is known is dropped with the replaced certificate, even if that is the same one after a crash.
                    self.last_check = None;
                }
                let public_key_der = plan.key.public_key_der().expect("a public key");
                assert_eq!(
                    chain.parsed().leaf().public_key_der,
                    public_key_der,
                    "key and chain belong together"
                );
                self.rewrites.push(why);
                self.write_secret(*plan, &chain)?;
            }
            Action::WriteTemporary { plan, dns_names, ip_addresses } => {
                let pem = pki::temporary(&plan.key, &dns_names, &ip_addresses, self.now).expect("a chain");
                self.write_secret(*plan, &CertificateChain::from_pem(pem).expect("a chain"))?;
            }
            Action::DeleteNextKey(name) => {
                self.keys.remove(&name);
                self.remembered.remove(&name);
                self.writes += 1;
            }
            Action::Publish { note, .. } => self.notes.push(note),
        }
        Ok(())
    }

    fn write_status(&mut self, status: CertificateStatus, observed: &Observed) -> Result<(), Interrupted> {
        if observed.certificate.status.as_ref() == Some(&status) {
            return Ok(());
        }
        if self.certificate.metadata.generation != observed.certificate.metadata.generation {
            // A conflict: what the server responded is lost as well.
            self.last_check = None;
            return Err(Interrupted);
        }
        self.certificate.status = Some(status);
        self.writes += 1;
        Ok(())
    }

    fn create_request(&mut self, plan: RequestPlan) -> Result<(), Interrupted> {
        let stored = self.keys.get(&plan.key_secret_name).expect("the key is stored first");
        assert_eq!(stored.public_key_der().ok(), plan.key.public_key_der().ok(), "the stored key signs");
        if self.remembered.contains(&plan.name) && self.requests.iter().any(|it| it.name_any() == plan.name) {
            // The cache lags: the request is awaited.
            return Err(Interrupted);
        }
        if self.requests.iter().all(|request| request.name_any() != plan.name) {
            let csr = plan.csr.sign_pem(&plan.key).expect("a CSR");
            let (name, key) = (&plan.name, &plan.key_secret_name);
            let mut request =
                objects::certificate_request::build(&self.certificate, name, plan.revision, key, &csr);
            request.metadata.creation_timestamp = Some(Time(self.now));
            request.annotations_mut().extend(plan.replaces.map(|it| (REPLACES.to_owned(), it)));
            if self.is_paced {
                self.pace = Some(Pace::after(self.pace, plan.revision, plan.cause, self.now));
            }
            self.requests.push(Arc::new(request));
            self.remembered.insert(plan.name);
        }
        self.writes += 1;
        Ok(())
    }

    fn write_secret(&mut self, plan: SecretPlan, chain: &CertificateChain) -> Result<(), Interrupted> {
        if self.secret.is_some() && !plan.force {
            return Err(Interrupted);
        }
        let stores = [
            plan.keystores.jks.map(|store| (objects::secret::JKS, store.password)),
            plan.keystores.pkcs12.map(|store| (objects::secret::PKCS12, store.password)),
        ];
        let stores = stores.into_iter().flatten();
        let stores = stores.map(|(name, it)| (name.to_owned(), it.reveal().as_bytes().to_vec())).collect();
        let leaf = chain.parsed().leaf();
        let secret = objects::secret::certificate(
            &self.certificate,
            leaf,
            chain.pem(),
            &plan.key,
            plan.encoding,
            stores,
        );
        let mut secret = secret.expect("a Secret");
        objects::secret::keep_outdated(&mut secret, plan.keystores.outdated);
        // A field of another manager stays, unless it is taken over.
        let is_ours = self.secret.as_ref().is_some_and(|it| it.metadata.managed_fields.is_some());
        let theirs = self.data(CA_CRT).filter(|_| !is_ours);
        let fields = plan.ca.is_some().then(|| json!({ "f:data": { "f:ca.crt": {}, "f:tls.crt": {} } }));
        let ca = plan.ca.or(theirs).map(|ca| (CA_CRT.to_owned(), ByteString(ca)));
        secret.data.get_or_insert_default().extend(ca);
        self.secret = Some(secret);
        if let Some(fields) = fields {
            self.manage(fields);
        }
        self.writes += 1;
        Ok(())
    }

    pub(in super::super) fn data(&self, name: &str) -> Option<Vec<u8>> {
        Some(self.secret.as_ref()?.data.as_ref()?.get(name)?.0.clone())
    }

    pub(in super::super) fn read_key(&self) -> Option<PrivateKey> {
        PrivateKey::from_pem(&self.data(TLS_KEY)?).ok()
    }
}
