//! The requests that are sent to both servers, with what can be wrong about them. Next: `answers.rs`.

#![expect(clippy::needless_pass_by_value, reason = "each value is used once, where it is written")]

use serde_json::{Value, json};

use crate::requests::{
    APPLY, Call, JSON, METADATA, METADATA_LIST, NAMESPACE, WATCHED, apply, create, delete, force, get,
    json_patch, list_of, merge, merge_status, object, one, update,
};

/// The whole script.
pub(crate) fn script() -> Vec<Call> {
    let namespace =
        Call::new("POST", "/api/v1/namespaces", JSON, &object("namespaces", NAMESPACE, json!({})));
    let mut calls = vec![
        get("certificates", "nothing"),
        create("secrets", "too-early", json!({})),
        namespace.clone(),
        namespace,
        Call::get(format!("/api/v1/namespaces/{NAMESPACE}")),
        Call::get("/api/v1/unknown"),
        Call::get("/apis/unknown.test/v1/things"),
        create("configmaps", "begin", json!({ "data": { "a": "b" } })),
        Call::get(format!("{}?fieldSelector=metadata.name=begin", list_of("configmaps"))),
    ];
    // The real server remembers changes of a kind only from the first request on.
    calls.extend(WATCHED.map(|resource| Call::get(list_of(resource))));
    calls.push(create("secrets", "begin", json!({})).named("start"));
    calls.extend(certificates());
    calls.extend(certificates_that_exist());
    calls.extend(orders());
    calls.extend(secrets());
    calls.extend(applied());
    calls.extend(routes());
    calls.extend(lists());
    calls.extend(events_and_leases());
    calls.extend(deletions());
    calls
}

/// One object of the fields of two.
fn both(a: Value, b: Value) -> Value {
    let fields = [a, b].into_iter().filter_map(|it| it.as_object().cloned()).flatten();
    Value::Object(fields.collect())
}

fn ready(status: &str) -> Value {
    json!({ "conditions": [{
        "type": "Ready", "status": status, "reason": "Test", "message": "a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    }] })
}

fn spec(names: Value) -> Value {
    json!({ "spec": { "secretName": "web", "dnsNames": names, "issuerRef": { "name": "ca", "kind": "Issuer" } } })
}

/// Objects of a CRD: generations, unknown and wrong fields.
fn certificates() -> Vec<Call> {
    let names = || spec(json!(["a.test"]));
    let mut unknown = names();
    unknown["spec"]["unknown"] = json!({ "a": 1 });
    vec![
        create("certificates", "web", names()).named("created"),
        create("certificates", "web", names()),
        create("certificates", "Upper", names()),
        create("certificates", "a_b", names()),
        create("certificates", "no-spec", json!({})),
        create(
            "certificates",
            "wrong",
            json!({ "spec": { "secretName": 1, "issuerRef": { "name": "ca" } } }),
        ),
        create("certificates", "missing", json!({ "spec": { "secretName": "a" } })),
        create("certificates", "unknown", unknown),
        create("certificates", "with-status", both(names(), json!({ "status": ready("True") }))),
        get("certificates", "web"),
        get("certificates", "web").accepting(METADATA),
        merge("certificates", "web", json!({ "metadata": { "labels": { "a": "b" } } })),
        merge("certificates", "web", json!({ "metadata": { "labels": { "a": "b" } } })),
        merge("certificates", "web", json!({ "metadata": { "labels": { "a": null } } })),
        merge("certificates", "web", json!({ "metadata": { "annotations": { "x": "1", "y": "2" } } })),
        merge("certificates", "web", json!({ "metadata": { "annotations": { "x": "3" } } })),
        merge("certificates", "web", json!({ "metadata": { "annotations": null } })),
        merge("certificates", "web", json!({ "spec": { "dnsNames": ["b.test"] } })),
        merge("certificates", "web", json!({ "spec": { "dnsNames": ["b.test"] } })),
        merge("certificates", "web", json!({ "spec": { "duration": "2160h" } })),
        merge("certificates", "web", json!({ "spec": { "duration": null } })),
        merge("certificates", "web", json!({ "spec": { "secretName": 1 } })),
        merge("certificates", "web", json!({ "spec": { "unknown": 1 } })),
        merge("certificates", "web", json!({ "status": ready("True") })),
        merge("certificates", "web", json!({ "metadata": { "resourceVersion": "1" } })),
        merge("certificates", "web", json!({ "metadata": { "uid": "another" } })),
        merge("certificates", "web", json!({ "metadata": { "generation": 77, "creationTimestamp": null } })),
        merge("certificates", "nothing", json!({ "metadata": { "labels": { "a": "b" } } })),
    ]
}

/// The status of an object, updates, and JSON patches.
fn certificates_that_exist() -> Vec<Call> {
    let names = || spec(json!(["a.test"]));
    vec![
        merge_status("certificates", "web", json!({ "status": ready("False") })),
        merge_status("certificates", "web", json!({ "status": ready("False") })),
        merge_status("certificates", "web", json!({ "status": ready("True") })).named("read"),
        merge_status("certificates", "web", json!({ "status": { "revision": 1 } })),
        merge_status(
            "certificates",
            "web",
            json!({ "status": { "revision": 2 }, "spec": { "secretName": "x" } }),
        ),
        merge_status(
            "certificates",
            "web",
            json!({
                "metadata": { "resourceVersion": "$read.resourceVersion" }, "status": { "revision": 3 },
            }),
        ),
        merge_status(
            "certificates",
            "web",
            json!({ "metadata": { "labels": { "s": "t" } }, "status": { "revision": 4 } }),
        ),
        merge_status("certificates", "web", json!({ "status": { "revision": "many" } })),
        merge_status("certificates", "web", json!({ "status": { "revision": null } })),
        merge_status("certificates", "nothing", json!({ "status": { "revision": 1 } })),
        Call::get(format!("{}/status", one("certificates", "web"))),
        update("certificates", "web", names()),
        get("certificates", "web").named("before-update"),
        update(
            "certificates",
            "web",
            both(
                names(),
                json!({
                    "metadata": { "resourceVersion": "$before-update.resourceVersion", "labels": { "u": "v" } },
                }),
            ),
        ),
        update(
            "certificates",
            "web",
            both(
                names(),
                json!({
                    "metadata": { "resourceVersion": "$before-update.resourceVersion" },
                }),
            ),
        ),
        update("certificates", "nothing", both(names(), json!({ "metadata": { "resourceVersion": "1" } }))),
        json_patch(
            "certificates",
            "web",
            json!([{ "op": "replace", "path": "/spec/secretName", "value": "other" }]),
        ),
        json_patch(
            "certificates",
            "web",
            json!([{ "op": "test", "path": "/spec/secretName", "value": "wrong" }]),
        ),
        json_patch("certificates", "web", json!([{ "op": "remove", "path": "/spec/nothing" }])),
        json_patch(
            "certificates",
            "web",
            json!([
                { "op": "add", "path": "/metadata/labels/w", "value": "x" },
                { "op": "remove", "path": "/metadata/labels/u" },
            ]),
        ),
        create("issuers", "ca", json!({ "spec": { "selfSigned": {} } })),
        create(
            "certificaterequests",
            "web-1",
            json!({ "spec": {
            "request": "YQ==", "issuerRef": { "name": "ca" }, "usages": ["server auth"],
        } }),
        ),
        merge("certificaterequests", "web-1", json!({ "spec": { "request": "Yg==" } })),
    ]
}

/// Objects with fields that may not change.
fn orders() -> Vec<Call> {
    let order =
        json!({ "spec": { "request": "YQ==", "dnsNames": ["a.test"], "issuerRef": { "name": "ca" } } });
    vec![
        create("orders", "one", order.clone()),
        create("orders", "two", order),
        merge("orders", "one", json!({ "metadata": { "labels": { "a": "b" } } })),
        merge_status(
            "orders",
            "one",
            json!({ "status": { "state": "pending", "url": "https://ca.test/1" } }),
        ),
        merge_status("orders", "one", json!({ "status": { "state": "nonsense" } })),
        merge_status("orders", "one", json!({ "status": { "url": "https://ca.test/2" } })),
        merge_status("orders", "one", json!({ "status": { "state": "valid" } })),
        merge_status("orders", "two", json!({ "status": {} })),
        get("orders", "one"),
        get("orders", "two"),
        create("challenges", "one", json!({ "spec": {} })),
    ]
}

/// Secrets: defaults, and what may not change.
fn secrets() -> Vec<Call> {
    let tls = json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "YQ==", "tls.key": "Yg==" } });
    vec![
        create("secrets", "plain", json!({ "stringData": { "a": "b" }, "data": { "c": "ZA==" } })),
        create("secrets", "tls", tls),
        merge("secrets", "plain", json!({ "type": "other" })),
        merge("secrets", "plain", json!({ "data": { "a": "Yg==" } })),
        merge("secrets", "plain", json!({ "data": { "a": null } })),
        merge("secrets", "plain", json!({ "stringData": { "e": "f" } })),
        merge("secrets", "plain", json!({ "immutable": true })),
        merge("secrets", "plain", json!({ "data": { "a": "YQ==" } })),
        merge("secrets", "plain", json!({ "metadata": { "labels": { "a": "b" } } })),
        merge("secrets", "plain", json!({ "immutable": false })),
        update(
            "secrets",
            "tls",
            json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "Yw==", "tls.key": "ZA==" } }),
        ),
        get("secrets", "plain"),
        get("secrets", "tls").accepting(METADATA),
    ]
}

/// Server-side apply: owners, conflicts, and what is removed.
fn applied() -> Vec<Call> {
    let data = |data: Value| json!({ "data": data });
    let labeled = |labels: Value| json!({ "metadata": { "labels": labels } });
    let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status, "reason": "Test", "message": "a test" });
    let conditions = |list: Value| json!({ "status": { "conditions": list } });
    let status = |manager: &str, list: Value| {
        let path = format!("{}/status?fieldManager={manager}&force=true", one("certificates", "web"));
        Call::new("PATCH", path, APPLY, &object("certificates", "web", conditions(list)))
    };
    // The garbage collector of the real server deletes an object whose owner does not exist.
    let owner = |version: &str, kind: &str, name: &str, uid: &str| {
        json!({ "metadata": { "ownerReferences": [
            { "apiVersion": version, "kind": kind, "name": name, "uid": uid },
        ] } })
    };
    vec![
        apply("one", "secrets", "applied", data(json!({ "a": "YQ==", "b": "Yg==" }))),
        apply("one", "secrets", "applied", data(json!({ "a": "YQ==", "b": "Yg==" }))),
        apply("one", "secrets", "applied", data(json!({ "a": "YQ==" }))),
        apply("two", "secrets", "applied", data(json!({ "b": "Yg==" }))),
        apply("two", "secrets", "applied", data(json!({ "a": "YQ==", "b": "Yg==" }))),
        apply("two", "secrets", "applied", data(json!({ "a": "Yg==" }))),
        force("two", "secrets", "applied", data(json!({ "a": "Yg==" }))),
        apply("one", "secrets", "applied", data(json!({ "a": "YQ==" }))),
        apply("one", "secrets", "applied", data(json!({ "c": "Yw==" }))),
        merge("secrets", "applied", json!({ "data": { "c": "ZA==", "d": "ZA==" } })),
        apply("one", "secrets", "applied", data(json!({ "c": "Yw==" }))),
        force("one", "secrets", "applied", data(json!({ "c": "Yw==" }))),
        apply("one", "secrets", "applied", labeled(json!({ "x": "1" }))),
        apply("two", "secrets", "applied", labeled(json!({ "x": "1", "y": "2" }))),
        apply("one", "secrets", "applied", labeled(json!({}))),
        apply("two", "secrets", "applied", labeled(json!({ "y": "2" }))),
        apply("two", "secrets", "applied", owner("v1", "Secret", "begin", "$start.uid")),
        apply("one", "secrets", "applied", owner("cert-manager.io/v1", "Certificate", "web", "$created.uid")),
        apply("two", "secrets", "applied", json!({ "metadata": { "finalizers": ["a.test/b"] } })),
        apply("one", "secrets", "applied", json!({ "metadata": { "finalizers": ["a.test/c"] } })),
        apply("two", "secrets", "applied", json!({})),
        apply("one", "secrets", "applied", json!({})),
        get("secrets", "applied"),
        Call::new("PATCH", one("secrets", "applied"), APPLY, &object("secrets", "applied", json!({}))),
        apply("one", "secrets", "applied", json!({ "metadata": { "managedFields": [{ "manager": "x" }] } })),
        apply("one", "certificates", "applied", spec(json!(["a.test"]))),
        apply("one", "certificates", "applied", spec(json!(["b.test", "a.test"]))),
        apply("two", "certificates", "applied", spec(json!(["c.test"]))),
        force("two", "certificates", "applied", spec(json!(["c.test"]))),
        apply("one", "certificates", "applied", json!({ "spec": { "secretName": 1 } })),
        apply("two", "certificates", "applied", json!({ "spec": { "commonName": "c.test" } })),
        status("one", json!([condition("Ready", "True")])),
        status("two", json!([condition("Issuing", "True")])),
        status("two", json!([condition("Ready", "False"), condition("Issuing", "True")])),
        status("two", json!([condition("Issuing", "False")])),
        status("one", json!([])),
        get("certificates", "web"),
    ]
}

/// Services, Ingresses and EndpointSlices: defaults, and lists with owners.
fn routes() -> Vec<Call> {
    let port = |number: u16| json!({ "name": format!("p{number}"), "port": number });
    let ports = |list: Value| json!({ "spec": { "ports": list } });
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let path = |path: &str| json!({ "path": path, "pathType": "Exact", "backend": backend });
    let rule = |host: &str, paths: Value| json!({ "host": host, "http": { "paths": paths } });
    let ingress = |rules: Value| json!({ "spec": { "ingressClassName": "nginx", "rules": rules } });
    let slice = |addresses: Value| {
        json!({
            "addressType": "IPv4",
            "metadata": { "labels": { "kubernetes.io/service-name": "web" } },
            "endpoints": [{ "addresses": addresses, "conditions": { "ready": true } }],
            "ports": [{ "port": 8089 }],
        })
    };
    vec![
        apply("one", "services", "solver", ports(json!([port(8089)]))),
        apply("one", "services", "solver", ports(json!([port(8089)]))),
        apply("two", "services", "solver", ports(json!([port(8090)]))),
        apply("two", "services", "solver", ports(json!([port(8091)]))),
        create("services", "created", ports(json!([port(80)]))),
        merge("services", "created", json!({ "metadata": { "annotations": { "a": "b" } } })),
        merge("services", "created", json!({ "spec": { "internalTrafficPolicy": "Local" } })),
        get("services", "created"),
        apply("one", "ingresses", "route", ingress(json!([rule("a.test", json!([path("/a")]))]))),
        apply("one", "ingresses", "route", ingress(json!([rule("a.test", json!([path("/b")]))]))),
        apply("two", "ingresses", "route", ingress(json!([rule("b.test", json!([path("/b")]))]))),
        force("two", "ingresses", "route", ingress(json!([rule("b.test", json!([path("/b")]))]))),
        merge_status(
            "ingresses",
            "route",
            json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } }),
        ),
        json_patch(
            "ingresses",
            "route",
            json!([
                { "op": "test", "path": "/spec/rules/0/host", "value": "b.test" },
                { "op": "add", "path": "/spec/rules/0/http/paths/-", "value": path("/c") },
            ]),
        ),
        create("ingresses", "created", ingress(json!([rule("c.test", json!([path("/")]))]))),
        merge("ingresses", "created", json!({ "metadata": { "annotations": { "a": "b" } } })),
        merge(
            "ingresses",
            "created",
            json!({ "spec": { "tls": [{ "hosts": ["c.test"], "secretName": "c" }] } }),
        ),
        get("ingresses", "route"),
        apply("one", "endpointslices", "solver", slice(json!(["192.0.2.1"]))),
        apply("one", "endpointslices", "solver", slice(json!(["192.0.2.2"]))),
        apply("one", "endpointslices", "solver", slice(json!(["192.0.2.2"]))),
        merge("endpointslices", "solver", json!({ "addressType": "IPv6" })),
        get("endpointslices", "solver"),
    ]
}

/// Lists: labels, fields, pages, and metadata.
fn lists() -> Vec<Call> {
    let all = |query: &str| Call::get(format!("{}?{query}", list_of("configmaps")));
    let mut calls = Vec::new();
    for number in 0..5 {
        let labels = if number % 2 == 0 { json!({ "even": "yes" }) } else { json!({ "odd": "yes" }) };
        calls.push(create("configmaps", &format!("n{number}"), json!({ "metadata": { "labels": labels } })));
    }
    calls.extend([
        all("labelSelector=even%3Dyes"),
        all("labelSelector=even"),
        all("labelSelector=odd!%3Dyes,even"),
        all("labelSelector=!even,odd"),
        all("labelSelector=nothing"),
        all("fieldSelector=metadata.name%3Dn3"),
        all("fieldSelector=data.x%3Dn3"),
        all("limit=2&labelSelector=even%3Dyes").named("page"),
        all("limit=2&labelSelector=even%3Dyes&continue=$page.continue"),
        all("labelSelector=even").accepting(METADATA_LIST),
        Call::get(list_of("certificates")),
        Call::get(format!("{}?limit=1", list_of("certificates"))).named("page"),
        Call::get(format!("{}?limit=1&continue=$page.continue", list_of("certificates"))),
        Call::get(list_of("certificates")).accepting(METADATA_LIST),
        Call::get(format!("{}?limit=500", list_of("orders"))),
        Call::get(format!("{}?labelSelector=a%3Db", list_of("orders"))),
        Call::get(list_of("secrets")),
        Call::get(list_of("services")),
        Call::get(list_of("ingresses")),
        Call::get(list_of("endpointslices")),
        Call::get(list_of("challenges")),
    ]);
    calls
}

/// What the operator writes beside certificates.
fn events_and_leases() -> Vec<Call> {
    let event = json!({
        "involvedObject": { "kind": "Certificate", "name": "web", "namespace": NAMESPACE },
        "reason": "Issuing", "message": "a test", "type": "Normal", "count": 1,
        "source": { "component": "script" }, "firstTimestamp": "2026-01-01T00:00:00Z",
    });
    let lease = |holder: &str| json!({ "holderIdentity": holder, "leaseDurationSeconds": 15 });
    vec![
        create("events", "web.1", event),
        merge("events", "web.1", json!({ "count": 2 })),
        merge("events", "web.2", json!({ "count": 2 })),
        create("leases", "leader", json!({ "spec": lease("a") })).named("lease"),
        update("leases", "leader", json!({ "spec": lease("b") })),
        update(
            "leases",
            "leader",
            json!({
                "metadata": { "resourceVersion": "$lease.resourceVersion" }, "spec": lease("b"),
            }),
        ),
        update(
            "leases",
            "leader",
            json!({
                "metadata": { "resourceVersion": "$lease.resourceVersion" }, "spec": lease("c"),
            }),
        ),
        get("leases", "leader"),
    ]
}

/// Deletions: preconditions, finalizers, and what is left.
fn deletions() -> Vec<Call> {
    let finalizers = |list: Value| json!({ "metadata": { "finalizers": list } });
    vec![
        delete("orders", "nothing", json!({})),
        delete("orders", "two", json!({ "preconditions": { "uid": "another" } })),
        delete("orders", "two", json!({ "preconditions": { "resourceVersion": "1" } })),
        delete("orders", "two", json!({ "propagationPolicy": "Background" })),
        delete("orders", "two", json!({})),
        merge("orders", "one", finalizers(json!(["a.test/b"]))),
        delete("orders", "one", json!({})),
        get("orders", "one"),
        delete("orders", "one", json!({})),
        merge("orders", "one", json!({ "metadata": { "labels": { "late": "yes" } } })),
        merge("orders", "one", finalizers(json!(["a.test/b", "a.test/c"]))),
        merge_status("orders", "one", json!({ "status": { "reason": "late" } })),
        merge("orders", "one", finalizers(json!([]))),
        get("orders", "one"),
        create("secrets", "finalized", finalizers(json!(["a.test/b"]))),
        delete("secrets", "finalized", json!({})),
        merge("secrets", "finalized", finalizers(Value::Null)),
        get("secrets", "finalized"),
        delete("secrets", "tls", json!({})),
        delete("services", "created", json!({})),
        delete("ingresses", "created", json!({})),
        delete("endpointslices", "solver", json!({})),
        delete("configmaps", "begin", json!({})),
        create("configmaps", "begin", json!({})),
        Call::new("DELETE", format!("{}?labelSelector=even", list_of("configmaps")), JSON, &Value::Null),
        Call::get(format!("{}?labelSelector=even", list_of("configmaps"))),
    ]
}
