//! The stories of users whose Ingresses a controller serves. Next: `nginx.rs` for those that need its annotations.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{acme::Order, certmanager::Certificate};
use e2e::{
    harness::{self, eventually},
    matrix::{Times, story},
    operator, scenarios,
    user::{User, issuer_annotation},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use testbed::{
    audit::AuditMark,
    cluster::{Cluster, IngressController},
    http::{self as client, Trust},
    page,
    pebble::Pebble,
};
use tokio::time::{Instant, sleep};

use crate::support::migration::scale_solver;

pub(crate) const ISSUER: &str = "ingresses";

/// The Service of the application, and its Pod.
const PAGE: &str = "web";

/// The namespace that is created for most stories.
pub(crate) const TENANT: &str = "tenant";

/// The longest medians from the annotation of an Ingress.
#[derive(Clone, Copy)]
pub(crate) struct Goals {
    pub(crate) secret: Duration,
    pub(crate) https: Duration,
}

/// The Ingresses of a cluster.
pub(crate) struct Served<'a> {
    /// The row of the matrix.
    pub(crate) system: &'a str,
    pub(crate) user: User<'a>,
    pub(crate) root: Trust,
}

impl<'a> Served<'a> {
    /// Installs the operator and an application.
    pub(crate) async fn prepare(cluster: &'a Cluster, system: &'a str, namespace: &str) -> Result<Self> {
        operator::load_images(cluster).await?;
        operator::install(cluster, &[]).await?;
        if namespace == TENANT {
            harness::create_namespace(&cluster.client().await?, namespace).await?;
        }
        let user = User::new(cluster, namespace).await?;
        let pebble = Pebble::of_cluster(cluster)?;
        user.create_cluster_issuer(ISSUER, &pebble, json!({})).await?;
        page::serve_page(cluster, namespace, PAGE, &user.host("page")).await?;
        let url = format!("http://{}/hostname", user.host("page"));
        page::await_page(cluster, &url, &Trust::Nothing, harness::TIMEOUT).await?;
        Ok(Self { system, user, root: pebble.issuing_root(0).await? })
    }

    /// Runs a story, and enters it into the matrix.
    pub(crate) async fn tell(&self, name: &str, run: impl AsyncFnOnce(&Self) -> Result<Times>) -> Result<()> {
        story(self.system, name, async || run(self).await).await
    }

    /// The stories that every controller supports.
    pub(crate) async fn pass_all_stories(&self, goals: Goals) -> Result<()> {
        if self.user.namespace == TENANT {
            self.tell("the example of users", Self::serves_the_example).await?;
        }
        self.tell("the manifests of its page", Self::serves_what_its_page_shows).await?;
        self.tell("first issuance, median of 10", async |it| it.gets_a_secret_soon("run", goals).await)
            .await?;
        self.tell("20 Ingresses", Self::serves_twenty_hosts).await?;
        self.tell("edit in place", Self::is_issued_in_place).await?;
        self.tell("renewal under polling", Self::is_renewed).await?;
        self.tell("cleanup", Self::is_cleaned_up).await
    }

    async fn serves_the_example(&self) -> Result<Times> {
        let began = Instant::now();
        scenarios::example_is_served(self.user.cluster).await?;
        Ok(Times { secret: None, https: Some(began.elapsed()) })
    }

    /// The manifests of the controller's page, applied as they are, except for the host and the ingress class.
    async fn serves_what_its_page_shows(&self) -> Result<Times> {
        const NAMESPACE: &str = "documented";
        const CLUSTER_ISSUER: &str = "letsencrypt-prod";
        let (cluster, pebble) = (self.user.cluster, Pebble::of_cluster(self.user.cluster)?);
        harness::create_namespace(&self.user.client, NAMESPACE).await?;
        let user = User::new(cluster, NAMESPACE).await?;
        user.create_cluster_issuer(CLUSTER_ISSUER, &pebble, json!({})).await?;
        page::serve_page(cluster, NAMESPACE, PAGE, &user.host("page")).await?;
        let documentation = page_of(cluster.ingress());
        let host = user.host("www");
        let manifests = manifests_in(documentation)
            .replace("www.example.com", &host)
            .replace("namespace: app", &format!("namespace: {NAMESPACE}"))
            .replace("ingressClassName: traefik", "ingressClassName: nginx")
            .replace("ingressClassName: istio", "ingressClassName: nginx")
            .replace("ingressClassName: contour", "ingressClassName: nginx");
        ensure!(manifests.contains(&host), "the page has no manifest with a host");
        let began = Instant::now();
        // kubectl accepts no other namespace than the one that it is called with.
        let namespace = Some(NAMESPACE).filter(|_| !manifests.contains("namespace: "));
        cluster.apply_in(namespace, &manifests).await?;
        user.await_served(&host, &self.root, harness::TIMEOUT).await?;
        Ok(Times { secret: None, https: Some(began.elapsed()) })
    }

    async fn is_renewed(&self) -> Result<Times> {
        scenarios::renewal_is_served_without_a_gap(&self.user, "run-0", &self.root).await?;
        Ok(Times::default())
    }

    async fn is_cleaned_up(&self) -> Result<Times> {
        scenarios::await_no_leftovers(&self.user).await?;
        Ok(Times::default())
    }

    pub(crate) async fn apply(&self, name: &str, annotations: Value) -> Result<()> {
        self.user.apply_ingress(name, &[self.user.host(name)], annotations).await
    }

    /// Restarts a Deployment of the ingress controller with one more argument.
    pub(crate) async fn add_argument(&self, namespace: &str, deployment: &str, argument: &str) -> Result<()> {
        let arguments = "/spec/template/spec/containers/0/args/-";
        let addition = json!([{ "op": "add", "path": arguments, "value": argument }]).to_string();
        let target = [format!("--namespace={namespace}"), format!("deployment/{deployment}")];
        let add = ["patch", "--type=json", "--patch", &addition];
        for command in [&add[..], &["rollout", "status", "--timeout=60s"]] {
            let output = self.user.cluster.kubectl().args(command).args(&target).output().await?;
            ensure!(output.status.success(), "kubectl {command:?} failed: {}", xtask::process::text(&output));
        }
        // Its webhook is reached a moment later than it is ready.
        let class = format!("--class={}", self.user.cluster.ingress_class());
        let rule = format!("--rule={}/=web:80", self.user.host("checked"));
        let create = ["create", "ingress", "checked", "--dry-run=server", &class, &rule];
        let is_accepted = async || {
            let namespace = ["--namespace", &self.user.namespace];
            let output = self.user.cluster.kubectl().args(create).args(namespace).output().await?;
            Ok(output.status.success())
        };
        eventually("Ingresses to be accepted again", harness::TIMEOUT, is_accepted).await.map(drop)
    }

    async fn await_served(&self, name: &str) -> Result<()> {
        self.user.await_served(&self.user.host(name), &self.root, harness::TIMEOUT).await.map(drop)
    }

    /// From the annotation of an Ingress that is served to the Secret, and to HTTPS.
    pub(crate) async fn gets_a_secret_soon(&self, prefix: &str, goals: Goals) -> Result<Times> {
        const RUNS: usize = 10;
        let (mut issued, mut served) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let name = format!("{prefix}-{run}");
            self.apply(&name, json!({})).await?;
            let url = format!("http://{}/", self.user.host(&name));
            // ingress-nginx redirects a host that has TLS.
            let is_served = async || {
                let status = status_of(&self.user, &url, &Trust::Nothing).await;
                Ok(matches!(status, Some(200 | 308)))
            };
            eventually("the Ingress to be served", harness::TIMEOUT, is_served).await?;
            // Most users annotate an Ingress when nothing else happens.
            sleep(Duration::from_secs(5)).await;
            let began = Instant::now();
            self.apply(&name, issuer_annotation(ISSUER)).await?;
            self.user.await_secret(&name, harness::TIMEOUT).await?;
            issued.push(began.elapsed());
            self.await_served(&name).await?;
            served.push(began.elapsed());
        }
        issued.sort();
        served.sort();
        println!(
            "{}: to the Secret {:.2?}, longest {:.2?}; to HTTPS {:.2?}, longest {:.2?}",
            self.system,
            issued[RUNS / 2],
            issued[RUNS - 1],
            served[RUNS / 2],
            served[RUNS - 1]
        );
        ensure!(issued[RUNS / 2] <= goals.secret, "the median to the Secret is too long: {issued:?}");
        ensure!(served[RUNS / 2] <= goals.https, "the median to HTTPS is too long: {served:?}");
        Ok(Times::new(issued[RUNS / 2], served[RUNS / 2]))
    }

    async fn serves_twenty_hosts(&self) -> Result<Times> {
        let names: Vec<_> = (0..20).map(|number| format!("many-{number}")).collect();
        let began = Instant::now();
        for name in &names {
            self.apply(name, issuer_annotation(ISSUER)).await?;
        }
        scenarios::all_are_served(&self.user, &names, &self.root, began).await
    }

    /// The path of the challenge is added to the user's Ingress, and removed again. No other Ingress is created.
    async fn is_issued_in_place(&self) -> Result<Times> {
        let name = "in-place";
        let mark = AuditMark::now(self.user.cluster)?;
        let mut annotations = issuer_annotation(ISSUER);
        annotations["acme.cert-manager.io/http01-edit-in-place"] = "true".into();
        let began = Instant::now();
        self.apply(name, annotations).await?;
        let times = scenarios::all_are_served(&self.user, &[name.to_owned()], &self.root, began).await?;
        let paths = async || -> Result<usize> {
            let rules = self.user.api::<Ingress>().get(name).await?.spec.and_then(|spec| spec.rules);
            let paths = rules.into_iter().flatten().filter_map(|rule| rule.http);
            Ok(paths.map(|http| http.paths.len()).sum())
        };
        let is_restored = async || Ok(paths().await? == 1);
        eventually("the path of the challenge to be removed", harness::TIMEOUT, is_restored).await?;
        let writes = operator::writes(&mark, |namespace| namespace == Some(&self.user.namespace))?;
        let of_ingresses: Vec<_> =
            writes.into_iter().filter(|event| event.resource() == "ingresses").collect();
        let is_of_the_user = |uri: &str| uri.contains(&format!("/ingresses/{name}"));
        ensure!(
            of_ingresses.len() >= 2 && of_ingresses.iter().all(|event| is_of_the_user(&event.request_uri)),
            "the operator wrote other Ingresses: {of_ingresses:?}"
        );
        Ok(times)
    }

    /// A path of the type Exact with a dot in it, which the operator asks for first, is rejected here.
    async fn has_a_path_that_is_accepted(&self, name: &str) -> Result<()> {
        let is_strict = self.user.cluster.ingress() == IngressController::IngressNginx;
        let expected = if is_strict { "ImplementationSpecific" } else { "Exact" };
        let spec = json!(self.user.api::<Ingress>().get(name).await?.spec);
        let of_path = &spec["rules"][0]["http"]["paths"][0]["pathType"];
        ensure!(of_path == expected, "the path of the challenge is {of_path}, not {expected}");
        Ok(())
    }

    /// An Ingress is deleted while its challenge waits.
    pub(crate) async fn leaves_nothing_behind(&self) -> Result<Times> {
        let (user, name) = (&self.user, "deleted");
        scale_solver(user, operator::NAME, 0).await?;
        self.apply(name, issuer_annotation(ISSUER)).await?;
        let of_challenge = async || -> Result<Option<String>> {
            Ok(user.names_of_challenges::<Ingress>().await?.into_iter().next())
        };
        let presented = async || Ok(of_challenge().await?.is_some());
        eventually("the Ingress of a challenge", harness::TIMEOUT, presented).await?;
        self.has_a_path_that_is_accepted(&of_challenge().await?.context("the Ingress is gone")?).await?;
        user.api::<Ingress>().delete(name, &DeleteParams::background()).await?;
        let began = Instant::now();
        scenarios::await_no_leftovers(user).await?;
        let gone = async || {
            let mut left = user.names::<Certificate>().await?;
            left.extend(user.names::<Order>().await?);
            Ok(!left.iter().any(|it| it.starts_with(name)))
        };
        eventually("all objects of the Ingress to be gone", harness::TIMEOUT, gone).await?;
        println!("deleted Ingress: nothing is left after {:.1?}", began.elapsed());
        Ok(Times::default())
    }
}

/// The page of a controller.
fn page_of(controller: IngressController) -> &'static str {
    match controller {
        IngressController::Traefik => include_str!("../../../docs/ingress/TRAEFIK.md"),
        IngressController::IngressNginx => include_str!("../../../docs/ingress/INGRESS-NGINX.md"),
        IngressController::Istio => include_str!("../../../docs/ingress/ISTIO.md"),
        IngressController::Contour => include_str!("../../../docs/ingress/CONTOUR.md"),
    }
}

/// All YAML in a page.
fn manifests_in(page: &str) -> String {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    blocks.map(|(yaml, _)| yaml).collect::<Vec<_>>().join("---\n")
}

/// The status of the answer to a request, if there is one.
pub(crate) async fn status_of(user: &User<'_>, url: &str, trust: &Trust) -> Option<u16> {
    let answer = client::get(&user.cluster.network(), url, trust).await.ok()?;
    Some(answer.status().as_u16())
}

/// An Ingress of Istio in another namespace than its gateway: the Certificate says that its Secret is not read there, and once there is
/// one in the namespace of the gateway, as docs/ingress/ISTIO.md shows, HTTPS is served. All traffic of the namespace needs mTLS.
pub(crate) async fn says_where_the_secret_is_read(served: &Served<'_>) -> Result<Times> {
    let cluster = served.user.cluster;
    harness::create_namespace(&served.user.client, TENANT).await?;
    let user = User::new(cluster, TENANT).await?;
    let strict = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": { "name": "strict" },
        "spec": { "mtls": { "mode": "STRICT" } },
    });
    cluster.apply_in(Some(TENANT), &strict.to_string()).await?;
    let (name, host) = ("elsewhere", user.host("elsewhere"));
    let began = Instant::now();
    user.apply_ingress(name, std::slice::from_ref(&host), issuer_annotation(ISSUER)).await?;
    user.await_issued(name, harness::TIMEOUT).await?;
    let secret = began.elapsed();
    user.await_ready_message(
        name,
        "Istio reads the Secrets of Ingresses in the namespace of its gateway's Pods",
    )
    .await?;
    let spec = json!({ "dnsNames": [host], "issuerRef": { "kind": "ClusterIssuer", "name": ISSUER } });
    served.user.apply_certificate(name, spec).await?;
    served.user.await_issued(name, harness::TIMEOUT).await?;
    user.await_served(&host, &served.root, harness::TIMEOUT).await?;
    Ok(Times { secret: Some(secret), https: None })
}
