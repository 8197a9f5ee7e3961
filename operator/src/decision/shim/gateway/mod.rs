//! What a Gateway or a ListenerSet asks for: certificates for those of its listeners that serve TLS.
//!
//! Knows which listeners count, as cert-manager does; must not know what becomes of them. Next: `mod.rs`.

use std::{borrow::Cow, collections::HashMap};

use crds::{
    annotations::source,
    gateway::{Gateway, GatewaySpec, Listener, ListenerSet, ListenerSetParent, ListenerTls},
};
use kube::{ResourceExt, api::ObjectMeta};

use super::{CertificateSource, MOST_BLOCKS, RouteParent, ShimSettings, SourceKind, TlsBlock};
use crate::{
    decision::ingress_controllers::Edit,
    objects::metadata::{self, Identity},
};

/// How many listeners that lack something are reported, each by an event.
pub const MOST_NOTES: usize = 10;

/// The annotations that say which issuer an annotation names.
const ISSUER_TYPE: [&str; 2] = [source::ISSUER_KIND, source::ISSUER_GROUP];

impl<'a> CertificateSource<'a> {
    /// What a Gateway asks for.
    pub fn of_gateway(gateway: &'a Gateway, settings: &ShimSettings) -> Self {
        let parent =
            RouteParent { kind: SourceKind::Gateway.name(), name: gateway.name_any(), namespace: None };
        Self {
            owner: metadata::controller(gateway),
            parent: Some(parent),
            ..of_listeners(
                SourceKind::Gateway,
                Cow::Borrowed(&gateway.metadata),
                &gateway.spec.listeners,
                settings,
            )
        }
    }

    /// What a ListenerSet asks for. `gateway` is its Gateway, if that exists.
    pub fn of_listener_set(set: &'a ListenerSet, gateway: Option<&Gateway>, settings: &ShimSettings) -> Self {
        let gateway = gateway.filter(|gateway| gateway.metadata.deletion_timestamp.is_none());
        let (refused, parent) = match parent(set) {
            Ok(parent) => (is_refused(set, gateway), Some(parent)),
            Err(why) => (Some(why), None),
        };
        let metadata = gateway.map_or(Cow::Borrowed(&set.metadata), |gateway| {
            Cow::Owned(inherited(&set.metadata, &gateway.metadata))
        });
        Self {
            owner: metadata::controller(set),
            parent,
            refused,
            ..of_listeners(SourceKind::ListenerSet, metadata, &set.spec.listeners, settings)
        }
    }
}

/// The namespace of the Gateway of a ListenerSet.
pub fn parent_namespace(set: &ListenerSet) -> &str {
    let ListenerSetParent { namespace, .. } = &set.spec.parent_ref;
    namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| set.namespace_or_empty())
}

fn of_listeners<'a>(
    kind: SourceKind,
    metadata: Cow<'a, ObjectMeta>,
    listeners: &'a [Listener],
    settings: &ShimSettings,
) -> CertificateSource<'a> {
    let ignored = metadata.annotations.as_ref().and_then(|all| all.get(source::IGNORE_TLS_LISTENERS));
    let ignored: Vec<_> =
        ignored.iter().flat_map(|names| names.split(',')).map(|name| name.trim().to_owned()).collect();
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let (mut tls, mut positions, mut incomplete) =
        (Vec::<TlsBlock<'_>>::new(), HashMap::<&str, usize>::new(), Vec::new());
    for (index, listener) in listeners.iter().enumerate() {
        if !serves_tls(listener, settings) || ignored.contains(&listener.name) {
            continue;
        }
        let (host, settings) = match complete(listener, &format!("spec.listeners[{index}]"), &namespace) {
            Ok(complete) => complete,
            Err(lack) => {
                incomplete.push(format!("Skipped a listener block: {lack}"));
                continue;
            }
        };
        for reference in &settings.certificate_refs {
            let position = *positions.entry(&reference.name).or_insert_with(|| {
                tls.push(TlsBlock { secret_name: &reference.name, hosts: Vec::new() });
                tls.len() - 1
            });
            if !tls[position].hosts.contains(&host) {
                tls[position].hosts.push(host);
            }
        }
    }
    if incomplete.len() > MOST_NOTES {
        let more = incomplete.split_off(MOST_NOTES).len();
        incomplete.push(format!("Skipped {more} further listener blocks"));
    }
    let blocks = tls.len();
    tls.truncate(MOST_BLOCKS);
    // A listener with a slip must not take away the certificate that it serves.
    let references = listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let kept = references.flat_map(|tls| &tls.certificate_refs).map(|reference| &*reference.name).collect();
    CertificateSource {
        kind,
        metadata,
        owner: None,
        blocks,
        tls,
        incomplete,
        kept,
        parent: None,
        refused: None,
        edit: Edit::Never,
    }
}

/// Whether a listener is one for TLS that is terminated.
fn serves_tls(listener: &Listener, settings: &ShimSettings) -> bool {
    let protocol = listener.protocol.as_str();
    let is_passed_through =
        listener.tls.as_ref().is_some_and(|tls| tls.mode.as_deref() == Some("Passthrough"));
    (["HTTPS", "TLS"].contains(&protocol) || settings.extra_protocols.iter().any(|extra| extra == protocol))
        && !is_passed_through
}

/// The name and the TLS settings of a listener, or all that it lacks, in cert-manager's words. `at` is where the listener is.
fn complete<'a>(
    listener: &'a Listener,
    at: &str,
    namespace: &str,
) -> Result<(&'a str, &'a ListenerTls), String> {
    let mut lacks = Vec::new();
    let host = listener.hostname.as_deref().unwrap_or_default();
    if host.is_empty() {
        lacks.push(format!("{at}.hostname: Required value: the hostname cannot be empty"));
    }
    let Some(tls) = &listener.tls else {
        lacks.push(format!("{at}.tls: Required value: the TLS block cannot be empty"));
        return Err(joined(&lacks));
    };
    if tls.certificate_refs.is_empty() {
        lacks.push(format!("{at}.tls.certificateRef: Required value: listener has no certificateRefs"));
    }
    for (index, reference) in tls.certificate_refs.iter().enumerate() {
        let at = format!("{at}.tls.certificateRef[{index}]");
        if let Some(group) = reference.group.as_deref().filter(|group| !["core", ""].contains(group)) {
            lacks.push(format!("{at}.group: Unsupported value: {group:?}: supported values: \"core\", \"\""));
        }
        if let Some(kind) = reference.kind.as_deref().filter(|kind| !["Secret", ""].contains(kind)) {
            lacks.push(format!("{at}.kind: Unsupported value: {kind:?}: supported values: \"Secret\", \"\""));
        }
        let other = |other: &&str| !other.is_empty() && *other != namespace;
        if let Some(other) = reference.namespace.as_deref().filter(other) {
            lacks.push(format!(
                "{at}.namespace: Invalid value: {other:?}: cross-namespace secret references are not allowed in listeners"
            ));
        }
    }
    if let Some(mode) = tls.mode.as_deref().filter(|mode| *mode != "Terminate") {
        lacks.push(format!("{at}.tls.mode: Unsupported value: {mode:?}: supported values: \"Terminate\""));
    }
    if lacks.is_empty() { Ok((host, tls)) } else { Err(joined(&lacks)) }
}

/// Several errors as one text, as Kubernetes writes them.
fn joined(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

/// The metadata of a ListenerSet with the issuer of its Gateway, if it names none. What kind of issuer a Gateway names counts in any
/// case, as in cert-manager.
fn inherited(set: &ObjectMeta, gateway: &ObjectMeta) -> ObjectMeta {
    let mut metadata = set.clone();
    let of_gateway = |name: &str| gateway.annotations.as_ref().and_then(|all| all.get(name)).cloned();
    let annotations = metadata.annotations.get_or_insert_default();
    let names = [source::ISSUER, source::CLUSTER_ISSUER];
    if names.iter().all(|name| !annotations.contains_key(*name)) {
        for name in names {
            annotations.extend(of_gateway(name).map(|value| (name.to_owned(), value)));
        }
    }
    if !annotations.contains_key(source::CLUSTER_ISSUER) {
        for name in ISSUER_TYPE {
            annotations.extend(of_gateway(name).map(|value| (name.to_owned(), value)));
        }
    }
    metadata
}

/// What the HTTPRoutes for a ListenerSet's names attach to.
fn parent(set: &ListenerSet) -> Result<RouteParent, String> {
    let name = source::HTTP01_PARENT_REF_FALLBACK;
    let text = set.annotations().get(name).map(|value| value.trim()).unwrap_or_default();
    Ok(match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => RouteParent {
            kind: SourceKind::Gateway.name(),
            name: set.spec.parent_ref.name.clone(),
            namespace: Some(parent_namespace(set).to_owned()),
        },
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => {
            RouteParent { kind: SourceKind::ListenerSet.name(), name: set.name_any(), namespace: None }
        }
        other => {
            return Err(format!(
                "the annotation {name} is {other:?}, which is neither \"true\" nor \"false\""
            ));
        }
    })
}

/// Why a ListenerSet has no Gateway that takes its listeners, as far as the Gateway's spec says. Each certificate would cost an order,
/// and nothing would serve it.
fn is_refused(set: &ListenerSet, gateway: Option<&Gateway>) -> Option<String> {
    let name = format!("\"{}/{}\"", parent_namespace(set), set.spec.parent_ref.name);
    let Some(gateway) = gateway else {
        return Some(format!(
            "the Gateway {name} does not exist, so no certificate is issued, and existing ones are kept. Create it, or correct \
             spec.parentRef"
        ));
    };
    let GatewaySpec { allowed_listeners, .. } = &gateway.spec;
    let namespaces = allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    let from = namespaces.and_then(|namespaces| namespaces.from.as_deref()).unwrap_or("None");
    let is_refused = match from {
        "None" => true,
        "Same" => gateway.namespace_or_empty() != set.namespace_or_empty(),
        _ => false,
    };
    is_refused.then(|| {
        format!(
            "the Gateway {name} accepts no ListenerSets of this namespace, so no certificate is issued, and existing ones are kept. \
             Allow them in the Gateway's spec.allowedListeners.namespaces"
        )
    })
}

#[cfg(test)]
mod tests;
