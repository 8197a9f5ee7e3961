//! Ingresses: the oldest kind of source, and the one that most users annotate.

use k8s_openapi::api::networking::v1::Ingress;

use super::{super::report::EventsOnly, Shimmed};
use crate::{
    context::Context,
    decision::{
        ingress_controllers::Peculiarity,
        shim::{CertificateSource, ShimSettings},
    },
};

impl EventsOnly for Ingress {
    const MANAGER: &'static str = "cert-manager-ingress-shim";
}

impl Shimmed for Ingress {
    const NAME: &'static str = "ingress-shim";

    fn settings(context: &Context) -> &ShimSettings {
        &context.settings.ingress
    }

    fn source(&self, context: &Context) -> CertificateSource<'_> {
        let peculiarity = context.cache.peculiarity_of_ingress(self);
        CertificateSource { is_edited: peculiarity == Some(Peculiarity::OneIngressPerHost), ..self.into() }
    }
}
