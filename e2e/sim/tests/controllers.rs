//! The operator's controllers with the model of the API server, in virtual time: days pass in milliseconds.
//!
//! Knows what a user sees; must not know how the controllers work. Next: `sim::api_server`.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use crds::{certmanager::Certificate, condition};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Api, Client, api::PostParams};
use operator::{
    args::Arguments,
    clock::Clock,
    context::{Context, KeyPool},
    controllers,
    metrics::Metrics,
    pki::{Curve, KeyKind, PrivateKey},
};
use serde_json::json;
use sim::api_server::{ApiServer, Exchange};
use tokio::time::{Instant, sleep};

const DAY: Duration = Duration::from_hours(24);

/// Time as the runtime has it, which a test can pause. UTC.
#[derive(Debug)]
struct VirtualClock {
    began: Instant,
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        Timestamp::UNIX_EPOCH.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}

/// A cluster, and the operator in it.
struct World {
    server: ApiServer,
    client: Client,
}

impl World {
    fn start() -> Result<Self> {
        let clock = Arc::new(VirtualClock { began: Instant::now() });
        let of_server = Arc::clone(&clock);
        let server = ApiServer::new(Arc::new(move || of_server.now()))?;
        let settings = Arguments::parse_from(["operator"]).settings();
        let mut context = Context::new(server.client(), clock.clone(), settings, Arc::new(|_| {}))?;
        let keys = (0..10).map(|_| PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)));
        context.keys = KeyPool::with_spare(keys.collect::<Result<_, _>>()?);
        let metrics = Metrics::new(clock);
        tokio::spawn(async move { controllers::start(Arc::new(context), metrics, || {}).await });
        Ok(Self { client: server.client(), server })
    }

    /// Creates an Ingress with an issuer that does not exist. Its key is one that takes no time.
    async fn annotate(&self, name: &str) -> Result<()> {
        let annotations = json!({
            "cert-manager.io/cluster-issuer": "missing",
            "cert-manager.io/private-key-algorithm": "ECDSA",
        });
        let ingress: Ingress = serde_json::from_value(json!({
            "metadata": { "name": name, "annotations": annotations },
            "spec": { "tls": [{ "hosts": [format!("{name}.example.test")], "secretName": name }] },
        }))?;
        let ingresses: Api<Ingress> = Api::namespaced(self.client.clone(), "default");
        ingresses.create(&PostParams::default(), &ingress).await?;
        Ok(())
    }

    /// What a Certificate says about itself.
    async fn ready_message(&self, name: &str) -> Result<String> {
        let certificates: Api<Certificate> = Api::namespaced(self.client.clone(), "default");
        let status = certificates.get(name).await?.status.context("no status")?;
        let ready = condition::find(&status.conditions, condition::READY).context("no condition Ready")?;
        ready.message.clone().context("no message")
    }
}

/// Three annotated Ingresses, and a day in which nothing else happens. Returns what was asked of the API server.
async fn day_without_issuer() -> Result<Vec<Exchange>> {
    let world = World::start()?;
    sleep(Duration::from_secs(1)).await;
    for name in ["a", "b", "c"] {
        world.annotate(name).await?;
    }
    sleep(Duration::from_secs(5)).await;
    for name in ["a", "b", "c"] {
        let message = world.ready_message(name).await?;
        ensure!(message.contains("ClusterIssuer"), "{name} says {message:?}");
    }
    sleep(DAY).await;
    Ok(world.server.exchanges())
}

/// What the operator can do nothing about is said once, and costs nothing from then on.
#[tokio::test(start_paused = true)]
async fn missing_issuer_is_reported_and_costs_no_more_requests() -> Result<()> {
    let exchanges = day_without_issuer().await?;
    let began = exchanges.first().context("there were requests")?.at;
    let late = |exchange: &&Exchange| {
        exchange.is_write() && exchange.at.duration_since(began) > SignedDuration::from_mins(5)
    };
    let late: Vec<_> = exchanges.iter().filter(late).collect();
    ensure!(late.is_empty(), "{} writes in a day in which nothing happens: {late:?}", late.len());
    Ok(())
}

/// The same surroundings lead to the same requests, so that a fault can be repeated.
#[tokio::test(start_paused = true)]
async fn history_repeats() -> Result<()> {
    let (first, second) = (day_without_issuer().await?, day_without_issuer().await?);
    for (number, (first, second)) in first.iter().zip(&second).enumerate() {
        ensure!(first == second, "request {number} was {first:?}, and then {second:?}");
    }
    ensure!(first.len() == second.len(), "{} requests, and then {}", first.len(), second.len());
    Ok(())
}
