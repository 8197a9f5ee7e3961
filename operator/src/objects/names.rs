//! Deterministic names of created objects: an object that already exists is found by its name, so none is created twice.
//!
//! Knows length limits and hashes; must not know what the objects contain. Next: `metadata.rs`.

use aws_lc_rs::digest;

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

/// The Order of a CertificateRequest: the request's name, truncated if it is long, and a hash of name and CSR.
pub fn order(certificate_request: &str, csr: &[u8]) -> String {
    let hash = hash(&[certificate_request.as_bytes(), csr]);
    format!("{}-{hash}", truncated(certificate_request, ORDER_BASE_LIMIT))
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
    fn names_depend_on_csr_and_authorization_only() {
        assert_eq!(order("web-1", b"csr"), order("web-1", b"csr"));
        assert_ne!(order("web-1", b"csr"), order("web-1", b"other"));
        assert!(order("web-1", b"csr").starts_with("web-1-"));
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
            let order = order(&request, url.as_bytes());
            let challenge = challenge(&order, &url);
            for name in [&request, &order, &challenge] {
                prop_assert!(is_object_name(name), "{}", name);
            }
            // Orders and Challenges are values of labels.
            prop_assert!(order.len() <= 63, "{}", order);
        }
    }
}
