//! Issuers and ClusterIssuers as one type, and what a reference to one leads to.

use crds::{
    GROUP,
    acme::AcmeIssuer,
    annotations::issuer::NEW_ORDERS_PER_3_HOURS,
    certmanager::{ClusterIssuer, ClusterIssuerSpec, Issuer, IssuerSpec, IssuerStatus},
    condition,
    meta::{CLUSTER_ISSUER_KIND, DEFAULT_ISSUER_KIND, IssuerRef},
};
use kube::{Resource, ResourceExt};

use super::Cache;
use crate::{
    accounts::{IssuerKey, IssuerVersion},
    decision::{limits::new_orders_in_3_hours, request::Restrictions},
};

/// What an issuer signs with. A closed set: a new type of issuer is a new variant, and the compiler finds every place that has to
/// handle it.
#[derive(Clone, Debug, PartialEq)]
pub enum IssuerConfig {
    /// An account at an ACME server.
    Acme(Box<AcmeIssuer>),
    /// A key pair in a Secret. Not implemented yet: its objects are left alone.
    Ca,
    /// The key of each certificate itself. Not implemented yet: its objects are left alone.
    SelfSigned,
    /// A type that this operator does not implement, by the name of its field in `spec`: its objects are left alone.
    Unsupported(&'static str),
}

impl IssuerConfig {
    /// The name of the field in `spec` that says so.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Acme(_) => "acme",
            Self::Ca => "ca",
            Self::SelfSigned => "selfSigned",
            Self::Unsupported(name) => name,
        }
    }

    /// The ACME configuration, if this is an ACME issuer.
    pub fn acme(&self) -> Option<&AcmeIssuer> {
        match self {
            Self::Acme(acme) => Some(acme),
            Self::Ca | Self::SelfSigned | Self::Unsupported(_) => None,
        }
    }
}

// The CRD allows one field at most. Should there be several, ACME counts.
impl From<&IssuerSpec> for IssuerConfig {
    fn from(IssuerSpec { acme, ca, self_signed, vault, venafi }: &IssuerSpec) -> Self {
        match acme {
            Some(acme) => Self::Acme(Box::new(acme.clone())),
            None if ca.is_some() => Self::Ca,
            None if self_signed.is_some() => Self::SelfSigned,
            None if vault.is_some() => Self::Unsupported("vault"),
            None if venafi.is_some() => Self::Unsupported("venafi"),
            None => Self::Unsupported("none"),
        }
    }
}

impl From<&ClusterIssuerSpec> for IssuerConfig {
    fn from(spec: &ClusterIssuerSpec) -> Self {
        let ClusterIssuerSpec { acme, ca, self_signed, vault, venafi } = spec.clone();
        Self::from(&IssuerSpec { acme, ca, self_signed, vault, venafi })
    }
}

/// An Issuer or ClusterIssuer, with what matters for the certificates that it issues.
#[derive(Clone, Debug)]
pub struct AnyIssuer {
    /// Which issuer.
    pub key: IssuerKey,
    /// Its UID and generation: another pair may mean another account.
    pub version: IssuerVersion,
    /// What it signs with.
    pub config: IssuerConfig,
    /// Its status, empty if it has none.
    pub status: IssuerStatus,
    /// The namespace of the Secrets that it refers to.
    pub namespace: String,
    /// Who may use it, if its annotations restrict that: only a ClusterIssuer is shared.
    pub restrictions: Option<Restrictions>,
    /// How many new orders its account may place within three hours, if that is known.
    pub new_orders: Option<u32>,
}

impl AnyIssuer {
    /// Whether its account can be used.
    pub fn is_ready(&self) -> bool {
        condition::is_true(&self.status.conditions, condition::READY)
    }

    /// The URL of its account, if there is one.
    pub fn account(&self) -> Option<&str> {
        self.status.acme.as_ref()?.uri.as_deref().filter(|uri| !uri.is_empty())
    }

    /// What its Ready condition says.
    pub fn message(&self) -> Option<&str> {
        condition::find(&self.status.conditions, condition::READY)?.message.as_deref()
    }

    fn new(
        object: &impl Resource,
        config: IssuerConfig,
        status: Option<&IssuerStatus>,
        key: IssuerKey,
        namespace: &str,
    ) -> Self {
        let annotation = object.annotations().get(NEW_ORDERS_PER_3_HOURS).map(String::as_str);
        let is_shared = key.namespace.is_none();
        Self {
            restrictions: if is_shared { Restrictions::of(object.annotations()) } else { None },
            key,
            version: IssuerVersion::of(object),
            new_orders: config.acme().and_then(|acme| new_orders_in_3_hours(&acme.server, annotation)),
            config,
            status: status.cloned().unwrap_or_default(),
            namespace: namespace.to_owned(),
        }
    }
}

/// What a reference to an issuer leads to.
pub enum IssuerLookup {
    /// An issuer of another API group, which another controller serves.
    Foreign,
    /// The group is cert-manager's, which has no such kind.
    UnknownKind,
    /// Nothing: no issuer has this name.
    Missing,
    /// An Issuer or ClusterIssuer.
    Found(Box<AnyIssuer>),
}

impl Cache {
    /// The issuer that a reference in a namespace means.
    pub fn issuer(&self, reference: &IssuerRef, namespace: &str) -> IssuerLookup {
        let identity = reference.identity();
        if identity.group != GROUP {
            return IssuerLookup::Foreign;
        }
        if ![DEFAULT_ISSUER_KIND, CLUSTER_ISSUER_KIND].contains(&identity.kind) {
            return IssuerLookup::UnknownKind;
        }
        let key = IssuerKey::new(identity.kind, identity.name, namespace);
        self.issuer_by_key(key).map_or(IssuerLookup::Missing, |issuer| IssuerLookup::Found(Box::new(issuer)))
    }

    /// The URL of the ACME server of the issuer that a reference in a namespace means.
    pub fn server(&self, reference: &IssuerRef, namespace: &str) -> Option<String> {
        let identity = reference.identity();
        if identity.group != GROUP {
            return None;
        }
        if identity.kind == CLUSTER_ISSUER_KIND {
            let issuer = self.cluster_issuers.get_cluster_scoped(identity.name)?;
            return Some(issuer.spec.acme.as_ref()?.server.clone());
        }
        let issuer = self.issuers.get(namespace, identity.name)?;
        Some(issuer.spec.acme.as_ref()?.server.clone())
    }

    fn issuer_by_key(&self, key: IssuerKey) -> Option<AnyIssuer> {
        if let Some(namespace) = key.namespace.clone() {
            let issuer = self.issuers.get(&namespace, &key.name)?;
            let Issuer { spec, status, .. } = &*issuer;
            return Some(AnyIssuer::new(&*issuer, spec.into(), status.as_ref(), key, &namespace));
        }
        let issuer = self.cluster_issuers.get_cluster_scoped(&key.name)?;
        let ClusterIssuer { spec, status, .. } = &*issuer;
        Some(AnyIssuer::new(&*issuer, spec.into(), status.as_ref(), key, &self.cluster_resource_namespace))
    }

    /// Enqueues an issuer.
    pub fn enqueue_issuer(&self, key: &IssuerKey) {
        match &key.namespace {
            Some(namespace) => self.issuers.enqueuer().enqueue_named(&key.name, Some(namespace)),
            None => self.cluster_issuers.enqueuer().enqueue_named(&key.name, None),
        }
    }
}
