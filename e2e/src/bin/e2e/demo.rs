//! `cargo xtask demo`: the shortest way to see the operator work. An annotated Ingress gets a certificate, and another
//! certificate is renewed. Uses only what users have: the chart and objects. Next: `user.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use crds::{
    acme::{Challenge, Order},
    certmanager::{Certificate, CertificateRequest},
};
use e2e::{
    harness,
    operator::{self, Processes},
    user::{self, User},
};
use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{Resource, api::DeleteParams, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use serde_json::json;
use testbed::{
    bring_up,
    cluster::{self, Cluster, ClusterState, IngressController, Mode, Options},
    commands::{ClusterArguments, print_next_steps},
    page,
    pebble::{Pebble, Settings},
    tools::{Tool, Tools},
};
use tokio::time::sleep;
use xtask::{
    paths,
    process::{self, cargo},
    progress::{Human, Steps},
    release::{self, Build, Built, ImageProfile},
};

const NAMESPACE: &str = "demo";
const HOST: &str = "web.demo.example.test";

/// The ingress class in the example.
const CLASS: &str = "nginx";

/// The example in the README, with Pebble instead of Let's Encrypt.
const ISSUER: &str = include_str!("../../../manifests/example-issuer.yaml");
const INGRESS: &str = include_str!("../../../manifests/example-ingress.yaml");

/// The validity of the certificate that is renewed.
const SHORT: Duration = Duration::from_secs(45);

pub(crate) async fn run(arguments: &ClusterArguments, steps: &Steps) -> Result<()> {
    let options = arguments.options();
    let running = match cluster::state_of(&options.name)? {
        ClusterState::Running => Some(Cluster::attach(&options.name)?),
        ClusterState::Stale | ClusterState::Absent => None,
    };
    check_class(running.as_ref(), &options)?;
    let mode = running.as_ref().map_or(options.mode, Cluster::mode);
    if running.is_none() {
        bring_up::prepare_host(mode, options.network, steps).await?;
    }
    let (tools, images) = build(&Options { mode, ..options.clone() }, steps).await?;
    let cluster = match running {
        Some(cluster) => cluster,
        None => bring_up::start(&options, &tools, steps).await?,
    };
    // Without a node, the operator and the solver are processes that end with the demo.
    let processes = install(&cluster, &images, steps).await?;
    cluster.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {NAMESPACE} }}\n")).await?;
    let user = User::new(&cluster, NAMESPACE).await?;
    if cluster.mode() == Mode::Node {
        let step = steps.begin(format!("serving a page under http://{HOST}/"), None);
        page::serve_page(&cluster, NAMESPACE, "web", HOST).await?;
        let url = format!("http://{HOST}/hostname");
        let page = page::await_page(&cluster, &url, &testbed::http::Trust::Nothing, harness::TIMEOUT).await?;
        step.done(format!("the Pod {page:?} answers through {}", cluster.ingress().name()));
    }
    issue(&user, steps).await?;
    renew(&user, steps).await?;
    cluster.keep()?;
    steps.summary("the demo");
    if processes.is_some() {
        println!("The operator and the solver ran as processes of the demo, and have ended with it.");
    }
    print_next_steps(&cluster);
    Ok(())
}

/// Checks that Ingresses of the example's class, with Secrets in their own namespace, are served in the cluster. Called before anything is
/// built.
fn check_class(running: Option<&Cluster>, options: &Options) -> Result<()> {
    let name = &options.name;
    let class = running.map_or(&*options.ingress_class, Cluster::ingress_class);
    let controller = running.map_or(options.ingress, Cluster::ingress);
    let serves_gateways = running.map_or(options.gateway_api, Cluster::serves_gateways);
    let why = match controller {
        IngressController::Istio => "Istio reads the Secrets of Ingresses only in its own namespace",
        IngressController::Contour if serves_gateways => "with `--gateway-api`, Contour serves no Ingresses",
        IngressController::Traefik | IngressController::IngressNginx | IngressController::Contour => {
            if class == CLASS {
                return Ok(());
            }
            "the example has another class"
        }
    };
    let is = format!("{} and the ingress class {class:?}", controller.name());
    if running.is_none() {
        bail!(
            "the demo can't run with {is}, because {why}: use `--ingress` with `traefik`, `ingress-nginx`, or `contour`, and leave \
             out `--gateway-api` and `--ingress-class`"
        );
    }
    bail!(
        "the demo can't run in the cluster {name:?}, which has {is}, because {why}: remove the cluster with `cargo xtask cluster down \
         --name {name}`, or run the demo with another `--name`"
    )
}

/// Builds the tools, and at the same time the images for a node: linking in Go and parsing in rustc use one core each,
/// which leaves the other idle.
async fn build(options: &Options, steps: &Steps) -> Result<(Tools, Vec<Built>)> {
    let needed = [bring_up::tools_for(options), vec![Tool::Helm]].concat();
    if options.mode == Mode::ControlPlane {
        return Ok((Tools::ensure(&needed, steps).await?, Vec::new()));
    }
    let began = Instant::now();
    let images = Build::start(paths::workspace(), ImageProfile::Fast, steps)?;
    let time = images.usual_time();
    let line = "  … building the images in the background, which slows down the next steps by about";
    steps.say(format!("{line} {}", Human(time)));
    let tools = Tools::ensure(&needed, steps).await?;
    let left = time.saturating_sub(began.elapsed());
    let step = steps.begin("waiting for the images", (!left.is_zero()).then_some(left));
    let folder = release::image_folder(ImageProfile::Fast);
    let images = images.write_images(&folder)?;
    step.done(folder.display());
    Ok((tools, images))
}

async fn install(cluster: &Cluster, images: &[Built], steps: &Steps) -> Result<Option<Processes>> {
    if cluster.mode() == Mode::Node {
        operator::import_images(cluster, images, steps).await?;
        let step = steps.begin("installing the chart", Some(Duration::from_secs(8)));
        operator::install(cluster, &[]).await?;
        step.done("helm upgrade --install acme-operator charts/acme-operator");
        return Ok(None);
    }
    let step = steps.begin("building the operator and the solver", Some(Duration::from_mins(1)));
    process::run(&mut cargo(&[
        "build",
        "--quiet",
        "--locked",
        "--package",
        "operator",
        "--package",
        "http01-solver",
    ]))?;
    let binary = std::env::current_exe()?;
    let binaries = binary.parent().context("this program is not in a folder")?;
    step.done(binaries.strip_prefix(paths::workspace()).unwrap_or(binaries).display());
    let step = steps.begin("starting the operator and the solver with the chart's RBAC", None);
    let flags = [&operator::VERBOSE[..], &["--leader-elect=false"]].concat();
    let processes = Processes::start(cluster, binaries, &flags).await?;
    step.done("");
    Ok(Some(processes))
}

/// Runs the example in the README: prints the objects as they appear, and the certificate that is served at last.
async fn issue(user: &User<'_>, steps: &Steps) -> Result<()> {
    let pebble = Pebble::of_cluster(user.cluster)?;
    let step = steps.begin("kubectl apply: ClusterIssuer letsencrypt-prod", None);
    let bundle = user::ca_bundle(&pebble)?;
    let issuer = ISSUER
        .replace("$SERVER", &pebble.directory_url())
        .replace("$CA_BUNDLE", bundle.as_str().unwrap_or_default());
    user.cluster.apply(&issuer).await?;
    let is_ready =
        |ready: &crds::condition::Condition| ready.status == crds::condition::ConditionStatus::True;
    user.await_cluster_issuer("letsencrypt-prod", "be ready", is_ready).await?;
    step.done("Ready: the ACME account is registered");

    // Left by an earlier run of the demo.
    for name in ["example", "web-tls"] {
        _ = user.api::<Ingress>().delete(name, &DeleteParams::default()).await;
        _ = user.api::<Secret>().delete(name, &DeleteParams::default()).await;
    }
    println!("\n$ kubectl apply -f ingress.yaml\n{}", INGRESS.replace("$HOST", HOST).trim());
    let began = Instant::now();
    user.cluster.apply_in(Some(NAMESPACE), &INGRESS.replace("$HOST", HOST)).await?;
    narrate(user, began).await?;
    user.await_issued("web-tls", harness::TIMEOUT).await?;

    let root = pebble.issuing_root(0).await?;
    let served = user.await_served(HOST, &root, harness::TIMEOUT).await?;
    println!("  {:>6.2} s  https://{HOST}/ is served with the certificate", began.elapsed().as_secs_f64());
    if user.cluster.mode() == Mode::Node {
        let url = format!("https://{HOST}/hostname");
        let page = page::await_page(user.cluster, &url, &root, harness::TIMEOUT).await?;
        println!("\n$ curl --cacert pebble-root.pem {url}\n{page}");
    }
    println!("\n{}\n", describe(served.leaf())?);
    Ok(())
}

/// Prints each object when it appears, until the Secret exists.
async fn narrate(user: &User<'_>, began: Instant) -> Result<()> {
    let mut seen = BTreeSet::new();
    println!();
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let mut existing = Vec::new();
        existing.extend(named::<Certificate>(user).await?);
        existing.extend(named::<CertificateRequest>(user).await?);
        existing.extend(named::<Order>(user).await?);
        existing.extend(named::<Challenge>(user).await?);
        existing.extend(named::<Ingress>(user).await?.into_iter().filter(|name| name.contains("cm-acme")));
        let secrets = named::<Secret>(user).await?;
        let done = secrets.iter().any(|name| name == "Secret web-tls");
        existing.extend(secrets);
        for name in existing {
            if !seen.contains(&name) {
                println!("  {:>6.2} s  {name}", began.elapsed().as_secs_f64());
                seen.insert(name);
            }
        }
        if done {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("waited {} s for the Secret; {}", harness::TIMEOUT.as_secs(), user.log());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// The objects of a kind, as `<kind> <name>`.
async fn named<K>(user: &User<'_>) -> Result<Vec<String>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let names = user.names::<K>().await?;
    Ok(names.iter().map(|name| format!("{} {name}", K::kind(&()))).collect())
}

/// Shows that a certificate that is valid for less than a minute is renewed, while a client connects continuously.
async fn renew(user: &User<'_>, steps: &Steps) -> Result<()> {
    let step =
        steps.begin(format!("renewing a certificate that is valid for {} s", SHORT.as_secs()), Some(SHORT));
    let profiles = BTreeMap::from([("shortlived".to_owned(), SHORT)]);
    let pebble = Pebble::in_cluster(user.cluster, &Settings { profiles, ..Settings::calm() }).await?;
    let change = json!({
        "profile": "shortlived",
        "solvers": [{ "http01": { "ingress": { "class": CLASS } } }],
    });
    user.create_cluster_issuer("shortlived", &pebble, change).await?;
    let host = format!("short.{HOST}");
    user.apply_ingress(
        "short",
        std::slice::from_ref(&host),
        json!({ "cert-manager.io/cluster-issuer": "shortlived" }),
    )
    .await?;
    let root = pebble.issuing_root(0).await?;
    let first = user.await_served(&host, &root, harness::TIMEOUT).await?;
    let deadline = Instant::now() + SHORT;
    loop {
        // Fails if a client that trusts Pebble's root is ever served another certificate.
        let now = user.await_served(&host, &root, Duration::from_secs(1)).await?;
        if now.leaf() != first.leaf() {
            break;
        }
        if Instant::now() > deadline {
            bail!("the certificate was not renewed within {} s; {}", SHORT.as_secs(), user.log());
        }
        sleep(Duration::from_millis(100)).await;
    }
    user.api::<Ingress>().delete("short", &DeleteParams::default()).await?;
    step.done("a valid certificate was served at all times");
    Ok(())
}

/// The certificate as text for people.
fn describe(der: &[u8]) -> Result<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).context("failed to parse the leaf")?;
    let time = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
    let names = certificate.subject_alternative_name().ok().flatten().map(|names| {
        names.value.general_names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    });
    Ok(format!(
        "subject  {}\nnames    {}\nissuer   {}\nserial   {}\nvalid    {} to {}",
        certificate.subject(),
        names.unwrap_or_default(),
        certificate.issuer(),
        certificate.raw_serial_as_string(),
        time(certificate.validity().not_before)?,
        time(certificate.validity().not_after)?,
    ))
}
