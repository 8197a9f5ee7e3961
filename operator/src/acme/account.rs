//! Accounts, RFC 8555 section 7.3.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AccountKey, AcmeError, Server, Session, jws};

/// An account at a server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account {
    session: Session,
    status: AccountStatus,
    contact: Vec<String>,
}

/// State of an account, RFC 8555 section 7.1.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    /// It can be used.
    Valid,
    /// Its owner gave it up.
    Deactivated,
    /// The server took it away.
    Revoked,
}

/// An account that one has with the CA already.
#[derive(Clone, Debug)]
pub struct ExternalAccountKey {
    key_id: String,
    mac: hmac::Key,
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

/// What a server says of an account.
#[derive(Deserialize)]
struct Wire {
    status: AccountStatus,
    #[serde(default)]
    contact: Vec<String>,
}

impl Account {
    /// Finds the account of a key, or makes one with these contacts, such as `mailto:admin@example.com`. What exists is
    /// returned as it is, whatever its contacts. The terms are agreed to.
    ///
    /// # Errors
    /// The server refuses; with `externalAccountRequired` and no `external`, ask the user for one.
    pub async fn find_or_create(
        server: Arc<Server>,
        key: Arc<AccountKey>,
        contact: &[String],
        external: Option<&ExternalAccountKey>,
    ) -> Result<Self, AcmeError> {
        if external.is_some() {
            // A key that is bound already can't be bound once more, so look first.
            match Self::find(Arc::clone(&server), Arc::clone(&key)).await {
                Err(error) if error.problem_type() == Some("accountDoesNotExist") => {}
                found => return found,
            }
        }
        let payload = json!({ "termsOfServiceAgreed": true, "contact": contact });
        Self::ask(server, key, payload, external).await
    }

    /// Finds the account of a key.
    ///
    /// # Errors
    /// `accountDoesNotExist` where the key has none.
    pub async fn find(server: Arc<Server>, key: Arc<AccountKey>) -> Result<Self, AcmeError> {
        Self::ask(server, key, json!({ "onlyReturnExisting": true }), None).await
    }

    async fn ask(
        server: Arc<Server>,
        key: Arc<AccountKey>,
        mut payload: Value,
        external: Option<&ExternalAccountKey>,
    ) -> Result<Self, AcmeError> {
        let url = server.directory().await?.new_account.clone();
        if let Some(ExternalAccountKey { key_id, mac }) = external {
            payload["externalAccountBinding"] = jws::external_account_binding(&key, &url, key_id, mac)?;
        }
        let session = Session::new(server, key);
        let answer = session.post(&url, &payload).await?;
        let account_url = answer.located("the account")?;
        let Wire { status, contact } = answer.json()?;
        Ok(Self { session: session.with_account(account_url), status, contact })
    }

    /// An account whose URL is known, without asking for it.
    pub fn known(server: Arc<Server>, key: Arc<AccountKey>, account_url: impl Into<String>) -> Self {
        let session = Session::new(server, key).with_account(account_url);
        Self { session, status: AccountStatus::Valid, contact: Vec::new() }
    }

    /// Tells the server other contacts; none takes them away.
    ///
    /// # Errors
    /// The server refuses, with `invalidContact` or `unsupportedContact` where it does not like them.
    pub async fn update_contact(&mut self, contact: &[String]) -> Result<(), AcmeError> {
        let url = self.url().to_owned();
        let answer = self.session.post(&url, &json!({ "contact": contact })).await?;
        let Wire { status, contact } = answer.json()?;
        (self.status, self.contact) = (status, contact);
        Ok(())
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        self.session.account_url().unwrap_or_default()
    }

    /// Its state, when the server was asked last.
    pub fn status(&self) -> AccountStatus {
        self.status
    }

    /// Its contacts, when the server was asked last.
    pub fn contact(&self) -> &[String] {
        &self.contact
    }

    /// Its key.
    pub fn key(&self) -> &Arc<AccountKey> {
        self.session.key()
    }

    /// For requests of one's own.
    pub fn session(&self) -> &Session {
        &self.session
    }
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
