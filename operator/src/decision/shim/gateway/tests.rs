use crds::{annotations::request, certmanager::Certificate};
use serde_json::{Value, from_value, json};

use super::{
    super::{Change, Decision, decide},
    *,
};

const PROD: (&str, &str) = (source::CLUSTER_ISSUER, "letsencrypt-prod");

fn metadata(name: &str, annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    json!({ "name": name, "namespace": "a", "uid": name, "annotations": annotations })
}

fn gateway(annotations: &[(&str, &str)], listeners: &Value) -> Gateway {
    let spec = json!({ "listeners": listeners, "allowedListeners": { "namespaces": { "from": "All" } } });
    from_value(json!({ "metadata": metadata("web", annotations), "spec": spec })).expect("a Gateway")
}

fn listener(name: &str, host: &str, secret: &str) -> Value {
    let tls = json!({ "mode": "Terminate", "certificateRefs": [{ "group": "", "kind": "Secret", "name": secret }] });
    json!({ "name": name, "port": 443, "protocol": "HTTPS", "hostname": host, "tls": tls })
}

/// A listener like that of `listener`, but with another value.
fn with(pointer: &str, value: Value) -> Value {
    let mut listener = listener("b", "b.test", "b");
    *listener.pointer_mut(pointer).expect("a field") = value;
    listener
}

/// The Certificates that a source asks for, and what its events say.
fn decided(source: &CertificateSource<'_>, settings: &ShimSettings) -> (Vec<Certificate>, Vec<String>) {
    let Decision { changes, notes, .. } = decide(source, &[], settings);
    let created = changes.map(|change| match change {
        Change::Create(certificate) => *certificate,
        other => panic!("{other:?}"),
    });
    (created.collect(), notes.into_iter().map(|note| note.message).collect())
}

fn of_gateway(gateway: &Gateway) -> (Vec<Certificate>, Vec<String>) {
    let settings = ShimSettings::default();
    decided(&CertificateSource::of_gateway(gateway, &settings), &settings)
}

fn names(certificate: &Certificate) -> (&str, Vec<&str>) {
    let names = certificate.spec.dns_names.iter().flatten().map(String::as_str).collect();
    (&certificate.spec.secret_name, names)
}

/// A name with and without `www` share a certificate, and a wildcard has its own.
#[test]
fn listeners_with_one_secret_share_a_certificate() {
    let mut listeners = vec![
        listener("apex", "example.test", "web"),
        listener("wildcard", "*.example.test", "star"),
        listener("www", "www.example.test", "web"),
        listener("again", "example.test", "web"),
    ];
    listeners.push(json!({ "name": "http", "port": 80, "protocol": "HTTP" }));
    let gateway = gateway(&[PROD], &listeners.into());
    let (created, notes) = of_gateway(&gateway);
    assert_eq!(notes, [""; 0]);
    assert_eq!(
        created.iter().map(names).collect::<Vec<_>>(),
        [("web", vec!["example.test", "www.example.test"]), ("star", vec!["*.example.test"])]
    );
    let owner = metadata::controller_of_kind::<Gateway>(&created[0].metadata).expect("the Gateway");
    assert_eq!((&*owner.name, owner.block_owner_deletion), ("web", Some(true)));
    let annotations = created[0].annotations();
    assert_eq!(annotations[request::PARENT_REF_KIND], "Gateway");
    assert_eq!(annotations[request::PARENT_REF_NAME], "web");
    assert!(!annotations.contains_key(request::PARENT_REF_NAMESPACE));
}

/// In cert-manager's words.
#[test]
fn listeners_that_do_not_count_are_skipped() {
    let at = "Skipped a listener block: spec.listeners[1]";
    for (listener, note) in [
        (with("/protocol", json!("HTTP")), None),
        (with("/protocol", json!("https")), None),
        (with("/tls/mode", json!("Passthrough")), None),
        (with("/name", json!("ignored")), None),
        (
            with("/hostname", json!("")),
            Some(format!("{at}.hostname: Required value: the hostname cannot be empty")),
        ),
        (with("/tls", Value::Null), Some(format!("{at}.tls: Required value: the TLS block cannot be empty"))),
        (
            with("/tls/certificateRefs", json!([])),
            Some(format!("{at}.tls.certificateRef: Required value: listener has no certificateRefs")),
        ),
        (
            with("/tls/certificateRefs/0/kind", json!("ConfigMap")),
            Some(format!(
                "{at}.tls.certificateRef[0].kind: Unsupported value: \"ConfigMap\": supported values: \"Secret\", \"\""
            )),
        ),
        (
            with("/tls/certificateRefs/0", json!({ "name": "b", "namespace": "other" })),
            Some(format!(
                "{at}.tls.certificateRef[0].namespace: Invalid value: \"other\": cross-namespace secret references are not \
                 allowed in listeners"
            )),
        ),
        (
            with("/tls/mode", json!("Mutual")),
            Some(format!("{at}.tls.mode: Unsupported value: \"Mutual\": supported values: \"Terminate\"")),
        ),
    ] {
        let annotations = [PROD, (source::IGNORE_TLS_LISTENERS, "other, ignored")];
        let gateway = gateway(&annotations, &json!([self::listener("a", "a.test", "a"), listener]));
        let (created, notes) = of_gateway(&gateway);
        assert_eq!(created.iter().map(names).collect::<Vec<_>>(), [("a", vec!["a.test"])], "{listener}");
        assert_eq!(notes, note.into_iter().collect::<Vec<_>>(), "{listener}");
    }
    let own = with("/tls/certificateRefs/0", json!({ "name": "b", "namespace": "a" }));
    assert_eq!(of_gateway(&gateway(&[PROD], &json!([own]))).0.len(), 1, "the own namespace may be named");
}

#[test]
fn protocols_of_vendors_are_served_if_a_flag_names_them() {
    let gateway = gateway(&[PROD], &json!([with("/protocol", json!("example.com/tls"))]));
    for extra in [vec![], vec!["example.com/tls".to_owned()]] {
        let settings = ShimSettings { extra_protocols: extra.clone(), ..ShimSettings::default() };
        let (created, _) = decided(&CertificateSource::of_gateway(&gateway, &settings), &settings);
        assert_eq!(created.len(), extra.len());
    }
}

/// A slip in a listener must not delete the certificate that it serves.
#[test]
fn certificate_of_an_incomplete_listener_is_kept() {
    let settings = ShimSettings::default();
    let before = gateway(&[PROD], &json!([listener("a", "a.test", "a"), listener("b", "b.test", "b")]));
    let (created, _) = of_gateway(&before);
    let existing: Vec<_> = created.into_iter().map(std::sync::Arc::new).collect();
    for (listeners, deleted) in [
        (json!([listener("a", "a.test", "a"), with("/hostname", json!(""))]), &[][..]),
        (json!([listener("a", "a.test", "a")]), &["b"]),
    ] {
        let gateway = gateway(&[PROD], &listeners);
        let source = CertificateSource::of_gateway(&gateway, &settings);
        assert_eq!(decide(&source, &existing, &settings).delete, deleted, "{listeners}");
    }
}

/// Certificates of earlier versions lack the annotations, and must not be issued again.
#[test]
fn parent_is_added_to_a_certificate_that_exists() {
    let (gateway, settings) =
        (gateway(&[PROD], &json!([listener("a", "a.test", "a")])), ShimSettings::default());
    let (mut created, _) = of_gateway(&gateway);
    created[0].metadata.annotations = None;
    let existing: Vec<_> = created.into_iter().map(std::sync::Arc::new).collect();
    let source = CertificateSource::of_gateway(&gateway, &settings);
    let changes: Vec<_> = decide(&source, &existing, &settings).changes.collect();
    let [Change::Update(update)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(update.patch["metadata"]["annotations"][request::PARENT_REF_NAME], "web");
    assert_eq!(update.patch.get("spec"), None, "nothing that is issued changes");
}

#[test]
fn temporary_certificates_are_passed_on() {
    let listeners = json!([listener("a", "a.test", "a")]);
    let annotation = (source::ISSUE_TEMPORARY_CERTIFICATE, "true");
    for (annotations, expected) in [(&[PROD][..], None), (&[PROD, annotation], Some("true"))] {
        let (created, _) = of_gateway(&gateway(annotations, &listeners));
        let passed = created[0].annotations().get(request::ISSUE_TEMPORARY_CERTIFICATE);
        assert_eq!(passed.map(String::as_str), expected);
    }
}

fn listener_set(annotations: &[(&str, &str)]) -> ListenerSet {
    let spec = json!({ "parentRef": { "name": "web" }, "listeners": [listener("a", "a.test", "a")] });
    from_value(json!({ "metadata": metadata("more", annotations), "spec": spec })).expect("a ListenerSet")
}

fn of_listener_set(set: &ListenerSet, gateway: Option<&Gateway>) -> (Vec<Certificate>, Vec<String>) {
    let settings = ShimSettings::default();
    decided(&CertificateSource::of_listener_set(set, gateway, &settings), &settings)
}

#[test]
fn listener_set_inherits_the_issuer() {
    let listeners = json!([{ "name": "http", "port": 80, "protocol": "HTTP" }]);
    let own = (source::ISSUER, "own");
    let kind = (source::ISSUER_KIND, "OtherIssuer");
    for (of_set, of_gateway, expected) in [
        (&[][..], &[PROD][..], Some(("ClusterIssuer", "letsencrypt-prod"))),
        (&[own], &[PROD], Some(("Issuer", "own"))),
        (&[own], &[(source::ISSUER, "other"), kind], Some(("OtherIssuer", "own"))),
        (&[PROD], &[(source::ISSUER, "other"), kind], Some(("ClusterIssuer", "letsencrypt-prod"))),
        (&[], &[], None),
    ] {
        let (set, gateway) = (listener_set(of_set), gateway(of_gateway, &listeners));
        let (created, notes) = of_listener_set(&set, Some(&gateway));
        let issuer = created.first().map(|created| created.spec.issuer_ref.identity());
        assert_eq!(issuer.map(|issuer| (issuer.kind, issuer.name)), expected, "{of_set:?} {of_gateway:?}");
        assert_eq!(notes, [""; 0]);
    }
}

/// What its challenges attach to.
#[test]
fn listener_set_or_its_gateway_is_the_parent() {
    let (gateway, name) = (gateway(&[], &json!([])), source::HTTP01_PARENT_REF_FALLBACK);
    for (fallback, expected) in [
        ("", ["ListenerSet", "more", ""]),
        ("false", ["ListenerSet", "more", ""]),
        ("true", ["Gateway", "web", "a"]),
        ("1", ["Gateway", "web", "a"]),
    ] {
        let set = listener_set(&[PROD, (name, fallback)]);
        let (created, _) = of_listener_set(&set, Some(&gateway));
        let annotation = |of: &str| created[0].annotations().get(of).map_or("", |value| value);
        let parent = [request::PARENT_REF_KIND, request::PARENT_REF_NAME, request::PARENT_REF_NAMESPACE];
        assert_eq!(parent.map(annotation), expected, "{fallback:?}");
    }
    let (created, notes) = of_listener_set(&listener_set(&[PROD, (name, "yes")]), Some(&gateway));
    assert!(created.is_empty() && notes[0].contains(name), "{notes:?}");
}

/// Each certificate would cost an order, and nothing would serve it.
#[test]
fn listener_set_without_a_gateway_that_accepts_it_gets_nothing() {
    let set = listener_set(&[PROD]);
    let (created, notes) = of_listener_set(&set, None);
    assert!(created.is_empty() && notes[0].starts_with("the Gateway \"a/web\" does not exist"), "{notes:?}");
    for (namespaces, namespace, is_accepted) in [
        (Value::Null, "a", false),
        (json!({ "from": "None" }), "a", false),
        (json!({ "from": "Same" }), "a", true),
        (json!({ "from": "Same" }), "b", false),
        (json!({ "from": "All" }), "b", true),
        (json!({ "from": "Selector" }), "b", true),
    ] {
        let spec = json!({ "listeners": [], "allowedListeners": { "namespaces": namespaces } });
        let mut gateway: Gateway =
            from_value(json!({ "metadata": metadata("web", &[]), "spec": spec })).expect("a Gateway");
        gateway.metadata.namespace = Some(namespace.to_owned());
        let (created, notes) = of_listener_set(&set, Some(&gateway));
        assert_eq!((!created.is_empty(), notes.is_empty()), (is_accepted, is_accepted), "{namespaces}");
    }
    let unannotated = of_listener_set(&listener_set(&[]), None);
    assert_eq!(unannotated, (vec![], vec![]), "it asks for nothing");
}

/// At most 64 listeners with 64 references each are in a Gateway.
#[test]
fn too_many_secrets_are_reported() {
    let references: Vec<_> = (0..64).map(|number| json!({ "name": format!("b-{number}") })).collect();
    let others: Vec<_> = (0..64).map(|number| json!({ "name": format!("c-{number}") })).collect();
    let listeners =
        json!([with("/tls/certificateRefs", references.into()), with("/tls/certificateRefs", others.into())]);
    let (created, notes) = of_gateway(&gateway(&[PROD], &listeners));
    assert!(created.is_empty() && notes[0].starts_with("spec.listeners names 128 Secrets"), "{notes:?}");
}
