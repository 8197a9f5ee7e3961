//! What the flags and the configuration file say.

use std::collections::BTreeSet;

use crate::{
    decision::{backoff::IssuanceBackoff, shim::ShimSettings},
    net::{NameServers, Proxy},
    objects::route::ExtraLabels,
};

/// The settings of all controllers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces that are served; all if empty. Without all, no ClusterIssuer is served.
    pub namespaces: BTreeSet<String>,
    /// The namespace of the Secrets that ClusterIssuers refer to.
    pub cluster_resource_namespace: String,
    /// The namespace that the solver runs in.
    pub solver_namespace: String,
    /// The name of the solver's own Service.
    pub solver_service: String,
    /// Labels of everything that routes challenges.
    pub solver_labels: ExtraLabels,
    /// The proxy for connections to ACME servers.
    pub proxy: Proxy,
    /// The name servers of self-checks.
    pub name_servers: NameServers,
    /// How long failed issuances wait.
    pub backoff: IssuanceBackoff,
    /// Defaults for annotated Ingresses.
    pub ingress: ShimSettings,
    /// The same for Gateways.
    pub gateway: ShimSettings,
    /// The same for ListenerSets.
    pub listener_set: ShimSettings,
    /// Whether the kinds of the Gateway API are watched while their CRDs are installed.
    pub gateway_api: bool,
    /// Whether CertificateRequests are approved automatically.
    pub auto_approve: bool,
    /// Whether a Secret gets an owner reference to its Certificate, so that both are deleted together.
    pub set_secret_owner_ref: bool,
    /// How events name this process, such as the Pod's name.
    pub instance: String,
}
