//! Gateways and ListenerSets with certificates, and HTTP-01 through HTTPRoutes: the operator as a process, with Traefik's provider for
//! the Gateway API, and Pebble.
//!
//! Knows the Gateway API and annotations; must not know controllers. Next: `testbed::gateway_api`.

use std::{path::Path, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, ensure};
use crds::{
    acme::Challenge,
    certmanager::Certificate,
    gateway::{Gateway, HttpRoute, ListenerSet},
};
use e2e::{
    gateways::{apply, gateway, http, https, solvers},
    harness::{self, eventually},
    intruder::Intruder,
    operator::{self, Processes},
    user::{User, issuer_annotation},
};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use testbed::{cluster::Cluster, gateway_api, pebble::Pebble, process::resident};

const ISSUER: &str = "gateways";

/// How much memory may grow while the CRDs come and go, bytes: it may fragment, but a leaked cache or watch would be more.
const MEMORY_LIMIT: u64 = 4 << 20;

/// How soon a rejected route has to be reported while other tests keep the machine busy. Alone, it takes 3.3 s, and the level `systems`
/// asserts 5 s.
const SOON: Duration = Duration::from_secs(15);

/// A cluster whose Traefik serves Gateways, with the operator.
struct Bed {
    cluster: Cluster,
    _processes: Processes,
}

fn bed() -> Result<&'static Bed> {
    static BED: OnceLock<Result<Bed, String>> = OnceLock::new();
    harness::start_once(&BED, async || {
        let cluster = harness::start_gateways("gateway").await?;
        let processes = Processes::start(&cluster, binaries()?, &operator::VERBOSE).await?;
        let user = User::new(&cluster, operator::NAME).await?;
        user.create_cluster_issuer(ISSUER, &Pebble::of_cluster(&cluster)?, solvers()).await?;
        Ok(Bed { cluster, _processes: processes })
    })
}

fn binaries() -> Result<&'static Path> {
    Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")
}

/// A user with a namespace of its own.
async fn user(namespace: &str) -> Result<User<'static>> {
    let cluster = &bed()?.cluster;
    harness::create_namespace(&cluster.client().await?, namespace).await?;
    User::new(cluster, namespace).await
}

async fn await_served(user: &User<'_>, host: &str) -> Result<()> {
    let root = Pebble::of_cluster(user.cluster)?.issuing_root(0).await?;
    user.await_served(host, &root, harness::TIMEOUT).await.map(drop)
}

/// Twenty names in one Gateway, two of which share a Secret, and a listener with a slip that holds up none of them.
#[tokio::test]
async fn annotated_gateway_is_served_over_https() -> Result<()> {
    let user = user("gw-https").await?;
    let mut listeners =
        vec![http(), https("apex", &user.host("apex"), "apex"), https("www", &user.host("www"), "apex")];
    for number in 0..18 {
        let name = format!("web-{number}");
        listeners.push(https(&name, &user.host(&name), &name));
    }
    let tls = json!({ "certificateRefs": [{ "name": "incomplete" }] });
    listeners.push(json!({ "name": "incomplete", "port": 443, "protocol": "HTTPS", "tls": tls }));
    apply(&user, &gateway("web", &issuer_annotation(ISSUER), &listeners)).await?;
    for name in ["apex", "www", "web-0", "web-17"] {
        await_served(&user, &user.host(name)).await.with_context(|| user.log())?;
    }
    let certificate = user.await_issued("apex", harness::TIMEOUT).await?;
    ensure!(
        certificate.spec.dns_names.is_some_and(|names| names.len() == 2),
        "both names share a certificate"
    );
    ensure!(user.names::<Secret>().await?.iter().all(|name| name != "incomplete"), "a slip became a Secret");
    let events = user.api::<Event>().list(&ListParams::default()).await?.items;
    let messages: Vec<_> = events.iter().filter_map(|event| event.message.as_deref()).collect();
    for expected in [
        "Successfully created Certificate \"apex\"",
        "Skipped a listener block: spec.listeners[21].hostname: Required value: the hostname cannot be empty",
    ] {
        ensure!(messages.contains(&expected), "there is no event {expected:?}: {messages:#?}");
    }
    let gone = async || Ok(user.names::<HttpRoute>().await?.is_empty());
    eventually("the routes of challenges to be gone", harness::TIMEOUT, gone).await.map(drop)
}

/// The most common mistake: by default, a Gateway takes routes of its own namespace only.
#[tokio::test]
async fn rejected_route_is_explained_and_heals() -> Result<()> {
    let (owner, tenant) = (user("gw-infra").await?, user("gw-tenant").await?);
    apply(&owner, &gateway("public", &json!({}), &[http()])).await?;
    let host = tenant.host("web");
    let parent = json!([{ "name": "public", "namespace": owner.namespace, "sectionName": "http" }]);
    let solvers = json!([{ "http01": { "gatewayHTTPRoute": { "parentRefs": parent } } }]);
    tenant.apply_issuer("own", &Pebble::of_cluster(tenant.cluster)?, json!({ "solvers": solvers })).await?;
    let spec = json!({ "dnsNames": [host], "issuerRef": { "name": "own" } });
    tenant.apply_certificate("web", spec).await?;
    let created = async || Ok(!tenant.names::<HttpRoute>().await?.is_empty());
    eventually("the HTTPRoute", harness::TIMEOUT, created).await?;
    let words =
        "the Gateway \"gw-infra/public\" (section \"http\") rejects the HTTPRoute (NotAllowedByListeners";
    let reported = async || {
        let challenges = tenant.api::<Challenge>().list(&ListParams::default()).await?.items;
        let reasons = challenges.iter().filter_map(|it| it.status.as_ref()?.reason.as_deref());
        Ok(reasons.into_iter().any(|reason| reason.contains(words)))
    };
    let took = eventually("the Challenge to say why", SOON, reported).await.with_context(|| tenant.log())?;
    println!("the rejected route was reported after {:.1} s", took.as_secs_f64());
    tenant.await_ready_message("web", "NotAllowedByListeners").await?;

    let mut listener = http();
    listener["allowedRoutes"] = json!({ "namespaces": { "from": "All" } });
    apply(&owner, &gateway("public", &json!({}), &[listener])).await?;
    tenant.await_issued("web", harness::TIMEOUT).await.map(drop)
}

/// The operator's own token is of no use for routing what belongs to others.
#[tokio::test]
async fn forged_routes_are_rejected() -> Result<()> {
    let user = user("gw-forged").await?;
    let intruder = Intruder::new(user.cluster, operator::NAME, &user.namespace).await?;
    let own =
        json!([{ "apiVersion": "acme.cert-manager.io/v1", "kind": "Challenge", "name": "a", "uid": "1" }]);
    let route = |name: &str, owners: &Value, path: &str, service: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {
                "name": name,
                "labels": { "acme.cert-manager.io/http01-solver": "true" },
                "ownerReferences": owners,
            },
            "spec": { "rules": [{
                "matches": [{ "path": { "type": "Exact", "value": path } }],
                "backendRefs": [{ "group": "", "kind": "Service", "name": service, "port": 8089 }],
            }] },
        })
    };
    let (name, path, service) =
        ("cm-acme-http-solver-a", "/.well-known/acme-challenge/token", "cm-acme-http-solver");
    let allowed = serde_json::from_value(route(name, &own, path, service))?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    intruder.api::<HttpRoute>().create(&dry_run, &allowed).await.context("the route of a Challenge")?;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut forged = route(name, &own, path, service);
        change(&mut forged);
        forged
    };
    for (forged, expected) in [
        (route("web", &own, path, service), "only HTTPRoutes of Challenges"),
        (route(name, &json!([]), path, service), "only HTTPRoutes of Challenges"),
        (route(name, &own, "/login", service), "only paths of challenges"),
        (route(name, &own, path, "web"), "lead only to the solver"),
        (
            changed(&|it| it["spec"]["rules"][0]["matches"][0]["path"]["type"] = "PathPrefix".into()),
            "only paths",
        ),
        (
            changed(&|it| it["spec"]["rules"][0]["backendRefs"][0]["namespace"] = "b".into()),
            "lead only to the solver",
        ),
    ] {
        intruder.ensure_no_creation::<HttpRoute>(forged, expected).await?;
    }
    // Without a listener for HTTP, the challenge waits, so its route stays.
    let listeners = [https("https", &user.host("web"), "web")];
    apply(&user, &gateway("web", &issuer_annotation(ISSUER), &listeners)).await?;
    let created = async || Ok(!user.names::<HttpRoute>().await?.is_empty());
    eventually("the route of a challenge", harness::TIMEOUT, created).await?;
    let own = user.names::<HttpRoute>().await?.remove(0);
    let redirect =
        json!({ "type": "RequestRedirect", "requestRedirect": { "hostname": "evil.example.test" } });
    let rule = json!({
        "matches": [{ "path": { "type": "Exact", "value": path } }],
        "filters": [redirect],
    });
    let change = json!({ "spec": { "rules": [rule] } });
    intruder.ensure_no_change::<HttpRoute>(&own, change, "without filters").await?;
    let theirs: HttpRoute = serde_json::from_value(route("theirs", &json!([]), "/", "web"))?;
    user.api::<HttpRoute>().create(&PostParams::default(), &theirs).await?;
    let change = json!({ "spec": { "hostnames": ["evil.example.test"] } });
    intruder.ensure_no_change::<HttpRoute>("theirs", change, "only HTTPRoutes of Challenges").await
}

/// A route of the user's redirects everything to HTTPS.
#[tokio::test]
async fn challenge_is_solved_beside_a_redirect() -> Result<()> {
    let user = user("gw-redirect").await?;
    let host = user.host("web");
    let redirect = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": { "name": "redirect" },
        "spec": {
            "parentRefs": [{ "name": "web", "sectionName": "http" }],
            "hostnames": [host],
            "rules": [{ "filters": [{
                "type": "RequestRedirect", "requestRedirect": { "scheme": "https", "statusCode": 301 },
            }] }],
        },
    });
    apply(&user, &redirect).await?;
    let listeners = [http(), https("https", &host, "web")];
    apply(&user, &gateway("web", &issuer_annotation(ISSUER), &listeners)).await?;
    await_served(&user, &host).await?;
    let routes = async || Ok(user.names::<HttpRoute>().await? == ["redirect"]);
    eventually("only the user's route to be left", harness::TIMEOUT, routes).await.map(drop)
}

/// What a user corrects, on the Certificate, the issuer, or the Gateway, reaches the order in progress.
#[tokio::test]
async fn corrections_reach_the_order_in_progress() -> Result<()> {
    let user = user("gw-corrected").await?;
    apply(&user, &gateway("web", &json!({}), &[http()])).await?;
    let annotate = async |name: &str| {
        let certificate = json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": { "name": "annotated", "annotations": {
                "acme.cert-manager.io/http01-parentrefkind": "Gateway",
                "acme.cert-manager.io/http01-parentrefname": name,
            } },
            "spec": {
                "secretName": "annotated",
                "dnsNames": [user.host("annotated")],
                "issuerRef": { "kind": "ClusterIssuer", "name": ISSUER },
            },
        });
        apply(&user, &certificate).await
    };
    annotate("").await?;
    user.await_ready_message("annotated", "cannot specify only one of parentRefName, parentRefKind").await?;
    // Each time, a Challenge with the same name takes the place of the one before.
    for name in ["wrong", "other", "wrong"] {
        annotate(name).await?;
        let words = format!("the Gateway \"gw-corrected/{name}\" does not exist");
        user.await_ready_message("annotated", &words).await?;
    }
    annotate("web").await?;
    user.await_issued("annotated", harness::TIMEOUT).await?;

    let pebble = Pebble::of_cluster(user.cluster)?;
    let issuer = async |section: &str| {
        let parents = json!([{ "name": "web", "sectionName": section }]);
        let solvers = json!([{ "http01": { "gatewayHTTPRoute": { "parentRefs": parents } } }]);
        user.apply_issuer("own", &pebble, json!({ "solvers": solvers })).await
    };
    issuer("htttp").await?;
    let spec = json!({ "dnsNames": [user.host("section")], "issuerRef": { "name": "own" } });
    user.apply_certificate("section", spec).await?;
    user.await_ready_message("section", "Correct sectionName or port in the issuer's parentRefs").await?;
    issuer("http").await?;
    user.await_issued("section", harness::TIMEOUT).await?;

    let mut annotations = issuer_annotation(ISSUER);
    annotations["cert-manager.io/issue-temporary-certificate"] = "true".into();
    let listener = https("https", &user.host("tls"), "tls");
    apply(&user, &gateway("tls", &annotations, std::slice::from_ref(&listener))).await?;
    user.await_ready_message("tls", "has no listener for HTTP that accepts the name").await?;
    apply(&user, &gateway("tls", &annotations, &[http(), listener])).await?;
    user.await_issued("tls", harness::TIMEOUT).await?;
    let events = user.api::<Event>().list(&ListParams::default()).await?.items;
    let failed =
        events.iter().filter_map(|event| event.message.as_deref()).find(|it| it.contains("failed to"));
    ensure!(failed.is_none(), "a correction made a request fail: {failed:?}");
    Ok(())
}

/// Neither the Ingress nor the Gateway is wrong by itself.
#[tokio::test]
async fn solver_of_another_kind_is_explained() -> Result<()> {
    let user = user("gw-ingress").await?;
    user.apply_issuer(
        "own",
        &Pebble::of_cluster(user.cluster)?,
        json!({
            "solvers": [{ "http01": { "ingress": { "ingressClassName": "missing" } } }],
        }),
    )
    .await?;
    let annotation = json!({ "cert-manager.io/issuer": "own" });
    apply(&user, &gateway("web", &annotation, &[http(), https("https", &user.host("web"), "web")])).await?;
    user.await_ready_message("web", "use http01.gatewayHTTPRoute in the issuer").await?;
    user.apply_issuer("own", &Pebble::of_cluster(user.cluster)?, solvers()).await?;
    user.await_issued("web", harness::TIMEOUT).await.map(drop)
}

/// The listeners of a ListenerSet are served by no Traefik so far, but its certificates are issued through the Gateway.
#[tokio::test]
async fn listener_set_inherits_the_issuer_of_its_gateway() -> Result<()> {
    let (owner, tenant) = (user("gw-shared").await?, user("gw-team").await?);
    let mut listener = http();
    listener["allowedRoutes"] = json!({ "namespaces": { "from": "All" } });
    let mut shared = gateway("shared", &issuer_annotation(ISSUER), &[listener]);
    let set = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "ListenerSet",
        "metadata": {
            "name": "team",
            "annotations": {
                "acme.cert-manager.io/http01-parentreffallback": "true",
                "cert-manager.io/issue-temporary-certificate": "true",
            },
        },
        "spec": {
            "parentRef": { "name": "shared", "namespace": owner.namespace },
            "listeners": [https("https", &tenant.host("web"), "team")],
        },
    });
    apply(&owner, &shared).await?;
    apply(&tenant, &set).await?;
    let refused = async || {
        let events = tenant.api::<Event>().list(&ListParams::default()).await?.items;
        let messages = events.iter().filter_map(|event| event.message.as_deref());
        Ok(messages.into_iter().any(|message| message.contains("accepts no ListenerSets of this namespace")))
    };
    eventually("the event about the Gateway", harness::TIMEOUT, refused).await?;
    ensure!(tenant.names::<Certificate>().await?.is_empty(), "a certificate was ordered that nothing serves");

    shared["spec"]["allowedListeners"] = json!({ "namespaces": { "from": "All" } });
    apply(&owner, &shared).await?;
    let certificate = tenant.await_issued("team", harness::TIMEOUT).await?;
    let owner = certificate.owner_references().first().map(|owner| (owner.kind.clone(), owner.name.clone()));
    ensure!(owner == Some(("ListenerSet".to_owned(), "team".to_owned())), "{owner:?}");
    tenant.api::<ListenerSet>().delete("team", &DeleteParams::background()).await?;
    let gone = async || Ok(tenant.names::<Certificate>().await?.is_empty());
    eventually("the Certificate to go with its ListenerSet", harness::TIMEOUT, gone).await.map(drop)
}

/// Until a certificate is issued, a temporary one lets the listener start.
#[tokio::test]
async fn deleted_gateway_leaves_nothing_behind() -> Result<()> {
    let user = user("gw-deleted").await?;
    let mut annotations = issuer_annotation(ISSUER);
    annotations["cert-manager.io/issue-temporary-certificate"] = "true".into();
    // Without a listener for HTTP, the challenge waits.
    let listeners = [https("https", &user.host("web"), "web")];
    apply(&user, &gateway("web", &annotations, &listeners)).await?;
    user.await_secret("web", harness::TIMEOUT).await?;
    let waiting = async || Ok(!user.names::<HttpRoute>().await?.is_empty());
    eventually("the challenge to be presented", harness::TIMEOUT, waiting).await?;
    user.api::<Gateway>().delete("web", &DeleteParams::background()).await?;
    let gone = async || {
        Ok(user.names::<HttpRoute>().await?.is_empty()
            && user.names::<Challenge>().await?.is_empty()
            && user.names::<Certificate>().await?.is_empty())
    };
    eventually("everything to be gone", harness::TIMEOUT, gone).await.map(drop)
}

/// The operator starts without the CRDs, serves Gateways once they are there, and survives that they are removed while a challenge
/// waits, and installed again.
#[tokio::test]
async fn definitions_come_and_go() -> Result<()> {
    let cluster = harness::start_control_plane("gateway-crds").await?;
    let processes = Processes::start(&cluster, binaries()?, &operator::VERBOSE).await?;
    let pid = processes.operator_pid().context("the operator runs")?;
    let client = cluster.client().await?;
    harness::create_namespace(&client, "a").await?;
    let user = User::new(&cluster, "a").await?;
    user.create_cluster_issuer(ISSUER, &Pebble::of_cluster(&cluster)?, solvers()).await?;
    // The annotations are those of a Gateway, which can't exist yet.
    let certificate = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": { "name": "early", "annotations": {
            "acme.cert-manager.io/http01-parentrefname": "web",
            "acme.cert-manager.io/http01-parentrefkind": "Gateway",
        } },
        "spec": {
            "secretName": "early",
            "dnsNames": [user.host("early")],
            "issuerRef": { "kind": "ClusterIssuer", "name": ISSUER },
        },
    });
    apply(&user, &certificate).await?;
    user.await_ready_message("early", "the Gateway API is not installed").await?;

    let mut memory = Vec::new();
    for round in ["first", "second", "third", "fourth"] {
        gateway_api::install(&cluster).await?;
        let gateway =
            gateway(round, &issuer_annotation(ISSUER), &[http(), https("https", &user.host(round), round)]);
        let applied = async || Ok(apply(&user, &gateway).await.is_ok());
        eventually("the API server to take Gateways", harness::TIMEOUT, applied).await?;
        let found = async || Ok(user.names::<Certificate>().await?.iter().any(|name| name == round));
        let took = eventually("the Gateway's Certificate", harness::TIMEOUT, found).await;
        let took = took.with_context(|| user.log())?;
        println!("the Certificate of the {round} Gateway exists {:.1} s after it", took.as_secs_f64());
        let routes: Api<HttpRoute> = user.api();
        let has_both = async || Ok(routes.list(&ListParams::default()).await?.items.len() >= 2);
        eventually("the routes of both challenges", harness::TIMEOUT, has_both).await?;
        // Nothing serves them, so both challenges are live.
        gateway_api::remove(&cluster).await?;
        memory.push(resident(pid)?);
    }
    println!("resident after each round: {memory:?} bytes");
    ensure!(memory[3] <= memory[0] + MEMORY_LIMIT, "memory grows with each round: {memory:?} bytes");
    user.await_ready_message("early", "the Gateway API is not installed").await?;
    let log = cluster.log_tail(operator::NAME, 100_000);
    let failures = log.matches("failed to watch").count();
    ensure!(failures < 50, "the log has {failures} failed watches");
    ensure!(processes.operator_pid() == Some(pid), "the operator was restarted");
    drop(processes);
    cluster.end()
}
