//! How much memory the cache takes. This test has a process of its own, because it measures its memory.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kube::{Resource, runtime::reflector::Lookup};
use operator::{
    cache::{Cache, Indexed, Kind, Writer},
    k8s::{Guarded, Shrink},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use testbed::process::resident;

/// The number of Certificates.
const COUNT: usize = 2000;

/// The most that the cache may take for a Certificate with its Ingress, CertificateRequest and Order, bytes. Measured: 3,400 for as few
/// as these, and less for many, because maps have spare room and the compressor has buffers.
const LIMIT: u64 = 4400;

/// The most that a thousand Challenges of one issuer may take, bytes. Measured: 2.6 MB, and 436 MB if each has a copy of its solver.
const LIMIT_OF_CHALLENGES: u64 = 8 << 20;

/// The most that large objects may take, bytes.
const LIMIT_OF_LARGE: u64 = 8 << 20;

const TIME: &str = "2026-01-01T00:00:00Z";

fn metadata(name: &str, number: usize, owner: Option<(&str, &str)>, annotations: &Value) -> Value {
    let owners = owner.map(|(kind, name)| {
        let group = if kind == "Ingress" { "networking.k8s.io/v1" } else { "cert-manager.io/v1" };
        json!([{ "apiVersion": group, "kind": kind, "name": name, "uid": uid(number, kind), "controller": true,
            "blockOwnerDeletion": true }])
    });
    json!({
        "name": name, "namespace": format!("fixture-{}", number % 20), "uid": uid(number, name), "generation": 1,
        "resourceVersion": format!("{}", 1_000_000 + number), "creationTimestamp": TIME, "annotations": annotations,
        "ownerReferences": owners,
        "managedFields": [{ "manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "time": TIME, "fieldsV1": { "f:spec": { "f:something": {} } } }],
    })
}

/// A UID with as many random digits as a real one.
fn uid(number: usize, salt: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{number}/{salt}").as_bytes());
    let bytes = digest.as_ref().first_chunk().copied().unwrap_or_default();
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// As many bytes as a text has, which can't be compressed, as base64.
fn random(number: usize, bytes: usize) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};

    let part = |part: usize| {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &(number + (part << 32)).to_be_bytes())
    };
    let all: Vec<u8> = (0..bytes.div_ceil(32)).flat_map(|it| part(it).as_ref().to_vec()).collect();
    BASE64_STANDARD.encode(all)
}

/// A PEM block as the API has it.
fn pem(number: usize, label: &str, bytes: usize) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};

    BASE64_STANDARD
        .encode(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", random(number, bytes)))
}

/// A Challenge whose solver is as long as it may be.
fn challenge(number: usize) -> Value {
    let name = format!("c{number}-1");
    let labels: Vec<_> = (0..2500).map(|label| (format!("label-{label}"), json!("0123456"))).collect();
    let labels: Value = labels.into_iter().collect();
    let url = |what: &str| format!("https://acme-v02.api.letsencrypt.org/acme/{what}/1234567890/{number}");
    json!({
        "apiVersion": "acme.cert-manager.io/v1", "kind": "Challenge",
        "metadata": metadata(&name, number, Some(("Order", &name)), &Value::Null),
        "spec": {
            "authorizationURL": url("authz"), "url": url("chall"), "dnsName": format!("{name}.example.test"),
            "issuerRef": { "name": "letsencrypt" }, "key": random(number, 64), "token": random(number, 32),
            "type": "HTTP-01",
            "solver": { "http01": { "ingress": { "podTemplate": { "metadata": { "labels": labels } } } } },
        },
    })
}

struct Fleet {
    certificate: Value,
    request: Value,
    order: Value,
    ingress: Value,
}

/// A Certificate as cert-manager leaves it, and what belongs to it.
fn fleet(number: usize) -> Fleet {
    let name = format!("c{number}");
    let host = format!("{name}.fixture.example.test");
    let issuer = json!({ "group": "cert-manager.io", "kind": "ClusterIssuer", "name": "letsencrypt" });
    let condition = |type_: &str, reason: &str, message: &str| json!({ "type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": TIME });
    let (csr, chain) = (pem(number, "CERTIFICATE REQUEST", 256), pem(number, "CERTIFICATE", 2600));
    let of_request = json!({
        "cert-manager.io/certificate-name": name,
        "cert-manager.io/certificate-revision": "1",
        "cert-manager.io/private-key-secret-name": format!("{name}-x7k2p"),
    });
    let of_ingress = json!({ "cert-manager.io/cluster-issuer": "letsencrypt" });
    let url = |what: &str| {
        format!("https://acme-v02.api.letsencrypt.org/acme/{what}/1234567890/{}", 400_000_000 + number)
    };
    Fleet {
        certificate: json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": metadata(&name, number, Some(("Ingress", &name)), &Value::Null),
            "spec": { "secretName": name, "dnsNames": [host], "issuerRef": issuer,
                "usages": ["digital signature", "key encipherment"] },
            "status": {
                "conditions": [condition("Ready", "Ready", "Certificate is up to date and has not expired")],
                "notBefore": TIME, "notAfter": TIME, "renewalTime": TIME, "revision": 1,
            },
        }),
        request: json!({
            "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
            "metadata": metadata(&format!("{name}-1"), number, Some(("Certificate", &name)), &of_request),
            "spec": { "request": csr, "issuerRef": issuer, "usages": ["digital signature", "key encipherment"],
                "username": "system:serviceaccount:cert-manager:cert-manager", "uid": uid(0, "user"),
                "groups": ["system:serviceaccounts", "system:serviceaccounts:cert-manager", "system:authenticated"] },
            "status": { "certificate": chain, "conditions": [
                condition("Approved", "cert-manager.io", "Certificate request has been approved by cert-manager.io"),
                condition("Ready", "Issued", "Certificate fetched from issuer successfully"),
            ] },
        }),
        order: json!({
            "apiVersion": "acme.cert-manager.io/v1", "kind": "Order",
            "metadata":
                metadata(&format!("{name}-1-3811205437"), number, Some(("CertificateRequest", &name)), &of_request),
            "spec": { "request": csr, "issuerRef": issuer, "dnsNames": [host] },
            "status": {
                "state": "valid", "url": url("order"), "finalizeURL": url("finalize"), "certificate": chain,
                "authorizations": [{ "identifier": host, "initialState": "pending", "url": url("authz"),
                    "challenges": [{ "token": random(number, 32), "type": "http-01", "url": url("chall") }] }],
            },
        }),
        ingress: json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": metadata(&name, number, None, &of_ingress),
            "spec": { "ingressClassName": "nginx", "tls": [{ "hosts": [host], "secretName": name }],
                "rules": [{ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix",
                    "backend": { "service": { "name": "web", "port": { "number": 80 } } } }] } }] },
        }),
    }
}

/// Takes an object as a watch does. Returns whether it could be read.
fn put<K>(object: &Value, writer: &mut Writer<K>, cache: &Cache, take_chain: impl Fn(&mut K)) -> Result<bool>
where
    K: Resource + Lookup<DynamicType = ()> + DeserializeOwned + Shrink + Indexed,
{
    let Guarded(Ok(mut object)) = serde_json::from_str(&object.to_string())? else { return Ok(false) };
    take_chain(&mut object);
    cache.indexes.put(&object);
    writer.put(&Arc::new(object));
    Ok(true)
}

fn writer<K: Lookup<DynamicType = ()> + Clone>(kind: &Kind<K>) -> Result<Writer<K>> {
    kind.take_writer().context("it is taken once")
}

#[test]
fn fleet_and_large_objects_fit() -> Result<()> {
    let cache = Cache::default();
    let mut certificates = writer(&cache.certificates)?;
    let mut requests = writer(&cache.requests)?;
    let mut orders = writer(&cache.orders)?;
    let mut ingresses = writer(&cache.ingresses)?;
    let before = resident("self")?;
    let mut last = before;
    for kind in ["certificates", "requests", "orders", "ingresses"] {
        for number in 0..COUNT {
            let Fleet { certificate, request, order, ingress } = fleet(number);
            let read = match kind {
                "certificates" => put(&certificate, &mut certificates, &cache, |_| {})?,
                "requests" => put(&request, &mut requests, &cache, |it| {
                    it.status.iter_mut().for_each(|status| status.certificate = None);
                })?,
                "orders" => put(&order, &mut orders, &cache, |it| {
                    it.status.iter_mut().for_each(|status| status.certificate = None);
                })?,
                _ => put(&ingress, &mut ingresses, &cache, |_| {})?,
            };
            ensure!(read, "an object can't be read");
        }
        let now = resident("self")?;
        println!("{kind}: {} bytes each", now.saturating_sub(last) / COUNT as u64);
        last = now;
    }
    let full = resident("self")?;
    let each = full.saturating_sub(before) / COUNT as u64;
    println!("the cache takes {each} bytes for each Certificate");
    ensure!(each <= LIMIT, "the cache takes {each} bytes for each Certificate, and not {LIMIT}");
    ensure!(
        cache.requests.get("fixture-7", "c7-1").is_some_and(|it| it.spec.username.is_none()),
        "it is shrunk"
    );

    let mut challenges = writer(&cache.challenges)?;
    for number in 0..1000 {
        let read = put(&challenge(number), &mut challenges, &cache, |it| cache.solvers.share(it))?;
        ensure!(read, "a Challenge can't be read");
    }
    let grown = resident("self")?.saturating_sub(full);
    println!("1000 Challenges with large solvers take {grown} bytes");
    ensure!(grown <= LIMIT_OF_CHALLENGES, "1000 Challenges with large solvers take {grown} bytes");

    // A tenant can create hundreds of objects as large as the API server accepts, and change each again and again.
    let large = random(1, 900_000);
    for number in 0..50 {
        let Fleet { certificate, mut request, order, mut ingress } = fleet(number);
        request["metadata"]["labels"] = json!({ "large": large });
        ensure!(!put(&request, &mut requests, &cache, |_| {})?, "it is too large");
        ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] = json!(large);
        ensure!(put(&ingress, &mut ingresses, &cache, |_| {})?, "rules don't count");
        drop((certificate, order));
    }
    let grown = resident("self")?.saturating_sub(full + grown);
    println!("large objects take {grown} bytes");
    ensure!(grown <= LIMIT_OF_LARGE, "large objects take {grown} bytes");
    Ok(())
}
