//! CertificateRequests with a CSR as long as it may be, and with what is not a CSR.

use crds::fixtures;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use operator::{
    decision::request,
    pki::{Csr, PrivateKey},
};

use super::{LARGEST_OBJECT, measured, names};

pub(crate) fn requests_cost_little() {
    let issuer = fixtures::issuer("issuer", |_| {});
    let acme = issuer.spec.acme.as_ref().expect("an ACME issuer");
    let key = PrivateKey::generate(operator::pki::KeyKind::Ed25519).expect("a key");
    let csr =
        operator::pki::CsrRequest { dns_names: names(1000, 14), ..operator::pki::CsrRequest::default() };
    let largest = csr.sign_pem(&key).expect("a CSR").into_bytes();
    assert!(largest.len() < operator::pki::MAX_CSR_PEM_BYTES);
    for csr in
        [largest.clone(), vec![b'-'; LARGEST_OBJECT], [largest.clone(), largest].concat(), vec![0xff; 30_000]]
    {
        let request = fixtures::certificate_request("web-1", |it| it.spec.request = ByteString(csr));
        let issuer = request::IssuerView::Acme { acme, account: None, ready: true, message: None };
        let decide = || {
            request::decide(&request::View {
                request: &request,
                csr: Csr::from_pem(&request.spec.request.0).as_ref(),
                is_orphan: false,
                issuer,
                order: None,
                pace: None,
                problem: None,
                auto_approve: true,
                now: Timestamp::UNIX_EPOCH,
            })
        };
        measured("a CertificateRequest", decide).expect("it costs little");
    }
}
