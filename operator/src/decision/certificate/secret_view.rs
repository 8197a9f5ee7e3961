//! What a Certificate's Secret contains, parsed once per resourceVersion.
//!
//! Keeps facts about a private key, never the key itself. Next: `policy/`, which compares them with the spec.

use std::collections::BTreeMap;

use crds::annotations::secret;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::handmade;
use crate::{
    objects::{
        managed_fields::{keys, members},
        secret::{FIELD_MANAGER, JKS, JKS_TRUST, PKCS12, PKCS12_TRUST},
    },
    pki::{Authorities, Chain, Csr, KeyEncoding, KeyKind, LeafCertificate, PrivateKey, combined_pem},
};

/// The longest keystore that is kept in memory, in bytes. One with a usual chain has a fifth of that.
pub const LONGEST_KEYSTORE: usize = 32 << 10;

/// A data key of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<T> {
    /// It is missing or empty.
    Missing,
    /// It can't be parsed; why.
    Invalid(String),
    /// It is parsed.
    Valid(T),
}

/// What is known about the private key in a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its algorithm and size.
    pub kind: KeyKind,
    /// `SubjectPublicKeyInfo`, DER.
    pub public_key_der: Vec<u8>,
}

/// The parts of a Secret that the operator's field manager owns: what the Certificate no longer asks for is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// Names of labels.
    pub labels: Vec<String>,
    /// Names of annotations.
    pub annotations: Vec<String>,
    /// Data keys.
    pub data: Vec<String>,
    /// UIDs of owners.
    pub owners: Vec<String>,
}

impl Owned {
    fn parse(object: &Secret) -> Self {
        let members = |path: &[&str]| members(object.managed_fields(), FIELD_MANAGER, path);
        let owner = |key: String| {
            let key: serde_json::Value = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
            Some(key.get("uid")?.as_str()?.to_owned())
        };
        Self {
            labels: members(&["metadata", "labels"]),
            annotations: members(&["metadata", "annotations"]),
            data: members(&["data"]),
            owners: keys(object.managed_fields(), FIELD_MANAGER, &["metadata", "ownerReferences"])
                .into_iter()
                .filter_map(owner)
                .collect(),
        }
    }
}

/// Where the content of a Secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was issued for a Certificate.
    Issued,
    /// A user created it by hand, with a certificate that was not issued for a Certificate.
    Handmade,
    /// Neither; why it can't be adopted.
    Foreign(String),
}

/// What a Certificate's Secret contains.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct SecretView {
    /// Its type.
    pub type_: Option<String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether any data key has a value.
    pub has_data: bool,
    /// `tls.key`.
    pub key: Part<KeyFacts>,
    /// `tls.crt`.
    pub leaf: Part<Box<LeafCertificate>>,
    /// Whether `tls.crt` is a temporary certificate.
    pub temporary: bool,
    /// The data keys that have a value.
    pub present: Vec<String>,
    /// The keystores and truststores, by data key, that the operator's field manager owns and that are not too long to be checked.
    pub keystores: BTreeMap<&'static str, Vec<u8>>,
    /// Whether `ca.crt` has certificates of the issuer's CA, which truststores get.
    pub provides_authorities: bool,
    /// What the operator, or cert-manager, has set in it.
    pub owned: Owned,
    /// Whether `key.der` is the private key.
    pub der_fits: bool,
    /// Whether `tls-combined.pem` is the private key and the chain.
    pub combined_fits: bool,
    /// Where its content comes from.
    pub origin: Origin,
}

impl SecretView {
    /// Whether it has the label that Secrets are watched by. Without it, changes are not noticed.
    pub fn is_watched(&self) -> bool {
        self.labels.get(secret::FULL_ACCESS_LABEL).is_some_and(|value| value == "true")
    }

    /// Parses a Secret.
    pub fn parse(object: &Secret) -> Self {
        let empty = BTreeMap::new();
        let data = object.data.as_ref().unwrap_or(&empty);
        let bytes =
            |name: &str| data.get(name).map(|value| value.0.as_slice()).filter(|value| !value.is_empty());
        let key = bytes(secret::TLS_KEY).map(PrivateKey::from_pem);
        let is_key = |der: &[u8]| {
            let is = |encoding| key.as_ref()?.as_ref().ok()?.to_der(encoding).ok().filter(|it| **it == der);
            is(KeyEncoding::Traditional).or_else(|| is(KeyEncoding::Pkcs8)).is_some()
        };
        let is_combined = |text: &[u8]| {
            let key_and_chain = bytes(secret::TLS_KEY).zip(bytes(secret::TLS_CRT));
            key_and_chain.is_some_and(|(key, chain)| {
                let expected = combined_pem(&String::from_utf8_lossy(key), &String::from_utf8_lossy(chain));
                expected.as_bytes() == text
            })
        };
        let presented = bytes(secret::TLS_CRT).map(Chain::presented);
        let owned = Owned::parse(object);
        let owned_bytes = |name: &str| bytes(name).filter(|_| owned.data.iter().any(|owned| owned == name));
        let keystore = |name: &'static str| {
            let store = owned_bytes(name).filter(|bytes| bytes.len() <= LONGEST_KEYSTORE)?;
            Some((name, store.to_owned()))
        };
        // One that was issued may have lost its annotations.
        let is_issued = object.annotations().contains_key(secret::CERTIFICATE_NAME)
            || owned.data.iter().any(|key| key == secret::TLS_CRT);
        Self {
            keystores: [JKS, JKS_TRUST, PKCS12, PKCS12_TRUST].into_iter().filter_map(keystore).collect(),
            provides_authorities: owned_bytes(secret::CA_CRT)
                .is_some_and(|ca| !Authorities::from_pem(ca).is_empty()),
            temporary: matches!(presented, Some(Ok((_, true)))),
            type_: object.type_.clone(),
            annotations: object.annotations().clone(),
            labels: object.labels().clone(),
            has_data: data.values().any(|value| !value.0.is_empty()),
            der_fits: bytes(secret::KEY_DER).is_some_and(is_key),
            combined_fits: bytes(secret::TLS_COMBINED_PEM).is_some_and(is_combined),
            key: match &key {
                None => Part::Missing,
                Some(Err(error)) => Part::Invalid(error.to_string()),
                Some(Ok(key)) => match key.public_key_der() {
                    Ok(public_key_der) => Part::Valid(KeyFacts { kind: key.kind(), public_key_der }),
                    Err(error) => Part::Invalid(error.to_string()),
                },
            },
            leaf: match presented {
                None => Part::Missing,
                Some(Err(error)) => Part::Invalid(error.to_string()),
                Some(Ok((leaf, _))) => Part::Valid(Box::new(leaf)),
            },
            origin: if is_issued {
                Origin::Issued
            } else {
                handmade::obstacle(object).map_or(Origin::Handmade, Origin::Foreign)
            },
            owned,
            present: data
                .iter()
                .filter(|(_, value)| !value.0.is_empty())
                .map(|(name, _)| name.clone())
                .collect(),
        }
    }

    /// The Certificate that it was issued for, by its annotation.
    pub fn certificate_name(&self) -> Option<&str> {
        self.annotations.get(secret::CERTIFICATE_NAME).map(String::as_str)
    }

    /// Whether its private key has signed a CSR.
    pub fn has_key_of(&self, csr: &Csr) -> bool {
        matches!(&self.key, Part::Valid(key) if key.public_key_der == csr.public_key_der)
    }

    /// The leaf certificate in `tls.crt`, if servers can use it for these names.
    pub fn usable_leaf(&self, dns_names: &[String]) -> Option<&LeafCertificate> {
        let has_key = |leaf: &LeafCertificate| matches!(&self.key, Part::Valid(key) if key.public_key_der == leaf.public_key_der);
        let leaf = self.leaf().filter(|leaf| !self.temporary && has_key(leaf))?;
        dns_names.iter().all(|name| leaf.dns_names.contains(name)).then_some(leaf)
    }

    /// The leaf certificate in `tls.crt`, if it can be parsed.
    pub fn leaf(&self) -> Option<&LeafCertificate> {
        match &self.leaf {
            Part::Valid(leaf) => Some(leaf),
            Part::Missing | Part::Invalid(_) => None,
        }
    }
}
