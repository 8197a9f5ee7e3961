//! A Certificate's spec, parsed: what its CSR asks for, and which private key it has.

use std::{collections::BTreeSet, net::IpAddr};

use crds::certmanager::{
    Certificate, CertificateRequest, CertificateSpec, KeyAlgorithm, KeyEncoding as WireEncoding, KeyUsage,
    NameConstraintItem, NameConstraints as WireConstraints, RotationPolicy,
};
use ipnet::IpNet;

use crate::pki::{
    Csr, CsrRequest, Curve, KeyEncoding, KeyKind, LeafCertificate, MAX_CSR_PEM_BYTES, NameConstraints,
    OtherName, Subject, Subtree,
};

/// The usages in a CSR if the spec has none; cert-manager's.
pub const DEFAULT_USAGES: [KeyUsage; 2] = [KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment];

/// What a Certificate's spec asks for. Everything in it is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredCertificate {
    /// The names, the usages, and how the CSR is signed.
    pub csr: CsrRequest,
    /// The algorithm and size of the private key.
    pub key: KeyKind,
    /// How the private key is encoded in the Secret.
    pub encoding: KeyEncoding,
    /// Whether each issuance has a new private key.
    pub rotate: bool,
}

impl DesiredCertificate {
    /// Parses a spec.
    ///
    /// # Errors
    /// What is wrong with it, for the Certificate's condition.
    pub fn parse(spec: &CertificateSpec) -> Result<Self, String> {
        let addresses: Result<Vec<IpAddr>, String> = list(spec.ip_addresses.as_ref())
            .iter()
            .map(|text| text.parse().map_err(|_| format!("spec.ipAddresses: {text:?} is not an IP address")))
            .collect();
        let other_names = list(spec.other_names.as_ref()).into_iter().map(|name| OtherName {
            oid: name.oid.unwrap_or_default(),
            value: name.utf8_value.unwrap_or_default(),
        });
        let usages = match &spec.usages {
            _ if spec.encode_usages_in_request == Some(false) => Vec::new(),
            Some(usages) if !usages.is_empty() => usages.clone(),
            _ => DEFAULT_USAGES.to_vec(),
        };
        let csr = CsrRequest {
            subject: subject(spec),
            dns_names: list(spec.dns_names.as_ref()),
            email_addresses: list(spec.email_addresses.as_ref()),
            ip_addresses: addresses?,
            uris: list(spec.uris.as_ref()),
            other_names: other_names.collect(),
            usages,
            is_ca: spec.is_ca.unwrap_or_default(),
            name_constraints: name_constraints(spec.name_constraints.as_deref())?,
            signature_algorithm: spec.signature_algorithm.map(Into::into),
        };
        let key = spec.private_key.clone().unwrap_or_default();
        let kind = key_kind(key.algorithm, key.size)?;
        csr.dns_names.iter().try_for_each(|name| check_dns_name(name))?;
        let bytes = csr.pem_bytes(kind).map_err(|error| error.to_string())?;
        if bytes > MAX_CSR_PEM_BYTES {
            return Err(format!(
                "spec: its names and its subject need a certificate signing request (CSR) of {bytes} bytes or more, but at most \
                 {MAX_CSR_PEM_BYTES} are allowed. Request fewer or shorter names, or distribute them among several Certificates"
            ));
        }
        if csr.signature_algorithm.is_some_and(|algorithm| !algorithm.fits(kind)) {
            return Err(format!(
                "spec.signatureAlgorithm: it does not fit the {kind} key of spec.privateKey. Change one of them, or remove it"
            ));
        }
        Ok(Self {
            csr,
            key: kind,
            encoding: match key.encoding {
                Some(WireEncoding::PKCS8) => KeyEncoding::Pkcs8,
                Some(WireEncoding::PKCS1) | None => KeyEncoding::Traditional,
            },
            rotate: key.rotation_policy != Some(RotationPolicy::Never),
        })
    }

    /// The fields of the spec that a CertificateRequest does not match. Compares what cert-manager compares.
    pub fn differs_from_request(
        &self,
        certificate: &Certificate,
        request: &CertificateRequest,
        csr: &Csr,
    ) -> Vec<&'static str> {
        let spec = &certificate.spec;
        let requested = &request.spec;
        let usages = |of: &Option<Vec<KeyUsage>>| of.iter().flatten().copied().collect::<BTreeSet<_>>();
        let subject = self.csr.subject.attributes().unwrap_or_default();
        let mut differences = Vec::new();
        let mut note = |same: bool, field| {
            if !same {
                differences.push(field);
            }
        };
        note(set(&csr.ip_addresses) == set(&self.csr.ip_addresses), "spec.ipAddresses");
        note(set(&csr.uris) == set(&self.csr.uris), "spec.uris");
        note(set(&csr.email_addresses) == set(&self.csr.email_addresses), "spec.emailAddresses");
        note(set(&csr.dns_names) == set(&self.csr.dns_names), "spec.dnsNames");
        let field = if matches!(self.csr.subject, Subject::Literal(_)) {
            "spec.literalSubject"
        } else if csr.common_name == spec.common_name.as_deref().unwrap_or_default() {
            "spec.subject"
        } else {
            "spec.commonName"
        };
        note(csr.subject == subject, field);
        note(requested.is_ca.unwrap_or_default() == self.csr.is_ca, "spec.isCA");
        note(usages(&requested.usages) == usages(&spec.usages), "spec.usages");
        let durations = requested.duration.zip(spec.duration);
        note(durations.is_none_or(|(requested, desired)| requested == desired), "spec.duration");
        note(requested.issuer_ref.identity() == spec.issuer_ref.identity(), "spec.issuerRef");
        differences
    }

    /// The fields of the spec that a certificate does not match. Compares less than for a CSR, because CAs omit and add fields.
    pub fn differs_from_leaf(&self, spec: &CertificateSpec, leaf: &LeafCertificate) -> Vec<&'static str> {
        let common_name = spec.common_name.as_deref().filter(|name| !name.is_empty());
        let (actual, desired) = (set(&leaf.dns_names), set(&self.csr.dns_names));
        let extra_is_common_name = actual
            .difference(&desired)
            .all(|name| common_name.is_some_and(|common_name| common_name == name.as_str()));
        let mut differences = Vec::new();
        let mut note = |same: bool, field| {
            if !same {
                differences.push(field);
            }
        };
        let names_common_name = |name: &str| leaf.common_name == name || actual.contains(name);
        note(common_name.is_none_or(names_common_name), "spec.commonName");
        note(desired.is_subset(&actual) && extra_is_common_name, "spec.dnsNames");
        note(set(&leaf.ip_addresses) == set(&self.csr.ip_addresses), "spec.ipAddresses");
        note(set(&leaf.uris) == set(&self.csr.uris), "spec.uris");
        note(set(&leaf.email_addresses) == set(&self.csr.email_addresses), "spec.emailAddresses");
        differences
    }

    /// The fields of `spec.privateKey` that a key does not match.
    pub fn differs_from_key(&self, key: KeyKind) -> Vec<&'static str> {
        match (self.key, key) {
            (desired, key) if desired == key => Vec::new(),
            (KeyKind::Rsa { .. }, KeyKind::Rsa { .. }) | (KeyKind::Ecdsa(_), KeyKind::Ecdsa(_)) => {
                vec!["spec.privateKey.size"]
            }
            _ => vec!["spec.privateKey.algorithm"],
        }
    }
}

/// Whether a name can be in a certificate, where it is ASCII.
fn check_dns_name(name: &str) -> Result<(), String> {
    if name.is_ascii() {
        let is_label =
            |label: &str| !label.is_empty() && label.len() < 64 && label.trim_matches('-') == label;
        let is_name = name.len() < 254 && name.strip_prefix("*.").unwrap_or(name).split('.').all(is_label);
        return if is_name { Ok(()) } else { Err(format!("spec.dnsNames: {name:?} is not a DNS name")) };
    }
    Err(match idna::domain_to_ascii(name) {
        Ok(label) => format!("spec.dnsNames: {name:?} is an internationalized name. Write it as {label:?}"),
        Err(_) => format!("spec.dnsNames: {name:?} is not a domain name"),
    })
}

fn key_kind(algorithm: Option<KeyAlgorithm>, size: Option<i32>) -> Result<KeyKind, String> {
    let size = size.filter(|size| *size != 0);
    match (algorithm.unwrap_or(KeyAlgorithm::RSA), size) {
        (KeyAlgorithm::RSA, size) => match usize::try_from(size.unwrap_or(2048)) {
            Ok(bits @ (2048 | 3072 | 4096 | 8192)) => Ok(KeyKind::Rsa { bits }),
            _ => Err("spec.privateKey.size: must be 2048, 3072, 4096, or 8192 for RSA".to_owned()),
        },
        (KeyAlgorithm::ECDSA, None | Some(256)) => Ok(KeyKind::Ecdsa(Curve::P256)),
        (KeyAlgorithm::ECDSA, Some(384)) => Ok(KeyKind::Ecdsa(Curve::P384)),
        (KeyAlgorithm::ECDSA, Some(521)) => Ok(KeyKind::Ecdsa(Curve::P521)),
        (KeyAlgorithm::ECDSA, _) => Err("spec.privateKey.size: must be 256, 384 or 521 for ECDSA".to_owned()),
        (KeyAlgorithm::Ed25519, _) => Ok(KeyKind::Ed25519),
    }
}

fn subject(spec: &CertificateSpec) -> Subject {
    if let Some(literal) = spec.literal_subject.as_ref().filter(|literal| !literal.is_empty()) {
        return Subject::Literal(literal.clone());
    }
    let parts = spec.subject.clone().unwrap_or_default();
    Subject::Parts {
        common_name: spec.common_name.clone().unwrap_or_default(),
        countries: parts.countries.unwrap_or_default(),
        organizations: parts.organizations.unwrap_or_default(),
        organizational_units: parts.organizational_units.unwrap_or_default(),
        localities: parts.localities.unwrap_or_default(),
        provinces: parts.provinces.unwrap_or_default(),
        street_addresses: parts.street_addresses.unwrap_or_default(),
        postal_codes: parts.postal_codes.unwrap_or_default(),
        serial_number: parts.serial_number.unwrap_or_default(),
    }
}

fn list<T: Clone>(of: Option<&Vec<T>>) -> Vec<T> {
    of.cloned().unwrap_or_default()
}

fn set<T: Clone + Ord>(of: &[T]) -> BTreeSet<T> {
    of.iter().cloned().collect()
}

/// What a spec says about the names that a CA may issue certificates for.
fn name_constraints(spec: Option<&WireConstraints>) -> Result<NameConstraints, String> {
    let Some(spec) = spec else { return Ok(NameConstraints::default()) };
    Ok(NameConstraints {
        critical: spec.critical.unwrap_or_default(),
        permitted: subtrees("permitted", spec.permitted.as_ref())?,
        excluded: subtrees("excluded", spec.excluded.as_ref())?,
    })
}

fn subtrees(field: &str, item: Option<&NameConstraintItem>) -> Result<Vec<Subtree>, String> {
    let Some(item) = item else { return Ok(Vec::new()) };
    let mut subtrees: Vec<_> = list(item.dns_domains.as_ref()).into_iter().map(Subtree::Dns).collect();
    for text in list(item.ip_ranges.as_ref()) {
        let range: IpNet = text.parse().map_err(|_| {
            format!("spec.nameConstraints.{field}.ipRanges: {text:?} is not an IP address range such as \"192.0.2.0/24\"")
        })?;
        subtrees.push(Subtree::Ip(range.network(), range.netmask()));
    }
    subtrees.extend(list(item.email_addresses.as_ref()).into_iter().map(Subtree::Email));
    subtrees.extend(list(item.uri_domains.as_ref()).into_iter().map(Subtree::Uri));
    Ok(subtrees)
}

#[cfg(test)]
mod tests {
    use crds::{
        certmanager::{CertificatePrivateKey, Subject as WireSubject},
        fixtures,
    };
    use k8s_openapi::ByteString;
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::{objects, pki::PrivateKey};

    type Change = fn(&mut CertificateSpec);

    /// A Certificate that was changed after its request was created.
    fn requested(change: impl FnOnce(&mut Certificate)) -> (Certificate, CertificateRequest, Csr) {
        let certificate = fixtures::certificate("web", |_| {});
        let desired = DesiredCertificate::parse(&certificate.spec).expect("a valid spec");
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
        let pem = desired.csr.sign_pem(&key).expect("a CSR");
        let request = fixtures::certificate_request("web-1", |it| {
            it.spec.request = ByteString(pem.clone().into_bytes());
            it.spec.issuer_ref = certificate.spec.issuer_ref.clone();
        });
        let mut changed = certificate;
        change(&mut changed);
        (changed, request, Csr::from_pem(pem.as_bytes()).expect("our own CSR"))
    }

    fn differences(change: impl FnOnce(&mut Certificate)) -> Vec<&'static str> {
        let (certificate, request, csr) = requested(change);
        let desired = DesiredCertificate::parse(&certificate.spec).expect("a valid spec");
        desired.differs_from_request(&certificate, &request, &csr)
    }

    #[test]
    fn changed_fields_are_named() {
        assert!(differences(|_| {}).is_empty());
        assert!(differences(|it| it.spec.issuer_ref.kind = Some("Issuer".into())).is_empty());
        assert!(differences(|it| it.spec.duration = Some("100h".parse().expect("a duration"))).is_empty());
        let new: [(&str, Change); 8] = [
            ("spec.dnsNames", |it| it.dns_names = Some(vec!["other.example.test".into()])),
            ("spec.ipAddresses", |it| it.ip_addresses = Some(vec!["192.0.2.1".into()])),
            ("spec.uris", |it| it.uris = Some(vec!["spiffe://a/b".into()])),
            ("spec.emailAddresses", |it| it.email_addresses = Some(vec!["a@example.test".into()])),
            ("spec.commonName", |it| it.common_name = Some("web.example.test".into())),
            ("spec.literalSubject", |it| it.literal_subject = Some("CN=x".into())),
            ("spec.usages", |it| it.usages = Some(vec![KeyUsage::ClientAuth])),
            ("spec.issuerRef", |it| it.issuer_ref.name = "other".into()),
        ];
        for (field, change) in new {
            assert_eq!(differences(|it| change(&mut it.spec)), [field]);
        }
    }

    #[test]
    fn defaults_are_those_of_cert_manager() {
        let desired =
            DesiredCertificate::parse(&fixtures::certificate("web", |_| {}).spec).expect("a valid spec");
        assert_eq!(desired.key, KeyKind::Rsa { bits: 2048 });
        assert_eq!(desired.encoding, KeyEncoding::Traditional);
        assert!(desired.rotate);
        assert_eq!(desired.csr.usages, DEFAULT_USAGES);
    }

    #[test]
    fn unsupported_key_size_is_rejected() {
        let of = |size| {
            let key = CertificatePrivateKey { size: Some(size), ..CertificatePrivateKey::default() };
            DesiredCertificate::parse(
                &fixtures::certificate("web", |it| it.spec.private_key = Some(key)).spec,
            )
        };
        assert!(of(4096).is_ok());
        assert!(of(2500).is_err_and(|error| error.contains("spec.privateKey.size")));
    }

    proptest! {
        /// Otherwise the request would be deleted and created again.
        #[test]
        fn own_request_matches_its_spec(
            dns_names in vec("([a-zA-Z*]{1,3}[.]){1,2}test", 0..4),
            others in vec("[ -~]{0,12}", 0..3),
            (parts, literal) in (vec("\\PC{0,8}", 0..3), option::of("(CN|O|OU|DC|1.2.3)=[ -~]{0,8}(,(C|ST|L)=[#+\\\\a-f0-9\"]{0,8}){0,2}")),
            common_name in option::of("\\PC{0,8}"),
        ) {
            let certificate = fixtures::certificate("web", |it| {
                let key = CertificatePrivateKey { algorithm: Some(KeyAlgorithm::Ed25519), ..CertificatePrivateKey::default() };
                (it.spec.private_key, it.spec.dns_names) = (Some(key), Some(dns_names));
                (it.spec.uris, it.spec.email_addresses) = (Some(others.clone()), Some(others));
                it.spec.ip_addresses = Some(["::ffff:192.0.2.1", "192.0.2.1", "2001:DB8::1"].map(Into::into).into());
                it.spec.common_name = common_name.filter(|_| literal.is_none());
                it.spec.literal_subject = literal;
                let (countries, organizations) = (Some(parts.clone()), Some(parts));
                it.spec.subject = Some(Box::new(WireSubject { countries, organizations, ..WireSubject::default() }));
            });
            let Ok(desired) = DesiredCertificate::parse(&certificate.spec) else { return Ok(()) };
            let key = PrivateKey::generate(KeyKind::Ed25519).expect("a key");
            let pem = desired.csr.sign_pem(&key).expect("it was checked");
            let request = objects::certificate_request::build(&certificate, "web-1", 1, "key", &pem);
            let csr = Csr::from_pem(pem.as_bytes()).expect("it can be read");
            prop_assert_eq!(desired.differs_from_request(&certificate, &request, &csr), Vec::<&str>::new());
        }
    }
}
