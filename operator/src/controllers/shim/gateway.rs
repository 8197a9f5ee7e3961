//! Gateways and ListenerSets, the kinds of source in the Gateway API. Their CRDs may be missing.

use crds::gateway::{Gateway, ListenerSet};
use jiff::Timestamp;
use kube::Api;

use super::{
    super::report::{Report, Reports},
    Shimmed,
};
use crate::{
    context::Context,
    decision::shim::{CertificateSource, ShimSettings, parent_namespace},
    objects::metadata::Identity,
};

impl Shimmed for Gateway {
    const NAME: &'static str = "gateway-shim";
    const MANAGER: &'static str = "cert-manager-gateway-shim";

    fn settings(context: &Context) -> &ShimSettings {
        &context.settings.gateway
    }

    fn source(&self, context: &Context) -> CertificateSource<'_> {
        CertificateSource::of_gateway(self, Self::settings(context))
    }
}

impl Shimmed for ListenerSet {
    const NAME: &'static str = "listenerset";
    const MANAGER: &'static str = "cert-manager-listenerset";

    fn settings(context: &Context) -> &ShimSettings {
        &context.settings.listener_set
    }

    fn source(&self, context: &Context) -> CertificateSource<'_> {
        let gateway = context.cache.gateways.get(parent_namespace(self), &self.spec.parent_ref.name);
        CertificateSource::of_listener_set(self, gateway.as_deref(), Self::settings(context))
    }
}

/// Its status belongs to the controller of its GatewayClass, so there are only events.
impl Reports for Gateway {
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

impl Reports for ListenerSet {
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
