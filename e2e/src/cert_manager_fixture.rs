//! What a cluster holds that cert-manager has served: Certificates, their Secrets, their last CertificateRequests, made in
//! great numbers without any ACME server. For what takes such a cluster over.
//!
//! Names, labels, annotations and states are cert-manager's: they are written here once more, and not taken from the
//! operator, so that what the operator believes is tested.

use anyhow::Result;
use clap::ValueEnum;
use futures::{TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::{core::v1::Secret, networking::v1::Ingress},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use testbed::{
    cluster::TRAEFIK,
    pki::{Authority, Validity},
};

use crds::certmanager::{Certificate, CertificateRequest};

use crate::harness::create_namespace;

/// The field manager of a Secret that cert-manager wrote.
pub const SECRET_MANAGER: &str = "cert-manager-certificates-issuing";

/// How many requests there are at once.
const CONCURRENCY: usize = 32;

/// How many namespaces a fixture is spread over.
const NAMESPACES: usize = 20;

/// How many RSA keys there are for a whole fixture: each takes a tenth of a second to make.
const RSA_KEYS: usize = 16;

/// The algorithm of the private keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyAlgorithm {
    /// 2048 bits: the default of a Certificate.
    Rsa,
    /// P-256.
    Ecdsa,
}

impl KeyAlgorithm {
    /// As `spec.privateKey.algorithm` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA",
        }
    }

    /// Makes a key.
    pub fn generate(self) -> Result<KeyPair> {
        let algorithm = match self {
            Self::Rsa => &PKCS_RSA_SHA256,
            Self::Ecdsa => &PKCS_ECDSA_P256_SHA256,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }
}

/// How much of what cert-manager leaves is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Certificates without status and their Secrets, as after a restore from a backup.
    Restored,
    /// Everything: the annotated Ingress that each Certificate is of, its status, the CertificateRequest of its issuance.
    Running,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The ClusterIssuer that everything is from.
    pub issuer: String,
    /// How many Certificates.
    pub count: usize,
    /// Their keys.
    pub key: KeyAlgorithm,
    /// When they were issued.
    pub not_before: Timestamp,
    /// How long they are valid.
    pub lifetime: SignedDuration,
    /// What is there beside Certificates and Secrets.
    pub completeness: Completeness,
}

impl Plan {
    /// Certificates with P-256 keys, issued an hour before `now` for 90 days.
    pub fn fresh(issuer: &str, count: usize, completeness: Completeness, now: Timestamp) -> Self {
        Self {
            issuer: issuer.to_owned(),
            count,
            key: KeyAlgorithm::Ecdsa,
            not_before: now - SignedDuration::from_hours(1),
            lifetime: SignedDuration::from_hours(90 * 24),
            completeness,
        }
    }

    /// The namespaces that it is spread over.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        (0..NAMESPACES.min(self.count)).map(namespace)
    }

    /// Makes all of it.
    pub async fn build(&self, client: &Client) -> Result<()> {
        for name in self.namespaces() {
            create_namespace(client, &name).await?;
        }
        let authority = Authority::new("Fixture")?;
        let shared: Vec<String> = match self.key {
            KeyAlgorithm::Rsa => (0..RSA_KEYS.min(self.count))
                .map(|_| Ok(self.key.generate()?.serialize_pem()))
                .collect::<Result<_>>()?,
            KeyAlgorithm::Ecdsa => Vec::new(),
        };
        stream::iter((0..self.count).map(Ok))
            .try_for_each_concurrent(CONCURRENCY, |index| self.make(client, &authority, &shared, index))
            .await
    }

    async fn make(
        &self,
        client: &Client,
        authority: &Authority,
        keys: &[String],
        index: usize,
    ) -> Result<()> {
        let (name, namespace) = (format!("c{index}"), namespace(index % NAMESPACES));
        let host = format!("{name}.{namespace}.example.test");
        let key = match keys {
            [] => self.key.generate()?,
            keys => KeyPair::from_pem(&keys[index % keys.len()])?,
        };
        let validity = Validity { not_before: self.not_before, lifetime: self.lifetime };
        let leaf = authority.leaf(&host, &key, &validity)?;
        let chain = format!("{leaf}{}", authority.certificate());
        let pem = key.serialize_pem();
        let secret = secret(&name, &self.issuer, &host, &chain, &pem)?;
        apply(client, &namespace, SECRET_MANAGER, &secret).await?;
        let mut certificate: Certificate = serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": { "name": name },
            "spec": self.spec(&name, &host),
        }))?;
        if self.completeness == Completeness::Running {
            let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &namespace);
            let ingress = ingresses.create(&PostParams::default(), &self.ingress(&name, &host)?).await?;
            certificate.metadata.owner_references =
                ingress.controller_owner_ref(&()).map(|owner| vec![owner]);
        }
        let certificates: Api<Certificate> = Api::namespaced(client.clone(), &namespace);
        let mut certificate = certificates.create(&PostParams::default(), &certificate).await?;
        if self.completeness == Completeness::Running {
            certificate.status = Some(serde_json::from_value(self.status(certificate.metadata.generation))?);
            let params = PostParams::default();
            certificates.replace_status(&name, &params, &certificate).await?;
            let request = self.request(&certificate, &host, &key, &chain)?;
            let requests: Api<CertificateRequest> = Api::namespaced(client.clone(), &namespace);
            let mut made = requests.create(&params, &request).await?;
            made.status = request.status;
            requests.replace_status(&made.name_any(), &params, &made).await?;
        }
        Ok(())
    }

    fn issuer_ref(&self) -> Value {
        json!({ "group": "cert-manager.io", "kind": "ClusterIssuer", "name": self.issuer })
    }

    fn ingress(&self, name: &str, host: &str) -> Result<Ingress> {
        Ok(serde_json::from_value(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": name,
                "annotations": {
                    "cert-manager.io/cluster-issuer": self.issuer,
                    "cert-manager.io/private-key-algorithm": self.key.name(),
                },
            },
            "spec": {
                "ingressClassName": TRAEFIK,
                "rules": [{ "host": host, "http": { "paths": [{
                    "path": "/",
                    "pathType": "Prefix",
                    "backend": { "service": { "name": "web", "port": { "number": 80 } } },
                }] } }],
                "tls": [{ "hosts": [host], "secretName": name }],
            },
        }))?)
    }

    fn spec(&self, name: &str, host: &str) -> Value {
        json!({
            "secretName": name,
            "dnsNames": [host],
            "issuerRef": self.issuer_ref(),
            "privateKey": { "algorithm": self.key.name() },
            "usages": ["digital signature", "key encipherment"],
        })
    }

    fn status(&self, generation: Option<i64>) -> Value {
        let not_after = self.not_before + self.lifetime;
        json!({
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "message": "Certificate is up to date and has not expired",
                "lastTransitionTime": self.not_before,
                "observedGeneration": generation,
            }],
            "notBefore": self.not_before,
            "notAfter": not_after,
            "renewalTime": not_after - self.lifetime / 3,
            "revision": 1,
        })
    }

    fn request(
        &self,
        certificate: &Certificate,
        host: &str,
        key: &KeyPair,
        chain: &str,
    ) -> Result<CertificateRequest> {
        let name = certificate.name_any();
        let mut csr = CertificateParams::new([host.to_owned()])?;
        csr.distinguished_name = DistinguishedName::new();
        let csr = csr.serialize_request(key)?.pem()?;
        let done = |type_: &str, reason: &str, message: &str| {
            json!({
                "type": type_,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": self.not_before,
            })
        };
        Ok(serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "CertificateRequest",
            "metadata": {
                "name": format!("{name}-1"),
                "annotations": {
                    "cert-manager.io/certificate-name": name,
                    "cert-manager.io/certificate-revision": "1",
                    "cert-manager.io/private-key-secret-name": format!("{name}-x7k2p"),
                },
                "ownerReferences": [certificate.controller_owner_ref(&())],
            },
            "spec": {
                "request": ByteString(csr.into_bytes()),
                "issuerRef": self.issuer_ref(),
                "usages": ["digital signature", "key encipherment"],
            },
            "status": {
                "certificate": ByteString(chain.as_bytes().to_vec()),
                "conditions": [
                    done("Approved", "cert-manager.io", "Certificate request has been approved by cert-manager.io"),
                    done("Ready", "Issued", "Certificate fetched from issuer successfully"),
                ],
            },
        }))?)
    }
}

fn namespace(index: usize) -> String {
    format!("fixture-{index}")
}

fn secret(name: &str, issuer: &str, host: &str, chain: &str, key: &str) -> Result<Secret> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": name,
            "labels": { "controller.cert-manager.io/fao": "true" },
            "annotations": {
                "cert-manager.io/alt-names": host,
                "cert-manager.io/certificate-name": name,
                "cert-manager.io/common-name": "",
                "cert-manager.io/ip-sans": "",
                "cert-manager.io/issuer-group": "cert-manager.io",
                "cert-manager.io/issuer-kind": "ClusterIssuer",
                "cert-manager.io/issuer-name": issuer,
                "cert-manager.io/uri-sans": "",
            },
        },
        "data": {
            "tls.crt": ByteString(chain.as_bytes().to_vec()),
            "tls.key": ByteString(key.as_bytes().to_vec()),
        },
    }))?)
}

/// Server-side apply of an object.
async fn apply<K>(client: &Client, namespace: &str, manager: &str, object: &K) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.patch(&object.name_any(), &PatchParams::apply(manager), &Patch::Apply(object)).await?;
    Ok(())
}
