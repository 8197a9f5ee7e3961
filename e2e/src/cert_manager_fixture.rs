//! The objects of a cluster that cert-manager has served: thousands of Ingresses, Certificates, Secrets, CertificateRequests, and
//! Orders, created without an ACME server. For tests and benchmarks of a takeover.
//!
//! Knows cert-manager's names, labels, annotations, and states. They are repeated here and must not come from the operator, so that
//! the operator's assumptions are tested. Next: `cert_manager.rs` for the real cert-manager.

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

use crds::{
    acme::Order,
    certmanager::{Certificate, CertificateRequest},
};

use crate::harness::create_namespace;

/// The field manager with which cert-manager writes Secrets.
const SECRET_MANAGER: &str = "cert-manager-certificates-issuing";

/// The number of concurrent API requests.
const CONCURRENCY: usize = 32;

/// The number of namespaces that the objects are spread over, unless the plan says otherwise.
const NAMESPACES: usize = 20;

/// The number of RSA keys that all objects share: generating one takes a tenth of a second.
const RSA_KEYS: usize = 16;

/// An algorithm of private keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyAlgorithm {
    /// RSA with 2048 bits, the default of a Certificate.
    Rsa,
    /// ECDSA with P-256.
    Ecdsa,
}

impl KeyAlgorithm {
    /// The value in `spec.privateKey.algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ecdsa => "ECDSA",
        }
    }

    /// Generates a key.
    pub fn generate(self) -> Result<KeyPair> {
        let algorithm = match self {
            Self::Rsa => &PKCS_RSA_SHA256,
            Self::Ecdsa => &PKCS_ECDSA_P256_SHA256,
        };
        Ok(KeyPair::generate_for(algorithm)?)
    }
}

/// The objects to create: for each Certificate the annotated Ingress that owns it, its Secret, its CertificateRequest, and its Order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The ClusterIssuer that all Certificates refer to.
    pub issuer: String,
    /// The number of Certificates.
    pub count: usize,
    /// The number of namespaces that the objects are spread over.
    pub namespaces: usize,
    /// The algorithm of their private keys.
    pub key: KeyAlgorithm,
    /// The time at which they were issued, and from which they are valid.
    pub not_before: Timestamp,
    /// How long they are valid.
    pub lifetime: SignedDuration,
}

impl Plan {
    /// Certificates with P-256 keys, issued an hour before `now` for 90 days.
    pub fn fresh(issuer: &str, count: usize, now: Timestamp) -> Self {
        Self {
            issuer: issuer.to_owned(),
            count,
            namespaces: NAMESPACES.min(count),
            key: KeyAlgorithm::Ecdsa,
            not_before: now - SignedDuration::from_hours(1),
            lifetime: SignedDuration::from_hours(90 * 24),
        }
    }

    /// The namespaces that the objects are spread over.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        (0..self.namespaces).map(namespace)
    }

    /// Creates all objects, and their namespaces.
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
            .try_for_each_concurrent(CONCURRENCY, |index| self.create(client, &authority, &shared, index))
            .await
    }

    async fn create(
        &self,
        client: &Client,
        authority: &Authority,
        keys: &[String],
        index: usize,
    ) -> Result<()> {
        let (name, namespace) = (format!("c{index}"), namespace(index % self.namespaces));
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
        let ingresses: Api<Ingress> = Api::namespaced(client.clone(), &namespace);
        let params = PostParams::default();
        let ingress = ingresses.create(&params, &self.ingress(&name, &host)?).await?;
        let certificate: Certificate = serde_json::from_value(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": { "name": name, "ownerReferences": [ingress.controller_owner_ref(&())] },
            "spec": self.spec(&name, &host),
        }))?;
        let certificates: Api<Certificate> = Api::namespaced(client.clone(), &namespace);
        let mut certificate = certificates.create(&params, &certificate).await?;
        certificate.status = Some(serde_json::from_value(self.status(certificate.metadata.generation))?);
        certificates.replace_status(&name, &params, &certificate).await?;
        let request = self.request(&certificate, &host, &key, &chain)?;
        let requests: Api<CertificateRequest> = Api::namespaced(client.clone(), &namespace);
        let mut created = requests.create(&params, &request).await?;
        created.status = request.status;
        requests.replace_status(&created.name_any(), &params, &created).await?;
        let order = self.order(&created, &host, &chain)?;
        let orders: Api<Order> = Api::namespaced(client.clone(), &namespace);
        let mut created = orders.create(&params, &order).await?;
        created.status = order.status;
        orders.replace_status(&created.name_any(), &params, &created).await?;
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

    /// The Order of a request, as it is left behind when the certificate was issued, with the sizes of Let's Encrypt's URLs and tokens.
    fn order(&self, request: &CertificateRequest, host: &str, chain: &str) -> Result<Order> {
        const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/acme";
        let name = request.name_any();
        let challenge = |type_: &str| {
            json!({
                "token": "tJQhhW2dQcmcSsFtVbZCaSDNYhsfHIVfD3XpZ3vK0aE",
                "type": type_,
                "url": format!("{DIRECTORY}/chall/1234567890/412345678901/{type_}"),
            })
        };
        Ok(serde_json::from_value(json!({
            "apiVersion": "acme.cert-manager.io/v1",
            "kind": "Order",
            "metadata": {
                "name": format!("{name}-3811205437"),
                "annotations": request.annotations(),
                "ownerReferences": [request.controller_owner_ref(&())],
            },
            "spec": {
                "dnsNames": [host],
                "issuerRef": self.issuer_ref(),
                "request": request.spec.request,
            },
            "status": {
                "authorizations": [{
                    "challenges": (["http-01", "dns-01", "tls-alpn-01"].map(challenge)),
                    "identifier": host,
                    "initialState": "pending",
                    "url": format!("{DIRECTORY}/authz/1234567890/412345678901"),
                    "wildcard": false,
                }],
                "certificate": ByteString(chain.as_bytes().to_vec()),
                "finalizeURL": format!("{DIRECTORY}/finalize/1234567890/312345678901"),
                "state": "valid",
                "url": format!("{DIRECTORY}/order/1234567890/312345678901"),
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

/// Applies an object server-side.
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
