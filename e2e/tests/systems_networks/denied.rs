//! A cluster in which policies deny all connections, except for those that docs/NETWORK.md allows: an application's owner gets
//! certificates there as anywhere else.
//!
//! Knows the chart's values and the manifests of docs/NETWORK.md; must not know which connections are allowed. Next: `main.rs`.

use std::slice;

use anyhow::Result;
use crds::{certmanager::Certificate, gateway::Gateway};
use e2e::{
    gateways::{self, http, https},
    harness::{self, eventually},
    matrix::{Times, story},
    operator, scenarios,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use testbed::{
    cluster::{Cluster, IngressController, Mode, Network, Options},
    http::{self as client, Trust},
    page,
    pebble::{self, Pebble},
};
use tokio::time::Instant;
use xtask::paths;

use crate::places::{INGRESS, TENANT};

const DEFAULT_DENY: &str = include_str!("../../../docs/network/default-deny.yaml");
const INGRESS_CONTROLLER: &str = include_str!("../../../docs/network/ingress-controller.yaml");
const ISTIO_CONTROL_PLANE: &str = include_str!("../../../docs/network/istio-control-plane.yaml");
const APPLICATION: &str = include_str!("../../../docs/network/application.yaml");

const ISSUER: &str = "issuer";

/// The namespace of Istio's control plane.
const ISTIO: &str = "istio-system";

/// How many certificates are issued to measure the time.
const RUNS: usize = 5;

/// What serves an application, and where.
#[derive(Clone, Copy)]
pub(crate) struct System {
    /// The row of the matrix.
    pub(crate) name: &'static str,
    pub(crate) network: Network,
    pub(crate) controller: IngressController,
    /// Whether it serves Gateways, not Ingresses.
    pub(crate) gateways: bool,
    /// The namespace of the Pods that serve the application.
    pub(crate) ingress_namespace: &'static str,
    /// The namespace of the application.
    pub(crate) tenant: &'static str,
}

impl System {
    /// Traefik in its namespace.
    pub(crate) fn traefik(network: Network) -> Self {
        Self {
            name: "traefik",
            network,
            controller: IngressController::Traefik,
            gateways: false,
            ingress_namespace: INGRESS,
            tenant: TENANT,
        }
    }

    /// Another ingress controller, with Cilium.
    pub(crate) fn on_cilium(
        name: &'static str,
        controller: IngressController,
        ingress_namespace: &'static str,
    ) -> Self {
        Self { name, controller, ingress_namespace, ..Self::traefik(Network::Cilium) }
    }

    /// Starts a cluster, denies all connections by default, and installs the operator.
    pub(crate) async fn start(&self) -> Result<Cluster> {
        let began = Instant::now();
        let name = format!("test-{}-{}", self.network.name().to_lowercase(), std::process::id());
        let options = Options {
            network: self.network,
            ingress: self.controller,
            ingress_class: "nginx".to_owned(),
            gateway_api: self.gateways,
            ..Options::new(name, Mode::Node)
        };
        let cluster = harness::start_with(&options).await?;
        println!(
            "a cluster with {} and {} started in {:.1?}",
            self.network.name(),
            self.name,
            began.elapsed()
        );
        operator::load_images(&cluster).await?;
        self.deny(&cluster).await?;
        self.install(&cluster, &[]).await?;
        let pebble = Pebble::of_cluster(&cluster)?;
        let solvers = if self.gateways { gateways::solvers() } else { json!({}) };
        let user = User::new(&cluster, self.tenant).await?;
        user.create_cluster_issuer(ISSUER, &pebble, solvers).await?;
        Ok(cluster)
    }

    /// Denies all connections in the namespaces of the operator, the ingress controller, and the application, except for those that the
    /// last two need anyway.
    async fn deny(&self, cluster: &Cluster) -> Result<()> {
        let client = cluster.client().await?;
        let mut namespaces = vec![operator::NAME, self.ingress_namespace, self.tenant];
        if self.controller == IngressController::Istio {
            namespaces.push(ISTIO);
        }
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            if [operator::NAME, TENANT].contains(&namespace) {
                harness::create_namespace(&client, namespace).await?;
            }
            cluster.apply_in(Some(namespace), DEFAULT_DENY).await?;
        }
        cluster.apply_in(Some(self.ingress_namespace), INGRESS_CONTROLLER).await?;
        if self.controller == IngressController::Istio {
            cluster.apply_in(Some(ISTIO), ISTIO_CONTROL_PLANE).await?;
        }
        let of_ingress = APPLICATION.replace("name: traefik", &format!("name: {}", self.ingress_namespace));
        cluster.apply_in(Some(self.tenant), &of_ingress).await
    }

    /// Installs or upgrades the chart with the values for clusters that deny everything by default, with the namespace of the ingress
    /// controller, and with the port of Pebble.
    pub(crate) async fn install(&self, cluster: &Cluster, flags: &[&str]) -> Result<()> {
        let values = format!("--values={}", paths::workspace().join("docs/network/values.yaml").display());
        // Helm replaces whole lists, or single places in them.
        let port = format!("--set=networkPolicy.egress.acmePorts[4]={}", pebble::CLUSTER_PORT);
        let peers = json!([{ "namespaceSelector": {
            "matchLabels": { "kubernetes.io/metadata.name": self.ingress_namespace },
        } }]);
        let peers = format!("--set-json=networkPolicy.solverIngressFrom={peers}");
        operator::install(cluster, &[&[&*values, &*port, &*peers], flags].concat()).await
    }

    /// Runs the story of the application's owner in a cluster of its own, and enters it into the matrix.
    pub(crate) async fn run_story(&self) -> Result<()> {
        let cluster = self.start().await?;
        if let Err(error) = self.tell(&cluster).await {
            return Err(error.context(shown(&cluster).await));
        }
        cluster.end()
    }

    /// Runs the story of the application's owner, and enters it into the matrix.
    pub(crate) async fn tell(&self, cluster: &Cluster) -> Result<()> {
        let name = format!("default-deny on {}: issued, renewed, cleaned up", self.network.name());
        story(self.name, &name, async || {
            let user = User::new(cluster, self.tenant).await?;
            if self.gateways {
                self.gateway_is_served(&user).await
            } else {
                self.ingresses_are_served(&user).await
            }
        })
        .await
    }

    /// The chart lets Pods of another namespace than the ingress controller's connect to the solver. The Certificate names the value, and
    /// is issued once it is right.
    pub(crate) async fn explains_a_missing_permission(&self, cluster: &Cluster) -> Result<Times> {
        let user = User::new(cluster, self.tenant).await?;
        let elsewhere = json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "elsewhere" } } }]);
        self.install(cluster, &[&format!("--set-json=networkPolicy.solverIngressFrom={elsewhere}")]).await?;
        let (name, host) = ("unreachable", user.host("unreachable"));
        let began = Instant::now();
        user.apply_ingress(name, slice::from_ref(&host), issuer_annotation(ISSUER)).await?;
        user.await_ready_message(name, "networkPolicy.solverIngressFrom").await?;
        let reported = began.elapsed();
        self.install(cluster, &[]).await?;
        let began = Instant::now();
        user.await_issued(name, harness::TIMEOUT).await?;
        println!(
            "wrong solverIngressFrom: reported after {reported:.1?}, issued {:.1?} after it was corrected",
            began.elapsed()
        );
        Ok(Times::default())
    }

    /// What an application's owner sees, from the annotation to the renewal, and until the Ingress is deleted.
    async fn ingresses_are_served(&self, user: &User<'_>) -> Result<Times> {
        let mut issued = Vec::new();
        for run in 0..RUNS {
            let ingress = format!("run-{run}");
            user.await_idle_ingress().await?;
            let began = Instant::now();
            user.apply_ingress(&ingress, &[user.host(&ingress)], issuer_annotation(ISSUER)).await?;
            user.await_secret(&ingress, harness::TIMEOUT).await?;
            issued.push(began.elapsed());
        }
        issued.sort();
        println!(
            "{} on {}, default-deny, {RUNS} annotated Ingresses: to the Secret median {:.2?}, longest {:.2?}",
            self.name,
            self.network.name(),
            issued[RUNS / 2],
            issued[RUNS - 1]
        );

        let host = user.host("web");
        page::serve_page(user.cluster, self.tenant, "web", &host).await?;
        let began = Instant::now();
        user.apply_ingress("web", slice::from_ref(&host), issuer_annotation(ISSUER)).await?;
        let root = Pebble::of_cluster(user.cluster)?.issuing_root(0).await?;
        let times = scenarios::all_are_served(user, &["web".to_owned()], &root, began).await?;
        let url = format!("https://{host}/hostname");
        page::await_page(user.cluster, &url, &root, harness::TIMEOUT).await?;
        scenarios::renewal_is_served_without_a_gap(user, "web", &root).await?;

        user.api::<Ingress>().delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        await_nothing_left(user).await?;
        Ok(Times { secret: Some(issued[RUNS / 2]), ..times })
    }

    /// The same with a Gateway, whose Pods are in the namespace of the application.
    async fn gateway_is_served(&self, user: &User<'_>) -> Result<Times> {
        let (name, host) = ("web", user.host("web"));
        let listeners = [http(), https("https", &host, name)];
        let apply = async |annotations| {
            gateways::apply(user, &gateways::gateway_of(self.controller, name, &annotations, &listeners))
                .await
        };
        apply(json!({})).await?;
        let url = format!("http://{host}/");
        let answers = async || {
            let answer = client::get(&user.cluster.network(), &url, &Trust::Nothing).await;
            Ok(answer.is_ok())
        };
        eventually("the Gateway to answer", harness::TIMEOUT, answers).await?;
        let began = Instant::now();
        apply(issuer_annotation(ISSUER)).await?;
        user.await_secret(name, harness::TIMEOUT).await?;
        let issued = began.elapsed();
        let root = Pebble::of_cluster(user.cluster)?.issuing_root(0).await?;
        user.await_served(&host, &root, harness::TIMEOUT).await?;
        let served = began.elapsed();
        scenarios::renewal_is_served_without_a_gap(user, name, &root).await?;
        user.api::<Gateway>().delete(name, &DeleteParams::default()).await?;
        await_nothing_left(user).await?;
        Ok(Times::new(issued, served))
    }
}

/// Waits until nothing of challenges and no Certificate is left, once what asked for them is deleted.
async fn await_nothing_left(user: &User<'_>) -> Result<()> {
    let began = Instant::now();
    scenarios::await_no_leftovers(user).await?;
    let gone = async || Ok(user.names::<Certificate>().await?.is_empty());
    eventually("the Certificates to be gone", harness::TIMEOUT, gone).await?;
    println!("nothing is left {:.1?} after the deletion", began.elapsed());
    Ok(())
}

/// What is in a cluster, for errors.
pub(crate) async fn shown(cluster: &Cluster) -> String {
    let shown = ["get", "pods,networkpolicies,certificates", "--all-namespaces", "--output=wide"];
    harness::kubectl_text(cluster, &shown).await
}
