//! Key usages of CSRs, RFC 5280 sections 4.2.1.3 and 4.2.1.12.

use crds::certmanager::KeyUsage;
use der::flagset::FlagSet;
use pkcs8::ObjectIdentifier;
use x509_cert::ext::pkix::KeyUsages;

/// Returns the key usages of RFC 5280 section 4.2.1.3, ignoring all other usages.
pub(super) fn key_usages(usages: &[KeyUsage]) -> FlagSet<KeyUsages> {
    let mut flags = FlagSet::default();
    for usage in usages {
        flags |= match usage {
            KeyUsage::Signing | KeyUsage::DigitalSignature => KeyUsages::DigitalSignature,
            KeyUsage::ContentCommitment => KeyUsages::NonRepudiation,
            KeyUsage::KeyEncipherment => KeyUsages::KeyEncipherment,
            KeyUsage::KeyAgreement => KeyUsages::KeyAgreement,
            KeyUsage::DataEncipherment => KeyUsages::DataEncipherment,
            KeyUsage::CertSign => KeyUsages::KeyCertSign,
            KeyUsage::CrlSign => KeyUsages::CRLSign,
            KeyUsage::EncipherOnly => KeyUsages::EncipherOnly,
            KeyUsage::DecipherOnly => KeyUsages::DecipherOnly,
            _ => continue,
        };
    }
    flags
}

/// Returns the extended key usage of RFC 5280 section 4.2.1.12, or `None` for a plain key usage.
pub(super) fn extended_key_usage(usage: KeyUsage) -> Option<ObjectIdentifier> {
    let oid = match usage {
        KeyUsage::Any => "2.5.29.37.0",
        KeyUsage::ServerAuth => "1.3.6.1.5.5.7.3.1",
        KeyUsage::ClientAuth => "1.3.6.1.5.5.7.3.2",
        KeyUsage::CodeSigning => "1.3.6.1.5.5.7.3.3",
        KeyUsage::EmailProtection | KeyUsage::SMime => "1.3.6.1.5.5.7.3.4",
        KeyUsage::IpsecEndSystem => "1.3.6.1.5.5.7.3.5",
        KeyUsage::IpsecTunnel => "1.3.6.1.5.5.7.3.6",
        KeyUsage::IpsecUser => "1.3.6.1.5.5.7.3.7",
        KeyUsage::Timestamping => "1.3.6.1.5.5.7.3.8",
        KeyUsage::OcspSigning => "1.3.6.1.5.5.7.3.9",
        KeyUsage::MicrosoftSgc => "1.3.6.1.4.1.311.10.3.3",
        KeyUsage::NetscapeSgc => "2.16.840.1.113730.4.1",
        _ => return None,
    };
    Some(ObjectIdentifier::new_unwrap(oid))
}
