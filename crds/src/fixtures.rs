//! Small valid objects for tests, each with a closure that changes what the test needs. Requires the feature `fixtures`.
//!
//! ```
//! use crds::fixtures;
//!
//! let certificate = fixtures::certificate("web", |it| it.spec.dns_names = Some(vec!["web.example.test".into()]));
//! assert_eq!(certificate.spec.secret_name, "web");
//! assert_eq!(certificate.spec.issuer_ref.name, "issuer");
//! ```

use k8s_openapi::ByteString;

use crate::{
    acme::{
        AcmeIssuer, Challenge, ChallengeSpec, ChallengeType, Http01Solver, IngressSolver, Order, OrderSpec,
        Solver,
    },
    certmanager::{
        Certificate, CertificateRequest, CertificateRequestSpec, CertificateSpec, ClusterIssuer,
        ClusterIssuerSpec, Issuer, IssuerSpec,
    },
    meta::{CLUSTER_ISSUER_KIND, IssuerRef, SecretKeySelector},
};

/// Returns a Certificate for `<name>.example.test` from the Issuer "issuer", stored in the Secret `<name>`.
pub fn certificate(name: &str, change: impl FnOnce(&mut Certificate)) -> Certificate {
    let spec = CertificateSpec {
        secret_name: name.to_owned(),
        dns_names: Some(vec![format!("{name}.example.test")]),
        issuer_ref: issuer_ref(),
        ..CertificateSpec::default()
    };
    with_change(Certificate::new(name, spec), change)
}

/// Returns a CertificateRequest to the Issuer "issuer". Its CSR cannot be parsed.
pub fn certificate_request(name: &str, change: impl FnOnce(&mut CertificateRequest)) -> CertificateRequest {
    let spec = CertificateRequestSpec {
        request: ByteString(b"-----BEGIN CERTIFICATE REQUEST-----\n".to_vec()),
        issuer_ref: issuer_ref(),
        ..CertificateRequestSpec::default()
    };
    with_change(CertificateRequest::new(name, spec), change)
}

/// Returns an ACME Issuer with an Ingress solver of the class "nginx".
pub fn issuer(name: &str, change: impl FnOnce(&mut Issuer)) -> Issuer {
    let spec = IssuerSpec { acme: Some(acme()), ..IssuerSpec::default() };
    with_change(Issuer::new(name, spec), change)
}

/// Returns an ACME ClusterIssuer with an Ingress solver of the class "nginx".
pub fn cluster_issuer(name: &str, change: impl FnOnce(&mut ClusterIssuer)) -> ClusterIssuer {
    let spec = ClusterIssuerSpec { acme: Some(acme()), ..ClusterIssuerSpec::default() };
    with_change(ClusterIssuer::new(name, spec), change)
}

/// Returns an Order for `<name>.example.test` from the Issuer "issuer". Its CSR cannot be parsed.
pub fn order(name: &str, change: impl FnOnce(&mut Order)) -> Order {
    let spec = OrderSpec {
        request: ByteString(b"-----BEGIN CERTIFICATE REQUEST-----\n".to_vec()),
        dns_names: Some(vec![format!("{name}.example.test")]),
        issuer_ref: issuer_ref(),
        ..OrderSpec::default()
    };
    with_change(Order::new(name, spec), change)
}

/// Returns an HTTP-01 Challenge for `<name>.example.test` with an Ingress solver of the class "nginx".
pub fn challenge(name: &str, change: impl FnOnce(&mut Challenge)) -> Challenge {
    let spec = ChallengeSpec {
        url: format!("https://acme.example.test/challenge/{name}"),
        authorization_url: format!("https://acme.example.test/authorization/{name}"),
        dns_name: format!("{name}.example.test"),
        type_: ChallengeType::Http01,
        token: "a-token".to_owned(),
        key: "a-token.a-thumbprint".to_owned(),
        solver: ingress_solver("nginx").into(),
        issuer_ref: issuer_ref(),
        wildcard: None,
    };
    with_change(Challenge::new(name, spec), change)
}

/// Returns a solver with an Ingress of a class.
pub fn ingress_solver(class: &str) -> Solver {
    let ingress = IngressSolver { class: Some(class.to_owned()), ..IngressSolver::default() };
    let http01 = Http01Solver { ingress: Some(ingress), ..Http01Solver::default() };
    Solver { http01: Some(http01), ..Solver::default() }
}

/// Returns a reference to the Issuer "issuer".
pub fn issuer_ref() -> IssuerRef {
    IssuerRef { name: "issuer".to_owned(), ..IssuerRef::default() }
}

/// Returns a reference to a ClusterIssuer.
pub fn cluster_issuer_ref(name: &str) -> IssuerRef {
    IssuerRef { name: name.to_owned(), kind: Some(CLUSTER_ISSUER_KIND.to_owned()), group: None }
}

fn acme() -> AcmeIssuer {
    AcmeIssuer {
        server: "https://acme.example.test/directory".to_owned(),
        email: Some("admin@example.test".to_owned()),
        private_key_secret_ref: SecretKeySelector { name: "account-key".to_owned(), key: None },
        solvers: Some(vec![ingress_solver("nginx")]),
        ..AcmeIssuer::default()
    }
}

fn with_change<T>(mut object: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut object);
    object
}
