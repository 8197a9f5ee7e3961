//! Gateways and ListenerSets, the kinds of source in the Gateway API. Their CRDs may be missing.

use crds::gateway::{Gateway, ListenerSet};

use super::{super::report::EventsOnly, Shimmed};
use crate::{
    context::Context,
    decision::shim::{CertificateSource, ShimSettings, parent_namespace},
};

impl EventsOnly for Gateway {
    const MANAGER: &'static str = "cert-manager-gateway-shim";
}

impl Shimmed for Gateway {
    const NAME: &'static str = "gateway-shim";

    fn settings(context: &Context) -> &ShimSettings {
        &context.settings.gateway
    }

    fn source(&self, context: &Context) -> CertificateSource<'_> {
        CertificateSource::of_gateway(self, Self::settings(context))
    }
}

impl EventsOnly for ListenerSet {
    const MANAGER: &'static str = "cert-manager-listenerset";
}

impl Shimmed for ListenerSet {
    const NAME: &'static str = "listenerset";

    fn settings(context: &Context) -> &ShimSettings {
        &context.settings.listener_set
    }

    fn source(&self, context: &Context) -> CertificateSource<'_> {
        let gateway = context.cache.gateways.get(parent_namespace(self), &self.spec.parent_ref.name);
        CertificateSource::of_listener_set(self, gateway.as_deref(), Self::settings(context))
    }
}
