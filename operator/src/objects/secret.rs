//! Secrets: with a certificate, with the key of the next one. Their layout is cert-manager's, byte for byte.

use std::collections::BTreeMap;

use crds::{
    annotations::secret,
    certmanager::{Certificate, OutputFormat},
    meta::IssuerRef,
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{ResourceExt, api::ObjectMeta};

use super::metadata::owned;
use crate::pki::{KeyEncoding, KeyError, LeafCertificate, PrivateKey, combined_pem};

/// Data key of the Java key store.
pub const JKS: &str = "keystore.jks";
/// Data key of the PKCS#12 key store.
pub const PKCS12: &str = "keystore.p12";

/// Type of a Secret with a certificate.
pub const TYPE: &str = "kubernetes.io/tls";

/// Who issued what is in a Secret, by its annotations.
pub fn issuer_of(annotations: &BTreeMap<String, String>) -> IssuerRef {
    IssuerRef {
        group: annotations.get(secret::ISSUER_GROUP).cloned(),
        kind: annotations.get(secret::ISSUER_KIND).cloned(),
        name: annotations.get(secret::ISSUER_NAME).cloned().unwrap_or_default(),
    }
}

/// The annotations of a Certificate's Secret. The names are there even where there are none of their kind.
pub fn annotations(certificate: &Certificate, leaf: &LeafCertificate) -> BTreeMap<String, String> {
    let issuer = certificate.spec.issuer_ref.identity();
    let addresses: Vec<_> = leaf.ip_addresses.iter().map(ToString::to_string).collect();
    let mut annotations = BTreeMap::from(
        [
            (secret::CERTIFICATE_NAME, certificate.name_any()),
            (secret::ISSUER_NAME, issuer.name.to_owned()),
            (secret::ISSUER_KIND, issuer.kind.to_owned()),
            (secret::ISSUER_GROUP, issuer.group.to_owned()),
            (secret::COMMON_NAME, leaf.common_name.clone()),
            (secret::ALT_NAMES, leaf.dns_names.join(",")),
            (secret::IP_SANS, addresses.join(",")),
            (secret::URI_SANS, leaf.uris.join(",")),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    if !leaf.email_addresses.is_empty() {
        annotations.insert(crds::annotations::source::EMAIL_SANS.to_owned(), leaf.email_addresses.join(","));
    }
    annotations
}

/// A Certificate's Secret, for server-side apply: what it says is ours, the rest is left alone. `more` are key stores.
///
/// # Errors
/// The key can't be written.
pub fn certificate(
    certificate: &Certificate,
    leaf: &LeafCertificate,
    chain: &str,
    key: &PrivateKey,
    encoding: KeyEncoding,
    more: BTreeMap<String, Vec<u8>>,
) -> Result<Secret, KeyError> {
    let template = certificate.spec.secret_template.clone().unwrap_or_default();
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(secret::FULL_ACCESS_LABEL.to_owned(), "true".to_owned());
    let mut all = template.annotations.unwrap_or_default();
    all.extend(annotations(certificate, leaf));
    let pem = key.to_pem(encoding)?;
    let mut data: BTreeMap<_, _> = more.into_iter().map(|(name, value)| (name, ByteString(value))).collect();
    data.insert(secret::TLS_CRT.to_owned(), ByteString(chain.as_bytes().to_vec()));
    data.insert(secret::TLS_KEY.to_owned(), ByteString(pem.as_bytes().to_vec()));
    for format in certificate.spec.additional_output_formats.iter().flatten() {
        let (name, value) = match format.type_ {
            OutputFormat::DER => (secret::KEY_DER, key.to_der(encoding)?.to_vec()),
            OutputFormat::CombinedPEM => {
                (secret::TLS_COMBINED_PEM, combined_pem(&pem, chain).as_bytes().to_vec())
            }
        };
        data.insert(name.to_owned(), ByteString(value));
    }
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(certificate.spec.secret_name.clone()),
            namespace: certificate.namespace(),
            labels: Some(labels),
            annotations: Some(all),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some(TYPE.to_owned()),
        ..Secret::default()
    })
}

/// The Secret with the key of a Certificate's next issuance: PKCS#8, whatever the spec says.
///
/// # Errors
/// The key can't be written.
pub fn next_private_key(name: &str, of: &Certificate, key: &PrivateKey) -> Result<Secret, KeyError> {
    let pem = key.to_pem(KeyEncoding::Pkcs8)?;
    let mut metadata = owned(name, of);
    metadata.labels = Some(BTreeMap::from(
        [(secret::NEXT_PRIVATE_KEY_LABEL, "true"), (secret::FULL_ACCESS_LABEL, "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    ));
    Ok(Secret {
        metadata,
        data: Some(BTreeMap::from([(secret::TLS_KEY.to_owned(), ByteString(pem.as_bytes().to_vec()))])),
        ..Secret::default()
    })
}

/// The Secret with the key of an ACME account: PKCS#1 for RSA, as cert-manager keeps it.
///
/// # Errors
/// The key can't be written.
pub fn account_key(
    namespace: &str,
    name: &str,
    data_key: &str,
    key: &PrivateKey,
) -> Result<Secret, KeyError> {
    let pem = key.to_pem(KeyEncoding::Traditional)?;
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(
                "app.kubernetes.io/managed-by".to_owned(),
                "cert-manager".to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(data_key.to_owned(), ByteString(pem.as_bytes().to_vec()))])),
        ..Secret::default()
    })
}
