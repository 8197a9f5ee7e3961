//! Secrets that a user created by hand, such as with `kubectl create secret tls`: the first certificate that is issued replaces theirs.
//!
//! Knows how other tools mark what they manage; must not know what a Certificate asks for. Next: `policy/admissible.rs`.

use crds::annotations::secret;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry};
use kube::ResourceExt;

use crate::objects::{managed_fields, secret::TYPE};

/// The data keys that such a Secret may have: another one serves a purpose that the operator doesn't know.
const DATA_KEYS: [&str; 3] = [secret::TLS_CRT, secret::TLS_KEY, secret::CA_CRT];

/// The label that most tools set.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What the names of labels and annotations contain with which tools mark their objects: Helm, Argo CD, Flux, kapp, External
/// Secrets, Sealed Secrets, Reflector, Kubed, Replicator, kpt, Rancher, and others.
const TOOL_KEYS: [&str; 15] = [
    "meta.helm.sh/",
    "argocd.argoproj.io/",
    "toolkit.fluxcd.io/",
    "kapp.k14s.io/",
    "external-secrets.io/",
    "sealedsecrets.bitnami.com/",
    "reflector.v1.k8s.emberstack.com/",
    "kubed.appscode.com/",
    "replicator.v1.mittwald.de/",
    "config.kubernetes.io/owning-inventory",
    "objectset.rio.cattle.io/",
    "cattle.io/creator",
    "app.kubernetes.io/instance",
    "secrets.infisical.com/",
    "secrets.hashicorp.com/",
];

/// What the names of the field managers of tools contain.
const TOOL_MANAGERS: [&str; 12] = [
    "controller",
    "operator",
    "helm",
    "argocd",
    "flux",
    "kapp",
    "terraform",
    "hashicorp",
    "pulumi",
    "ansible",
    "external-secrets",
    "reflector",
];

/// The longest name in an obstacle, in bytes.
const LONGEST_NAME: usize = 100;

/// Why a Secret that was not issued for a Certificate can't be adopted: a clause that follows "because". `None` for one that a user
/// created by hand, and that nothing else maintains.
pub(super) fn obstacle(object: &Secret) -> Option<String> {
    let type_ = object.type_.as_deref().unwrap_or("Opaque");
    if type_ != TYPE {
        return Some(format!("its type is {:?}, not {TYPE:?}", short(type_)));
    }
    if object.immutable == Some(true) {
        return Some("it is immutable".to_owned());
    }
    if let Some(key) = object.data.iter().flat_map(|data| data.keys()).find(|key| !is_usual(key)) {
        return Some(format!("it also has the data key {:?}", short(key)));
    }
    if let Some(owner) = object.owner_references().first() {
        return Some(format!("it belongs to the {} {:?}", short(&owner.kind), short(&owner.name)));
    }
    if !object.finalizers().is_empty() {
        return Some("it has a finalizer".to_owned());
    }
    tool(object)
}

fn is_usual(key: &str) -> bool {
    DATA_KEYS.contains(&key)
}

/// The tool that would change the Secret back.
fn tool(object: &Secret) -> Option<String> {
    let is_mark = |name: &&String| *name == MANAGED_BY || TOOL_KEYS.iter().any(|key| name.contains(key));
    if let Some(name) = object.labels().keys().chain(object.annotations().keys()).find(is_mark) {
        return Some(format!("{:?} marks it as managed by another tool", short(name)));
    }
    let manager = object.managed_fields().iter().find_map(tool_manager)?;
    Some(format!("{:?} maintains it", short(manager)))
}

/// The manager of the data, if that is a tool.
fn tool_manager(entry: &ManagedFieldsEntry) -> Option<&str> {
    let manager = entry.manager.as_deref()?;
    let lower = manager.to_lowercase();
    let is_tool = TOOL_MANAGERS.iter().any(|tool| lower.contains(tool));
    let sets_data = managed_fields::owns(std::slice::from_ref(entry), manager, &["data"]);
    (is_tool && sets_data).then_some(manager)
}

fn short(name: &str) -> &str {
    name.get(..name.floor_char_boundary(LONGEST_NAME)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn obstacle_of(changes: &Value) -> Option<String> {
        let mut object = json!({
            "metadata": { "name": "web", "namespace": "shop", "managedFields": [
                { "manager": "kubectl-create", "operation": "Update", "fieldsV1": { "f:data": { "f:tls.crt": {} } } },
            ] },
            "type": "kubernetes.io/tls",
            "data": { "tls.crt": "YQ==", "tls.key": "Yg==" },
        });
        json_patch::merge(&mut object, changes);
        obstacle(&serde_json::from_value(object).expect("a Secret"))
    }

    #[test]
    fn secret_made_by_hand_is_adopted() {
        let by_hand = [
            json!({}),
            json!({ "data": { "ca.crt": "Yw==" } }),
            json!({ "metadata": { "labels": { "app": "web" }, "annotations": { "example.com/note": "mine" } } }),
            json!({ "metadata": { "managedFields": [{ "manager": "k9s", "fieldsV1": { "f:data": {} } }] } }),
            // It has set a label, not the data.
            json!({ "metadata": { "managedFields": [
                { "manager": "kyverno-controller", "fieldsV1": { "f:metadata": { "f:labels": {} } } },
            ] } }),
        ];
        for changes in &by_hand {
            assert_eq!(obstacle_of(changes), None, "{changes}");
        }
    }

    #[test]
    fn secret_of_something_else_is_not_adopted() {
        let owner =
            json!({ "apiVersion": "example.com/v1", "kind": "ExternalSecret", "name": "web", "uid": "1" });
        let managed = |manager: &str| json!({ "managedFields": [{ "manager": manager, "fieldsV1": { "f:data": {} } }] });
        let others = [
            (json!({ "type": "Opaque" }), "its type is \"Opaque\", not \"kubernetes.io/tls\""),
            (json!({ "type": null }), "its type is \"Opaque\", not \"kubernetes.io/tls\""),
            (json!({ "immutable": true }), "it is immutable"),
            (json!({ "data": { "password": "YQ==" } }), "it also has the data key \"password\""),
            (
                json!({ "metadata": { "ownerReferences": [owner] } }),
                "it belongs to the ExternalSecret \"web\"",
            ),
            (json!({ "metadata": { "finalizers": ["example.com/keep"] } }), "it has a finalizer"),
            (
                json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "Helm" } } }),
                "\"app.kubernetes.io/managed-by\" marks it as managed by another tool",
            ),
            (
                json!({ "metadata": { "annotations": { "argocd.argoproj.io/tracking-id": "web" } } }),
                "\"argocd.argoproj.io/tracking-id\" marks it as managed by another tool",
            ),
            (
                json!({ "metadata": { "labels": { "kustomize.toolkit.fluxcd.io/name": "web" } } }),
                "\"kustomize.toolkit.fluxcd.io/name\" marks it as managed by another tool",
            ),
            (json!({ "metadata": managed("helm") }), "\"helm\" maintains it"),
            (json!({ "metadata": managed("Terraform") }), "\"Terraform\" maintains it"),
            (json!({ "metadata": managed("kustomize-controller") }), "\"kustomize-controller\" maintains it"),
        ];
        for (changes, expected) in &others {
            assert_eq!(obstacle_of(changes).as_deref(), Some(*expected), "{changes}");
        }
    }

    #[test]
    fn names_in_obstacles_are_bounded() {
        let obstacle = obstacle_of(&json!({ "data": { "é".repeat(200): "YQ==" } })).expect("an obstacle");
        assert!(obstacle.len() < 200, "{obstacle}");
    }
}
