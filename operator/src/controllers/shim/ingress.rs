//! Ingresses: the oldest kind of source, and the one that most users annotate.

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;

use super::{
    super::report::{Report, Reports},
    Shimmed,
};
use crate::{
    context::Context,
    decision::shim::{CertificateSource, ShimSettings},
    objects::metadata::Identity,
};

impl Shimmed for Ingress {
    const NAME: &'static str = "ingress-shim";
    const MANAGER: &'static str = "cert-manager-ingress-shim";

    fn settings(context: &Context) -> &ShimSettings {
        &context.settings.ingress
    }

    fn source(&self, _: &Context) -> CertificateSource<'_> {
        self.into()
    }
}

/// Its status belongs to the ingress controller, so there are only events.
impl Reports for Ingress {
    const MANAGER: &'static str = <Self as Shimmed>::MANAGER;

    type Status = ();

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        None
    }

    fn reported(&self, _: Report<'_>, _: Timestamp) -> Option<Self::Status> {
        None
    }
}
