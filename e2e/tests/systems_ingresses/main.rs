//! Ingresses that each controller serves in a cluster of its own: the example of users, issued fast, also where the application is
//! redirected or protected, renewed while they are served, and cleaned up.
//!
//! Knows which stories apply to which controller; must not know the operator's code. Next: `served.rs` for the stories.

mod nginx;
mod redirects;
mod served;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::Result;
use e2e::{harness, matrix::story};
use testbed::cluster::{IngressController, Mode, Options};

use self::served::{Goals, Served};

/// For a controller that applies each change soon.
const GOALS: Goals = Goals { secret: Duration::from_secs(3), https: Duration::from_millis(3500) };

/// Traefik applies a change immediately unless it has applied one within two seconds: the route of the challenge comes first, and the
/// Secret waits.
const GOALS_OF_TRAEFIK: Goals =
    Goals { secret: Duration::from_millis(1500), https: Duration::from_millis(2900) };

const GOALS_OF_FAST_TRAEFIK: Goals =
    Goals { secret: Duration::from_millis(1500), https: Duration::from_secs(1) };

/// ingress-nginx applies changes every 3.3 s: the route of the challenge in one of these steps, and the Secret in the next.
const GOALS_OF_INGRESS_NGINX: Goals = Goals { https: Duration::from_millis(6700), ..GOALS };

#[tokio::test]
async fn traefik_serves_what_is_issued() -> Result<()> {
    let system = System::new("traefik", IngressController::Traefik, GOALS_OF_TRAEFIK);
    run_stories(system, async |served| {
        served.tell("redirect of all requests", redirects::all_requests_are_redirected).await
    })
    .await
}

/// With the setting that docs/ingress/TRAEFIK.md recommends.
#[tokio::test]
async fn fast_traefik_serves_what_is_issued() -> Result<()> {
    let mut system =
        System::new("traefik, throttle 100 ms", IngressController::Traefik, GOALS_OF_FAST_TRAEFIK);
    system.is_fast = true;
    run_stories(system, async |_| Ok(())).await
}

#[tokio::test]
async fn ingress_nginx_serves_what_is_issued() -> Result<()> {
    let system = System::new("ingress-nginx", IngressController::IngressNginx, GOALS_OF_INGRESS_NGINX);
    run_stories(system, async |served| {
        served.tell("redirects, passwords, denied addresses", nginx::is_issued_beside_protections).await?;
        served.tell("rejected by the webhook", nginx::explains_what_the_webhook_rejects).await?;
        // Ten times a second.
        served.add_argument("ingress-nginx", "ingress-nginx-controller", "--sync-rate-limit=10").await?;
        let first = "first issuance, --sync-rate-limit=10";
        story(served.system, first, async || served.gets_a_secret_soon("sooner", GOALS).await).await
    })
    .await
}

#[tokio::test]
async fn contour_serves_what_is_issued() -> Result<()> {
    let system = System::new("contour", IngressController::Contour, GOALS);
    run_stories(system, async |served| {
        served.tell("redirect of the application", redirects::application_of_contour_is_redirected).await
    })
    .await
}

/// Istio reads Secrets in the namespace of its gateway, so the stories take place there.
#[tokio::test]
async fn istio_serves_what_is_issued() -> Result<()> {
    let mut system = System::new("istio ingress", IngressController::Istio, GOALS);
    system.namespace = "istio-system";
    run_stories(system, async |served| {
        let name = "Ingress of another namespace, STRICT mTLS";
        served.tell(name, served::says_where_the_secret_is_read).await
    })
    .await
}

/// What serves the Ingresses of a cluster.
struct System {
    /// The row of the matrix.
    name: &'static str,
    controller: IngressController,
    /// Whether Traefik has the setting that docs/ingress/TRAEFIK.md recommends.
    is_fast: bool,
    /// The namespace of the Ingresses.
    namespace: &'static str,
    goals: Goals,
}

impl System {
    fn new(name: &'static str, controller: IngressController, goals: Goals) -> Self {
        Self { name, controller, is_fast: false, namespace: "tenant", goals }
    }
}

/// The namespace and Deployment of a controller.
fn workload(controller: IngressController) -> [&'static str; 2] {
    match controller {
        IngressController::Traefik => ["traefik", "deployment/traefik"],
        IngressController::IngressNginx => ["ingress-nginx", "deployment/ingress-nginx-controller"],
        IngressController::Istio => ["istio-system", "deployment/istiod"],
        IngressController::Contour => ["projectcontour", "deployment/contour"],
    }
}

/// Runs the stories that every controller supports, and more, in a cluster of their own. If one fails, the error has the objects of all
/// namespaces, and the end of the controller's log.
async fn run_stories(system: System, more: impl AsyncFn(&Served<'_>) -> Result<()>) -> Result<()> {
    let speed = if system.is_fast { "-fast" } else { "" };
    let controller = system.controller.name().to_lowercase();
    let cluster_name = format!("test-{controller}{speed}-{}", std::process::id());
    let options = Options {
        ingress: system.controller,
        ingress_class: "nginx".to_owned(),
        fast_traefik: system.is_fast,
        ..Options::new(cluster_name, Mode::Node)
    };
    let cluster = harness::start_with(&options).await?;
    let run = async || -> Result<()> {
        let served = Served::prepare(&cluster, system.name, system.namespace).await?;
        served.pass_all_stories(system.goals).await?;
        more(&served).await?;
        served.tell("deleted during a challenge", Served::leaves_nothing_behind).await
    };
    if let Err(error) = run().await {
        let kinds = "ingresses,certificates,challenges,events";
        let shown = ["get", kinds, "--output=yaml", "--all-namespaces"];
        let shown = harness::kubectl_text(&cluster, &shown).await;
        let [namespace, workload] = workload(system.controller);
        let log = ["logs", "--all-containers", "--tail=200", "--namespace", namespace, workload];
        let log = harness::kubectl_text(&cluster, &log).await;
        return Err(error.context(shown).context(log));
    }
    cluster.end()
}
