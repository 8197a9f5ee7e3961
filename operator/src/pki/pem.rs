//! PEM encoding and decoding. The only user of rustls-pemfile, which is unmaintained (RUSTSEC-2025-0134) and can be
//! replaced by `rustls_pki_types::pem::PemObject`.

use ::pem::{EncodeConfig, LineEnding, Pem};
use rustls_pemfile::Item;
use zeroize::Zeroizing;

/// The label of a PKCS#8 key, RFC 7468 section 10.
pub(super) const PKCS8: &str = "PRIVATE KEY";
/// The label of a PKCS#1 key.
pub(super) const PKCS1: &str = "RSA PRIVATE KEY";
/// The label of a SEC 1 key.
pub(super) const SEC1: &str = "EC PRIVATE KEY";
/// The label of a certificate, RFC 7468 section 5.
pub(super) const CERTIFICATE: &str = "CERTIFICATE";
/// The label of a CSR, RFC 7468 section 7.
pub(super) const CERTIFICATE_REQUEST: &str = "CERTIFICATE REQUEST";

/// Why a text is not the expected PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No block has the expected label.
    #[error("it contains no PEM block of the expected type")]
    Missing,
    /// The text holds more than one block where one is expected.
    #[error("it contains more than one PEM block")]
    Several,
    /// The base64 or the end of a block is broken.
    #[error("it is not well-formed PEM")]
    Syntax,
    /// The text is longer than this many bytes, so it is not parsed.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// Something follows the block.
    #[error("it contains text after the PEM block")]
    Trailing,
    /// The text holds more than this many certificates.
    #[error("it contains more than {0} certificates")]
    TooMany(usize),
}

/// Encodes one block like Go does: 64 characters per line, LF.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    Zeroizing::new(::pem::encode_config(&Pem::new(label, der), config))
}

/// Returns the first private key of a text: its DER, and its label ([`PKCS1`], [`SEC1`], or [`PKCS8`]).
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

/// Returns all certificates of a text as DER, in the same order: at least one, at most `max_count`. Text between blocks
/// is ignored.
pub(super) fn certificates(
    text: &[u8],
    max_bytes: usize,
    max_count: usize,
) -> Result<Vec<Vec<u8>>, PemError> {
    let mut certificates = Vec::new();
    for item in items(text, max_bytes)? {
        if let Item::X509Certificate(certificate) = item? {
            if certificates.len() == max_count {
                return Err(PemError::TooMany(max_count));
            }
            certificates.push(certificate.to_vec());
        }
    }
    if certificates.is_empty() { Err(PemError::Missing) } else { Ok(certificates) }
}

/// Returns the CSR of a text, DER. It must be the only block and the end of the text: approvers and the CA must find the same CSR, also
/// those that take the first block whatever its label.
pub(super) fn certificate_request(text: &[u8], max_bytes: usize) -> Result<Vec<u8>, PemError> {
    let mut items = items(text, max_bytes)?;
    let text = std::str::from_utf8(text).map_err(|_| PemError::Syntax)?;
    if text.matches("-----BEGIN").count() > 1 {
        return Err(PemError::Several);
    }
    let Some(Item::Csr(request)) = items.next().transpose()? else { return Err(PemError::Missing) };
    let end = text.rsplit_once("-----END CERTIFICATE REQUEST-----");
    if end.is_some_and(|(_, rest)| rest.trim().is_empty()) {
        Ok(request.to_vec())
    } else {
        Err(PemError::Trailing)
    }
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
