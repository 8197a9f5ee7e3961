//! Who may do what with our resources: the admission policies and roles, on a separate API server, with real users.
//!
//! Knows policies, roles, and users; must not know the controllers. Next: `crds::admission` for the policies.

mod support;

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use crds::{
    acme::{Challenge, Order},
    admission,
    certmanager::{Certificate, CertificateRequest, CertificateRequestSpec},
    fixtures,
};
use e2e::harness;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::cluster_name;
use testbed::{
    bring_up,
    cluster::{Cluster, Mode, Options},
    tools::Tools,
};
use xtask::{paths, progress::Steps};

/// A change of a CertificateRequest that claims another requester.
type Forge = fn(&mut CertificateRequest);

const NAMESPACE: &str = "default";

/// The users of these tests and their roles.
const USERS: &str = include_str!("data/api/users.yaml");

/// A cluster with everything installed. The policies apply to every namespace, so other tests can't share the cluster.
fn cluster() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    harness::start_once(&CLUSTER, async || {
        let options = Options::new(cluster_name("admission"), Mode::ControlPlane);
        let cluster = bring_up::start(&options, &Tools::seen_at(paths::cache()?), &Steps::default()).await?;
        harness::install_definitions(&cluster).await?;
        for manifests in
            [admission::APPROVAL, admission::IDENTITY, admission::STAMP, admission::USER_ROLES, USERS]
        {
            cluster.apply(manifests).await?;
        }
        await_enforcement(&cluster).await?;
        Ok(cluster)
    })
}

/// Waits until the API server enforces the policies and has extended the built-in roles, which takes a moment: a forged requester is
/// replaced, an annotation can't be changed, and the viewer may list.
async fn await_enforcement(cluster: &Cluster) -> Result<()> {
    let requests: Api<CertificateRequest> =
        Api::namespaced(cluster.client_as("editor", &[]).await?, NAMESPACE);
    let all: Api<CertificateRequest> = Api::namespaced(cluster.client().await?, NAMESPACE);
    let certificates: Api<Certificate> = Api::namespaced(cluster.client_as("viewer", &[]).await?, NAMESPACE);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let forged = fixtures::certificate_request("probe", |it| it.spec.username = Some("another user".into()));
    all.create(&PostParams::default(), &fixtures::certificate_request("enforced", |_| {})).await?;
    let change =
        Patch::Merge(json!({ "metadata": { "annotations": { "cert-manager.io/certificate-name": "web" } } }));
    let dry_patch = PatchParams { dry_run: true, ..PatchParams::default() };
    for attempt in 0.. {
        let replaced = requests.create(&dry, &forged).await.map(|it| it.spec.username);
        let rejected = all.patch("enforced", &dry_patch, &change).await.is_err();
        let listed = certificates.list(&ListParams::default()).await.is_ok();
        let is_replaced = matches!(&replaced, Ok(Some(user)) if user == "editor");
        if is_replaced && rejected && listed {
            return Ok(());
        }
        ensure!(
            attempt < 300,
            "policies and roles are not enforced after {attempt} checks: {replaced:?}, {rejected}, {listed}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn api_of<K>(user: &str, groups: &[&str]) -> Result<Api<K>>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Ok(Api::namespaced(cluster()?.client_as(user, groups).await?, NAMESPACE))
}

/// The message with which the API server rejected a request.
///
/// # Errors
/// The request was not rejected.
fn rejection<T>(outcome: Result<T, kube::Error>) -> Result<String> {
    match outcome {
        Ok(_) => bail!("the request was not rejected"),
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(error) => Err(error.into()),
    }
}

/// Ensures that the API server rejected a request, with a message that contains `expected`.
fn ensure_rejected<T>(outcome: Result<T, kube::Error>, expected: &str) -> Result<()> {
    let message = rejection(outcome)?;
    ensure!(message.contains(expected), "the rejection does not say {expected:?}: {message}");
    Ok(())
}

fn conditions(of: &[(&str, &str, &str)]) -> Patch<Value> {
    let conditions: Vec<_> = of
        .iter()
        .map(|(type_, status, reason)| json!({ "type": type_, "status": status, "reason": reason }))
        .collect();
    Patch::Merge(json!({ "status": { "conditions": conditions } }))
}

/// Creates a CertificateRequest to an issuer, as the administrator.
async fn create_request(name: &str, issuer: (&str, &str, &str)) -> Result<()> {
    let requests: Api<CertificateRequest> = Api::namespaced(cluster()?.client().await?, NAMESPACE);
    let (group, kind, issuer) = issuer;
    let object = fixtures::certificate_request(name, |it| {
        it.spec.issuer_ref.group = Some(group.to_owned()).filter(|it| !it.is_empty());
        it.spec.issuer_ref.kind = Some(kind.to_owned()).filter(|it| !it.is_empty());
        issuer.clone_into(&mut it.spec.issuer_ref.name);
    });
    requests.create(&PostParams::default(), &object).await?;
    Ok(())
}

#[tokio::test]
async fn only_users_with_approve_on_the_signer_approve() -> Result<()> {
    let approval = conditions(&[("Approved", "True", "test")]);
    for (number, (user, issuer, allowed)) in [
        // Any Issuer in any namespace, but no ClusterIssuer.
        ("approver-of-issuers", ("", "", "issuer"), true),
        ("approver-of-issuers", ("cert-manager.io", "Issuer", "issuer"), true),
        ("approver-of-issuers", ("", "ClusterIssuer", "issuer"), false),
        // One Issuer, named with its namespace.
        ("approver-of-one", ("", "", "the-one"), true),
        ("approver-of-one", ("", "Issuer", "another"), false),
        // One ClusterIssuer.
        ("approver-of-cluster-issuer", ("", "ClusterIssuer", "the-one"), true),
        ("approver-of-cluster-issuer", ("", "ClusterIssuer", "another"), false),
        // An issuer kind of another controller.
        ("approver-of-pools", ("example.test", "Pool", "pool"), true),
        ("approver-of-pools", ("cert-manager.io", "Issuer", "pool"), false),
        // One issuer of such a kind, named with its namespace.
        ("approver-of-one-pool", ("example.test", "Pool", "the-one"), true),
        ("approver-of-one-pool", ("example.test", "Pool", "another"), false),
        // Only the permission to write the status.
        ("writer", ("", "", "issuer"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("approve-{number}");
        create_request(&name, issuer).await?;
        let requests: Api<CertificateRequest> = api_of(user, &[]).await?;
        let outcome = requests.patch_status(&name, &PatchParams::default(), &approval).await;
        if allowed {
            outcome.with_context(|| format!("{user} can't approve a request to {issuer:?}"))?;
        } else {
            let message = rejection(outcome).with_context(|| format!("{user}, {issuer:?}"))?;
            let no_permission =
                format!("user \"{user}\" does not have permissions to set approved/denied conditions");
            for expected in [&no_permission, "the verb approve on the resource signers", issuer.2] {
                ensure!(message.contains(expected), "the rejection does not say {expected:?}: {message}");
            }
        }
    }
    Ok(())
}

/// A user who may write the status but not approve can write every other condition.
#[tokio::test]
async fn status_writer_without_approve_writes_the_rest() -> Result<()> {
    create_request("rest", ("", "", "issuer")).await?;
    let writer: Api<CertificateRequest> = api_of("writer", &[]).await?;
    writer
        .patch_status("rest", &PatchParams::default(), &conditions(&[("Ready", "False", "Pending")]))
        .await?;
    let approver: Api<CertificateRequest> = api_of("approver-of-issuers", &[]).await?;
    let both = [("Ready", "False", "Pending"), ("Approved", "True", "test")];
    approver.patch_status("rest", &PatchParams::default(), &conditions(&both)).await?;
    // After the approval too.
    let issued = [("Ready", "True", "Issued"), ("Approved", "True", "test")];
    writer.patch_status("rest", &PatchParams::default(), &conditions(&issued)).await?;
    Ok(())
}

/// An approval or denial can be neither changed nor removed, and a request can't have both.
#[tokio::test]
async fn approval_is_final_and_excludes_denial() -> Result<()> {
    let approver: Api<CertificateRequest> = api_of("approver-of-issuers", &[]).await?;
    let set = async |name: &str, of: &[(&str, &str, &str)]| {
        approver.patch_status(name, &PatchParams::default(), &conditions(of)).await
    };
    create_request("final", ("", "", "issuer")).await?;
    for of in [&[("Approved", "False", "test")][..], &[("Denied", "Unknown", "test")]] {
        ensure_rejected(set("final", of).await, "may only have status True")?;
    }
    let both = [("Approved", "True", "test"), ("Denied", "True", "test")];
    ensure_rejected(set("final", &both).await, "mutually exclusive")?;

    set("final", &[("Approved", "True", "test")]).await?;
    for of in [&[][..], &[("Approved", "True", "another reason")], &[("Denied", "True", "test")]] {
        ensure_rejected(set("final", of).await, "can't be changed or removed once set")
            .with_context(|| format!("{of:?}"))?;
    }
    create_request("denied", ("", "", "issuer")).await?;
    set("denied", &[("Denied", "True", "test")]).await?;
    ensure_rejected(
        set("denied", &[("Approved", "True", "test")]).await,
        "can't be changed or removed once set",
    )?;
    Ok(())
}

/// The API server writes the requester into the spec, and replaces any other: objects of a backup are accepted.
#[tokio::test]
async fn requester_is_recorded_and_cannot_be_forged() -> Result<()> {
    let groups = ["system:authenticated", "team-web"];
    let requests: Api<CertificateRequest> = api_of("editor", &groups).await?;
    let recorded =
        requests.create(&PostParams::default(), &fixtures::certificate_request("recorded", |_| {})).await?;
    ensure!(recorded.spec.username.as_deref() == Some("editor"), "{:?}", recorded.spec.username);
    let mut seen = recorded.spec.groups.unwrap_or_default();
    seen.sort();
    ensure!(seen == groups, "{seen:?}");

    let honest = fixtures::certificate_request("honest", |it| {
        it.spec.username = Some("editor".into());
        it.spec.groups = Some(groups.iter().rev().map(ToString::to_string).collect());
    });
    requests.create(&PostParams::default(), &honest).await?;

    let forgeries: [Forge; 5] = [
        |it| it.spec.username = Some("admin".into()),
        |it| it.spec.uid = Some("0".into()),
        |it| it.spec.groups = Some(vec!["system:masters".into()]),
        |it| it.spec.groups = Some(vec!["team-web".into(), "team-web".into(), "x".into()]),
        |it| it.spec.extra = Some([("scopes".to_owned(), vec!["all".to_owned()])].into()),
    ];
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let honest = requests.create(&dry, &fixtures::certificate_request("forged", |_| {})).await?.spec;
    for forge in forgeries {
        let created = requests.create(&dry, &fixtures::certificate_request("forged", forge)).await?.spec;
        let requester = |it: &CertificateRequestSpec| {
            (it.username.clone(), it.uid.clone(), it.groups.clone(), it.extra.clone())
        };
        ensure!(requester(&created) == requester(&honest), "{:?}", requester(&created));
    }
    // The requester can't be changed afterwards either.
    let later = Patch::Merge(json!({ "spec": { "username": "admin" } }));
    ensure_rejected(
        requests.patch("recorded", &PatchParams::default(), &later).await,
        "cannot change spec after creation",
    )?;
    Ok(())
}

/// Annotations that say what a request is for can be neither added, changed, nor removed. All others can.
#[tokio::test]
async fn request_purpose_is_immutable() -> Result<()> {
    let requests: Api<CertificateRequest> = api_of("editor", &[]).await?;
    let object = fixtures::certificate_request("annotated", |it| {
        it.metadata.annotations = Some(
            [("cert-manager.io/certificate-name", "web"), ("note", "mine")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
    });
    requests.create(&PostParams::default(), &object).await?;
    let annotate = async |annotations: Value| {
        let change = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        requests.patch("annotated", &PatchParams::default(), &change).await
    };
    annotate(json!({ "note": "changed", "another": "new" })).await?;
    for change in [
        json!({ "cert-manager.io/certificate-name": "other" }),
        json!({ "cert-manager.io/certificate-name": null }),
        json!({ "cert-manager.io/certificate-revision": "1" }),
        json!({ "acme.cert-manager.io/http01-override-ingress-name": "web" }),
    ] {
        ensure_rejected(annotate(change.clone()).await, "can't be added, changed or removed after creation")
            .with_context(|| change.to_string())?;
    }
    Ok(())
}

/// An editor can create Certificates, but no Orders or Challenges.
#[tokio::test]
async fn editors_create_only_certificates() -> Result<()> {
    let certificates: Api<Certificate> = api_of("editor", &[]).await?;
    let orders: Api<Order> = api_of("editor", &[]).await?;
    let challenges: Api<Challenge> = api_of("editor", &[]).await?;
    certificates.create(&PostParams::default(), &fixtures::certificate("edited", |_| {})).await?;
    let outcome = orders.create(&PostParams::default(), &fixtures::order("forged", |_| {})).await;
    ensure_rejected(outcome, "cannot create resource \"orders\"")?;
    let outcome = challenges.create(&PostParams::default(), &fixtures::challenge("forged", |_| {})).await;
    ensure_rejected(outcome, "cannot create resource \"challenges\"")?;

    // Editors can delete a stuck Challenge, including its finalizer.
    let all: Api<Challenge> = Api::namespaced(cluster()?.client().await?, NAMESPACE);
    let stuck = fixtures::challenge("stuck", |it| {
        it.metadata.finalizers = Some(vec![crds::annotations::challenge::FINALIZER.to_owned()]);
    });
    all.create(&PostParams::default(), &stuck).await?;
    challenges.delete("stuck", &DeleteParams::default()).await?;
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    challenges.patch("stuck", &PatchParams::default(), &release).await?;
    ensure!(all.get_opt("stuck").await?.is_none(), "the Challenge still exists");
    Ok(())
}

#[tokio::test]
async fn viewers_list_but_create_nothing() -> Result<()> {
    let certificates: Api<Certificate> = api_of("viewer", &[]).await?;
    let orders: Api<Order> = api_of("viewer", &[]).await?;
    certificates.list(&ListParams::default()).await?;
    orders.list(&ListParams::default()).await?;
    let created = certificates.create(&PostParams::default(), &fixtures::certificate("viewed", |_| {})).await;
    ensure_rejected(created, "cannot create resource \"certificates\"")
}
