//! Accounts, RFC 8555 section 7.3.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AccountKey, AcmeError, ExternalAccountKey, Server, Session, jws};

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

/// What a server says of an account.
#[derive(Deserialize)]
struct AccountObject {
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
        Self::request(server, key, payload, external).await
    }

    /// Finds the account of a key.
    ///
    /// # Errors
    /// `accountDoesNotExist` where the key has none.
    pub async fn find(server: Arc<Server>, key: Arc<AccountKey>) -> Result<Self, AcmeError> {
        Self::request(server, key, json!({ "onlyReturnExisting": true }), None).await
    }

    async fn request(
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
        let response = session.post(&url, &payload).await?;
        let account_url = response.required_location("the account")?;
        let AccountObject { status, contact } = response.json()?;
        Ok(Self { session: session.with_account(account_url), status, contact })
    }

    /// An account whose URL is known, without asking for it.
    pub fn from_url(server: Arc<Server>, key: Arc<AccountKey>, account_url: impl Into<String>) -> Self {
        let session = Session::new(server, key).with_account(account_url);
        Self { session, status: AccountStatus::Valid, contact: Vec::new() }
    }

    /// Tells the server other contacts; none takes them away.
    ///
    /// # Errors
    /// The server refuses, with `invalidContact` or `unsupportedContact` where it does not like them.
    pub async fn update_contact(&mut self, contact: &[String]) -> Result<(), AcmeError> {
        let url = self.url().to_owned();
        let response = self.session.post(&url, &json!({ "contact": contact })).await?;
        let AccountObject { status, contact } = response.json()?;
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
