//! Networks of Pods other than the standard bridge, each in a cluster of its own: certificates are issued, renewed, and cleaned up where
//! policies deny all connections by default, and the chart's policies allow what is needed, and nothing else.
//!
//! Knows the chart's values, docs/NETWORK.md, and the manifests that it names; must not know the operator's code.
//! Next: `flows.rs` for the connections, and `e2e_egress.rs` for another implementation of policies.

mod denied;
mod flows;
mod outside;
mod places;

use anyhow::{Context, Result, ensure};
use denied::System;
use e2e::{
    harness,
    matrix::{Times, story},
    operator,
};
use flows::{
    Flow,
    Protocol::{Tcp, Udp},
    Verdict::{self, Allowed, Dropped},
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams},
};
use outside::{ADDRESS, METADATA, Outside};
use places::{
    AS_INGRESS, AS_OPERATOR, AS_SOLVER, Addresses, MONITORING, NEIGHBOR, OF_MONITORING, OF_NEIGHBOR,
    OF_TENANT, PORTS, TENANT,
};
use testbed::{
    cluster::{API_SERVICE_ADDRESS, Cluster, DNS_SERVICE_ADDRESS, IngressController, NODE_ADDRESS, Network},
    http::Trust,
    page, pebble,
};
use tokio::time::Instant;

const NO_METADATA: &str = include_str!("../../../docs/network/cilium-metadata.yaml");

/// Everything is denied by default, and exactly the documented connections work.
#[tokio::test]
async fn cilium_allows_what_is_needed_and_nothing_else() -> Result<()> {
    run_stories(Network::Cilium, async |world| {
        let connections = async || -> Result<Times> {
            world.agrees("restricted", &world.flows(&Rules::RESTRICTED)).await?;
            world.check_reports_holes().await?;
            world.excepted_networks_include_nodes().await?;
            world.metadata_services_can_be_denied().await?;
            world.peers_default_to_all().await?;
            Ok(Times::default())
        };
        story(world.system.name, "default-deny on Cilium: connections", connections).await?;
        let missing = async || world.system.explains_a_missing_permission(&world.cluster).await;
        story(world.system.name, "default-deny on Cilium: solverIngressFrom is wrong", missing).await
    })
    .await
}

#[tokio::test]
async fn cilium_denies_by_default_beside_ingress_nginx() -> Result<()> {
    let controller = IngressController::IngressNginx;
    System::on_cilium("ingress-nginx", controller, "ingress-nginx").run_story().await
}

#[tokio::test]
async fn cilium_denies_by_default_beside_contour() -> Result<()> {
    System::on_cilium("contour", IngressController::Contour, "projectcontour").run_story().await
}

/// Istio reads the Secrets of Ingresses in the namespace of its gateway, so the application is there, too.
#[tokio::test]
async fn cilium_denies_by_default_beside_istio() -> Result<()> {
    let namespace = "istio-system";
    let system = System::on_cilium("istio ingress", IngressController::Istio, namespace);
    System { tenant: namespace, ..system }.run_story().await
}

/// The Pods of a Gateway are in its own namespace.
#[tokio::test]
async fn cilium_denies_by_default_beside_a_gateway_of_istio() -> Result<()> {
    let system = System::on_cilium("istio gateway", IngressController::Istio, TENANT);
    System { gateways: true, ..system }.run_story().await
}

/// The same manifests do no harm where no policies are enforced. There, the check of the connections must fail.
#[tokio::test]
async fn flannel_connects_what_is_needed() -> Result<()> {
    run_stories(Network::Flannel, async |world| {
        let flows = world.flows(&Rules::RESTRICTED);
        let must_be_dropped = flows.iter().filter(|flow| flow.must == Dropped).count();
        let wrong = flows::check(&world.cluster, &flows).await?;
        ensure!(
            wrong.len() == must_be_dropped && must_be_dropped > 0,
            "Flannel enforces no policies, but only {} of {must_be_dropped} connections were reported: {wrong:?}",
            wrong.len()
        );
        println!("without enforcement, the check reports {must_be_dropped} connections");
        Ok(())
    })
    .await
}

/// A cluster that ends leaves nothing of Cilium on the host, so that the next one works, too.
#[tokio::test]
async fn cilium_ends_with_its_cluster() -> Result<()> {
    let before = traces()?;
    for _ in 0..2 {
        let cluster = harness::start_connected_by(Network::Cilium).await?;
        let client = cluster.client().await?;
        harness::create_namespace(&client, NEIGHBOR).await?;
        page::serve_page(&cluster, NEIGHBOR, "web", "web.neighbor.example.test").await?;
        let url = "http://web.neighbor.example.test/hostname";
        page::await_page(&cluster, url, &Trust::Nothing, harness::TIMEOUT).await?;
        cluster.end()?;
        ensure!(traces()? == before, "before, there was {before:?}, and now there is {:?}", traces()?);
    }
    Ok(())
}

/// What Cilium could leave on the host: mounts, pinned programs, and links.
fn traces() -> Result<Vec<String>> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mut found: Vec<_> =
        mounts.lines().filter(|line| line.contains("cilium")).map(ToOwned::to_owned).collect();
    for folder in ["/sys/fs/bpf", "/sys/class/net", "/run/cilium", "/run/netns"] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // Other programs may create links meanwhile.
            if folder != "/sys/class/net" || name.starts_with("cilium") || name.starts_with("lxc") {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Runs the story of an application's owner, and further ones, in a cluster of their own with Traefik. If one fails, the error has what
/// is in the cluster.
async fn run_stories(network: Network, stories: impl AsyncFn(&World) -> Result<()>) -> Result<()> {
    let world = World::prepare(System::traefik(network)).await?;
    let run = async || -> Result<()> {
        world.system.tell(&world.cluster).await?;
        stories(&world).await
    };
    if let Err(error) = run().await {
        return Err(error.context(denied::shown(&world.cluster).await));
    }
    let World { cluster, outside, .. } = world;
    drop(outside);
    cluster.end()
}

/// A cluster in which everything is denied by default, with the operator and the Pods from which connections are tried.
struct World {
    system: System,
    cluster: Cluster,
    addresses: Addresses,
    outside: Outside,
}

/// What differs between the values that are tested.
struct Rules {
    /// From Pods that the values don't name, to the solver and to metrics.
    from_others: Verdict,
    /// From the operator to metadata services.
    to_metadata: Verdict,
    /// From the operator to an ACME server in a node's network.
    to_nodes: Verdict,
    /// From the operator to the ingress controller, whose Pods listen at other ports than its Service.
    to_ingress: Verdict,
}

impl Rules {
    /// With docs/network/values.yaml.
    const RESTRICTED: Self =
        Self { from_others: Dropped, to_metadata: Allowed, to_nodes: Allowed, to_ingress: Allowed };
}

impl World {
    async fn prepare(system: System) -> Result<Self> {
        let cluster = system.start().await?;
        let client = cluster.client().await?;
        for namespace in [NEIGHBOR, MONITORING] {
            harness::create_namespace(&client, namespace).await?;
        }
        let outside = Outside::start(&cluster, &PORTS).await?;
        let addresses = places::start(&cluster).await?;
        Ok(Self { system, cluster, addresses, outside })
    }

    /// All connections that are checked.
    fn flows(&self, rules: &Rules) -> Vec<Flow> {
        let Addresses { operator, solver, as_operator, tenant, neighbor } = &self.addresses;
        let [near, other] = PORTS;
        let api = format!("{API_SERVICE_ADDRESS}:443");
        let direct_api = format!("{NODE_ADDRESS}:6443");
        let dns = format!("{DNS_SERVICE_ADDRESS}:53");
        let acme = format!("{NODE_ADDRESS}:{}", pebble::CLUSTER_PORT);
        let ingress = |port: u16| format!("{NODE_ADDRESS}:{port}");
        let at = |address: &dyn ToString, port: u16| format!("{}:{port}", address.to_string());
        [
            (AS_OPERATOR, "the API server's Service", api.clone(), Tcp, Allowed),
            (AS_OPERATOR, "the API server", direct_api.clone(), Tcp, Allowed),
            (AS_OPERATOR, "DNS", dns.clone(), Udp, Allowed),
            (AS_OPERATOR, "DNS", dns.clone(), Tcp, Allowed),
            (AS_OPERATOR, "the ACME server", acme.clone(), Tcp, rules.to_nodes),
            (AS_OPERATOR, "the ingress", ingress(80), Tcp, rules.to_ingress),
            (AS_OPERATOR, "the ingress", ingress(443), Tcp, rules.to_ingress),
            (AS_OPERATOR, "the solver", at(solver, 8089), Tcp, Allowed),
            (AS_OPERATOR, "the Internet", at(&ADDRESS, near), Tcp, Allowed),
            (AS_OPERATOR, "another port of the Internet", at(&ADDRESS, other), Tcp, Dropped),
            (AS_OPERATOR, "a metadata service", at(&METADATA, near), Tcp, rules.to_metadata),
            (AS_OPERATOR, "another port of a metadata service", at(&METADATA, other), Tcp, Dropped),
            // By ports alone, this is the same as an ACME server or an ingress controller.
            (AS_OPERATOR, "port 80 of a Pod without policies", at(neighbor, near), Tcp, Allowed),
            (AS_OPERATOR, "another port of a Pod without policies", at(neighbor, other), Tcp, Dropped),
            (AS_OPERATOR, "a tenant's Pod", at(tenant, near), Tcp, Dropped),
            (AS_OPERATOR, "the kubelet", at(&NODE_ADDRESS, 10250), Tcp, Dropped),
            (AS_SOLVER, "the API server's Service", api, Tcp, Allowed),
            (AS_SOLVER, "the API server", direct_api, Tcp, Allowed),
            (AS_SOLVER, "DNS", dns.clone(), Udp, Allowed),
            (AS_SOLVER, "the ACME server", acme, Tcp, Dropped),
            (AS_SOLVER, "the ingress", ingress(80), Tcp, Dropped),
            (AS_SOLVER, "the Internet", at(&ADDRESS, near), Tcp, Dropped),
            (AS_SOLVER, "a metadata service", at(&METADATA, near), Tcp, Dropped),
            (AS_SOLVER, "a Pod without policies", at(neighbor, near), Tcp, Dropped),
            (AS_INGRESS, "the solver", at(solver, 8089), Tcp, Allowed),
            (AS_INGRESS, "the operator's metrics", at(operator, 9402), Tcp, rules.from_others),
            (OF_MONITORING, "the operator's metrics", at(operator, 9402), Tcp, Allowed),
            (OF_MONITORING, "the solver's metrics", at(solver, 9402), Tcp, Allowed),
            (OF_MONITORING, "the solver", at(solver, 8089), Tcp, rules.from_others),
            (OF_NEIGHBOR, "the operator's metrics", at(operator, 9402), Tcp, rules.from_others),
            (OF_NEIGHBOR, "the solver's metrics", at(solver, 9402), Tcp, rules.from_others),
            (OF_NEIGHBOR, "the solver", at(solver, 8089), Tcp, rules.from_others),
            // Kubelets have no label.
            (OF_NEIGHBOR, "the operator's probes", at(operator, 9403), Tcp, Allowed),
            (OF_NEIGHBOR, "another port of the operator", at(as_operator, other), Tcp, Dropped),
            (OF_NEIGHBOR, "the ingress", ingress(80), Tcp, Allowed),
            (OF_TENANT, "the operator's metrics", at(operator, 9402), Tcp, Dropped),
            (OF_TENANT, "the solver", at(solver, 8089), Tcp, Dropped),
            (OF_TENANT, "the Internet", at(&ADDRESS, near), Tcp, Dropped),
            (OF_TENANT, "DNS", dns, Udp, Dropped),
        ]
        .into_iter()
        .map(|(from, to, target, protocol, must)| Flow { from, to, target, protocol, must })
        .collect()
    }

    /// Ensures that all connections are treated as they must be, immediately or soon.
    async fn agrees(&self, what: &str, flows: &[Flow]) -> Result<()> {
        let began = Instant::now();
        println!("connections, {what}:");
        loop {
            let wrong = flows::check(&self.cluster, flows).await?;
            if wrong.is_empty() {
                return Ok(());
            }
            ensure!(began.elapsed() < flows::SOON, "{what}: {}", wrong.join("; "));
        }
    }

    /// Where a policy is missing, the check says which connections are wrong, in both directions: a missing denial, and a missing
    /// permission.
    async fn check_reports_holes(&self) -> Result<()> {
        let flows = self.flows(&Rules::RESTRICTED);
        for (namespace, policy, hole, must) in [
            (TENANT, "default-deny", (OF_TENANT, "the Internet"), Dropped),
            (operator::NAME, operator::NAME, (AS_OPERATOR, "the ACME server"), Allowed),
        ] {
            let found =
                flows.iter().find(|flow| (flow.from, flow.to) == hole).context("there is such a flow")?;
            ensure!(found.must == must, "{found} must be {must}");
            let policies: Api<NetworkPolicy> = Api::namespaced(self.cluster.client().await?, namespace);
            let NetworkPolicy { metadata, spec } = policies.get(policy).await?;
            // Helm keeps only what it wrote itself.
            let manager = metadata.managed_fields.into_iter().flatten().find_map(|fields| fields.manager);
            let writer = PatchParams::apply(&manager.context("an object has a writer")?);
            let began = Instant::now();
            policies.delete(policy, &DeleteParams::default()).await?;
            let unwanted = if must == Dropped { Allowed } else { Dropped };
            let opened = found.await_verdict(&self.cluster, unwanted, began).await?;
            let wrong = flows::check(&self.cluster, &flows).await?;
            ensure!(
                wrong.iter().any(|text| text.starts_with(&found.to_string())),
                "the check does not report {found}: {wrong:?}"
            );
            println!("without the policy {policy} in {namespace}, the check reports: {}", wrong.join("; "));
            let kept = ObjectMeta {
                name: metadata.name,
                labels: metadata.labels,
                annotations: metadata.annotations,
                ..ObjectMeta::default()
            };
            let restored = NetworkPolicy { metadata: kept, spec };
            let began = Instant::now();
            policies.patch(policy, &writer, &Patch::Apply(&restored)).await?;
            let closed = found.await_verdict(&self.cluster, must, began).await?;
            println!(
                "{policy} in {namespace}: its deletion applied after {opened:.2?} at most, its creation after {closed:.2?}"
            );
        }
        self.agrees("after the policies were restored", &flows).await
    }

    /// Excepted networks are left out, and all others are allowed. Networks of Cilium don't contain nodes, so these are left out, too.
    async fn excepted_networks_include_nodes(&self) -> Result<()> {
        let excepted = "--set=networkPolicy.egress.acmeExcept={169.254.0.0/16}";
        self.system.install(&self.cluster, &[excepted]).await?;
        let rules = Rules { to_metadata: Dropped, to_nodes: Dropped, ..Rules::RESTRICTED };
        self.agrees("with acmeExcept", &self.flows(&rules)).await?;
        self.system.install(&self.cluster, &[]).await
    }

    /// By ports alone, metadata services can't be told from ACME servers. A policy of Cilium denies them, and nothing else.
    async fn metadata_services_can_be_denied(&self) -> Result<()> {
        self.cluster.apply_in(Some(operator::NAME), NO_METADATA).await?;
        let rules = Rules { to_metadata: Dropped, ..Rules::RESTRICTED };
        self.agrees("without metadata services", &self.flows(&rules)).await
    }

    /// Without `solverIngressFrom` and `metricsFrom`, everyone may connect. Without the ports of the ingress controller's Pods, the
    /// operator may not connect to it.
    async fn peers_default_to_all(&self) -> Result<()> {
        let ports = format!("--set=networkPolicy.egress.acmePorts={{80,443,{}}}", pebble::CLUSTER_PORT);
        operator::install(&self.cluster, &["--set=networkPolicy.egress.enabled=true", &ports]).await?;
        let rules =
            Rules { from_others: Allowed, to_metadata: Dropped, to_nodes: Allowed, to_ingress: Dropped };
        self.agrees("with the default peers", &self.flows(&rules)).await
    }
}
