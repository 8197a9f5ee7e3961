//! What a workload has around the controller: a user, an ACME server that may be far away, and waits that tell.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{
    cert_manager_fixture::KeyAlgorithm,
    harness::{self, QUIET, create_namespace},
    user::{self, User, secret_value},
};
use serde_json::{Value, json};
use testbed::{
    cluster::{Bound, Cluster, NODE_ADDRESS, Process},
    pebble::{self, Pebble},
};
use tokio::time::sleep;

use crate::{
    controller_under_test::{ControllerUnderTest, OPERATOR},
    measure::Measuring,
};

const NAMESPACE: &str = "bench";

/// The ClusterIssuer of all that is issued.
pub(crate) const ISSUER: &str = "bench";

/// The Ingress that shows that the controller works.
pub(crate) const FIRST: &str = "first";

/// How long anything may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(20);

/// What a workload has around it: a user with a namespace, an ACME server, perhaps far away.
pub(crate) struct Environment<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) user: User<'a>,
    pebble: Pebble,
    key: KeyAlgorithm,
    /// The port of the relay that makes the ACME server seem far away.
    far: Option<(u16, Bound)>,
}

impl<'a> Environment<'a> {
    pub(crate) async fn new(cluster: &'a Cluster, acme_latency: Duration, key: KeyAlgorithm) -> Result<Self> {
        let created = create_namespace(&cluster.client().await?, NAMESPACE).await;
        created.context("the cluster was measured before: make a new one")?;
        let far = if acme_latency.is_zero() {
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
            let relay = Process::new("acme-latency", std::env::current_exe()?, arguments);
            Some((port, cluster.start_bound(relay)?))
        };
        let user = User::new(cluster, NAMESPACE).await?;
        Ok(Self { cluster, user, pebble: Pebble::of_cluster(cluster)?, key, far })
    }

    /// What is merged into the issuer's `spec.acme`.
    fn change(&self) -> Value {
        match &self.far {
            Some((port, _)) => {
                let near = format!(":{}/", pebble::CLUSTER_PORT);
                json!({ "server": self.pebble.directory_url().replace(&near, &format!(":{port}/")) })
            }
            None => json!({}),
        }
    }

    pub(crate) async fn issuer(&self) -> Result<()> {
        self.user.apply_cluster_issuer(ISSUER, &self.pebble, self.change()).await
    }

    /// Starts the controller, and waits until it issues.
    pub(crate) async fn start(&self, controller: &mut ControllerUnderTest<'_>) -> Result<()> {
        controller.start().await?;
        self.user.create_cluster_issuer(ISSUER, &self.pebble, self.change()).await?;
        self.user.apply_ingress(FIRST, &[self.user.host(FIRST)], self.annotations()).await?;
        await_secret(&self.user, FIRST).await?;
        sleep(2 * QUIET).await;
        Ok(())
    }

    pub(crate) fn annotations(&self) -> Value {
        let mut annotations = user::issuer_annotation(ISSUER);
        annotations["cert-manager.io/private-key-algorithm"] = self.key.name().into();
        annotations
    }
}

/// Accounts for a controller that was just started.
pub(crate) fn measure_started(measuring: &mut Measuring, controller: &ControllerUnderTest<'_>) {
    for program in controller.programs() {
        if program.name == OPERATOR {
            measuring.add(program);
        }
    }
}

/// Waits until the controller has asked nothing for a while.
pub(crate) async fn await_quiet(measuring: &Measuring, controller: &ControllerUnderTest<'_>) -> Result<()> {
    let activity = || {
        let requests = measuring.events(controller)?.iter().filter(|event| event.verb != "watch").count();
        Ok((requests > 0 || controller.is_external()).then_some(requests))
    };
    harness::await_quiet("the controller", QUIET, LIMIT, activity).await
}

/// Waits until a Secret holds a certificate.
pub(crate) async fn await_secret(user: &User<'_>, name: &str) -> Result<()> {
    let secret = user.await_secret(name, LIMIT).await?;
    ensure!(!secret_value(Some(&secret), "tls.key").is_empty(), "{name} has no key");
    Ok(())
}
