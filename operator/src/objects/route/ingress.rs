//! The Ingress of a Challenge, or its path in a user's Ingress.

use std::collections::BTreeMap;

use crds::{
    acme::{Challenge, IngressSolver},
    annotations::{INGRESS_CLASS, challenge},
    http01,
};
use json_patch::Patch;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, ServiceBackendPort,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{PORT, SERVICE};
use crate::objects::{metadata::owned, names};

/// Builds the Ingress of a Challenge.
pub fn ingress(of: &Challenge, solver: &IngressSolver) -> Ingress {
    const ALL_SOURCES: &str = "nginx.ingress.kubernetes.io/whitelist-source-range";
    let template = solver.ingress_template.clone().and_then(|template| template.metadata).unwrap_or_default();
    let mut metadata = owned(&format!("{SERVICE}-{}", names::short_hash(&of.name_any())), of);
    let mut all_labels = template.labels.unwrap_or_default();
    all_labels.extend(labels(of));
    let mut annotations = template.annotations.unwrap_or_default();
    if !annotations.keys().any(|name| name.ends_with("/whitelist-source-range")) {
        annotations.insert(ALL_SOURCES.to_owned(), "0.0.0.0/0,::/0".to_owned());
    }
    if let Some(class) = solver.class.as_ref().filter(|class| !class.is_empty()) {
        annotations.insert(INGRESS_CLASS.to_owned(), class.clone());
    }
    metadata.labels = Some(all_labels);
    metadata.annotations = Some(annotations);
    let rule =
        IngressRule { host: host(of), http: Some(HTTPIngressRuleValue { paths: vec![http_path(of)] }) };
    let spec = IngressSpec {
        ingress_class_name: solver.ingress_class_name.clone().filter(|class| !class.is_empty()),
        rules: Some(vec![rule]),
        ..IngressSpec::default()
    };
    Ingress { metadata, spec: Some(spec), status: None }
}

/// The JSON patch (RFC 6902) that adds the path of a Challenge to a user's Ingress; `None` if it has the path. The patch fails if
/// the rules have changed since they were read.
pub fn patch_to_add(ingress: &Ingress, of: &Challenge) -> Option<Patch> {
    let path = json!(http_path(of));
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let Some(position) = rules.iter().position(|rule| rule.host == host(of)) else {
        let rule = json!({ "host": host(of), "http": { "paths": [path] } });
        return patch(if rules.is_empty() {
            vec![json!({ "op": "add", "path": "/spec/rules", "value": [rule] })]
        } else {
            vec![unchanged(rules), json!({ "op": "add", "path": "/spec/rules/-", "value": rule })]
        });
    };
    let paths = rules[position].http.as_ref().map_or(&[][..], |http| &http.paths);
    if paths.iter().any(|existing| is_path_of(existing, of)) {
        return None;
    }
    let add = if rules[position].http.is_some() {
        json!({ "op": "add", "path": format!("/spec/rules/{position}/http/paths/0"), "value": path })
    } else {
        json!({ "op": "add", "path": format!("/spec/rules/{position}/http"), "value": { "paths": [path] } })
    };
    patch(vec![unchanged(rules), add])
}

/// The JSON patch that removes the path again, and with it a rule that has no other path; `None` if the Ingress does not have the
/// path.
pub fn patch_to_remove(ingress: &Ingress, of: &Challenge) -> Option<Patch> {
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let paths = |rule: &IngressRule| rule.http.as_ref().map(|http| http.paths.clone()).unwrap_or_default();
    let position = rules.iter().position(|rule| paths(rule).iter().any(|path| is_path_of(path, of)))?;
    let of_rule = paths(&rules[position]);
    let path = of_rule.iter().position(|path| is_path_of(path, of))?;
    let remove = match (of_rule.len(), rules.len()) {
        (1, 1) => "/spec/rules".to_owned(),
        (1, _) => format!("/spec/rules/{position}"),
        _ => format!("/spec/rules/{position}/http/paths/{path}"),
    };
    patch(vec![unchanged(rules), json!({ "op": "remove", "path": remove })])
}

/// The labels by which users' tools find the Ingress of a Challenge.
fn labels(of: &Challenge) -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            (challenge::SOLVER_LABEL, "true".to_owned()),
            (challenge::DOMAIN_LABEL, names::adler32_label(&of.spec.dns_name)),
            (challenge::TOKEN_LABEL, names::adler32_label(&of.spec.token)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// The path of a Challenge, and the Service that it leads to.
fn http_path(of: &Challenge) -> HTTPIngressPath {
    let port = ServiceBackendPort { number: Some(PORT), ..ServiceBackendPort::default() };
    HTTPIngressPath {
        path: Some(http01::path(&of.spec.token)),
        path_type: "Exact".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend { name: SERVICE.to_owned(), port: Some(port) }),
            ..IngressBackend::default()
        },
    }
}

/// The host of a Challenge's rule: none for an IP address, which a rule can't have.
fn host(of: &Challenge) -> Option<String> {
    let name = &of.spec.dns_name;
    name.parse::<std::net::IpAddr>().is_err().then(|| name.clone())
}

fn patch(operations: Vec<Value>) -> Option<Patch> {
    serde_json::from_value(Value::Array(operations)).ok()
}

/// The test that the rules are still these.
fn unchanged(rules: &[IngressRule]) -> Value {
    json!({ "op": "test", "path": "/spec/rules", "value": rules })
}

/// Whether a path is the one of a Challenge.
fn is_path_of(existing: &HTTPIngressPath, of: &Challenge) -> bool {
    existing.path.as_deref() == Some(&http01::path(&of.spec.token))
}

#[cfg(test)]
mod tests {
    use crds::fixtures;

    use super::*;

    fn ingress_with(rules: &Value) -> Ingress {
        serde_json::from_value(json!({ "spec": { "rules": rules } })).expect("an Ingress")
    }

    fn patched(ingress: &Ingress, patch: &Patch) -> Ingress {
        let mut value = json!(ingress);
        json_patch::patch(&mut value, patch).expect("the patch fits");
        serde_json::from_value(value).expect("an Ingress")
    }

    /// Whatever the user has, adding and removing the path leaves it as it was, but for a list without rules.
    #[test]
    fn path_is_added_and_removed_without_a_trace() {
        let challenge = fixtures::challenge("web", |_| {});
        let theirs = json!({ "path": "/", "pathType": "Prefix", "backend": {} });
        for rules in [
            json!([]),
            json!([{ "host": "other.example.test", "http": { "paths": [theirs] } }]),
            json!([{ "host": "web.example.test", "http": { "paths": [theirs] } }]),
            json!([{ "http": { "paths": [theirs] } }, { "host": "web.example.test", "http": { "paths": [theirs] } }]),
        ] {
            let before = ingress_with(&rules);
            let added = patched(&before, &patch_to_add(&before, &challenge).expect("a patch"));
            assert_eq!(patch_to_add(&added, &challenge), None, "{added:?}");
            let removed = patched(&added, &patch_to_remove(&added, &challenge).expect("a patch"));
            assert_eq!(patch_to_remove(&removed, &challenge), None);
            let rules =
                |ingress: &Ingress| ingress.spec.clone().and_then(|spec| spec.rules).unwrap_or_default();
            assert_eq!(rules(&removed), rules(&before));
        }
    }

    #[test]
    fn patch_fails_if_the_rules_have_changed() {
        let challenge = fixtures::challenge("web", |_| {});
        let before = ingress_with(&json!([{ "host": "other.example.test" }]));
        let patch = patch_to_add(&before, &challenge).expect("a patch");
        let mut changed = json!(ingress_with(&json!([{ "host": "changed.example.test" }])));
        assert!(json_patch::patch(&mut changed, &patch).is_err());
    }
}
