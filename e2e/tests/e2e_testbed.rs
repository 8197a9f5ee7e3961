//! The testbed provides what all other e2e tests rely on. Must not need the operator. Next: `testbed`.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::harness::{self, with_namespace};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::{
    Api,
    api::{ListParams, ObjectMeta, PostParams},
};
use serde_json::json;
use testbed::{
    acme,
    audit::AuditMark,
    bring_up,
    cluster::{Mode, Options},
    helm::helm,
    http::{self, Trust},
    page::{self, AGNHOST_IMAGE},
    pebble::{Pebble, Settings},
    probe,
};
use xtask::progress::Steps;

#[tokio::test]
async fn a_pod_serves_through_service_and_traefik() -> Result<()> {
    with_namespace("page", async |namespace| {
        let host = format!("web.{}.example.test", namespace.name());
        namespace.serve_page("web", &host).await?;
        let page = namespace.await_page(&format!("http://{host}/hostname")).await?;
        ensure!(page == "web", "the page is {page:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn names_resolve_in_a_pod() -> Result<()> {
    with_namespace("names", async |namespace| {
        let host = format!("web.{}.example.test", namespace.name());
        namespace.serve_page("web", &host).await?;
        namespace.await_page(&format!("http://{host}/hostname")).await?;
        let short = format!("web.{}", namespace.name());
        let cluster_local = format!("web.{}.svc.cluster.local", namespace.name());
        for name in [&host, &cluster_local, &short] {
            let connected =
                namespace.exec("web", &["/agnhost", "connect", &format!("{name}:80"), "--timeout=5s"]).await;
            connected.with_context(|| format!("failed to reach {name} from the Pod"))?;
        }
        let missing = namespace.exec("web", &["/agnhost", "connect", "missing:80", "--timeout=5s"]).await;
        let error = format!("{:#}", missing.err().context("a name that does not exist was reached")?);
        ensure!(error.contains("DNS"), "{error}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn helm_installs_a_chart() -> Result<()> {
    with_namespace("helm", async |namespace| {
        let host = format!("chart.{}.example.test", namespace.name());
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/page-chart");
        helm(
            namespace.cluster(),
            &[
                "install",
                "charted",
                &chart.to_string_lossy(),
                "--namespace",
                namespace.name(),
                "--wait",
                "--timeout=60s",
                "--set",
                &format!("host={host},image={AGNHOST_IMAGE}"),
            ],
        )
        .await?;
        let page = namespace.await_page(&format!("http://{host}/hostname")).await?;
        ensure!(page == "charted", "the page is {page:?}");
        let releases =
            helm(namespace.cluster(), &["list", "--namespace", namespace.name(), "--output=json"]).await?;
        ensure!(releases.contains(r#""status":"deployed""#), "{releases}");
        Ok(())
    })
    .await
}

/// A Pod that serves a ConfigMap at the path of HTTP-01 challenges.
const TOKEN_SERVER: &str = include_str!("data/token-server.yaml");

#[tokio::test]
async fn traefik_serves_a_certificate_from_pebble() -> Result<()> {
    with_namespace("issue", async |namespace| {
        let cluster = namespace.cluster();
        let host = format!("secure.{}.example.test", namespace.name());
        let pebble = Pebble::in_cluster(cluster, &Settings::default()).await?;
        let configs = namespace.api::<ConfigMap>();
        let mut path = String::new();
        let account = acme::new_account(&pebble, acme::account_builder(&pebble)).await?;
        let issued = acme::issue(&account, &[&host], async |token, key_authorization| {
            let map = ConfigMap {
                metadata: ObjectMeta { name: Some("tokens".into()), ..ObjectMeta::default() },
                data: Some(BTreeMap::from([(token.to_owned(), key_authorization.to_owned())])),
                ..ConfigMap::default()
            };
            configs.create(&PostParams::default(), &map).await?;
            namespace.apply(&TOKEN_SERVER.replace("$HOST", &host).replace("$IMAGE", AGNHOST_IMAGE)).await?;
            path = format!("{host}/.well-known/acme-challenge/{token}");
            let served = namespace.await_page(&format!("http://{path}")).await?;
            ensure!(served == key_authorization, "{served:?} is served");
            Ok(())
        })
        .await?;
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": "served" },
            "type": "kubernetes.io/tls",
            "stringData": { "tls.crt": issued.chain, "tls.key": issued.key },
        }))?;
        namespace.api::<Secret>().create(&PostParams::default(), &secret).await?;
        let root = pebble.issuing_root(0).await?;
        page::await_page(cluster, &format!("https://{path}"), &root, harness::TIMEOUT).await?;
        let served = probe::tls(&cluster.network(), &host, 443, &host, &root).await?;
        served.verdict.context("a client with Pebble's root rejects the chain that Traefik serves")?;
        ensure!(served.certificates.len() == 2, "the chain has {} certificates", served.certificates.len());
        let other = probe::tls(&cluster.network(), &host, 443, "other.example.test", &root).await?;
        ensure!(other.verdict.is_err(), "a client accepts Traefik's self-signed certificate");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn audit_log_has_every_request_of_a_client() -> Result<()> {
    with_namespace("audit", async |namespace| {
        let mark = AuditMark::now(namespace.cluster())?;
        let pods = namespace.api::<Pod>();
        for _ in 0..7 {
            pods.list(&ListParams::default()).await?;
        }
        ensure!(pods.get_opt("missing").await?.is_none(), "there is a Pod \"missing\"");
        let ours: Vec<_> = mark
            .events()?
            .into_iter()
            .filter(|event| event.user() == "admin" && event.namespace() == Some(namespace.name()))
            .collect();
        let lists = ours.iter().filter(|event| event.verb == "list" && event.resource() == "pods").count();
        ensure!(lists == 7 && ours.len() == 8, "not 7 lists and 1 get: {ours:?}");
        ensure!(
            ours[7].status() == Some(404) && !ours[7].is_write(),
            "the last request is not a failed get: {:?}",
            ours[7]
        );
        ensure!(mark.count("unknown-user")?.is_empty(), "an unknown user has requests");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn concurrent_clusters_are_isolated() -> Result<()> {
    with_namespace("two", async |namespace| {
        let first = namespace.cluster();
        let name = format!("test-second-{}", std::process::id());
        let steps = Steps::default();
        let second = bring_up::start(&Options::new(name, Mode::ControlPlane), first.tools(), &steps).await?;
        let there: Api<Namespace> = Api::all(second.client().await?);
        ensure!(there.get_opt("kube-system").await?.is_some(), "the second cluster has no kube-system");
        ensure!(
            there.get_opt(namespace.name()).await?.is_none(),
            "the second cluster has a namespace of the first one"
        );
        // The same name and port lead to a different Pebble in each cluster.
        for cluster in [first, &second] {
            let pebble = Pebble::of_cluster(cluster)?;
            let directory = http::get(pebble.network(), &pebble.directory_url(), pebble.trust()).await?;
            ensure!(directory.status().is_success(), "Pebble responds with {}", directory.status());
        }
        let pebble = Pebble::of_cluster(&second)?;
        let wrong = http::get(&first.network(), &pebble.directory_url(), pebble.trust()).await;
        ensure!(wrong.is_err(), "the Pebbles of both clusters have the same CA");
        second.end()
    })
    .await
}

/// The dump and the errors of a failed test show the objects, but no Secrets.
#[tokio::test]
async fn dump_shows_objects_but_no_secrets() -> Result<()> {
    with_namespace("dump", async |namespace| {
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": "hidden" },
            "stringData": { "password": "do-not-print-me" },
        }))?;
        namespace.api::<Secret>().create(&PostParams::default(), &secret).await?;
        namespace.serve_page("web", &format!("web.{}.example.test", namespace.name())).await?;
        let dump = namespace.dump().await;
        for part in ["pod/web", "ingress.networking.k8s.io/web", "secret/hidden", "Scheduled", "log of web"] {
            ensure!(dump.contains(part), "{part:?} is missing in\n{dump}");
        }
        ensure!(!dump.contains("do-not-print-me"), "the dump shows the content of a Secret");

        let waited = harness::await_condition(
            namespace.api::<Pod>(),
            "web",
            "become something it is not",
            Duration::from_millis(200),
            |_: Option<&Pod>| false,
        )
        .await;
        let error = format!("{:#}", waited.err().context("a condition that is never true was met")?);
        ensure!(
            error.contains("Pod \"web\" to become something") && error.contains("phase: Running"),
            "the error does not say what it waited for, or does not show the object: {error}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unknown_host_returns_404() -> Result<()> {
    let cluster = harness::cluster()?;
    let response = http::get(&cluster.network(), "http://unknown.example.test/", &Trust::Nothing).await?;
    ensure!(response.status() == 404, "Traefik responds with {}", response.status());
    Ok(())
}
