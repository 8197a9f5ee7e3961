//! Secrets with a certificate, with the next key, and with an account key. Their layout is cert-manager's, byte for byte.
//!
//! Knows data keys, encodings, labels and annotations; must not know when a Secret is written. Next: `pki` for keys and chains.

use std::collections::BTreeMap;

use crds::{
    annotations::secret,
    certmanager::{Certificate, CertificateSpec, OutputFormat},
    meta::IssuerRef,
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{ResourceExt, api::ObjectMeta};

use super::metadata::owned;
use crate::pki::{KeyEncoding, KeyError, LeafCertificate, PrivateKey, combined_pem};

/// The data key of the Java key store.
pub const JKS: &str = "keystore.jks";
/// The data key of the PKCS#12 key store.
pub const PKCS12: &str = "keystore.p12";
/// The data key of the Java trust store.
pub const JKS_TRUST: &str = "truststore.jks";
/// The data key of the PKCS#12 trust store.
pub const PKCS12_TRUST: &str = "truststore.p12";

/// The annotation with the data keys, separated by commas, of keystores that have an earlier certificate, because they could not be
/// created again. It is removed when they are.
pub const OUTDATED_KEYSTORES: &str = "cert-manager.io/outdated-keystores";

/// The field manager of a Certificate's Secret, as in cert-manager: what it owns there is removed when a spec no longer asks for it.
pub const FIELD_MANAGER: &str = "cert-manager-certificates-issuing";

/// The type of a Secret with a certificate.
pub const TYPE: &str = "kubernetes.io/tls";

/// The issuer of the certificate in a Secret, according to the Secret's annotations.
pub fn issuer_of(annotations: &BTreeMap<String, String>) -> IssuerRef {
    IssuerRef {
        group: annotations.get(secret::ISSUER_GROUP).cloned(),
        kind: annotations.get(secret::ISSUER_KIND).cloned(),
        name: annotations.get(secret::ISSUER_NAME).cloned().unwrap_or_default(),
    }
}

/// The annotations of a Certificate's Secret. As in cert-manager, those for names are set even if the certificate has no such
/// names, except the one for email addresses.
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

/// The data keys that a spec may ask for. Others, such as `ca.crt` of another type of issuer, are left alone.
pub const OPTIONAL_DATA_KEYS: [&str; 6] =
    [JKS, JKS_TRUST, PKCS12, PKCS12_TRUST, secret::KEY_DER, secret::TLS_COMBINED_PEM];

/// The data keys that a Certificate's Secret has. Trust stores only if its issuer provides a CA certificate.
pub fn data_keys(spec: &CertificateSpec) -> Vec<&'static str> {
    let formats = spec.additional_output_formats.iter().flatten().map(|format| match format.type_ {
        OutputFormat::DER => secret::KEY_DER,
        OutputFormat::CombinedPEM => secret::TLS_COMBINED_PEM,
    });
    let stores = spec.keystores.as_deref();
    let jks = stores.and_then(|stores| stores.jks.as_ref()).is_some_and(|store| store.create);
    let pkcs12 = stores.and_then(|stores| stores.pkcs12.as_ref()).is_some_and(|store| store.create);
    let stores = [(jks, [JKS, JKS_TRUST]), (pkcs12, [PKCS12, PKCS12_TRUST])];
    let stores = stores.into_iter().filter(|(create, _)| *create).flat_map(|(_, names)| names);
    [secret::TLS_CRT, secret::TLS_KEY].into_iter().chain(formats).chain(stores).collect()
}

/// A Certificate's Secret, for server-side apply: the operator owns the fields in it, and leaves others alone. `chain` is PEM, leaf
/// first. `key_stores` are further data keys and their values.
///
/// # Errors
/// The key cannot be encoded this way.
pub fn certificate(
    certificate: &Certificate,
    leaf: &LeafCertificate,
    chain: &str,
    key: &PrivateKey,
    encoding: KeyEncoding,
    key_stores: BTreeMap<String, Vec<u8>>,
) -> Result<Secret, KeyError> {
    let template = certificate.spec.secret_template.clone().unwrap_or_default();
    let mut labels = template.labels.unwrap_or_default();
    labels.insert(secret::FULL_ACCESS_LABEL.to_owned(), "true".to_owned());
    let mut all_annotations = template.annotations.unwrap_or_default();
    all_annotations.extend(annotations(certificate, leaf));
    let pem = key.to_pem(encoding)?;
    let mut data: BTreeMap<_, _> =
        key_stores.into_iter().map(|(name, value)| (name, ByteString(value))).collect();
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
            annotations: Some(all_annotations),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some(TYPE.to_owned()),
        ..Secret::default()
    })
}

/// Keeps keystores in a Certificate's Secret that can't be created again, and marks them as outdated.
pub fn keep_outdated(secret: &mut Secret, keystores: BTreeMap<&'static str, Vec<u8>>) {
    if !keystores.is_empty() {
        let names = keystores.keys().copied().collect::<Vec<_>>().join(",");
        secret.annotations_mut().insert(OUTDATED_KEYSTORES.to_owned(), names);
    }
    let kept = keystores.into_iter().map(|(name, store)| (name.to_owned(), ByteString(store)));
    secret.data.get_or_insert_default().extend(kept);
}

/// The Secret with the next key of a Certificate, as PKCS#8 PEM whatever encoding the spec asks for.
///
/// # Errors
/// The key cannot be encoded this way.
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

/// The Secret with the key of an ACME account, as PEM in the encoding that cert-manager uses: PKCS#1 for RSA.
///
/// # Errors
/// The key cannot be encoded this way.
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
            labels: Some(BTreeMap::from(
                // The second one makes its deletion known immediately.
                [("app.kubernetes.io/managed-by", "cert-manager"), (secret::FULL_ACCESS_LABEL, "true")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
            )),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(data_key.to_owned(), ByteString(pem.as_bytes().to_vec()))])),
        ..Secret::default()
    })
}
