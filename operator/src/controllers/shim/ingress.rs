//! Ingresses: the oldest kind of source, and the one that most users annotate.

use k8s_openapi::api::networking::v1::Ingress;

use super::{
    super::report::{Report, Reports},
    Shimmed,
};
use crate::{context::Context, decision::shim::CertificateSource, error::ReconcileError};

impl Shimmed for Ingress {
    const NAME: &'static str = "ingress-shim";
    const MANAGER: &'static str = "cert-manager-ingress-shim";

    fn source(&self) -> CertificateSource<'_> {
        self.into()
    }
}

/// Its status belongs to the ingress controller, so there are only events.
impl Reports for Ingress {
    const MANAGER: &'static str = <Self as Shimmed>::MANAGER;

    async fn write(&self, _: Report<'_>, _: &Context) -> Result<(), ReconcileError> {
        Ok(())
    }
}
