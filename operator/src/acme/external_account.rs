//! Keys for external account binding (RFC 8555 section 7.3.4), in every form in which users paste them. Must not send
//! requests. Next: `account.rs`.

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};

/// The key of an account that the user already has with the CA.
#[derive(Clone, Debug)]
pub struct ExternalAccountKey {
    pub(super) key_id: String,
    pub(super) mac: hmac::Key,
}

/// Why a MAC key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MacKeyError {
    /// The text decodes to base64 text.
    #[error(
        "failed to read the MAC key: it is base64-encoded twice. Store the base64url text from the CA unchanged, either in stringData or encoded once in data"
    )]
    Doubled,
    /// The value is empty or blank.
    #[error("failed to read the MAC key: it is empty")]
    Empty,
    /// The value is not base64url text.
    #[error(
        "failed to read the MAC key: it is not base64url text. Copy the text from the CA unchanged, without quotes, spaces, or line breaks"
    )]
    NotBase64,
}

impl ExternalAccountKey {
    /// Takes the key ID and the MAC key from the CA. The MAC key is base64url text without padding; padding, the
    /// standard base64 alphabet, and surrounding whitespace are accepted too, because they are unambiguous.
    ///
    /// # Errors
    /// What is wrong with the MAC key. The message never contains the key.
    pub fn new(key_id: impl Into<String>, mac_key: &[u8]) -> Result<Self, MacKeyError> {
        let text = std::str::from_utf8(mac_key).map_err(|_| MacKeyError::NotBase64)?.trim();
        let key = from_base64(text).ok_or(MacKeyError::NotBase64)?;
        if key.is_empty() {
            return Err(MacKeyError::Empty);
        }
        // MAC keys are random bytes: one that is itself a long base64 text was encoded twice.
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
    fn mac_key_accepts_harmless_variations() {
        let plain = BASE64_URL_SAFE_NO_PAD.encode(KEY);
        for text in [plain.clone(), format!("{plain}\n"), format!("  {plain}"), BASE64_STANDARD.encode(KEY)] {
            ExternalAccountKey::new("kid", text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }

    #[test]
    fn mac_key_names_common_mistakes() {
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
    fn mac_key_is_never_printed() {
        let key =
            ExternalAccountKey::new("kid", BASE64_URL_SAFE_NO_PAD.encode(KEY).as_bytes()).expect("a key");
        let printed = format!("{key:?}");
        assert!(printed.contains("kid") && !printed.contains("abcdef"), "{printed}");
    }
}
