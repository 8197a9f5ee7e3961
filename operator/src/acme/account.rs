//! ACME accounts, RFC 8555 section 7.3: finding, creating, and updating one. Must not know issuers. Next: `session.rs`
//! for signed requests, `order.rs` for what an account can do.

use std::sync::Arc;

use crds::condition::one_line;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AccountKey, AcmeError, Action, ExternalAccountKey, Server, Session, directory::authority, jws,
    server::MAX_URL_LENGTH,
};

/// An account at an ACME server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account {
    session: Session,
    status: AccountStatus,
    contact: Vec<String>,
}

/// The status of an account, RFC 8555 section 7.1.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    /// The account can be used.
    Valid,
    /// The owner deactivated the account.
    Deactivated,
    /// The server revoked the account.
    Revoked,
}

impl AccountStatus {
    /// The server's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Deactivated => "deactivated",
            Self::Revoked => "revoked",
        }
    }
}

/// An account object as the server sends it, RFC 8555 section 7.1.2.
#[derive(Deserialize)]
struct AccountObject {
    status: AccountStatus,
    #[serde(default)]
    contact: Vec<String>,
}

impl Account {
    /// Finds the account of a key, or creates one with these contacts, such as `mailto:admin@example.com`. An existing
    /// account is returned unchanged, even if its contacts differ. Agrees to the terms of service.
    ///
    /// # Errors
    /// The server rejects the request. With `externalAccountRequired` and no `external`, ask the user for a binding.
    pub async fn find_or_create(
        server: Arc<Server>,
        key: Arc<AccountKey>,
        contact: &[String],
        external: Option<&ExternalAccountKey>,
    ) -> Result<Self, AcmeError> {
        if external.is_some() {
            // A key can be bound only once, so an existing account must be found first.
            match Self::find(Arc::clone(&server), Arc::clone(&key)).await {
                Err(error) if error.problem_type() == Some("accountDoesNotExist") => {}
                found => return found,
            }
        }
        let payload = json!({ "termsOfServiceAgreed": true, "contact": contact });
        Action::RegisterAccount.label(Self::request(server, key, payload, external)).await
    }

    /// Finds the account of a key.
    ///
    /// # Errors
    /// `accountDoesNotExist` if the key has no account.
    pub async fn find(server: Arc<Server>, key: Arc<AccountKey>) -> Result<Self, AcmeError> {
        let payload = json!({ "onlyReturnExisting": true });
        Action::GetRegistration.label(Self::request(server, key, payload, None)).await
    }

    async fn request(
        server: Arc<Server>,
        key: Arc<AccountKey>,
        mut payload: Value,
        external: Option<&ExternalAccountKey>,
    ) -> Result<Self, AcmeError> {
        let directory = server.directory().await?;
        let url = directory.new_account.clone();
        if let Some(ExternalAccountKey { key_id, mac }) = external {
            payload["externalAccountBinding"] = jws::external_account_binding(&key, &url, key_id, mac)?;
        }
        let session = Session::new(server, key);
        let response = session.post(&url, &payload).await?;
        let account_url = response.required_location("account")?;
        // Limits and requests of an account depend on its URL, so a server must not name that of another server's account.
        let hosts = [session.server().directory_url(), &directory.new_account].map(authority);
        if account_url.len() > MAX_URL_LENGTH || !hosts.contains(&authority(&account_url)) {
            return Err(response.permanent_error(format_args!(
                "the URL of the account is {:?}, which is not at the host and port of the directory or of its newAccount URL",
                one_line(&account_url, 200)
            )));
        }
        let AccountObject { status, contact } = response.json()?;
        Ok(Self { session: session.with_account(account_url), status, contact })
    }

    /// Returns the account with a known URL, without a request. Its status is assumed to be valid and its contacts are
    /// unknown.
    pub fn from_url(server: Arc<Server>, key: Arc<AccountKey>, account_url: impl Into<String>) -> Self {
        let session = Session::new(server, key).with_account(account_url);
        Self { session, status: AccountStatus::Valid, contact: Vec::new() }
    }

    /// Returns the same account for the objects of a namespace: its requests take turns with those of others.
    pub fn for_namespace(&self, namespace: &str) -> Self {
        Self { session: self.session.for_namespace(namespace), ..self.clone() }
    }

    /// Replaces the contacts of the account. An empty list removes them.
    ///
    /// # Errors
    /// The server rejects the contacts, with `invalidContact` or `unsupportedContact`.
    pub async fn update_contact(&mut self, contact: &[String]) -> Result<(), AcmeError> {
        let url = self.url().to_owned();
        let payload = json!({ "contact": contact });
        let response = Action::UpdateRegistration.label(self.session.post(&url, &payload)).await?;
        let AccountObject { status, contact } = response.json()?;
        (self.status, self.contact) = (status, contact);
        Ok(())
    }

    /// The URL of the account, which identifies it in requests.
    pub fn url(&self) -> &str {
        self.session.account_url().unwrap_or_default()
    }

    /// The status in the server's last response.
    pub fn status(&self) -> AccountStatus {
        self.status
    }

    /// The contacts in the server's last response.
    pub fn contact(&self) -> &[String] {
        &self.contact
    }

    /// The key that signs the requests of the account.
    pub fn key(&self) -> &Arc<AccountKey> {
        self.session.key()
    }

    /// The session, for requests that this type has no method for.
    pub fn session(&self) -> &Session {
        &self.session
    }
}
