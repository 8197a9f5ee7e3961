//! Gateways that Istio and Contour serve, each in a cluster of its own: issued fast, also where a redirect is or routes were rejected,
//! renewed while they are served, and cleaned up.
//!
//! Knows the Gateway API, annotations, and the reasons of the two implementations; must not know the operator's code.
//! Next: `e2e::gateways`, and `testbed/src/ingress/` for the implementations.

mod support;

use std::time::Duration;

use anyhow::{Result, ensure};
use crds::{
    acme::Challenge,
    certmanager::Certificate,
    gateway::{Gateway, HttpRoute},
};
use e2e::{
    gateways::{self, http, https},
    harness::{self, eventually},
    matrix::{Times, story},
    operator, scenarios,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::core::v1::Service;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use support::migration::scale_solver;
use testbed::{
    cluster::IngressController,
    http::{self as client, Trust},
    pebble::Pebble,
};
use tokio::time::{Instant, sleep};

/// The only Gateway that Contour serves on the testbed.
const GATEWAY: &str = "shared";
const NAMESPACE: &str = "tenant";

const ISSUER: &str = "gateways";

/// The longest median from the annotation to the Secret.
const GOAL: Duration = Duration::from_secs(3);

/// How soon a rejected route has to be reported, and to heal.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn istio_serves_what_is_issued() -> Result<()> {
    run_stories(IngressController::Istio, async |gateway| {
        gateway.pass_all_stories().await?;
        gateway.tell("ListenerSet of another namespace", Shared::serves_listeners_of_another_namespace).await
    })
    .await
}

#[tokio::test]
async fn contour_serves_what_is_issued() -> Result<()> {
    run_stories(IngressController::Contour, async |gateway| {
        gateway.tell("one listener for HTTP", Shared::says_what_the_listener_waits_for).await?;
        gateway.pass_all_stories().await
    })
    .await
}

/// Runs stories in a cluster of their own. If one fails, the error has the objects of the namespace.
async fn run_stories(
    served_by: IngressController,
    stories: impl AsyncFn(&Shared<'_>) -> Result<()>,
) -> Result<()> {
    let cluster = harness::start_served_by(served_by).await?;
    let run = async || -> Result<()> {
        let gateway = Shared::prepare(&cluster).await?;
        stories(&gateway).await?;
        gateway.tell("deleted during a challenge", Shared::leaves_nothing_behind).await
    };
    if let Err(error) = run().await {
        let kinds = "gateways,httproutes,certificates,challenges,events";
        let shown = ["get", kinds, "--output=yaml", "--namespace", NAMESPACE];
        return Err(error.context(harness::kubectl_text(&cluster, &shown).await));
    }
    cluster.end()
}

/// The Gateway that all stories change.
struct Shared<'a> {
    user: User<'a>,
    root: Trust,
}

impl<'a> Shared<'a> {
    /// Installs the operator, and creates a Gateway that serves HTTP.
    async fn prepare(cluster: &'a testbed::cluster::Cluster) -> Result<Self> {
        operator::load_images(cluster).await?;
        operator::install(cluster, &[]).await?;
        harness::create_namespace(&cluster.client().await?, NAMESPACE).await?;
        let user = User::new(cluster, NAMESPACE).await?;
        let pebble = Pebble::of_cluster(cluster)?;
        user.create_cluster_issuer(ISSUER, &pebble, gateways::solvers()).await?;
        let shared = Self { user, root: pebble.issuing_root(0).await? };
        shared.apply(&json!({}), vec![shared.plain_listener("page")]).await?;
        // Some implementations serve only what a route is for.
        let secure = json!({ "name": GATEWAY, "port": 443 });
        let path = json!({ "type": "ReplaceFullPath", "replaceFullPath": "/application" });
        shared.apply_route("application", &secure, &[], json!({ "path": path })).await?;
        let took = shared.redirect_to_https("page").await?;
        println!(
            "{} answers {:.1} s after the Gateway was created",
            cluster.ingress().name(),
            took.as_secs_f64()
        );
        Ok(shared)
    }

    /// The stories that every implementation supports.
    async fn pass_all_stories(&self) -> Result<()> {
        self.tell("first issuance, median of 10", Self::gets_a_secret_soon).await?;
        self.tell("20 listeners", Self::serves_twenty_listeners).await?;
        self.tell("redirect beside the challenge", Self::is_issued_beside_a_redirect).await?;
        self.tell("rejected route", Self::explains_a_rejected_route).await?;
        self.tell("renewal under polling", Self::is_renewed).await
    }

    /// Runs a story, and enters it into the matrix.
    async fn tell(&self, name: &str, run: impl AsyncFnOnce(&Self) -> Result<Times>) -> Result<()> {
        let system = format!("{} gateway", self.user.cluster.ingress().gateway_class());
        story(&system, name, async || run(self).await).await
    }

    async fn is_renewed(&self) -> Result<Times> {
        scenarios::renewal_is_served_without_a_gap(&self.user, "run-0", &self.root).await?;
        Ok(Times::default())
    }

    /// What a user of Contour sees at first: with one listener for HTTP, a name is served there only once the listener for HTTPS has its
    /// Secret. A temporary certificate helps, or a listener for HTTP with exactly the name.
    async fn says_what_the_listener_waits_for(&self) -> Result<Times> {
        let reported = "issue-temporary-certificate: \"true\" on the Gateway, or add a listener for HTTP";
        let mut temporary = issuer_annotation(ISSUER);
        temporary["cert-manager.io/issue-temporary-certificate"] = "true".into();
        let one_listener = |name: &str| vec![http(), self.listener(name)];
        for (name, annotations, listeners) in [
            ("temporary", &temporary, one_listener("temporary")),
            ("exact", &issuer_annotation(ISSUER), self.listeners(&["exact"])),
        ] {
            self.apply(&issuer_annotation(ISSUER), one_listener(name)).await?;
            self.user.await_ready_message(name, reported).await?;
            let began = Instant::now();
            self.apply(annotations, listeners).await?;
            self.user.await_issued(name, harness::TIMEOUT).await?;
            println!("{name}: issued {:.1?} after the user did it", began.elapsed());
        }
        Ok(Times::default())
    }

    async fn apply(&self, annotations: &Value, listeners: Vec<Value>) -> Result<()> {
        let controller = self.user.cluster.ingress();
        let mut gateway = gateways::gateway_of(controller, GATEWAY, annotations, &listeners);
        if controller == IngressController::Istio {
            gateway["spec"]["allowedListeners"] = json!({ "namespaces": { "from": "All" } });
        }
        gateways::apply(&self.user, &gateway).await
    }

    /// A listener for HTTPS whose name is also the one of its host and Secret.
    fn listener(&self, name: &str) -> Value {
        https(name, &self.user.host(name), name)
    }

    /// The listener for HTTP that serves a host.
    fn plain_listener(&self, name: &str) -> Value {
        let mut listener = http();
        if self.user.cluster.ingress() == IngressController::Contour {
            listener["name"] = format!("http-{name}").into();
            listener["hostname"] = self.user.host(name).into();
        }
        listener
    }

    /// The listeners that serve hosts by HTTP and HTTPS.
    fn listeners(&self, names: &[&str]) -> Vec<Value> {
        let mut all: Vec<_> = names.iter().map(|name| self.plain_listener(name)).collect();
        all.dedup();
        all.extend(names.iter().map(|name| self.listener(name)));
        all
    }

    /// The status of the answer to an HTTP request, if there is one.
    async fn status_of(&self, name: &str) -> Option<u16> {
        let url = format!("http://{}/", self.user.host(name));
        let answer = client::get(&self.user.cluster.network(), &url, &Trust::Nothing).await.ok()?;
        Some(answer.status().as_u16())
    }

    async fn await_served(&self, name: &str) -> Result<()> {
        self.user.await_served(&self.user.host(name), &self.root, harness::TIMEOUT).await.map(drop)
    }

    /// From the annotation to the Secret, and to HTTPS.
    async fn gets_a_secret_soon(&self) -> Result<Times> {
        const RUNS: usize = 10;
        let (mut issued, mut served) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let name = format!("run-{run}");
            // The listener of the first run stays, for the renewal.
            let names = if run == 0 { vec!["run-0"] } else { vec!["run-0", &name] };
            let listeners = self.listeners(&names);
            self.apply(&json!({}), listeners.clone()).await?;
            sleep(Duration::from_secs(2)).await;
            let began = Instant::now();
            self.apply(&issuer_annotation(ISSUER), listeners).await?;
            self.user.await_issued(&name, harness::TIMEOUT).await?;
            issued.push(began.elapsed());
            self.await_served(&name).await?;
            served.push(began.elapsed());
        }
        issued.sort();
        served.sort();
        let name = self.user.cluster.ingress().name();
        let (median, longest) = (issued[RUNS / 2], issued[RUNS - 1]);
        println!(
            "{name}, annotated Gateway, {RUNS} runs: to the Secret median {median:.2?}, longest {longest:.2?}; to HTTPS median \
             {:.2?}, longest {:.2?}",
            served[RUNS / 2],
            served[RUNS - 1]
        );
        ensure!(median <= GOAL, "the median is {median:?}, all runs are {issued:?}");
        Ok(Times::new(median, served[RUNS / 2]))
    }

    async fn serves_twenty_listeners(&self) -> Result<Times> {
        let names: Vec<_> = (0..20).map(|number| format!("many-{number}")).collect();
        let mut served: Vec<_> = names.iter().map(String::as_str).collect();
        served.push("run-0");
        let listeners = self.listeners(&served);
        let began = Instant::now();
        self.apply(&issuer_annotation(ISSUER), listeners).await?;
        scenarios::all_are_served(&self.user, &names, &self.root, began).await
    }

    /// Redirects a host from HTTP to HTTPS, as most users want it, and waits until this works. Returns how long that took.
    async fn redirect_to_https(&self, name: &str) -> Result<Duration> {
        let parent = json!({ "name": GATEWAY, "sectionName": self.plain_listener(name)["name"] });
        let redirect = json!({ "scheme": "https", "statusCode": 301 });
        self.apply_route(name, &parent, &[self.user.host(name)], redirect).await?;
        let redirects = async || Ok(self.status_of(name).await == Some(301));
        eventually("HTTP to be redirected", harness::TIMEOUT, redirects).await
    }

    /// Creates an HTTPRoute that redirects all requests.
    async fn apply_route(&self, name: &str, parent: &Value, hosts: &[String], redirect: Value) -> Result<()> {
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": { "name": name },
            "spec": {
                "parentRefs": [parent],
                "hostnames": hosts,
                "rules": [{ "filters": [{ "type": "RequestRedirect", "requestRedirect": redirect }] }],
            },
        });
        gateways::apply(&self.user, &route).await
    }

    /// The path of a challenge is not redirected.
    async fn is_issued_beside_a_redirect(&self) -> Result<Times> {
        let name = "redirected";
        let mut listeners = self.listeners(&["run-0"]);
        if !listeners.contains(&self.plain_listener(name)) {
            listeners.push(self.plain_listener(name));
        }
        self.apply(&issuer_annotation(ISSUER), listeners).await?;
        self.redirect_to_https(name).await?;
        let listeners = self.listeners(&["run-0", name]);
        self.apply(&issuer_annotation(ISSUER), listeners).await?;
        self.user.await_issued(name, harness::TIMEOUT).await?;
        self.await_served(name).await?;
        let status = self.status_of(name).await;
        ensure!(status == Some(301), "HTTP is no longer redirected, but answered with {status:?}");
        Ok(Times::default())
    }

    /// The listener for HTTP takes no routes of this namespace. It does once the namespace has a label.
    async fn explains_a_rejected_route(&self) -> Result<Times> {
        let name = "rejected";
        let closed = json!({ "namespaces": {
            "from": "Selector",
            "selector": { "matchLabels": { "routes": "allowed" } },
        } });
        let mut listeners = self.listeners(&["run-0", name]);
        for listener in listeners.iter_mut().filter(|listener| listener["protocol"] == "HTTP") {
            listener["allowedRoutes"] = closed.clone();
        }
        self.apply(&issuer_annotation(ISSUER), listeners).await?;
        let created = async || Ok(!self.user.names_of_challenges::<HttpRoute>().await?.is_empty());
        eventually("the HTTPRoute of a challenge", harness::TIMEOUT, created).await?;
        let began = Instant::now();
        self.user.await_ready_message(name, "allowedRoutes").await?;
        let reported = began.elapsed();
        let label = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": NAMESPACE, "labels": { "routes": "allowed" },
        } });
        self.user.cluster.apply(&label.to_string()).await?;
        let began = Instant::now();
        self.user.await_issued(name, harness::TIMEOUT).await?;
        let healed = began.elapsed();
        println!("rejected route: reported after {reported:.1?}, issued {healed:.1?} after it was allowed");
        ensure!(reported <= SOON && healed <= SOON, "a rejected route was reported or healed late");
        Ok(Times::default())
    }

    /// A ListenerSet of another namespace has listeners for HTTP and HTTPS, and gets its certificate there.
    async fn serves_listeners_of_another_namespace(&self) -> Result<Times> {
        const TEAM: &str = "team";
        harness::create_namespace(&self.user.client, TEAM).await?;
        let team = User::new(self.user.cluster, TEAM).await?;
        let host = team.host("web");
        let mut plain = http();
        plain["hostname"] = host.clone().into();
        let set = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "ListenerSet",
            "metadata": { "name": "web", "annotations": issuer_annotation(ISSUER) },
            "spec": {
                "parentRef": { "name": GATEWAY, "namespace": NAMESPACE },
                "listeners": [plain, https("https", &host, "web")],
            },
        });
        let began = Instant::now();
        gateways::apply(&team, &set).await?;
        team.await_secret("web", harness::TIMEOUT).await?;
        let issued = began.elapsed();
        team.await_served(&host, &self.root, harness::TIMEOUT).await?;
        println!(
            "ListenerSet of another namespace: Secret after {issued:.1?}, served after {:.1?}",
            began.elapsed()
        );
        Ok(Times::default())
    }

    /// The Gateway is deleted while a challenge of it waits.
    async fn leaves_nothing_behind(&self) -> Result<Times> {
        let user = &self.user;
        scale_solver(user, operator::NAME, 0).await?;
        self.apply(&issuer_annotation(ISSUER), self.listeners(&["deleted"])).await?;
        let presented = async || Ok(!self.user.names_of_challenges::<HttpRoute>().await?.is_empty());
        eventually("the HTTPRoute of a challenge", harness::TIMEOUT, presented).await?;
        user.api::<Gateway>().delete(GATEWAY, &DeleteParams::background()).await?;
        let gone = async || {
            let mut left = user.names::<Challenge>().await?;
            left.extend(user.names::<Certificate>().await?);
            left.extend(self.user.names_of_challenges::<HttpRoute>().await?);
            left.extend(user.names_of_challenges::<Service>().await?);
            Ok(left.is_empty())
        };
        let took = eventually("all objects of the Gateway to be gone", harness::TIMEOUT, gone).await?;
        println!("deleted Gateway: nothing is left after {:.1} s", took.as_secs_f64());
        Ok(Times::default())
    }
}
