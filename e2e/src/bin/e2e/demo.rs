//! `cargo xtask demo`: the shortest way to see it work. An annotated Ingress gets its certificate, and another one is renewed.

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
    cluster::{self, Cluster, Mode, Standing},
    commands::{Choice, tell_how_to_use},
    page,
    pebble::{Pebble, Settings},
    tools::Tools,
};
use tokio::time::sleep;
use xtask::{
    paths,
    process::{self, cargo},
    progress::Steps,
};

const NAMESPACE: &str = "demo";
const HOST: &str = "web.demo.example.test";

/// The class of the example.
const CLASS: &str = "nginx";

/// The example of the README, at Pebble in place of Let's Encrypt.
const ISSUER: &str = include_str!("../../../manifests/example-issuer.yaml");
const INGRESS: &str = include_str!("../../../manifests/example-ingress.yaml");

/// How long the certificates are valid that are renewed.
const SHORT: Duration = Duration::from_secs(45);

pub(crate) async fn run(choice: &Choice, steps: &Steps) -> Result<()> {
    let options = choice.options();
    let tools = Tools::ensure(steps).await?;
    let cluster = if cluster::standing(&options.name)? == Standing::Running {
        Cluster::attach(&options.name)?
    } else {
        bring_up::start(&options, &tools, steps).await?
    };
    if cluster.ingress_class() != CLASS {
        bail!(
            "the cluster {:?} serves the ingress class {:?}, and the demo shows {CLASS:?}: remove it with \
             `cargo xtask cluster down --name {}`, or give the demo another --name",
            cluster.name(),
            cluster.ingress_class(),
            cluster.name()
        );
    }
    // Without a node, our programs are processes that end with the demo.
    let processes = install(&cluster, steps).await?;
    cluster.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {NAMESPACE} }}\n")).await?;
    let user = User::new(&cluster, NAMESPACE).await?;
    if cluster.mode() == Mode::Node {
        let step = steps.begin(format!("serving a page under http://{HOST}/"), None);
        page::serve_page(&cluster, NAMESPACE, "web", HOST).await?;
        let url = format!("http://{HOST}/hostname");
        let page = page::await_page(&cluster, &url, &testbed::http::Trust::Nothing, harness::TIMEOUT).await?;
        step.done(format!("Pod {page:?} answers through Traefik"));
    }
    issue(&user, steps).await?;
    renew(&user, steps).await?;
    cluster.keep()?;
    steps.summary("the demo");
    if processes.is_some() {
        println!("Operator and solver were processes of the demo, and have ended with it.");
    }
    tell_how_to_use(&cluster);
    Ok(())
}

async fn install(cluster: &Cluster, steps: &Steps) -> Result<Option<Processes>> {
    if cluster.mode() == Mode::Node {
        operator::build_and_load_images(cluster, steps).await?;
        let step = steps.begin("installing the chart", Some(Duration::from_secs(8)));
        operator::install(cluster, &[]).await?;
        step.done("helm upgrade --install acme-operator charts/acme-operator");
        return Ok(None);
    }
    let step = steps.begin("building operator and solver", Some(Duration::from_mins(1)));
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
    let binaries = binary.parent().context("a binary lies in a folder")?;
    step.done(binaries.strip_prefix(paths::workspace()).unwrap_or(binaries).display());
    let step = steps.begin("starting operator and solver with the chart's rights", None);
    let flags = [&operator::VERBOSE[..], &["--leader-elect=false"]].concat();
    let processes = Processes::start(cluster, binaries, &flags).await?;
    step.done("");
    Ok(Some(processes))
}

/// The example of the README: prints what happens, and what is served in the end.
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
    step.done("Ready: the ACME account was registered");

    // A second demo shows the same again.
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
    println!("  {:>6.2} s  https://{HOST}/ is served with it", began.elapsed().as_secs_f64());
    if user.cluster.mode() == Mode::Node {
        let url = format!("https://{HOST}/hostname");
        let page = page::await_page(user.cluster, &url, &root, harness::TIMEOUT).await?;
        println!("\n$ curl --cacert pebble-root.pem {url}\n{page}");
    }
    println!("\n{}\n", describe(served.leaf())?);
    Ok(())
}

/// Prints each object as it comes, until the Secret is there.
async fn narrate(user: &User<'_>, began: Instant) -> Result<()> {
    let mut seen = BTreeSet::new();
    println!();
    let deadline = Instant::now() + harness::TIMEOUT;
    loop {
        let mut there = Vec::new();
        there.extend(named::<Certificate>(user).await?);
        there.extend(named::<CertificateRequest>(user).await?);
        there.extend(named::<Order>(user).await?);
        there.extend(named::<Challenge>(user).await?);
        there.extend(named::<Ingress>(user).await?.into_iter().filter(|name| name.contains("cm-acme")));
        let secrets = named::<Secret>(user).await?;
        let done = secrets.iter().any(|name| name == "Secret web-tls");
        there.extend(secrets);
        for name in there {
            if !seen.contains(&name) {
                println!("  {:>6.2} s  {name}", began.elapsed().as_secs_f64());
                seen.insert(name);
            }
        }
        if done {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("there is no Secret after {} s; {}", harness::TIMEOUT.as_secs(), user.log());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Objects of a kind, with the kind.
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

/// A certificate that is valid for less than a minute is renewed while a client asks for it all the time.
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
        // What a client sees that trusts nothing but Pebble's root: never anything bad.
        let now = user.await_served(&host, &root, Duration::from_secs(1)).await?;
        if now.leaf() != first.leaf() {
            break;
        }
        if Instant::now() > deadline {
            bail!("it was not renewed; {}", user.log());
        }
        sleep(Duration::from_millis(100)).await;
    }
    user.api::<Ingress>().delete("short", &DeleteParams::default()).await?;
    step.done("the old one was served until the new one was");
    Ok(())
}

/// A certificate for people.
fn describe(der: &[u8]) -> Result<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).context("the leaf can't be read")?;
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
