//! Deterministic names of created objects: an object that already exists is found by its name, so none is created twice.
//!
//! Knows length limits and hashes; must not know what the objects contain. Next: `metadata.rs`.

use aws_lc_rs::digest;
use crds::{acme::OrderSpec, duration::GoDuration};
use serde::Serialize;

/// The longest name of a CertificateRequest, in bytes, as in cert-manager, which derives longer names from it.
const REQUEST_LIMIT: usize = 233;

/// The longest name of a Kubernetes object, in bytes: a DNS subdomain name of RFC 1123.
const OBJECT_LIMIT: usize = 253;

/// The longest part of an Order's name that comes from its CertificateRequest, in bytes. With the hash, the name fits into a label.
const ORDER_BASE_LIMIT: usize = 52;

/// The number of hexadecimal digits of a hash.
const HASH_LENGTH: usize = 10;

/// The CertificateRequest for a revision of a Certificate: `<certificate>-<revision>`, as cert-manager names it.
///
/// ```
/// use operator::objects::names;
///
/// assert_eq!(names::certificate_request("web", 3), "web-3");
/// ```
pub fn certificate_request(certificate: &str, revision: i64) -> String {
    with_suffix(certificate, &format!("-{revision}"), REQUEST_LIMIT)
}

/// The Order of a CertificateRequest, as cert-manager names it, so that each of the two continues what the other has placed: the
/// request's name, truncated if it is long, and a hash of the spec without the CSR. `replaces` is left out, because cert-manager
/// sets it only with a feature gate. Mirrors `buildOrder` and `ComputeName`.
pub fn order(certificate_request: &str, spec: &OrderSpec) -> String {
    let is_set = |text: &&str| !text.is_empty();
    let reference = &spec.issuer_ref;
    let spec = HashedSpec {
        request: (),
        issuer_ref: HashedIssuerRef {
            name: &reference.name,
            kind: reference.kind.as_deref().filter(is_set),
            group: reference.group.as_deref().filter(is_set),
        },
        common_name: spec.common_name.as_deref().filter(is_set),
        dns_names: spec.dns_names.as_deref().unwrap_or_default(),
        ip_addresses: spec.ip_addresses.as_deref().unwrap_or_default(),
        duration: spec.duration,
        profile: spec.profile.as_deref().filter(is_set),
    };
    let json = if certificate_request.len() >= ORDER_BASE_LIMIT {
        serde_json::to_vec(&HashedLongName { certificate_request_name: certificate_request, spec })
    } else {
        serde_json::to_vec(&spec)
    };
    let hash = fnv1(&json.expect("texts and lists of them can be serialized"));
    format!("{}-{hash}", truncated(certificate_request, ORDER_BASE_LIMIT))
}

/// The part of an Order's spec that its name depends on, with the fields in the order of cert-manager's type.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HashedSpec<'a> {
    request: (),
    issuer_ref: HashedIssuerRef<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_names: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ip_addresses: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<GoDuration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
}

#[derive(Serialize)]
struct HashedIssuerRef<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
}

/// What the name of an Order depends on if the request's name is cut.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HashedLongName<'a> {
    certificate_request_name: &'a str,
    spec: HashedSpec<'a>,
}

/// The 32-bit FNV-1 hash, which Go's `hash/fnv` calls `New32`.
fn fnv1(bytes: &[u8]) -> u32 {
    const OFFSET: u32 = 2_166_136_261;
    const PRIME: u32 = 16_777_619;
    bytes.iter().fold(OFFSET, |hash, byte| hash.wrapping_mul(PRIME) ^ u32::from(*byte))
}

/// The Challenge of an Order for an authorization: the Order's name and a hash of the authorization's URL.
pub fn challenge(order: &str, authorization_url: &str) -> String {
    format!("{order}-{}", hash(&[order.as_bytes(), authorization_url.as_bytes()]))
}

/// The Secret with the next key of a Certificate. Each revision has its own, and so does a Certificate that is deleted and created
/// again under the same name.
pub fn next_private_key(certificate: &str, uid: &str, revision: i64) -> String {
    let hash = hash(&[certificate.as_bytes(), uid.as_bytes(), &revision.to_be_bytes()]);
    with_suffix(certificate, &format!("-{hash}"), OBJECT_LIMIT)
}

/// Ten hexadecimal digits of a hash of a text.
pub fn short_hash(text: &str) -> String {
    hash(&[text.as_bytes()])
}

/// The decimal Adler-32 checksum (RFC 1950 section 8.2) of a DNS name or token: the value of the labels by which users' tools find
/// challenge routes.
///
/// ```
/// use operator::objects::names;
///
/// assert_eq!(names::adler32_label("Wikipedia"), "300286872");
/// ```
pub fn adler32_label(text: &str) -> String {
    const MODULUS: u32 = 65_521;
    let (a, b) = text.bytes().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(byte)) % MODULUS;
        (a, (b + a) % MODULUS)
    });
    ((b << 16) | a).to_string()
}

/// `base` and `suffix`. If they are too long together, `base` is truncated and a hash of it is put between them.
fn with_suffix(base: &str, suffix: &str, limit: usize) -> String {
    if base.len() + suffix.len() <= limit {
        return format!("{base}{suffix}");
    }
    let room = limit.saturating_sub(suffix.len() + HASH_LENGTH + 1);
    format!("{}-{}{suffix}", truncated(base, room), hash(&[base.as_bytes()]))
}

/// The beginning of a name, without characters at its end that a name can't end with.
fn truncated(name: &str, limit: usize) -> &str {
    let end = (0..=limit.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    name[..end].trim_end_matches(['-', '.'])
}

fn hash(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    // The first 40 bits are 10 digits.
    let bits =
        context.finish().as_ref().iter().take(5).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    format!("{bits:0HASH_LENGTH$x}")
}

#[cfg(test)]
mod tests {
    use crds::meta::IssuerRef;
    use k8s_openapi::ByteString;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_names_still_give_each_revision_a_request() {
        let name = "a".repeat(253);
        let (first, second) = (certificate_request(&name, 1), certificate_request(&name, 2));
        assert!(first.len() <= REQUEST_LIMIT && first.ends_with("-1") && second.ends_with("-2"));
        assert_ne!(certificate_request(&format!("{}b", &name[1..]), 1), first);
    }

    #[test]
    fn orders_have_the_names_that_cert_manager_gives_them() {
        let spec = |issuer_ref: IssuerRef| OrderSpec {
            common_name: None,
            dns_names: Some(vec!["web.example.test".to_owned()]),
            duration: None,
            ip_addresses: None,
            issuer_ref,
            profile: None,
            replaces: Some("an identifier".to_owned()),
            request: ByteString(b"a CSR".to_vec()),
        };
        let complete = spec(IssuerRef {
            name: "letsencrypt-prod".to_owned(),
            kind: Some("ClusterIssuer".to_owned()),
            group: Some("cert-manager.io".to_owned()),
        });
        let short = format!("{}-1", "a".repeat(49));
        for (request, expected) in [
            ("web-1".to_owned(), "web-1-526181824".to_owned()),
            (short.clone(), format!("{short}-526181824")),
            (format!("{}-1", "a".repeat(50)), format!("{}-1-1288604068", "a".repeat(50))),
            (format!("{}--a-1", "a".repeat(50)), format!("{}-3943537759", "a".repeat(50))),
        ] {
            assert_eq!(order(&request, &complete), expected, "{request}");
        }
        let partial = OrderSpec {
            common_name: Some("web.example.test".to_owned()),
            dns_names: Some(vec!["web.example.test".to_owned(), "b.example.test".to_owned()]),
            duration: Some("90m".parse().expect("a duration")),
            ip_addresses: Some(vec!["192.0.2.1".to_owned(), "2001:db8::1".to_owned()]),
            profile: Some("shortlived".to_owned()),
            ..spec(IssuerRef { name: "letsencrypt-prod".to_owned(), kind: Some(String::new()), group: None })
        };
        assert_eq!(order("web-1", &partial), "web-1-997886975");
    }

    #[test]
    fn challenges_are_named_after_the_authorization() {
        let (one, other) = (challenge("web-1-x", "https://a/1"), challenge("web-1-x", "https://a/2"));
        assert_ne!(one, other);
    }

    fn is_object_name(name: &str) -> bool {
        let part = |part: &str| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        name.len() <= 253 && name.split('.').all(part)
    }

    proptest! {
        #[test]
        fn derived_names_are_valid_object_names(
            certificate in "[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}",
            revision in 1_i64..,
            url: String,
        ) {
            prop_assume!(certificate.len() <= 253);
            let request = certificate_request(&certificate, revision);
            let order = format!("{}-{}", truncated(&request, ORDER_BASE_LIMIT), fnv1(url.as_bytes()));
            let challenge = challenge(&order, &url);
            for name in [&request, &order, &challenge] {
                prop_assert!(is_object_name(name), "{}", name);
            }
            // Orders and Challenges are values of labels.
            prop_assert!(order.len() <= 63, "{}", order);
        }
    }
}
