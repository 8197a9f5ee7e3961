//! The CertificateRequest of a Certificate.

use crds::{
    annotations::request as annotation,
    certmanager::{Certificate, CertificateRequest, CertificateRequestSpec},
};
use k8s_openapi::ByteString;
use kube::ResourceExt;

use super::metadata::{copied_annotations, non_empty, owned};

/// The request for a revision of a Certificate. `csr` is PEM, and signed with the key in the Secret `key_secret`.
pub fn build(of: &Certificate, name: &str, revision: i64, key_secret: &str, csr: &str) -> CertificateRequest {
    let spec = CertificateRequestSpec {
        duration: of.spec.duration,
        is_ca: of.spec.is_ca,
        issuer_ref: of.spec.issuer_ref.clone(),
        request: ByteString(csr.as_bytes().to_vec()),
        usages: of.spec.usages.clone(),
        ..CertificateRequestSpec::default()
    };
    let mut request = CertificateRequest::new(name, spec);
    request.metadata = owned(name, of);
    let mut annotations = copied_annotations(of.annotations());
    annotations.extend(
        [
            (annotation::CERTIFICATE_NAME, of.name_any()),
            (annotation::CERTIFICATE_REVISION, revision.to_string()),
            (annotation::PRIVATE_KEY_SECRET_NAME, key_secret.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    request.metadata.annotations = Some(annotations);
    request.metadata.labels = non_empty(of.labels().clone());
    request
}

/// The revision of the Certificate that a request is for. `None` if the annotation is absent or not a number.
pub fn revision(request: &CertificateRequest) -> Option<i64> {
    request.annotations().get(annotation::CERTIFICATE_REVISION)?.parse().ok()
}
