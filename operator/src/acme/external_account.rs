//! External account binding, RFC 8555 section 7.3.4.

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};

/// An account that one has with the CA already.
#[derive(Clone, Debug)]
pub struct ExternalAccountKey {
    pub(super) key_id: String,
    pub(super) mac: hmac::Key,
}

/// Why a MAC key is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacKeyError {
    /// It was encoded once more.
    #[error(
        "failed to read the MAC key: it seems to be base64 of the base64url text that the CA gave; put that text itself into the Secret (in stringData, or once encoded in data)"
    )]
    Doubled,
    /// There is none.
    #[error("failed to read the MAC key: it is empty")]
    Empty,
    /// It is no base64.
    #[error(
        "failed to read the MAC key: it is not the base64url text that the CA gave; copy it as it is, without quotes, blanks or a line's end in it"
    )]
    NotBase64,
}

impl ExternalAccountKey {
    /// Takes what the CA gave: a key id, and a MAC key as base64url without padding. Padding, the other alphabet and blanks
    /// at the ends are forgiven, as they change nothing.
    ///
    /// # Errors
    /// What is wrong with the MAC key, and never the key.
    pub fn new(key_id: impl Into<String>, mac_key: &[u8]) -> Result<Self, MacKeyError> {
        let text = std::str::from_utf8(mac_key).map_err(|_| MacKeyError::NotBase64)?.trim();
        let key = from_base64(text).ok_or(MacKeyError::NotBase64)?;
        if key.is_empty() {
            return Err(MacKeyError::Empty);
        }
        // Keys are random: one that reads as a long base64 text was encoded twice.
        let inner = std::str::from_utf8(&key).ok().map(str::trim).filter(|inner| inner.len() >= 32);
        if inner.and_then(from_base64).is_some() {
            return Err(MacKeyError::Doubled);
        }
        Ok(Self { key_id: key_id.into(), mac: hmac::Key::new(hmac::HMAC_SHA256, &key) })
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text
        .trim_end_matches('=')
        .chars()
        .map(|character| match character {
            '+' => '-',
            '/' => '_',
            other => other,
        })
        .collect();
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    const KEY: [u8; 32] = *b"\xfb\xff\x00\x01abcdefghijklmnopqrstuvwxyz\xfe\xfd";

    #[test]
    fn a_mac_key_is_taken_as_the_ca_gave_it_and_with_harmless_changes() {
        let plain = BASE64_URL_SAFE_NO_PAD.encode(KEY);
        for text in [plain.clone(), format!("{plain}\n"), format!("  {plain}"), BASE64_STANDARD.encode(KEY)] {
            ExternalAccountKey::new("kid", text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn the_classic_mistakes_are_told_apart() {
        let plain = BASE64_URL_SAFE_NO_PAD.encode(KEY);
        for (text, error) in [
            (BASE64_STANDARD.encode(&plain), MacKeyError::Doubled),
            (BASE64_URL_SAFE_NO_PAD.encode(format!("{plain}\n")), MacKeyError::Doubled),
            (String::new(), MacKeyError::Empty),
            ("\n".to_owned(), MacKeyError::Empty),
            (format!("\"{plain}\""), MacKeyError::NotBase64),
            (format!("{} {}", &plain[..8], &plain[8..]), MacKeyError::NotBase64),
            ("kid:secret".to_owned(), MacKeyError::NotBase64),
        ] {
            assert_eq!(ExternalAccountKey::new("kid", text.as_bytes()).err(), Some(error), "{text:?}");
        }
        assert_eq!(ExternalAccountKey::new("kid", &KEY).err(), Some(MacKeyError::NotBase64));
    }

    #[test]
    fn the_mac_key_is_never_printed() {
        let key =
            ExternalAccountKey::new("kid", BASE64_URL_SAFE_NO_PAD.encode(KEY).as_bytes()).expect("a key");
        let printed = format!("{key:?}");
        assert!(printed.contains("kid") && !printed.contains("abcdef"), "{printed}");
    }
}
