//! What an Ingress asks for.

use std::{borrow::Cow, collections::BTreeSet};

use k8s_openapi::api::networking::v1::{Ingress, IngressTLS};

use super::{CertificateSource, MOST_BLOCKS, SourceKind, TlsBlock};
use crate::{decision::ingress_controllers::Edit, objects::metadata};

impl<'a> From<&'a Ingress> for CertificateSource<'a> {
    fn from(ingress: &'a Ingress) -> Self {
        let blocks = ingress.spec.as_ref().and_then(|spec| spec.tls.as_deref()).unwrap_or_default();
        let (mut tls, mut incomplete) = (Vec::new(), Vec::new());
        for (position, block) in blocks.iter().take(MOST_BLOCKS).enumerate() {
            match complete(block) {
                Ok(block) => tls.push(block),
                Err(lack) => incomplete.push(format!(
                    "spec.tls[{position}] has {lack}, so no certificate is issued for it. Add what is missing"
                )),
            }
        }
        if tls.is_empty() && incomplete.is_empty() {
            incomplete.push(
                "spec.tls is empty, so no certificate is issued. Add a block with hosts and a secretName"
                    .to_owned(),
            );
        }
        Self {
            kind: SourceKind::Ingress,
            metadata: Cow::Borrowed(&ingress.metadata),
            owner: metadata::controller(ingress),
            blocks: blocks.len(),
            tls,
            incomplete,
            kept: BTreeSet::new(),
            parent: None,
            refused: None,
            edit: Edit::Never,
        }
    }
}

/// A block of `spec.tls`, or what it lacks. Without a Secret, the ingress controller serves a certificate of its own.
fn complete(block: &IngressTLS) -> Result<TlsBlock<'_>, &'static str> {
    let secret_name = block.secret_name.as_deref().filter(|name| !name.is_empty()).ok_or("no secretName")?;
    let hosts: Vec<_> =
        block.hosts.iter().flatten().map(String::as_str).filter(|host| !host.is_empty()).collect();
    if hosts.is_empty() { Err("no hosts") } else { Ok(TlsBlock { secret_name, hosts }) }
}
