//! What users do in their namespace: create an issuer, annotate an Ingress, wait for the certificate.
//!
//! Knows the API objects and what Traefik serves; uses `operator.rs` only to wait until the operator is idle and to print its log.
//! Next: `scenarios.rs` for what happens to users.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use crds::{
    certmanager::{Certificate, ClusterIssuer},
    condition::{self, Condition, ConditionStatus},
};
use k8s_openapi::{
    ByteString,
    api::{core::v1::Secret, networking::v1::Ingress},
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::{
    audit::AuditMark,
    cluster::Cluster,
    http::Trust,
    ingress,
    pebble::Pebble,
    probe::{self, ServedChain},
};
use tokio::time::sleep;

use crate::{
    harness::{self, await_condition},
    operator,
};

/// The field manager of a user.
const MANAGER: &str = "user";

/// A user with a namespace.
#[derive(Clone)]
pub struct User<'a> {
    /// The cluster that the namespace is in.
    pub cluster: &'a Cluster,
    /// A client with all permissions.
    pub client: kube::Client,
    /// The namespace of everything that the user creates, except ClusterIssuers.
    pub namespace: String,
}

impl<'a> User<'a> {
    /// A user of a namespace that exists already.
    pub async fn new(cluster: &'a Cluster, namespace: &str) -> Result<Self> {
        Ok(Self { cluster, client: cluster.client().await?, namespace: namespace.to_owned() })
    }

    /// A host name that no other namespace uses.
    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}.example.test", self.namespace)
    }

    /// The objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a ClusterIssuer for a Pebble with an HTTP-01 solver for Traefik. `change` is a JSON merge patch (RFC 7396) of
    /// `spec.acme`.
    pub async fn apply_cluster_issuer(&self, name: &str, pebble: &Pebble, change: Value) -> Result<()> {
        self.cluster.apply(&self.issuer("ClusterIssuer", name, pebble, &change)?.to_string()).await
    }

    /// Applies an Issuer like [`Self::apply_cluster_issuer`].
    pub async fn apply_issuer(&self, name: &str, pebble: &Pebble, change: Value) -> Result<()> {
        let issuer = self.issuer("Issuer", name, pebble, &change)?.to_string();
        self.cluster.apply_in(Some(&self.namespace), &issuer).await
    }

    fn issuer(&self, kind: &str, name: &str, pebble: &Pebble, change: &Value) -> Result<Value> {
        let mut acme = json!({
            "server": pebble.directory_url(),
            "email": "admin@example.test",
            "caBundle": ca_bundle(pebble)?,
            "privateKeySecretRef": { "name": name },
            "solvers": [{ "http01": { "ingress": { "ingressClassName": self.cluster.ingress_class() } } }],
        });
        json_patch::merge(&mut acme, change);
        Ok(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": kind,
            "metadata": { "name": name },
            "spec": { "acme": acme },
        }))
    }

    /// Applies a ClusterIssuer like [`Self::apply_cluster_issuer`], and waits until it is ready.
    pub async fn create_cluster_issuer(&self, name: &str, pebble: &Pebble, change: Value) -> Result<()> {
        self.apply_cluster_issuer(name, pebble, change).await?;
        self.await_cluster_issuer(name, "be ready", |ready| ready.status == ConditionStatus::True)
            .await
            .map(drop)
    }

    /// Waits until the condition `Ready` of a ClusterIssuer is as desired. Returns it.
    pub async fn await_cluster_issuer(
        &self,
        name: &str,
        what: &str,
        desired: impl Fn(&Condition) -> bool,
    ) -> Result<Condition> {
        let issuers: Api<ClusterIssuer> = Api::all(self.client.clone());
        let ready = |issuer: Option<&ClusterIssuer>| {
            condition::find(&issuer?.status.as_ref()?.conditions, condition::READY).cloned()
        };
        let met = await_condition(issuers, name, what, harness::TIMEOUT, |issuer: Option<&ClusterIssuer>| {
            ready(issuer).is_some_and(|ready| desired(&ready))
        });
        let issuer = met.await.with_context(|| self.log())?;
        ready(issuer.as_ref()).context("the wait returned an issuer without the condition Ready")
    }

    /// Applies an Ingress with one TLS block, whose Secret has the name of the Ingress.
    pub async fn apply_ingress(&self, name: &str, hosts: &[String], annotations: Value) -> Result<()> {
        let rules: Vec<_> = hosts
            .iter()
            .map(|host| {
                json!({ "host": host, "http": { "paths": [{
                    "path": "/",
                    "pathType": "Prefix",
                    "backend": { "service": { "name": "web", "port": { "number": 80 } } },
                }] } })
            })
            .collect();
        let ingress: Ingress = serde_json::from_value(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": name, "annotations": annotations },
            "spec": {
                "ingressClassName": self.cluster.ingress_class(),
                "rules": rules,
                "tls": [{ "hosts": hosts, "secretName": name }],
            },
        }))?;
        let parameters = PatchParams::apply(MANAGER).force();
        self.api::<Ingress>().patch(name, &parameters, &Patch::Apply(&ingress)).await?;
        Ok(())
    }

    /// Applies a Certificate. `secretName` defaults to the name of the Certificate.
    pub async fn apply_certificate(&self, name: &str, mut spec: Value) -> Result<()> {
        if spec["secretName"].is_null() {
            spec["secretName"] = name.into();
        }
        let certificate = json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": { "name": name },
            "spec": spec,
        });
        self.cluster.apply_in(Some(&self.namespace), &certificate.to_string()).await
    }

    /// Waits until a Certificate is as desired. Returns it. `what` completes "waited for … to …".
    pub async fn await_certificate(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        desired: impl Fn(&Certificate) -> bool,
    ) -> Result<Certificate> {
        let met = await_condition(self.api(), name, what, limit, |it: Option<&Certificate>| {
            it.is_some_and(&desired)
        });
        match met.await {
            Ok(certificate) => certificate.context("the wait returned no Certificate"),
            Err(error) => Err(error.context(self.progress().await).context(self.log())),
        }
    }

    /// The progress of issuances in the namespace, for errors: the objects that exist for them.
    async fn progress(&self) -> String {
        let arguments =
            ["get", "certificaterequests,orders,challenges,ingresses", "--output=yaml", "--namespace"];
        let output = self.cluster.kubectl().args(arguments).arg(&self.namespace).output().await;
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        format!("the objects of issuances in the namespace are\n{}", text.unwrap_or_default())
    }

    /// Waits until a Certificate is issued for its current spec: ready, with no issuance in progress.
    pub async fn await_issued(&self, name: &str, limit: Duration) -> Result<Certificate> {
        self.await_certificate(name, "be issued", limit, is_issued).await
    }

    /// Waits until the condition `Ready` of a Certificate has a message with some words.
    pub async fn await_ready_message(&self, name: &str, words: &str) -> Result<()> {
        let what = format!("report {words:?}");
        let reported = self.await_certificate(name, &what, harness::TIMEOUT, |it| {
            let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
            let ready = condition::find(conditions, condition::READY).and_then(|it| it.message.as_deref());
            ready.is_some_and(|message| message.contains(words))
        });
        reported.await.map(drop)
    }

    /// Waits until a Secret contains a certificate.
    pub async fn await_secret(&self, name: &str, limit: Duration) -> Result<Secret> {
        let has_certificate = |secret: Option<&Secret>| !secret_value(secret, "tls.crt").is_empty();
        let met = await_condition(self.api(), name, "contain a certificate", limit, has_certificate);
        met.await.with_context(|| self.log())?.context("the wait returned no Secret")
    }

    /// Waits until a host is served with a chain that a client with this trust anchor accepts.
    pub async fn await_served(&self, host: &str, root: &Trust, limit: Duration) -> Result<ServedChain> {
        let deadline = Instant::now() + limit;
        loop {
            let last = match probe::tls(&self.cluster.network(), host, 443, host, root).await {
                Ok(served) if served.verdict.is_ok() => return Ok(served),
                Ok(served) => format!("{:?}", served.verdict),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() > deadline {
                bail!(
                    "waited {} s for {host} to be served with a valid certificate: {last}",
                    limit.as_secs()
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until the operator is done in the namespace, including its cleanup.
    pub async fn await_quiet(&self) -> Result<()> {
        operator::await_quiet(self.cluster, |event| event.namespace() == Some(&self.namespace)).await
    }

    /// Waits until Traefik would apply a change immediately: nothing that it reads has changed for [`ingress::REST`].
    pub async fn await_idle_ingress(&self) -> Result<()> {
        const READ: [&str; 4] = ["endpointslices", "ingresses", "secrets", "services"];
        let mark = AuditMark::now(self.cluster)?;
        let activity = || {
            let events = mark.events()?;
            let changes =
                events.iter().filter(|event| event.is_write() && READ.contains(&&*event.resource()));
            Ok(Some(changes.count()))
        };
        harness::await_quiet("what Traefik reads", ingress::REST, harness::TIMEOUT, activity).await
    }

    /// The names of all objects of a kind in the namespace.
    pub async fn names<K>(&self) -> Result<Vec<String>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let list = self.api::<K>().list(&ListParams::default()).await?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// The names of the objects of a kind that route challenges.
    pub async fn names_of_challenges<K>(&self) -> Result<Vec<String>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let mut names = self.names::<K>().await?;
        names.retain(|name| name.starts_with("cm-acme-http-solver"));
        Ok(names)
    }

    /// The end of the operator's log, for errors.
    pub fn log(&self) -> String {
        format!("the operator's log ends with\n{}", self.cluster.log_tail(operator::NAME, 40))
    }
}

/// The annotation that requests a certificate from a ClusterIssuer.
pub fn issuer_annotation(issuer: &str) -> Value {
    json!({ "cert-manager.io/cluster-issuer": issuer })
}

/// Whether a Certificate is issued for its current spec.
pub fn is_issued(certificate: &Certificate) -> bool {
    let Some(status) = &certificate.status else { return false };
    let ready = condition::find(&status.conditions, condition::READY);
    ready.is_some_and(|ready| {
        ready.status == ConditionStatus::True && ready.observed_generation == certificate.metadata.generation
    }) && !condition::is_true(&status.conditions, condition::ISSUING)
}

/// One value of a Secret. Empty if the Secret or the value does not exist.
pub fn secret_value<'a>(secret: Option<&'a Secret>, key: &str) -> &'a [u8] {
    secret.and_then(|secret| secret.data.as_ref()?.get(key)).map_or(&[], |value| &value.0)
}

/// The CA certificate of a Pebble as the `caBundle` of an issuer.
pub fn ca_bundle(pebble: &Pebble) -> Result<Value> {
    let Trust::Roots(roots) = pebble.trust() else { bail!("this Pebble has no CA certificate") };
    Ok(serde_json::to_value(ByteString(roots.clone().into_bytes()))?)
}
