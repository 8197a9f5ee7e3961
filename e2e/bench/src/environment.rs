//! What surrounds the controller in a workload: a user with a namespace, and an ACME server with an optional delay.
//!
//! Knows objects and the ACME server; must not measure. Next: `session.rs`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    cert_manager_fixture::KeyAlgorithm,
    gateways,
    harness::create_namespace,
    user::{self, User, secret_value},
};
use serde_json::{Value, json};
use testbed::{
    cluster::{Bound, Cluster, NODE_ADDRESS, Process},
    pebble::{self, Pebble},
};

use crate::bench::Source;

const NAMESPACE: &str = "bench";

/// The ClusterIssuer of all certificates.
pub(crate) const ISSUER: &str = "bench";

/// The Ingress whose certificate shows that the controller works. It is not measured.
pub(crate) const FIRST: &str = "first";

/// How long any single wait may take.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(20);

pub(crate) struct Environment<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) user: User<'a>,
    pebble: Pebble,
    key: KeyAlgorithm,
    source: Source,
    /// The relay that delays requests to the ACME server, and its port.
    relay: Option<(u16, Bound)>,
}

impl<'a> Environment<'a> {
    /// Prepares a cluster. `acme_latency` is added to each request to the ACME server.
    pub(crate) async fn new(
        cluster: &'a Cluster,
        acme_latency: Duration,
        key: KeyAlgorithm,
        source: Source,
    ) -> Result<Self> {
        let created = create_namespace(&cluster.client().await?, NAMESPACE).await;
        created.context("the cluster was already used by a benchmark: start a new one")?;
        let relay = if acme_latency.is_zero() {
            None
        } else {
            let port = cluster.reserve_port()?;
            let arguments = [
                "bench".to_owned(),
                "relay".to_owned(),
                format!("--listen={NODE_ADDRESS}:{port}"),
                format!("--to={NODE_ADDRESS}:{}", pebble::CLUSTER_PORT),
                format!("--round-trip={}ms", acme_latency.as_millis()),
            ];
            let process = Process::new("acme-latency", std::env::current_exe()?, arguments);
            Some((port, cluster.start_bound(process)?))
        };
        let user = User::new(cluster, NAMESPACE).await?;
        Ok(Self { cluster, user, pebble: Pebble::of_cluster(cluster)?, key, source, relay })
    }

    /// A merge patch of the issuer's `spec.acme`, which sends its requests through the relay, and fits to what is annotated.
    fn issuer_change(&self) -> Value {
        let mut change = match self.source {
            Source::Ingress => json!({}),
            Source::Gateway => gateways::solvers(),
        };
        if let Some((port, _)) = &self.relay {
            let direct = format!(":{}/", pebble::CLUSTER_PORT);
            change["server"] = self.pebble.directory_url().replace(&direct, &format!(":{port}/")).into();
        }
        change
    }

    /// Applies what is annotated, for a host and a Secret of its name.
    pub(crate) async fn apply_source(&self, name: &str, annotations: Value) -> Result<()> {
        match self.source {
            Source::Ingress => self.user.apply_ingress(name, &[self.user.host(name)], annotations).await,
            Source::Gateway => gateways::apply_simple(&self.user, name, &annotations).await,
        }
    }

    /// Applies the issuer. Does not wait until it is ready.
    pub(crate) async fn apply_issuer(&self) -> Result<()> {
        self.user.apply_cluster_issuer(ISSUER, &self.pebble, self.issuer_change()).await
    }

    /// Creates the issuer and an annotated Ingress, and waits until the running controller has issued its certificate.
    pub(crate) async fn await_first_certificate(&self) -> Result<()> {
        self.user.create_cluster_issuer(ISSUER, &self.pebble, self.issuer_change()).await?;
        self.apply_source(FIRST, self.annotations()).await?;
        self.await_secret(FIRST).await
    }

    /// The annotations with which an Ingress requests a certificate.
    pub(crate) fn annotations(&self) -> Value {
        let mut annotations = user::issuer_annotation(ISSUER);
        annotations["cert-manager.io/private-key-algorithm"] = self.key.name().into();
        annotations
    }

    /// Waits until a Secret contains a certificate and its key.
    pub(crate) async fn await_secret(&self, name: &str) -> Result<()> {
        let secret = self.user.await_secret(name, TIMEOUT).await?;
        ensure!(!secret_value(Some(&secret), "tls.key").is_empty(), "the Secret {name} has no key");
        Ok(())
    }

    /// Waits until TLS handshakes with the host of this name get its certificate. Looks ten times a second.
    pub(crate) async fn await_https(&self, name: &str) -> Result<()> {
        let root = self.pebble.issuing_root(0).await?;
        self.user.await_served(&self.user.host(name), &root, TIMEOUT).await.map(drop)
    }
}
