//! The Ingress of a Challenge, or its path in a user's Ingress.

use crds::{
    acme::{Challenge, IngressSolver},
    annotations::INGRESS_CLASS,
    http01,
};
use json_patch::Patch;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, ServiceBackendPort,
};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{ExtraLabels, PORT, SERVICE, route_name, solver_labels};
use crate::objects::metadata::owned;

/// The type of the path of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathType {
    /// `Exact`: no other path matches.
    Exact,
    /// `ImplementationSpecific`: leads to the same here, and more admission policies accept it with a dot in the path.
    Relaxed,
}

impl PathType {
    const fn name(self) -> &'static str {
        match self {
            Self::Exact => "Exact",
            Self::Relaxed => "ImplementationSpecific",
        }
    }
}

/// Builds the Ingress of a Challenge.
pub fn ingress(of: &Challenge, solver: &IngressSolver, extra: &ExtraLabels) -> Ingress {
    const ALL_SOURCES: &str = "nginx.ingress.kubernetes.io/whitelist-source-range";
    let template = solver.ingress_template.clone().and_then(|template| template.metadata).unwrap_or_default();
    let mut metadata = owned(&route_name(&of.name_any()), of);
    let mut all_labels = extra.clone();
    all_labels.extend(template.labels.unwrap_or_default());
    all_labels.extend(solver_labels(of));
    let mut annotations = template.annotations.unwrap_or_default();
    if !annotations.keys().any(|name| name.ends_with("/whitelist-source-range")) {
        annotations.insert(ALL_SOURCES.to_owned(), "0.0.0.0/0,::/0".to_owned());
    }
    if let Some(class) = solver.class.as_ref().filter(|class| !class.is_empty()) {
        annotations.insert(INGRESS_CLASS.to_owned(), class.clone());
    }
    metadata.labels = Some(all_labels);
    metadata.annotations = Some(annotations);
    let rule = IngressRule {
        host: host(of),
        http: Some(HTTPIngressRuleValue { paths: vec![http_path(of, PathType::Exact)] }),
    };
    let spec = IngressSpec {
        ingress_class_name: solver.ingress_class_name.clone().filter(|class| !class.is_empty()),
        rules: Some(vec![rule]),
        ..IngressSpec::default()
    };
    Ingress { metadata, spec: Some(spec), status: None }
}

/// The JSON patch (RFC 6902) that adds the path of a Challenge to a user's Ingress; `None` if it has the path. The patch is a conflict
/// if the Ingress has changed since it was read.
pub fn patch_to_add(ingress: &Ingress, of: &Challenge, path_type: PathType) -> Option<Patch> {
    let path = json!(http_path(of, path_type));
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    // A rule without paths is left alone, because nothing would tell later that it had been there.
    let takes_paths = |rule: &IngressRule| rule.host == host(of) && rule.http.is_some();
    let Some(position) = rules.iter().position(takes_paths) else {
        let rule = json!({ "host": host(of), "http": { "paths": [path] } });
        return patch(if rules.is_empty() {
            vec![unchanged(ingress), json!({ "op": "add", "path": "/spec/rules", "value": [rule] })]
        } else {
            vec![unchanged(ingress), json!({ "op": "add", "path": "/spec/rules/-", "value": rule })]
        });
    };
    let paths = rules[position].http.as_ref().map_or(&[][..], |http| &http.paths);
    if paths.iter().any(|existing| is_path_of(existing, of)) {
        return None;
    }
    let add = json!({ "op": "add", "path": format!("/spec/rules/{position}/http/paths/0"), "value": path });
    patch(vec![unchanged(ingress), add])
}

/// Whether adding the path of a Challenge to a user's Ingress leaves it with one rule per host.
pub fn can_be_added_to(ingress: &Ingress, of: &Challenge) -> bool {
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let host = host(of);
    host.is_some() && rules.iter().filter(|rule| rule.host == host).all(|rule| rule.http.is_some())
}

/// The JSON patch that removes the path again, and with it a rule that has no other path, unless the Ingress needs that rule; `None`
/// if the Ingress does not have the path.
pub fn patch_to_remove(ingress: &Ingress, of: &Challenge) -> Option<Patch> {
    let rules = ingress.spec.as_ref().and_then(|spec| spec.rules.as_deref()).unwrap_or_default();
    let paths = |rule: &IngressRule| rule.http.as_ref().map(|http| http.paths.clone()).unwrap_or_default();
    let position = rules.iter().position(|rule| paths(rule).iter().any(|path| is_path_of(path, of)))?;
    let of_rule = paths(&rules[position]);
    let path = of_rule.iter().position(|path| is_path_of(path, of))?;
    let has_default = ingress.spec.as_ref().is_some_and(|spec| spec.default_backend.is_some());
    let remove = match (of_rule.len(), rules.len()) {
        (1, 1) if has_default => "/spec/rules".to_owned(),
        // The user has removed all other rules, and an Ingress needs one.
        (1, 1) => "/spec/rules/0/http".to_owned(),
        (1, _) => format!("/spec/rules/{position}"),
        _ => format!("/spec/rules/{position}/http/paths/{path}"),
    };
    patch(vec![unchanged(ingress), json!({ "op": "remove", "path": remove })])
}

/// Makes the paths of an Ingress ones that a cluster accepts whose policies reject a path of type Exact with a dot in it. Ingress
/// controllers match the longest path first, so it is still found.
pub fn relax_path_type(ingress: &mut Ingress) {
    let rules = ingress.spec.iter_mut().flat_map(|spec| spec.rules.iter_mut().flatten());
    for path in rules.flat_map(|rule| rule.http.iter_mut().flat_map(|http| &mut http.paths)) {
        PathType::Relaxed.name().clone_into(&mut path.path_type);
    }
}

/// The path of a Challenge, and the Service that it leads to.
fn http_path(of: &Challenge, path_type: PathType) -> HTTPIngressPath {
    let port = ServiceBackendPort { number: Some(PORT), ..ServiceBackendPort::default() };
    HTTPIngressPath {
        path: Some(http01::path(&of.spec.token)),
        path_type: path_type.name().to_owned(),
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

/// Makes the patch one of the version that was read. The rules themselves can be a megabyte.
fn unchanged(ingress: &Ingress) -> Value {
    json!({ "op": "add", "path": "/metadata/resourceVersion", "value": ingress.resource_version() })
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
        serde_json::from_value(json!({ "metadata": {}, "spec": { "rules": rules } })).expect("an Ingress")
    }

    fn patched(ingress: &Ingress, patch: &Patch) -> Ingress {
        let mut value = json!(ingress);
        json_patch::patch(&mut value, patch).expect("the patch fits");
        serde_json::from_value(value).expect("an Ingress")
    }

    /// Whatever the user has, adding and removing the path leaves it as it was.
    #[test]
    fn path_is_added_and_removed_without_a_trace() {
        let challenge = fixtures::challenge("web", |_| {});
        let theirs = json!({ "path": "/", "pathType": "Prefix", "backend": {} });
        for rules in [
            json!([{ "host": "web.example.test" }]),
            json!([{ "host": "other.example.test", "http": { "paths": [theirs] } }]),
            json!([{ "host": "web.example.test", "http": { "paths": [theirs] } }]),
            json!([{ "http": { "paths": [theirs] } }, { "host": "web.example.test", "http": { "paths": [theirs] } }]),
        ] {
            let before = ingress_with(&rules);
            let added =
                patched(&before, &patch_to_add(&before, &challenge, PathType::Exact).expect("a patch"));
            assert_eq!(patch_to_add(&added, &challenge, PathType::Relaxed), None, "{added:?}");
            let removed = patched(&added, &patch_to_remove(&added, &challenge).expect("a patch"));
            assert_eq!(patch_to_remove(&removed, &challenge), None);
            let rules =
                |ingress: &Ingress| ingress.spec.clone().and_then(|spec| spec.rules).unwrap_or_default();
            assert_eq!(rules(&removed), rules(&before));
        }
    }

    /// An Ingress without rules needs a default backend.
    #[test]
    fn last_rule_is_removed_only_if_the_ingress_is_valid_without() {
        let challenge = fixtures::challenge("web", |_| {});
        let path = json!(http_path(&challenge, PathType::Exact));
        let rules = json!([{ "host": "web.example.test", "http": { "paths": [path] } }]);
        let mut ingress = ingress_with(&rules);
        let left = |ingress: &Ingress| {
            let removed = patched(ingress, &patch_to_remove(ingress, &challenge).expect("a patch"));
            json!(removed.spec)["rules"].clone()
        };
        assert_eq!(left(&ingress), json!([{ "host": "web.example.test" }]));
        ingress.spec.get_or_insert_default().default_backend = Some(IngressBackend::default());
        assert_eq!(left(&ingress), Value::Null);
    }

    /// The positions in the patch count only in the rules that were read, however many there are.
    #[test]
    fn patch_is_of_the_version_that_was_read() {
        let challenge = fixtures::challenge("web", |_| {});
        let rule = |number: usize| json!({ "host": format!("{number}.example.test") });
        let rules: Vec<_> = (0..10_000).map(rule).collect();
        let mut before = ingress_with(&json!(rules));
        before.metadata.resource_version = Some("7".to_owned());
        let add = patch_to_add(&before, &challenge, PathType::Exact).expect("a patch");
        let remove = patch_to_remove(&patched(&before, &add), &challenge).expect("a patch");
        for patch in [add, remove] {
            let patch = json!(patch);
            assert_eq!(patch[0]["path"], "/metadata/resourceVersion");
            assert_eq!(patch[0]["value"], "7");
            assert!(patch.to_string().len() < 1000, "{patch}");
        }
    }
}
