//! CertificateRequests of Certificates.

use crds::{
    annotations::request,
    certmanager::{Certificate, CertificateRequest, CertificateRequestSpec},
};
use k8s_openapi::ByteString;
use kube::ResourceExt;

use super::metadata::{copied_annotations, non_empty, owned};

/// The request for a revision of a Certificate, signed with the key in a Secret.
pub fn build(of: &Certificate, name: &str, revision: i64, key_secret: &str, csr: &str) -> CertificateRequest {
    let spec = CertificateRequestSpec {
        duration: of.spec.duration,
        is_ca: of.spec.is_ca,
        issuer_ref: of.spec.issuer_ref.clone(),
        request: ByteString(csr.as_bytes().to_vec()),
        usages: of.spec.usages.clone(),
        ..CertificateRequestSpec::default()
    };
    let mut made = CertificateRequest::new(name, spec);
    made.metadata = owned(name, of);
    let mut annotations = copied_annotations(of.annotations());
    annotations.extend(
        [
            (request::CERTIFICATE_NAME, of.name_any()),
            (request::CERTIFICATE_REVISION, revision.to_string()),
            (request::PRIVATE_KEY_SECRET_NAME, key_secret.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    made.metadata.annotations = Some(annotations);
    made.metadata.labels = non_empty(of.labels().clone());
    made
}

/// Which revision of its Certificate a request is for.
pub fn revision(request: &CertificateRequest) -> Option<i64> {
    request.annotations().get(request::CERTIFICATE_REVISION)?.parse().ok()
}
