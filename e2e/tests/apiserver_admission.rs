//! Who may do what with our resources: the admission policies and roles, on an API server of their own, with real users.

mod support;

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use crds::{
    acme::{Challenge, Order},
    admission,
    certmanager::{Certificate, CertificateRequest},
    fixtures,
};
use e2e::harness;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::name;
use testbed::{
    bring_up,
    cluster::{Cluster, Mode, Options},
    tools::Tools,
};
use xtask::{paths, progress::Steps};

/// A change of a request that claims what is not so.
type Forge = fn(&mut CertificateRequest);

const NAMESPACE: &str = "default";

/// Users of the tests, and what they may do.
const USERS: &str = include_str!("data/api/users.yaml");

/// A cluster with everything installed: policies reach every namespace, so other tests must not have them.
fn cluster() -> Result<&'static Cluster> {
    static CLUSTER: OnceLock<Result<Cluster, String>> = OnceLock::new();
    harness::start_once(&CLUSTER, async || {
        let options = Options::new(name("admission"), Mode::ControlPlane);
        let cluster = bring_up::start(&options, &Tools::seen_at(paths::cache()?), &Steps::default()).await?;
        harness::install_definitions(&cluster).await?;
        for manifests in
            [admission::APPROVAL, admission::IDENTITY, admission::STAMP, admission::USER_ROLES, USERS]
        {
            cluster.apply(manifests).await?;
        }
        wait_until_obeyed(&cluster).await?;
        Ok(cluster)
    })
}

/// The API server takes a moment to obey a new policy, and to give the built-in roles what is added to them: until what
/// is forged is refused, who asks is stamped, and the editor may ask.
async fn wait_until_obeyed(cluster: &Cluster) -> Result<()> {
    let requests: Api<CertificateRequest> =
        Api::namespaced(cluster.client_as("editor", &[]).await?, NAMESPACE);
    let certificates: Api<Certificate> = Api::namespaced(cluster.client_as("viewer", &[]).await?, NAMESPACE);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let forged = fixtures::certificate_request("probe", |it| it.spec.username = Some("somebody else".into()));
    for attempt in 0.. {
        let refused = requests
            .create(&dry, &forged)
            .await
            .is_err_and(|error| error.to_string().contains("spec.username"));
        let stamped = requests.create(&dry, &fixtures::certificate_request("probe", |_| {})).await;
        let seen = certificates.list(&ListParams::default()).await.is_ok();
        if refused && seen && stamped.is_ok_and(|it| it.spec.username.is_some()) {
            return Ok(());
        }
        ensure!(attempt < 300, "policies and roles are not obeyed after {attempt} looks");
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

/// What the API server says when it refuses; an error if it does not.
fn refusal<T>(outcome: Result<T, kube::Error>) -> Result<String> {
    match outcome {
        Ok(_) => Err(anyhow!("it was not refused")),
        Err(kube::Error::Api(status)) => Ok(status.message.clone()),
        Err(error) => Err(error.into()),
    }
}

fn conditions(of: &[(&str, &str, &str)]) -> Patch<Value> {
    let conditions: Vec<_> = of
        .iter()
        .map(|(type_, status, reason)| json!({ "type": type_, "status": status, "reason": reason }))
        .collect();
    Patch::Merge(json!({ "status": { "conditions": conditions } }))
}

/// A CertificateRequest to an issuer, made by the administrator.
async fn request(name: &str, issuer: (&str, &str, &str)) -> Result<()> {
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
async fn only_who_may_approve_the_signer_approves() -> Result<()> {
    let approval = conditions(&[("Approved", "True", "test")]);
    for (number, (user, issuer, allowed)) in [
        // Any Issuer of any namespace; no ClusterIssuer.
        ("approver-of-issuers", ("", "", "issuer"), true),
        ("approver-of-issuers", ("cert-manager.io", "Issuer", "issuer"), true),
        ("approver-of-issuers", ("", "ClusterIssuer", "issuer"), false),
        // One Issuer, named with its namespace.
        ("approver-of-one", ("", "", "the-one"), true),
        ("approver-of-one", ("", "Issuer", "another"), false),
        // One ClusterIssuer.
        ("approver-of-cluster-issuer", ("", "ClusterIssuer", "the-one"), true),
        ("approver-of-cluster-issuer", ("", "ClusterIssuer", "another"), false),
        // An issuer of somebody else.
        ("approver-of-pools", ("example.test", "Pool", "pool"), true),
        ("approver-of-pools", ("cert-manager.io", "Issuer", "pool"), false),
        // The right to write the status alone.
        ("writer", ("", "", "issuer"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("approve-{number}");
        request(&name, issuer).await?;
        let requests: Api<CertificateRequest> = api_of(user, &[]).await?;
        let outcome = requests.patch_status(&name, &PatchParams::default(), &approval).await;
        if allowed {
            outcome.with_context(|| format!("{user} may not approve for {issuer:?}"))?;
        } else {
            let said = refusal(outcome).with_context(|| format!("{user}, {issuer:?}"))?;
            ensure!(
                said.contains(&format!(
                    "user \"{user}\" does not have permissions to set approved/denied conditions"
                )) && said.contains("the verb approve on the resource signers")
                    && said.contains(issuer.2),
                "{said}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn who_may_write_the_status_but_not_approve_may_write_the_rest() -> Result<()> {
    request("rest", ("", "", "issuer")).await?;
    let writer: Api<CertificateRequest> = api_of("writer", &[]).await?;
    writer
        .patch_status("rest", &PatchParams::default(), &conditions(&[("Ready", "False", "Pending")]))
        .await?;
    let approver: Api<CertificateRequest> = api_of("approver-of-issuers", &[]).await?;
    let both = [("Ready", "False", "Pending"), ("Approved", "True", "test")];
    approver.patch_status("rest", &PatchParams::default(), &conditions(&both)).await?;
    // Once it is approved, who may not approve still writes what else there is.
    let issued = [("Ready", "True", "Issued"), ("Approved", "True", "test")];
    writer.patch_status("rest", &PatchParams::default(), &conditions(&issued)).await?;
    Ok(())
}

#[tokio::test]
async fn an_approval_is_for_ever_and_excludes_a_denial() -> Result<()> {
    let approver: Api<CertificateRequest> = api_of("approver-of-issuers", &[]).await?;
    let set = async |name: &str, of: &[(&str, &str, &str)]| {
        approver.patch_status(name, &PatchParams::default(), &conditions(of)).await
    };
    request("for-ever", ("", "", "issuer")).await?;
    for of in [&[("Approved", "False", "test")][..], &[("Denied", "Unknown", "test")]] {
        let said = refusal(set("for-ever", of).await)?;
        ensure!(said.contains("may only have status True"), "{said}");
    }
    let both = [("Approved", "True", "test"), ("Denied", "True", "test")];
    let said = refusal(set("for-ever", &both).await)?;
    ensure!(said.contains("mutually exclusive"), "{said}");

    set("for-ever", &[("Approved", "True", "test")]).await?;
    for of in [&[][..], &[("Approved", "True", "another reason")], &[("Denied", "True", "test")]] {
        let said = refusal(set("for-ever", of).await)?;
        ensure!(said.contains("can't be changed or removed once set"), "{of:?}: {said}");
    }
    request("denied", ("", "", "issuer")).await?;
    set("denied", &[("Denied", "True", "test")]).await?;
    let said = refusal(set("denied", &[("Approved", "True", "test")]).await)?;
    ensure!(said.contains("can't be changed or removed once set"), "{said}");
    Ok(())
}

#[tokio::test]
async fn who_asks_is_stamped_and_cannot_be_forged() -> Result<()> {
    let groups = ["system:authenticated", "team-web"];
    let requests: Api<CertificateRequest> = api_of("editor", &groups).await?;
    let stamped =
        requests.create(&PostParams::default(), &fixtures::certificate_request("stamped", |_| {})).await?;
    ensure!(stamped.spec.username.as_deref() == Some("editor"), "{:?}", stamped.spec.username);
    let mut seen = stamped.spec.groups.unwrap_or_default();
    seen.sort();
    ensure!(seen == groups, "{seen:?}");

    let honest = fixtures::certificate_request("honest", |it| {
        it.spec.username = Some("editor".into());
        it.spec.groups = Some(groups.iter().rev().map(ToString::to_string).collect());
    });
    requests.create(&PostParams::default(), &honest).await?;

    let forgeries: [(&str, Forge); 5] = [
        ("spec.username", |it| it.spec.username = Some("admin".into())),
        ("spec.uid", |it| it.spec.uid = Some("0".into())),
        ("spec.groups", |it| it.spec.groups = Some(vec!["system:masters".into()])),
        ("spec.groups", |it| it.spec.groups = Some(vec!["team-web".into(), "team-web".into(), "x".into()])),
        ("spec.extra", |it| it.spec.extra = Some([("scopes".to_owned(), vec!["all".to_owned()])].into())),
    ];
    for (field, forge) in forgeries {
        let forged = fixtures::certificate_request("forged", forge);
        let said = refusal(requests.create(&PostParams::default(), &forged).await).context(field)?;
        ensure!(said.contains(&format!("{field} must be empty, or")), "{said}");
    }
    // Nor afterwards.
    let later = Patch::Merge(json!({ "spec": { "username": "admin" } }));
    let said = refusal(requests.patch("stamped", &PatchParams::default(), &later).await)?;
    ensure!(said.contains("cannot change spec after creation"), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_a_request_is_for_cannot_change() -> Result<()> {
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
        let said = refusal(annotate(change.clone()).await).with_context(|| change.to_string())?;
        ensure!(said.contains("can't be added, changed or removed after creation"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_editor_makes_certificates_but_no_orders_or_challenges() -> Result<()> {
    let certificates: Api<Certificate> = api_of("editor", &[]).await?;
    let orders: Api<Order> = api_of("editor", &[]).await?;
    let challenges: Api<Challenge> = api_of("editor", &[]).await?;
    certificates.create(&PostParams::default(), &fixtures::certificate("edited", |_| {})).await?;
    let said = refusal(orders.create(&PostParams::default(), &fixtures::order("forged", |_| {})).await)?;
    ensure!(said.contains("cannot create resource \"orders\""), "{said}");
    let said =
        refusal(challenges.create(&PostParams::default(), &fixtures::challenge("forged", |_| {})).await)?;
    ensure!(said.contains("cannot create resource \"challenges\""), "{said}");

    // What is stuck can be cleared away by hand.
    let all: Api<Challenge> = Api::namespaced(cluster()?.client().await?, NAMESPACE);
    let stuck = fixtures::challenge("stuck", |it| {
        it.metadata.finalizers = Some(vec![crds::annotations::challenge::FINALIZER.to_owned()]);
    });
    all.create(&PostParams::default(), &stuck).await?;
    challenges.delete("stuck", &DeleteParams::default()).await?;
    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    challenges.patch("stuck", &PatchParams::default(), &release).await?;
    ensure!(all.get_opt("stuck").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_viewer_sees_and_changes_nothing() -> Result<()> {
    let certificates: Api<Certificate> = api_of("viewer", &[]).await?;
    let orders: Api<Order> = api_of("viewer", &[]).await?;
    certificates.list(&ListParams::default()).await?;
    orders.list(&ListParams::default()).await?;
    let created = certificates.create(&PostParams::default(), &fixtures::certificate("viewed", |_| {})).await;
    ensure!(refusal(created)?.contains("cannot create resource \"certificates\""));
    Ok(())
}
