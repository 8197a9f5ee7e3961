//! Ingresses: the oldest kind of source, and the one that most users annotate.

use crds::acme::{AcmeIssuer, IngressSolver};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt;

use super::{super::report::EventsOnly, Shimmed};
use crate::{
    cache::IssuerLookup,
    context::Context,
    decision::{
        ingress_controllers::{self, ClassLookup, Edit},
        shim::{self, CertificateSource, ShimSettings},
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
        CertificateSource { edit: edit(self, context), ..self.into() }
    }
}

/// Whether challenges are solved in an Ingress if no annotation says so.
fn edit(ingress: &Ingress, context: &Context) -> Edit {
    let Some(class) = context.cache.class_of(ingress) else { return Edit::Never };
    // A master Ingress has no paths, and its minions have no certificates.
    if class == ClassLookup::Known(None) || ingress.annotations().contains_key(MERGEABLE) {
        return Edit::Never;
    }
    let solvers = shim::issuer_of(&ingress.metadata, Ingress::settings(context)).and_then(|issuer| {
        let namespace = ingress.namespace().unwrap_or_default();
        match context.cache.issuer(&issuer, &namespace) {
            IssuerLookup::Found(issuer) => Some(classes(issuer.config.acme(), context)),
            IssuerLookup::Foreign | IssuerLookup::UnknownKind => Some(Vec::new()),
            IssuerLookup::Missing => None,
        }
    });
    ingress_controllers::edit(class, solvers.as_deref())
}

/// The classes of an issuer's solvers that create an Ingress. One that edits a certain Ingress has none of ours.
fn classes(issuer: Option<&AcmeIssuer>, context: &Context) -> Vec<Option<ClassLookup>> {
    let solvers = issuer.into_iter().flat_map(|acme| acme.solvers.iter().flatten());
    let ingresses = solvers.filter_map(|solver| solver.http01.as_ref()?.ingress.as_ref());
    let class = |solver: &IngressSolver| match (&solver.name, &solver.ingress_class_name, &solver.class) {
        (Some(name), _, _) if !name.is_empty() => Some(ClassLookup::Known(None)),
        (_, Some(class), _) | (_, None, Some(class)) => Some(context.cache.class(class)),
        (_, None, None) => None,
    };
    ingresses.map(class).collect()
}

/// The annotation of Ingresses that F5's controller merges.
const MERGEABLE: &str = "nginx.org/mergeable-ingress-type";
