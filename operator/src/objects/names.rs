//! Names of objects that are made for others: the same name for the same purpose, so that what exists already is found and
//! nothing is made twice.

use aws_lc_rs::digest;

/// How long the name of a CertificateRequest may be, as cert-manager has it: its Order's name gets longer still.
const REQUEST_LIMIT: usize = 233;

/// How long the name of an object may be, RFC 1123 as Kubernetes has it.
const OBJECT_LIMIT: usize = 253;

/// How long the part of an Order's name may be that is its CertificateRequest's.
const ORDER_BASE_LIMIT: usize = 52;

/// How many hexadecimal digits tell two names apart.
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

/// The Order of a CertificateRequest: its name, cut where it is long, and a hash of name and CSR.
pub fn order(certificate_request: &str, csr: &[u8]) -> String {
    let hash = hash(&[certificate_request.as_bytes(), csr]);
    format!("{}-{hash}", cut(certificate_request, ORDER_BASE_LIMIT))
}

/// The Challenge of an Order for an authorization: the Order's name and a hash of the authorization's URL.
pub fn challenge(order: &str, authorization_url: &str) -> String {
    format!("{order}-{}", hash(&[order.as_bytes(), authorization_url.as_bytes()]))
}

/// The Secret with the key of a Certificate's next issuance: another one for each Certificate that ever had the name, and
/// for each revision.
pub fn next_private_key(certificate: &str, uid: &str, revision: i64) -> String {
    let hash = hash(&[certificate.as_bytes(), uid.as_bytes(), &revision.to_be_bytes()]);
    with_suffix(certificate, &format!("-{hash}"), OBJECT_LIMIT)
}

/// Ten hexadecimal digits that stand for a text.
pub fn short_hash(text: &str) -> String {
    hash(&[text.as_bytes()])
}

/// The decimal Adler-32 (RFC 1950 section 8.2) of a DNS name or token, which users' tools find challenge routes by.
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

/// A name with something at its end, hashed in between where it would be too long.
fn with_suffix(base: &str, suffix: &str, limit: usize) -> String {
    if base.len() + suffix.len() <= limit {
        return format!("{base}{suffix}");
    }
    let room = limit.saturating_sub(suffix.len() + HASH_LENGTH + 1);
    format!("{}-{}{suffix}", cut(base, room), hash(&[base.as_bytes()]))
}

/// The beginning of a name, without what a name can't end with.
fn cut(name: &str, limit: usize) -> &str {
    let end = (0..=limit.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
    name[..end].trim_end_matches(['-', '.'])
}

fn hash(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    // The first 40 bits: 10 digits.
    let bits =
        context.finish().as_ref().iter().take(5).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    format!("{bits:0HASH_LENGTH$x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_certificate_name_still_gives_each_revision_its_own_request() {
        let name = "a".repeat(253);
        let (first, second) = (certificate_request(&name, 1), certificate_request(&name, 2));
        assert!(first.len() <= REQUEST_LIMIT && first.ends_with("-1") && second.ends_with("-2"));
        assert_ne!(certificate_request(&format!("{}b", &name[1..]), 1), first);
    }

    #[test]
    fn another_csr_or_authorization_gives_another_name_and_the_same_one_the_same() {
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
        fn what_is_made_of_a_name_is_a_name(
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
            // Orders and Challenges stand in labels of what they own.
            prop_assert!(order.len() <= 63, "{}", order);
        }
    }
}
