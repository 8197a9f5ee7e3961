//! The CRDs on a real API server: they accept what cert-manager's CRDs accept, reject what its webhook rejects, and store every
//! field.
//!
//! Knows manifests and the messages of rejections; must not need the operator. Next: `crds/tests/corpus` for the manifests.

mod support;

use anyhow::{Context, Result, ensure};
use crds::{
    acme::{Challenge, Order, OrderStatus},
    certmanager::{Certificate, CertificateRequest, Issuer},
    condition::Condition,
    fixtures,
};
use e2e::harness::{self, with_namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use support::api::{api_of, documents, lost};

const VALID: [&str; 3] = [
    include_str!("../../crds/tests/corpus/certificates.yaml"),
    include_str!("../../crds/tests/corpus/issuers.yaml"),
    include_str!("../../crds/tests/corpus/requests.yaml"),
];

#[tokio::test]
async fn crds_are_established_without_warnings() -> Result<()> {
    let cluster = harness::cluster()?;
    let printed = harness::install_definitions(cluster).await?;
    ensure!(!printed.contains("Warning"), "{printed}");
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client().await?);
    let ours = ListParams::default().labels("app.kubernetes.io/part-of=acme-operator");
    let definitions = definitions.list(&ours).await?.items;
    ensure!(definitions.len() == 6, "there are {} CRDs, not 6", definitions.len());
    for definition in definitions {
        let conditions =
            definition.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let holds = |type_: &str| conditions.iter().any(|it| it.type_ == type_ && it.status == "True");
        ensure!(holds("Established") && holds("NamesAccepted"), "{}: {conditions:?}", definition.name_any());
        ensure!(!holds("NonStructuralSchema"), "{}: {conditions:?}", definition.name_any());
    }
    Ok(())
}

#[tokio::test]
async fn valid_objects_are_stored_without_loss() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("valid", async |namespace| {
        let mut accepted = 0;
        for manifest in VALID.iter().map(|yaml| documents(yaml)).collect::<Result<Vec<_>>>()?.concat() {
            let name = manifest["metadata"]["name"].as_str().context("a manifest has no name")?;
            let what = format!("{} {name}", manifest["kind"]);
            let api = api_of(namespace.client(), namespace.name(), &manifest)?;
            // Strict: a field that the CRD does not know is an error instead of being pruned.
            let strict = PatchParams::apply("test").validation_strict();
            let mut without_status = manifest.clone();
            let status = without_status.as_object_mut().and_then(|fields| fields.remove("status"));
            api.patch(name, &strict, &Patch::Apply(without_status)).await.with_context(|| what.clone())?;
            if let Some(status) = status {
                let status = json!({ "apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "status": status });
                api.patch_status(name, &strict, &Patch::Apply(status)).await.with_context(|| what.clone())?;
            }
            let stored = serde_json::to_value(api.get(name).await?)?;
            let mut losses = Vec::new();
            lost(&manifest, &stored, "stored", &mut losses);
            ensure!(losses.is_empty(), "{what} was changed when it was stored: {losses:?}");
            if manifest["kind"] == "ClusterIssuer" {
                // It is not deleted with the namespace.
                api.delete(name, &DeleteParams::default()).await?;
            }
            accepted += 1;
        }
        println!("{accepted} manifests were accepted and stored without loss");
        ensure!(accepted >= 60, "the corpus has only {accepted} manifests");
        Ok(())
    })
    .await
}

/// One entry of the corpus of rejected objects: a change that makes a valid object invalid, and part of the message.
#[derive(Deserialize)]
struct Rejected {
    kind: String,
    change: Value,
    says: String,
}

/// The smallest valid object of a kind.
fn smallest(kind: &str) -> Result<Value> {
    Ok(match kind {
        "Certificate" => serde_json::to_value(fixtures::certificate("base", |_| {}))?,
        "CertificateRequest" => serde_json::to_value(fixtures::certificate_request("base", |_| {}))?,
        "ClusterIssuer" => serde_json::to_value(fixtures::cluster_issuer("base", |_| {}))?,
        "Issuer" => serde_json::to_value(fixtures::issuer("base", |_| {}))?,
        "Challenge" => serde_json::to_value(fixtures::challenge("base", |_| {}))?,
        "Order" => serde_json::to_value(fixtures::order("base", |_| {}))?,
        other => anyhow::bail!("the kind {other:?} is not one of ours"),
    })
}

#[tokio::test]
async fn invalid_objects_are_rejected_with_the_reason() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("rejected", async |namespace| {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let corpus: Vec<Rejected> =
            serde_saphyr::from_str(include_str!("../../crds/tests/corpus/refused.yaml"))?;
        let mut wrong = Vec::new();
        for Rejected { kind, change, says } in &corpus {
            let mut object = smallest(kind)?;
            let api = api_of(namespace.client(), namespace.name(), &object)?;
            api.create(&dry, &serde_json::from_value(object.clone())?)
                .await
                .with_context(|| format!("the unchanged {kind} is rejected"))?;
            json_patch::merge(&mut object, change);
            match api.create(&dry, &serde_json::from_value(object)?).await {
                Err(kube::Error::Api(status)) if status.message.contains(says.as_str()) => {}
                Err(error) => wrong.push(format!("{kind} {change}: {error}\n  does not say {says:?}")),
                Ok(_) => wrong.push(format!("{kind} {change}: accepted")),
            }
        }
        println!("{} of {} were rejected as expected", corpus.len() - wrong.len(), corpus.len());
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        ensure!(corpus.len() >= 80, "the corpus has only {} entries", corpus.len());
        Ok(())
    })
    .await
}

/// Creates an object, and ensures that a change of its spec is rejected and a change of its labels is accepted.
async fn assert_spec_is_immutable<K>(api: Api<K>, object: K, change: Value) -> Result<()>
where
    K: Clone + Serialize + DeserializeOwned + std::fmt::Debug + Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    let name = object.name_any();
    api.create(&PostParams::default(), &object).await?;
    let merge = |change: Value| Patch::Merge(json!(change));
    let rejected = api.patch(&name, &PatchParams::default(), &merge(json!({ "spec": change }))).await;
    let error = rejected.err().with_context(|| format!("the spec of {name} was changed"))?.to_string();
    ensure!(error.contains("cannot change spec after creation"), "{error}");
    let labels = json!({ "metadata": { "labels": { "changed": "yes" } } });
    api.patch(&name, &PatchParams::default(), &merge(labels)).await?;
    Ok(())
}

/// The specs of CertificateRequests, Orders, and Challenges can't be changed; their labels can.
#[tokio::test]
async fn specs_are_immutable_after_creation() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("immutable", async |namespace| {
        let request = fixtures::certificate_request("request", |_| {});
        let other = json!({ "request": "b3RoZXI=" });
        assert_spec_is_immutable(namespace.api::<CertificateRequest>(), request, other.clone()).await?;
        let order = fixtures::order("order", |_| {});
        assert_spec_is_immutable(namespace.api::<Order>(), order, other).await?;
        let challenge = fixtures::challenge("challenge", |_| {});
        assert_spec_is_immutable(namespace.api::<Challenge>(), challenge, json!({ "token": "other" })).await
    })
    .await
}

/// URLs, authorizations, and the certificate in the status of an Order can be set once, but not changed or removed.
#[tokio::test]
async fn order_status_from_the_ca_is_immutable() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("order", async |namespace| {
        let orders = namespace.api::<Order>();
        orders.create(&PostParams::default(), &fixtures::order("order", |_| {})).await?;
        let set = async |status: Value| {
            orders
                .patch_status("order", &PatchParams::default(), &Patch::Merge(json!({ "status": status })))
                .await
        };
        set(json!({ "state": "pending" })).await?;
        set(json!({
            "url": "https://acme.example.test/order/1",
            "finalizeURL": "https://acme.example.test/order/1/finalize",
            "authorizations": [{ "url": "https://acme.example.test/authz/1" }],
        }))
        .await?;
        // cert-manager adds the other fields of the authorizations later.
        let authorization = json!({
            "url": "https://acme.example.test/authz/1",
            "identifier": "a.example.test",
            "initialState": "pending",
            "wildcard": false,
            "challenges": [{ "type": "http-01", "token": "one", "url": "https://acme.example.test/chall/1" }],
        });
        let authorizations = |change: Value| {
            let mut it = authorization.clone();
            json_patch::merge(&mut it, &change);
            json!({ "authorizations": [it] })
        };
        set(authorizations(json!({}))).await?;
        set(json!({ "state": "valid", "certificate": "b25l" })).await?;
        for (change, field) in [
            (json!({ "url": "https://acme.example.test/order/2" }), "url"),
            (json!({ "url": null }), "url"),
            (json!({ "finalizeURL": "https://acme.example.test/order/2/finalize" }), "finalizeURL"),
            (json!({ "certificate": "dHdv" }), "certificate"),
            (json!({ "authorizations": [] }), "authorizations"),
            (authorizations(json!({ "url": "https://acme.example.test/authz/2" })), "authorizations"),
            (authorizations(json!({ "identifier": "b.example.test" })), "identifier"),
            (authorizations(json!({ "initialState": null })), "initialState"),
            (authorizations(json!({ "wildcard": true })), "wildcard"),
            (authorizations(json!({ "challenges": [] })), "challenges"),
            (
                authorizations(json!({ "challenges": [
                    { "type": "http-01", "token": "two", "url": "https://acme.example.test/chall/1" },
                ] })),
                "challenges",
            ),
        ] {
            let error = set(change.clone())
                .await
                .err()
                .with_context(|| format!("{change} was accepted"))?
                .to_string();
            ensure!(error.contains("immutable once set") && error.contains(field), "{error}");
        }
        let status: OrderStatus =
            set(json!({ "reason": "can change" })).await?.status.context("the Order has no status")?;
        ensure!(status.reason.as_deref() == Some("can change"), "the reason was not changed: {status:?}");
        Ok(())
    })
    .await
}

/// Two field managers can apply different conditions of one object.
#[tokio::test]
async fn conditions_of_two_managers_merge_by_type() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("merge", async |namespace| {
        let requests = namespace.api::<CertificateRequest>();
        requests.create(&PostParams::default(), &fixtures::certificate_request("request", |_| {})).await?;
        let apply = async |manager: &str, type_: &str, reason: &str| {
            let status = json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "CertificateRequest",
                "status": { "conditions": [{ "type": type_, "status": "True", "reason": reason }] },
            });
            requests.patch_status("request", &PatchParams::apply(manager), &Patch::Apply(status)).await
        };
        apply("approver", "Approved", "first").await?;
        apply("issuer", "Ready", "Issued").await?;
        let merged = apply("approver", "Approved", "second").await?;
        let conditions: Vec<Condition> = merged.status.map(|status| status.conditions).unwrap_or_default();
        let mut seen: Vec<_> =
            conditions.iter().map(|it| (it.type_.as_str(), it.reason.as_deref())).collect();
        seen.sort_unstable();
        ensure!(seen == [("Approved", Some("second")), ("Ready", Some("Issued"))], "{seen:?}");
        Ok(())
    })
    .await
}

/// The CEL rules of the CRDs stay within the API server's cost budget, even for the largest objects that it stores.
#[tokio::test]
async fn largest_objects_stay_within_the_cel_budget() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("large", async |namespace| {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let certificate = fixtures::certificate("large", |it| {
            let numbers = 0..1000;
            it.spec.dns_names =
                Some((0..5000).map(|n| format!("{n}.{}.example.test", "a".repeat(60))).collect());
            it.spec.ip_addresses = Some(numbers.clone().map(|n| format!("2001:db8::{n:x}")).collect());
            it.spec.email_addresses =
                Some(numbers.map(|n| format!("{}{n}@example.test", "a".repeat(200))).collect());
        });
        namespace.api::<Certificate>().create(&dry, &certificate).await?;
        let issuer = fixtures::issuer("large", |it| {
            let solver = crds::acme::Solver {
                wait_instead_of_self_check: Some(crds::duration::GoDuration::from_secs(90)),
                ..fixtures::ingress_solver(&"a".repeat(253))
            };
            it.spec.acme.get_or_insert_default().solvers = Some(vec![solver; 1000]);
        });
        namespace.api::<Issuer>().create(&dry, &issuer).await?;
        Ok(())
    })
    .await
}

/// Field selectors select Certificates by name and kind of their issuer.
#[tokio::test]
async fn certificates_are_selected_by_issuer() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("select", async |namespace| {
        let certificates = namespace.api::<Certificate>();
        for (name, issuer) in [("a", "one"), ("b", "two"), ("c", "one")] {
            let certificate =
                fixtures::certificate(name, |it| it.spec.issuer_ref = fixtures::cluster_issuer_ref(issuer));
            certificates.create(&PostParams::default(), &certificate).await?;
        }
        let by_one =
            ListParams::default().fields("spec.issuerRef.name=one,spec.issuerRef.kind=ClusterIssuer");
        let names: Vec<_> = certificates.list(&by_one).await?.iter().map(ResourceExt::name_any).collect();
        ensure!(names == ["a", "c"], "{names:?}");
        Ok(())
    })
    .await
}

/// The CRDs have no schema defaults: a default once caused whole clusters to be re-issued.
#[tokio::test]
async fn specs_are_stored_without_defaults() -> Result<()> {
    harness::install_definitions(harness::cluster()?).await?;
    with_namespace("defaults", async |namespace| {
        for kind in ["Certificate", "CertificateRequest", "Issuer", "Order", "Challenge"] {
            let object = smallest(kind)?;
            let api = api_of(namespace.client(), namespace.name(), &object)?;
            let stored = api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?;
            ensure!(
                stored.data["spec"] == object["spec"],
                "the spec of a {kind} was changed when it was stored: {} became {}",
                object["spec"],
                stored.data["spec"]
            );
        }
        Ok(())
    })
    .await
}
