//! What the operator may do in a cluster: with its own token, nothing of others can be changed, and nothing that it needs is rejected.
//!
//! Knows the chart's roles and admission policies; must not know controllers. Next: `crds/src/admission/operator.yaml`, `docs/RIGHTS.md`.

mod requests;
mod routes;

use std::{path::Path, sync::OnceLock};

use ::operator::objects::route::{PathType, patch_to_add, patch_to_remove};
use anyhow::{Context, Result, ensure};
use crds::certmanager::{Certificate, ClusterIssuer};
use e2e::{
    harness,
    intruder::{Intruder, ensure_rejected},
    operator::{self, Processes},
    scenarios,
    user::{User, issuer_annotation, secret_value},
};
use k8s_openapi::api::{
    core::v1::{Event, Namespace, Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::Ingress,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use testbed::{
    audit::{AuditEvent, AuditMark},
    cluster::Cluster,
    pebble::Pebble,
};
use tokio::{sync::Mutex, time::Instant};

/// How the names of the namespaces begin in which tests use the operator's token.
const FORGED: &str = "forged-";

struct SharedCluster {
    cluster: Cluster,
    processes: Mutex<Processes>,
}

fn shared_cluster() -> Result<&'static SharedCluster> {
    static SHARED: OnceLock<Result<SharedCluster, String>> = OnceLock::new();
    harness::start_once(&SHARED, async || {
        let cluster = harness::start_control_plane("rights").await?;
        let processes = Processes::start(&cluster, binaries()?, &operator::VERBOSE).await?;
        Ok(SharedCluster { cluster, processes: Mutex::new(processes) })
    })
}

/// The folder of our programs.
fn binaries() -> Result<&'static Path> {
    Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")
}

async fn user(name: &str) -> Result<User<'static>> {
    let cluster = &shared_cluster()?.cluster;
    harness::create_namespace(&cluster.client().await?, name).await?;
    let user = User::new(cluster, name).await?;
    user.create_cluster_issuer(name, &Pebble::of_cluster(cluster)?, json!({})).await?;
    Ok(user)
}

/// From the start of the operator to the cleanup after issuances of each kind: every request is one that a role allows, and that no
/// policy rejects.
#[tokio::test]
async fn no_request_of_an_issuance_is_rejected() -> Result<()> {
    let shared = shared_cluster()?;
    let mut processes = shared.processes.lock().await;
    let mark = AuditMark::now(&shared.cluster)?;
    processes.start_operator(&shared.cluster, &[]).await?;
    processes.await_operator(&shared.cluster).await?;
    let user = user("allowed").await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("allowed")).await?;
    let mut in_place = issuer_annotation("allowed");
    in_place["acme.cert-manager.io/http01-edit-in-place"] = "true".into();
    user.apply_ingress("place", &[user.host("place")], in_place).await?;
    let handmade = create_handmade_secret(&user, "hand").await?;
    user.apply_ingress("hand", &[user.host("hand")], issuer_annotation("allowed")).await?;
    for name in ["web", "place", "hand"] {
        user.await_issued(name, harness::TIMEOUT).await?;
    }
    let secret = user.await_secret("hand", harness::TIMEOUT).await?;
    ensure!(secret_value(Some(&secret), "tls.crt") != handmade.as_bytes(), "the certificate is still theirs");
    // The Secret is written again, with other labels.
    let mut labelled = issuer_annotation("allowed");
    labelled["cert-manager.io/secret-template"] = r#"{"labels":{"team":"web"}}"#.into();
    user.apply_ingress("web", &[user.host("web")], labelled).await?;
    harness::await_condition(user.api(), "web", "have the label", harness::TIMEOUT, |it: Option<&Secret>| {
        it.is_some_and(|it| it.labels().contains_key("team"))
    })
    .await?;
    scenarios::await_no_leftovers(&user).await?;
    ensure_events_are_complete(&user).await?;
    ensure_nothing_rejected(&mark)
}

/// Ensures that events have the fields that `cmctl` and exporters read.
async fn ensure_events_are_complete(user: &User<'_>) -> Result<()> {
    let events = user.api::<Event>().list(&ListParams::default()).await?.items;
    let is_complete = |event: &Event| {
        let source = event.source.as_ref().and_then(|source| source.component.as_deref());
        let times = event.first_timestamp.is_some() && event.last_timestamp.is_some();
        times && event.count == Some(1) && source.is_some_and(|source| source.starts_with("cert-manager-"))
    };
    let incomplete = events.iter().find(|event| !is_complete(event));
    ensure!(!events.is_empty() && incomplete.is_none(), "an event lacks fields: {incomplete:?}");
    Ok(())
}

/// Creates a Secret as `kubectl create secret tls` does. Returns its certificate, PEM.
async fn create_handmade_secret(user: &User<'_>, name: &str) -> Result<String> {
    let made = rcgen::generate_simple_self_signed([user.host(name)])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": name },
        "type": "kubernetes.io/tls",
        "stringData": { "tls.crt": certificate, "tls.key": key, "ca.crt": certificate },
    }))?;
    let parameters = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
    user.api::<Secret>().create(&parameters, &secret).await?;
    Ok(certificate)
}

/// Ensures that roles and policies have allowed every request of our programs since a mark, except for those that tests forge.
fn ensure_nothing_rejected(mark: &AuditMark) -> Result<()> {
    let is_forged = |it: &AuditEvent| it.namespace().is_some_and(|namespace| namespace.starts_with(FORGED));
    let mut rejected = operator::rejected(mark, operator::NAME)?;
    rejected.retain(|event| !is_forged(event));
    ensure!(rejected.is_empty(), "the API server rejected {rejected:?}");
    Ok(())
}

/// An operator for some namespaces serves these and no other, with roles in these only.
#[tokio::test]
async fn namespaced_operator_stays_in_its_namespaces() -> Result<()> {
    const SERVED: [&str; 2] = ["inside", "inside-too"];
    let cluster = harness::start_control_plane("namespaced").await?;
    let pebble = Pebble::of_cluster(&cluster)?;
    for name in SERVED.iter().chain(["outside"].iter()) {
        harness::create_namespace(&cluster.client().await?, name).await?;
    }
    let mark = AuditMark::now(&cluster)?;
    let _processes = Processes::start_in(&cluster, binaries()?, &operator::VERBOSE, &SERVED).await?;
    let outside = User::new(&cluster, "outside").await?;
    let annotation = json!({ "cert-manager.io/issuer": "pebble" });
    outside.apply_issuer("pebble", &pebble, json!({})).await?;
    outside.apply_ingress("web", &[outside.host("web")], annotation.clone()).await?;
    for name in SERVED {
        let user = User::new(&cluster, name).await?;
        user.apply_issuer("pebble", &pebble, json!({})).await?;
        user.apply_ingress("web", &[user.host("web")], annotation.clone()).await?;
        user.await_issued("web", harness::TIMEOUT).await?;
        scenarios::await_no_leftovers(&user).await?;
    }
    let user = User::new(&cluster, SERVED[0]).await?;
    user.apply_ingress("cluster", &[user.host("cluster")], issuer_annotation("prod")).await?;
    user.await_ready_message(
        "cluster",
        "the ClusterIssuer \"prod\" can't be used, because the operator is limited to namespaces",
    )
    .await?;
    ensure!(outside.names::<Certificate>().await?.is_empty(), "another namespace is served");
    ensure_nothing_rejected(&mark)
}

/// A ClusterIssuer that is for some namespaces, and in each for some zones.
#[tokio::test]
async fn restricted_issuer_serves_what_it_allows() -> Result<()> {
    let user = user("restricted").await?;
    let issuers: Api<ClusterIssuer> = Api::all(user.client.clone());
    let namespaces: Api<Namespace> = Api::all(user.client.clone());
    let restrict = async |annotations: Value| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        issuers.patch("restricted", &PatchParams::default(), &patch).await.map(drop)
    };
    let change_namespace = async |metadata: Value| {
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        namespaces.patch("restricted", &PatchParams::default(), &patch).await.map(drop)
    };
    restrict(json!({ "acme.cert-manager.io/allowed-namespaces": r#"{"matchLabels":{"team":"web"}}"# }))
        .await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("restricted")).await?;
    user.await_ready_message(
        "web",
        "the ClusterIssuer \"restricted\" refuses the namespace \"restricted\": the labels",
    )
    .await?;
    change_namespace(json!({ "labels": { "team": "web" } })).await?;
    // A change of the issuer is noticed immediately.
    restrict(json!({ "acme.cert-manager.io/restrict-dns-zones": "true" })).await?;
    user.await_ready_message("web", "lacks the annotation acme.cert-manager.io/allowed-dns-zones").await?;
    let zones = json!({ "acme.cert-manager.io/allowed-dns-zones": "restricted.example.test" });
    change_namespace(json!({ "annotations": zones })).await?;
    restrict(json!({ "note": "checked again" })).await?;
    user.await_issued("web", harness::TIMEOUT).await.map(drop)
}

/// A user with a Secret of their own and a certificate, and the operator's token.
async fn intruder(name: &str) -> Result<(User<'static>, Intruder)> {
    let user = user(name).await?;
    let intruder = Intruder::new(user.cluster, operator::NAME, name).await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation(name)).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    scenarios::await_no_leftovers(&user).await?;
    Ok((user, intruder))
}

#[tokio::test]
async fn secrets_of_others_are_out_of_reach() -> Result<()> {
    let (user, intruder) = intruder("forged-secrets").await?;
    let theirs = json!({ "metadata": { "name": "theirs" }, "stringData": { "password": "theirs" } });
    user.api::<Secret>().create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;
    let changes = [
        json!({ "stringData": { "password": "forged" } }),
        json!({ "metadata": { "annotations": { "cert-manager.io/certificate-name": "web" } } }),
        json!({ "metadata": { "labels": { "cert-manager.io/next-private-key": "true" } } }),
    ];
    for change in changes {
        intruder
            .ensure_no_change::<Secret>("theirs", change, "may change only Secrets of Certificates")
            .await?;
    }
    let secrets = intruder.api::<Secret>();
    for name in ["theirs", "web"] {
        let deleted = secrets.delete(name, &DeleteParams::default()).await;
        ensure_rejected(deleted, "may delete only Secrets with a next key")?;
    }
    // One that a user created by hand can only become that of a Certificate.
    create_handmade_secret(&user, "hand").await?;
    let forged = json!({ "stringData": { "tls.crt": "forged" } });
    intruder.ensure_no_change::<Secret>("hand", forged, "may change only Secrets of Certificates").await?;
    let disowned = json!({ "metadata": { "annotations": { "cert-manager.io/certificate-name": null } } });
    intruder.ensure_no_change::<Secret>("web", disowned, "may change only Secrets of Certificates").await?;
    // The API server adds a token to such a Secret, of any ServiceAccount in the namespace.
    let mut forged = json!({
        "metadata": {
            "name": "forged",
            "labels": { "controller.cert-manager.io/fao": "true", "app.kubernetes.io/managed-by": "cert-manager" },
            "annotations": {
                "cert-manager.io/certificate-name": "web",
                "kubernetes.io/service-account.name": "default",
            },
        },
        "type": "kubernetes.io/service-account-token",
    });
    intruder.ensure_no_creation::<Secret>(forged.clone(), "may create only Secrets for certificates").await?;
    forged["type"] = "Opaque".into();
    forged["metadata"]["labels"] = json!({});
    intruder.ensure_no_creation::<Secret>(forged, "may create only Secrets for certificates").await
}

#[tokio::test]
async fn ingresses_of_others_get_only_challenge_paths() -> Result<()> {
    let (user, intruder) = intruder("forged-ingresses").await?;
    let path = |path: &str, service: &str| {
        json!({
            "path": path,
            "pathType": "Exact",
            "backend": { "service": { "name": service, "port": { "number": 8089 } } },
        })
    };
    let challenge = path("/.well-known/acme-challenge/token", "cm-acme-http-solver");
    let own = path("/", "web");
    let rule = |paths: &[&Value]| json!({ "host": user.host("web"), "http": { "paths": paths } });
    let current = user.api::<Ingress>().get("web").await?;
    let mut theirs = json!(current)["spec"]["rules"][0]["http"]["paths"][0].clone();
    let rules = |rules: Value| json!({ "spec": { "rules": rules } });
    let allowed = Patch::Merge(rules(json!([rule(&[&challenge, &theirs])])));
    let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
    intruder.api::<Ingress>().patch("web", &dry_run, &allowed).await.context("the path of a challenge")?;
    let forged_path = path("/.well-known/acme-challenge/token", "web");
    let kept = theirs.clone();
    theirs["backend"]["service"]["name"] = "evil".into();
    for change in [
        json!([rule(&[&forged_path, &kept])]),
        json!([rule(&[&own, &kept])]),
        json!([rule(&[&theirs])]),
        json!([rule(&[&challenge])]),
        json!([rule(&[&kept]), { "host": "other.example.test" }]),
        json!([rule(&[&kept]), { "host": "other.example.test", "http": { "paths": [own] } }]),
        json!([{ "host": "other.example.test", "http": { "paths": [kept] } }]),
    ] {
        intruder.ensure_no_change::<Ingress>("web", rules(change), "may change only paths under").await?;
    }
    for change in [
        json!({ "spec": { "tls": null } }),
        json!({ "spec": { "ingressClassName": "other" } }),
        json!({ "spec": { "defaultBackend": { "service": { "name": "evil", "port": { "number": 80 } } } } }),
        json!({ "metadata": { "annotations": { "nginx.ingress.kubernetes.io/server-snippet": "evil" } } }),
        json!({ "metadata": { "labels": { "team": "evil" } } }),
    ] {
        intruder.ensure_no_change::<Ingress>("web", change, "may change nothing but rules").await?;
    }
    let ingress = |name: &str, paths: &[&Value]| json!({ "metadata": { "name": name }, "spec": { "rules": [rule(paths)] } });
    let forged = ingress("forged", &[&challenge]);
    intruder.ensure_no_creation::<Ingress>(forged, "names begin with cm-acme-http-solver-").await?;
    for paths in [&[&challenge][..], &[&own]] {
        let forged = ingress("cm-acme-http-solver-forged", paths);
        intruder.ensure_no_creation::<Ingress>(forged, "must belong to a Challenge").await?;
    }
    Ok(())
}

#[tokio::test]
async fn routes_lead_only_to_the_solver() -> Result<()> {
    let (user, intruder) = intruder("forged-routes").await?;
    let slice = |name: &str, service: &str, port: u16| {
        json!({
            "metadata": { "name": name, "labels": {
                "kubernetes.io/service-name": service,
                "app.kubernetes.io/managed-by": "acme-operator",
            } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.0.0.1"] }],
            "ports": [{ "name": "http", "port": port }],
        })
    };
    let theirs = slice("web", "web", 80);
    user.api::<EndpointSlice>().create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;
    let elsewhere = json!({ "endpoints": [{ "addresses": ["10.0.0.2"] }] });
    intruder.ensure_no_change::<EndpointSlice>("web", elsewhere, "may write only the Service").await?;
    for (forged, words) in [
        (slice("web-1", "web", 8089), "may write only the Service"),
        (slice("cm-acme-http-solver-1", "web", 8089), "must be for the Service cm-acme-http-solver"),
        (slice("cm-acme-http-solver-1", "cm-acme-http-solver", 80), "the port 8089"),
    ] {
        intruder.ensure_no_creation::<EndpointSlice>(forged, words).await?;
    }
    let service = |name: &str, spec: Value| {
        let labels = json!({ "app.kubernetes.io/managed-by": "acme-operator" });
        json!({ "metadata": { "name": name, "labels": labels }, "spec": spec })
    };
    let ports = json!([{ "port": 8089 }]);
    for (forged, words) in [
        (service("web", json!({ "ports": ports })), "may write only the Service"),
        (
            service("cm-acme-http-solver", json!({ "ports": ports, "externalIPs": ["10.0.0.1"] })),
            "no external addresses",
        ),
        (
            service("cm-acme-http-solver", json!({ "ports": ports, "selector": { "app": "web" } })),
            "must have no selector",
        ),
    ] {
        intruder.ensure_no_creation::<Service>(forged, words).await?;
    }
    let deleted = intruder.api::<Service>().delete("web", &DeleteParams::default()).await;
    ensure_rejected(deleted, "cannot delete resource \"services\"")
}

/// Ingresses with as many rules or paths as fit into an object: the policies still let the operator add the path of a challenge, and
/// remove it again.
#[tokio::test]
async fn largest_ingresses_get_challenge_paths() -> Result<()> {
    let (user, intruder) = intruder("forged-large").await?;
    let challenge = crds::fixtures::challenge("last", |_| {});
    let path_to = |number: usize| {
        let backend = json!({ "service": { "name": "w", "port": { "number": 80 } } });
        json!({ "path": format!("/{number}"), "pathType": "Exact", "backend": backend })
    };
    for (rules, paths) in [(30_000, 0), (10_000, 1), (100, 100), (1, 14_000)] {
        let what = format!("{rules} rules with {paths} paths each");
        let http = (paths > 0).then(|| json!({ "paths": (0..paths).map(path_to).collect::<Vec<_>>() }));
        let rule = |number: usize| match &http {
            Some(http) => json!({ "host": format!("{number}.example.test"), "http": http }),
            None => json!({ "host": format!("{number}.example.test") }),
        };
        let rules: Vec<_> = (0..rules).map(rule).collect();
        let large = json!({ "metadata": { "name": "large" }, "spec": { "rules": rules } });
        let (theirs, ours) = (user.api::<Ingress>(), intruder.api::<Ingress>());
        println!("{what}: {} bytes", large.to_string().len());
        let before = theirs.create(&PostParams::default(), &serde_json::from_value(large)?).await;
        let before = before.with_context(|| what.clone())?;
        let send = async |patch: Option<json_patch::Patch>| {
            let patch = Patch::<()>::Json(patch.context("a patch")?);
            Ok::<_, anyhow::Error>(ours.patch("large", &PatchParams::default(), &patch).await)
        };
        let began = Instant::now();
        let add = || patch_to_add(&before, &challenge, PathType::Exact);
        let added = send(add()).await?.with_context(|| what.clone())?;
        println!("{what}: the path was added after {} ms", began.elapsed().as_millis());
        // The operator tries again with what it reads then.
        let late = send(add()).await?.err();
        ensure!(matches!(&late, Some(kube::Error::Api(status)) if status.is_conflict()), "{late:?}");
        let removed = send(patch_to_remove(&added, &challenge)).await?.with_context(|| what.clone())?;
        ensure!(removed.spec == before.spec, "{what}: the rules have changed");
        theirs.delete("large", &DeleteParams::default()).await?;
    }
    Ok(())
}
