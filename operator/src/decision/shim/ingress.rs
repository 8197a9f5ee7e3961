//! What an Ingress asks for.

use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};

use super::{CertificateSource, SourceKind, TlsBlock};
use crate::objects::metadata;

impl<'a> From<&'a Ingress> for CertificateSource<'a> {
    fn from(ingress: &'a Ingress) -> Self {
        let blocks = ingress.spec.iter().flat_map(|spec| spec.tls.iter().flatten());
        Self {
            kind: SourceKind::Ingress,
            metadata: &ingress.metadata,
            owner: metadata::controller(ingress),
            tls: blocks.filter_map(complete).collect(),
        }
    }
}

/// A block of `spec.tls`, if it names a Secret and hosts. Without a Secret, the ingress controller serves a certificate of its own.
fn complete(block: &IngressTLS) -> Option<TlsBlock<'_>> {
    let secret_name = block.secret_name.as_deref().filter(|name| !name.is_empty())?;
    let hosts: Vec<_> =
        block.hosts.iter().flatten().map(String::as_str).filter(|host| !host.is_empty()).collect();
    (!hosts.is_empty()).then_some(TlsBlock { secret_name, hosts })
}
