//! Ingresses: the oldest kind of source, and the one that most users annotate.

use k8s_openapi::api::networking::v1::Ingress;

use super::Shimmed;
use crate::decision::shim::CertificateSource;

impl Shimmed for Ingress {
    const NAME: &'static str = "ingress-shim";
    const MANAGER: &'static str = "cert-manager-ingress-shim";

    fn source(&self) -> CertificateSource<'_> {
        self.into()
    }
}
