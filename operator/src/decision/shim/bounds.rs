//! How much a source may ask for. What it asks for is in each of its Certificates, so a little of it becomes a lot.

use crds::annotations::{ACME_PREFIX, PREFIX};

use super::{CertificateSource, ShimSettings, SourceKind, TlsBlock};

/// How many TLS blocks a source may have.
pub const MOST_BLOCKS: usize = 100;

/// How many names a Certificate of a source may have. Public CAs accept up to 100, and say so in the error of the order. Others accept
/// more, but a request for this many short names is as large as can be read.
pub const MOST_NAMES: usize = 1000;

/// The longest annotations and labels together that are read for the Certificates or copied to them, in bytes.
pub const LONGEST_METADATA: usize = 64 << 10;

/// Whether a source is small enough for its Certificates to be built.
pub(super) fn check(source: &CertificateSource<'_>, settings: &ShimSettings) -> Result<(), String> {
    let field = source.kind.tls_field();
    if source.blocks > MOST_BLOCKS {
        return Err(format!(
            "{field} {}, but at most {MOST_BLOCKS} are allowed, so none of its Certificates is created or changed. Split the {}",
            match source.kind {
                SourceKind::Ingress => format!("has {} blocks", source.blocks),
                SourceKind::Gateway | SourceKind::ListenerSet => format!("names {} Secrets", source.blocks),
            },
            source.kind.name()
        ));
    }
    let is_used = |name: &str| {
        [PREFIX, ACME_PREFIX].iter().any(|prefix| name.starts_with(prefix))
            || settings.extra_annotations.iter().any(|extra| extra == name)
    };
    let annotations = source.metadata.annotations.iter().flatten().filter(|(name, _)| is_used(name));
    let labels = source.metadata.labels.iter().flatten();
    let bytes: usize = annotations.chain(labels).map(|(name, value)| name.len() + value.len()).sum();
    if bytes > LONGEST_METADATA {
        return Err(format!(
            "the annotations of cert-manager.io and the labels have {bytes} bytes together, but at most {LONGEST_METADATA} are \
             allowed, so no Certificate is created or changed. Shorten the longest annotation"
        ));
    }
    Ok(())
}

/// Whether the Certificate of a block has few enough names. `more` is how many the annotations add.
pub(super) fn check_names(block: &TlsBlock<'_>, more: usize) -> Result<(), String> {
    let names = block.hosts.len() + more;
    if names <= MOST_NAMES {
        return Ok(());
    }
    Err(format!(
        "the Certificate {:?} would have {names} names ({} hosts, and {more} of annotations), but at most {MOST_NAMES} are allowed. \
         Distribute the hosts among several blocks",
        block.secret_name,
        block.hosts.len()
    ))
}
