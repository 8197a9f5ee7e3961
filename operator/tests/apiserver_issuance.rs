//! Everything from an annotated Ingress to its Secret, with a real API server, Pebble, and Traefik. Our programs are plain processes
//! with the permissions that the chart grants, so that a test can kill them at every step.
//!
//! Knows users, objects, and failpoints; must not know controllers. Next: `e2e::scenarios` for the tests that also run in Pods.

use std::{path::Path, sync::OnceLock, time::Duration};

use anyhow::{Context, Result, ensure};
use crds::{
    acme::Order,
    certmanager::{Certificate, CertificateRequest},
};
use e2e::{
    backup,
    cert_manager_fixture::{KeyAlgorithm, Plan},
    harness,
    operator::{self, Processes},
    scenarios,
    user::{self, User, issuer_annotation, secret_value},
};
use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use testbed::{
    audit::AuditMark,
    cluster::{self, Cluster},
    http::{self, Trust},
    pebble::Pebble,
};
use tokio::{
    sync::RwLock,
    time::{Instant, sleep},
};

/// A cluster that runs our programs. A test that stops or restarts them holds the lock for writing, all others for reading.
struct SharedCluster {
    cluster: Cluster,
    processes: RwLock<Processes>,
}

/// The cluster of all tests in this file, because our programs serve all of its namespaces.
fn shared_cluster() -> Result<&'static SharedCluster> {
    static SHARED: OnceLock<Result<SharedCluster, String>> = OnceLock::new();
    harness::start_once(&SHARED, async || {
        let cluster = harness::start_control_plane("issuance").await?;
        let binaries =
            Path::new(env!("CARGO_BIN_EXE_operator")).parent().context("the binary has no folder")?;
        // With leader election, each start after a kill would wait for the Lease to expire.
        let flags = ["--leader-elect=false", "--certificate-request-minimum-backoff-duration=3s"];
        let flags = [operator::VERBOSE, flags].concat();
        let processes = Processes::start(&cluster, binaries, &flags).await?;
        Ok(SharedCluster { cluster, processes: RwLock::new(processes) })
    })
}

impl SharedCluster {
    /// Creates a user in a new namespace, with a ClusterIssuer of the same name.
    async fn user(&self, name: &str) -> Result<User<'_>> {
        harness::create_namespace(&self.cluster.client().await?, name).await?;
        let user = User::new(&self.cluster, name).await?;
        user.create_cluster_issuer(name, &Pebble::of_cluster(&self.cluster)?, json!({})).await?;
        Ok(user)
    }
}

/// If the operator is killed after any one of its steps, the next process finishes the issuance, with a single certificate, key,
/// CertificateRequest, and Order.
#[tokio::test]
async fn operator_killed_after_every_step_issues_once() -> Result<()> {
    let shared = shared_cluster()?;
    let mut processes = shared.processes.write().await;
    let cluster = &shared.cluster;
    let user = shared.user("killed").await?;
    let mut steps = 0;
    for step in 1.. {
        let name = format!("web-{step}");
        let began = Instant::now();
        let mark = AuditMark::now(cluster)?;
        processes.start_operator(cluster, &[(::operator::failpoint::KILL_AFTER, &step.to_string())]).await?;
        let hosts = [user.host(&name)];
        user.apply_ingress(&name, &hosts, issuer_annotation("killed")).await?;
        // Either the operator kills itself after this step, or the issuance has fewer steps and succeeds.
        let was_killed = loop {
            let url = format!("http://{}:{}/livez", cluster::NODE_ADDRESS, 9403);
            if http::get(&cluster.network(), &url, &Trust::Nothing).await.is_err()
                && cluster.log_tail(operator::NAME, 3).contains("failpoint")
            {
                break true;
            }
            let certificates = user.api::<Certificate>();
            if certificates.get_opt(&name).await?.as_ref().is_some_and(user::is_issued) {
                // The cleanup has steps too.
                user.await_quiet().await?;
                break http::get(&cluster.network(), &url, &Trust::Nothing).await.is_err();
            }
            ensure!(
                began.elapsed() < harness::TIMEOUT,
                "step {step}: the operator was not killed and did not issue; {}",
                user.log()
            );
            sleep(Duration::from_millis(20)).await;
        };
        processes.start_operator(cluster, &[]).await?;
        let certificate = user.await_issued(&name, harness::TIMEOUT).await?;
        let revision = certificate.status.and_then(|status| status.revision);
        ensure!(revision == Some(1), "step {step}: the revision is {revision:?}");
        let requests = user.names::<CertificateRequest>().await?;
        let requests: Vec<_> =
            requests.iter().filter(|request| request.starts_with(&format!("{name}-"))).collect();
        ensure!(requests.len() == 1, "step {step}: the CertificateRequests are {requests:?}");
        let orders = user.names::<Order>().await?;
        let orders = orders.iter().filter(|order| order.starts_with(&format!("{name}-"))).count();
        ensure!(orders == 1, "step {step}: there are {orders} Orders");
        let keys = operator::writes(&mark, |namespace| namespace == Some("killed"))?
            .iter()
            .filter(|event| {
                event.verb == "create" && event.resource() == "secrets" && event.status() == Some(201)
            })
            .count();
        ensure!(keys == 1, "step {step}: {keys} keys were generated");
        eprintln!("step {step}: {:.1?}", began.elapsed());
        if !was_killed {
            break;
        }
        steps = step;
        ensure!(steps < 100, "no issuance finishes within {steps} steps");
    }
    scenarios::await_no_leftovers(&user).await?;
    println!("the operator was killed after each of {steps} steps");
    ensure!(steps >= 20, "an issuance has only {steps} steps");
    Ok(())
}

#[tokio::test]
async fn restart_with_nothing_due_writes_nothing() -> Result<()> {
    let shared = shared_cluster()?;
    let mut processes = shared.processes.write().await;
    let user = shared.user("restart").await?;
    for index in 0..5 {
        let name = format!("web-{index}");
        user.apply_ingress(&name, &[user.host(&name)], issuer_annotation("restart")).await?;
        user.await_issued(&name, harness::TIMEOUT).await?;
    }
    scenarios::await_no_leftovers(&user).await?;
    processes.stop_operator(&shared.cluster).await?;
    let mark = AuditMark::now(&shared.cluster)?;
    processes.start_operator(&shared.cluster, &[]).await?;
    processes.await_operator(&shared.cluster).await?;
    // Long enough to reconcile each object.
    harness::assert_stays("the operator writes nothing", harness::QUIET, async || {
        let writes = operator::writes_for(&mark, "restart")?;
        ensure!(writes.is_empty(), "the operator wrote {writes:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn restored_backup_issues_nothing() -> Result<()> {
    let shared = shared_cluster()?;
    let mut processes = shared.processes.write().await;
    let user = shared.user("backup").await?;
    backup::restored_without_issuance(&user, async |on| {
        if on {
            processes.start_operator(&shared.cluster, &[]).await?;
            processes.await_operator(&shared.cluster).await
        } else {
            processes.stop_operator(&shared.cluster).await
        }
    })
    .await
}

/// The operator reads what cert-manager issued, and writes nothing.
#[tokio::test]
async fn takeover_from_cert_manager_writes_nothing() -> Result<()> {
    let shared = shared_cluster()?;
    let mut processes = shared.processes.write().await;
    let user = shared.user("takeover").await?;
    processes.stop_operator(&shared.cluster).await?;
    #[expect(clippy::disallowed_methods, reason = "real certificates are valid at the real time")]
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
    let fixture = Plan::fresh("takeover", 10, now);
    let fixture = Plan { key: KeyAlgorithm::Rsa, ..fixture };
    fixture.build(&user.client).await?;
    let mark = AuditMark::now(&shared.cluster)?;
    processes.start_operator(&shared.cluster, &[]).await?;
    processes.await_operator(&shared.cluster).await?;
    // Long enough to reconcile each object.
    harness::assert_stays("the operator writes nothing", harness::QUIET, async || {
        for namespace in fixture.namespaces() {
            let writes = operator::writes(&mark, |of| of == Some(&namespace))?;
            ensure!(writes.is_empty(), "the operator wrote {writes:?}");
        }
        Ok(())
    })
    .await?;
    for namespace in fixture.namespaces() {
        let read = mark.events()?.into_iter().any(|event| {
            // With the Certificates of other tests, there may be so many that Secrets are read in pages of the whole cluster.
            let is_page = event.namespace().is_none() && event.request_uri.contains("limit=200");
            event.user() == operator::USER
                && event.resource() == "secrets"
                && (is_page || event.namespace() == Some(&namespace))
        });
        ensure!(read, "the operator read no Secret in {namespace}");
    }
    Ok(())
}

/// The scenarios, which `e2e/tests/e2e_issuance` also runs in Pods.
macro_rules! shared {
    ($($scenario:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $scenario() -> Result<()> {
            let shared = shared_cluster()?;
            let _processes = shared.processes.read().await;
            let name = stringify!($scenario).replace('_', "-");
            scenarios::$scenario(&shared.user(&name).await?).await
        })+
    };
}

e2e::each_scenario!(shared);

/// With `http01-edit-in-place`, the challenge's path is added to the user's Ingress and removed afterwards.
#[tokio::test]
async fn ingress_edited_in_place_is_restored() -> Result<()> {
    let shared = shared_cluster()?;
    let _processes = shared.processes.read().await;
    let user = shared.user("in-place").await?;
    let mut annotations = issuer_annotation("in-place");
    annotations["acme.cert-manager.io/http01-edit-in-place"] = "true".into();
    user.apply_ingress("web", &[user.host("web")], annotations).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    scenarios::await_no_leftovers(&user).await?;
    let rules = user.api::<Ingress>().get("web").await?.spec.and_then(|spec| spec.rules).unwrap_or_default();
    let paths: Vec<_> = rules.iter().flat_map(|rule| rule.http.iter().flat_map(|http| &http.paths)).collect();
    ensure!(
        rules.len() == 1 && paths.len() == 1 && paths[0].path.as_deref() == Some("/"),
        "the rules were not restored: {rules:?}"
    );
    Ok(())
}

/// A Secret that was not created for a Certificate is left alone, and the Certificate says so.
#[tokio::test]
async fn foreign_secret_is_never_overwritten() -> Result<()> {
    let shared = shared_cluster()?;
    let _processes = shared.processes.read().await;
    let user = shared.user("foreign").await?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "web" },
        "stringData": { "tls.crt": "theirs", "tls.key": "theirs", "password": "theirs" },
        "type": "kubernetes.io/tls",
    }))?;
    user.api::<Secret>().create(&PostParams::default(), &secret).await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("foreign")).await?;
    let reported = user.await_certificate("web", "say that the Secret is foreign", harness::TIMEOUT, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        crds::condition::find(conditions, "Ready").is_some_and(|ready| {
            let message = ready.message.as_deref().unwrap_or_default();
            message.contains("left alone, because it also has the data key \"password\"")
        })
    });
    reported.await?;
    harness::assert_stays("the Secret is left alone", Duration::from_secs(1), async || {
        let secret = user.api::<Secret>().get("web").await?;
        ensure!(secret_value(Some(&secret), "tls.crt") == b"theirs", "the Secret was overwritten");
        ensure!(user.names::<CertificateRequest>().await?.is_empty(), "a certificate was requested");
        Ok(())
    })
    .await
}

/// An order that can't be completed is not placed, because the CA counts each. The Certificate says why.
#[tokio::test]
async fn order_without_prospects_is_not_placed() -> Result<()> {
    let shared = shared_cluster()?;
    let _processes = shared.processes.read().await;
    let user = shared.user("no-prospects").await?;
    let pebble = Pebble::of_cluster(&shared.cluster)?;
    let dns01 = json!({ "dns01": { "webhook": { "groupName": "dns.test", "solverName": "dns" } } });
    for (name, change, words) in [
        (
            "dns01",
            json!({ "solvers": [dns01] }),
            "the solver for dns01.no-prospects.example.test uses DNS-01, which this operator does not support",
        ),
        (
            "profile",
            json!({ "profile": "unknown" }),
            "certificate authority does not advertise a profile with name unknown",
        ),
    ] {
        user.create_cluster_issuer(&format!("no-prospects-{name}"), &pebble, change).await?;
        let annotation = issuer_annotation(&format!("no-prospects-{name}"));
        user.apply_ingress(name, &[user.host(name)], annotation).await?;
        let says = |of: &Certificate| json!(of.status).to_string().contains(words);
        user.await_certificate(name, "say why", harness::TIMEOUT, says).await?;
    }
    for order in user.api::<Order>().list(&ListParams::default()).await? {
        let url = order.status.and_then(|status| status.url);
        ensure!(url.is_none(), "the order {url:?} was placed");
    }
    Ok(())
}

/// If the CA rejects a name, the Certificate has the CA's problem and the time of the next attempt. The next attempt is made then, or
/// immediately after a change of the spec.
#[tokio::test]
async fn rejection_is_reported_with_the_next_attempt() -> Result<()> {
    let shared = shared_cluster()?;
    let _processes = shared.processes.read().await;
    let user = shared.user("rejected").await?;
    user.apply_ingress("web", &["www.blocked.example.test".to_owned()], issuer_annotation("rejected"))
        .await?;
    let failed = user.await_certificate("web", "report the rejection", harness::TIMEOUT, |it| {
        let conditions = it.status.as_ref().map_or(&[][..], |status| &status.conditions);
        crds::condition::find(conditions, "Issuing").is_some_and(|issuing| {
            issuing.status == crds::condition::ConditionStatus::False
                && issuing.message.as_deref().is_some_and(|message| {
                    message.contains("400 urn:ietf:params:acme:error:rejectedIdentifier")
                        && message.contains("the next attempt is at")
                })
        })
    });
    let failed = failed.await?.status.context("the Certificate has no status")?;
    ensure!(
        failed.failed_issuance_attempts == Some(1) && failed.last_failure_time.is_some(),
        "not exactly one attempt failed: {failed:?}"
    );
    // The operator retries by itself, and immediately after a change of the spec.
    user.await_certificate("web", "fail again", harness::TIMEOUT, |it| {
        it.status.as_ref().and_then(|status| status.failed_issuance_attempts) >= Some(2)
    })
    .await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("rejected")).await?;
    let issued = user.await_issued("web", harness::TIMEOUT).await?;
    let issued = issued.status.context("the Certificate has no status")?;
    ensure!(
        issued.failed_issuance_attempts.is_none() && issued.last_failure_time.is_none(),
        "failures are still reported: {issued:?}"
    );
    Ok(())
}

/// Renewal information (RFC 9773) determines the renewal time, and the next order says which certificate it replaces.
#[tokio::test]
async fn ari_sets_the_renewal_time_and_replaces() -> Result<()> {
    let shared = shared_cluster()?;
    let _processes = shared.processes.read().await;
    let user = shared.user("ari").await?;
    user.apply_ingress("web", &[user.host("web")], issuer_annotation("ari")).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    // Renewal information is due.
    let certificates = user.api::<Certificate>();
    let due = json!({ "status": { "acme": { "ari": { "nextCheck": "2026-01-01T00:00:00Z" } } } });
    certificates.patch_status("web", &PatchParams::default(), &Patch::Merge(due)).await?;
    let fetched = user.await_certificate("web", "have a suggested window", harness::TIMEOUT, |it| {
        let ari = it.status.as_ref().and_then(|status| status.acme.as_ref()?.ari.clone());
        ari.is_some_and(|ari| ari.suggested_window.is_some() && ari.last_error.is_none())
    });
    let status = fetched.await?.status.context("the Certificate has no status")?;
    let ari = status.acme.and_then(|acme| acme.ari).context("the status has no renewal information")?;
    let window = ari.suggested_window.context("there is no suggested window")?;
    let start = window.start.context("the window has no start")?.0;
    let end = window.end.context("the window has no end")?.0;
    let renewal = status.renewal_time.context("the status has no renewal time")?.0;
    ensure!(start <= renewal && renewal <= end, "{renewal} is not between {start} and {end}");
    let next = ari.next_check.context("there is no time of the next check")?.0;
    let last = ari.last_checked.context("there is no time of the last check")?.0;
    ensure!(next > last, "the next check at {next} is not after the last one at {last}");
    // The same patch as `cmctl renew`.
    let issuing = json!({ "status": { "conditions": [{
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered",
    }] } });
    certificates.patch_status("web", &PatchParams::default(), &Patch::Merge(issuing)).await?;
    user.await_certificate("web", "be re-issued", harness::TIMEOUT, |it| {
        user::is_issued(it) && it.status.as_ref().and_then(|status| status.revision) == Some(2)
    })
    .await?;
    let orders = user.api::<Order>().list(&ListParams::default()).await?;
    ensure!(orders.items.iter().any(|order| order.spec.replaces.is_some()), "no Order has spec.replaces");
    Ok(())
}

/// Annotations of an Ingress set the key's algorithm and encoding, and the labels of the Secret.
#[tokio::test]
async fn annotations_configure_the_certificate() -> Result<()> {
    let shared = shared_cluster()?;
    let _processes = shared.processes.read().await;
    let user = shared.user("annotated").await?;
    let mut annotations = issuer_annotation("annotated");
    annotations["cert-manager.io/private-key-algorithm"] = "ECDSA".into();
    annotations["cert-manager.io/private-key-encoding"] = "PKCS8".into();
    annotations["cert-manager.io/secret-template"] = r#"{"labels":{"team":"web"}}"#.into();
    user.apply_ingress("web", &[user.host("web")], annotations).await?;
    user.await_issued("web", harness::TIMEOUT).await?;
    let secret = user.api::<Secret>().get("web").await?;
    let key = String::from_utf8_lossy(secret_value(Some(&secret), "tls.key")).into_owned();
    ensure!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "the key is not encoded as PKCS#8");
    let team = secret.labels().get("team").map(String::as_str);
    ensure!(team == Some("web"), "the label team is {team:?}");
    let names = &secret.annotations()["cert-manager.io/alt-names"];
    ensure!(*names == user.host("web"), "the certificate is for {names}");
    let type_ = secret.type_.as_deref();
    ensure!(type_ == Some("kubernetes.io/tls"), "the type of the Secret is {type_:?}");
    Ok(())
}
