//! PEM in and out: the only place that uses rustls-pemfile, which is unmaintained (RUSTSEC-2025-0134). Its way out is
//! `rustls_pki_types::pem::PemObject`.

use ::pem::{EncodeConfig, LineEnding, Pem};
use rustls_pemfile::Item;
use zeroize::Zeroizing;

/// Label of a PKCS#8 key, RFC 7468 section 10.
pub(super) const PKCS8: &str = "PRIVATE KEY";
/// Label of a PKCS#1 key.
pub(super) const PKCS1: &str = "RSA PRIVATE KEY";
/// Label of a SEC 1 key.
pub(super) const SEC1: &str = "EC PRIVATE KEY";
/// Label of a certificate, RFC 7468 section 5.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";
/// Label of a CSR, RFC 7468 section 7.
pub(super) const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";

/// Why a text is not the PEM that was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// There is no block of the kind.
    #[error("it holds no PEM block of this kind")]
    Missing,
    /// A block is broken: its base64, or its end.
    #[error("it is no well-formed PEM")]
    Syntax,
    /// It is too large to be looked at.
    #[error("it is larger than the {0} bytes that are looked at")]
    TooLarge(usize),
}

/// Writes one block, as Go does: 64 characters a line, LF.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    Zeroizing::new(::pem::encode_config(&Pem::new(label, der), config))
}

/// The first private key of a text: its DER, and which of the three forms it has.
pub(super) fn private_key(
    text: &[u8],
    max_bytes: usize,
) -> Result<(Zeroizing<Vec<u8>>, &'static str), PemError> {
    for item in items(text, max_bytes)? {
        match item? {
            Item::Pkcs1Key(key) => return Ok((Zeroizing::new(key.secret_pkcs1_der().to_vec()), PKCS1)),
            Item::Sec1Key(key) => return Ok((Zeroizing::new(key.secret_sec1_der().to_vec()), SEC1)),
            Item::Pkcs8Key(key) => return Ok((Zeroizing::new(key.secret_pkcs8_der().to_vec()), PKCS8)),
            _ => {}
        }
    }
    Err(PemError::Missing)
}

/// All certificates of a text, DER, in its order: one at least, at most `most`. Text between blocks is passed over.
pub(super) fn certificates(
    text: &[u8],
    max_bytes: usize,
    max_count: usize,
) -> Result<Vec<Vec<u8>>, PemError> {
    let mut certificates = Vec::new();
    for item in items(text, max_bytes)? {
        if let Item::X509Certificate(certificate) = item? {
            if certificates.len() == max_count {
                return Err(PemError::TooLarge(max_bytes));
            }
            certificates.push(certificate.to_vec());
        }
    }
    if certificates.is_empty() { Err(PemError::Missing) } else { Ok(certificates) }
}

/// The first CSR of a text, DER.
pub(super) fn certificate_request(text: &[u8], max_bytes: usize) -> Result<Vec<u8>, PemError> {
    for item in items(text, max_bytes)? {
        if let Item::Csr(request) = item? {
            return Ok(request.to_vec());
        }
    }
    Err(PemError::Missing)
}

fn items(
    text: &[u8],
    max_bytes: usize,
) -> Result<impl Iterator<Item = Result<Item, PemError>> + '_, PemError> {
    if text.len() > max_bytes {
        return Err(PemError::TooLarge(max_bytes));
    }
    let mut rest = text;
    Ok(std::iter::from_fn(move || rustls_pemfile::read_one(&mut rest).transpose())
        .map(|item| item.map_err(|_| PemError::Syntax)))
}
