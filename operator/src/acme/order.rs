//! What an account can do: orders (RFC 8555 section 7.4), renewal information (RFC 9773), revocation. Each call is one
//! protocol step on a resource that its URL identifies, so a new process can resume from stored URLs. Next:
//! `resources.rs`.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use instant_acme::{
    CertificateIdentifier, Challenge, ChallengeStatus, NewOrder as InstantOrder, OrderStatus,
    RevocationRequest,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, json};

use super::{
    Account, AcmeError, AcmeResponse, Action, AuthorizationState, CertificateChains, NewOrder, OrderState,
    RenewalInfo, instant::InstantAcmeAdapter,
};
use crate::pki::{Chain, ChainError};

impl Account {
    /// Places an order. Returns its URL, which the caller must store before anything else, and its state: `pending`,
    /// `ready` right away if authorizations are reused, or that of an existing order that the server returns again.
    ///
    /// `replaces` is only a hint to the server: if [`AcmeError::may_be_caused_by_replaces`], place the order without it.
    ///
    /// # Errors
    /// The server rejects the order, does not offer the profile, or does not know `replaces`.
    pub async fn new_order(&self, order: &NewOrder) -> Result<(String, OrderState), AcmeError> {
        let directory = self.session().server().directory().await?;
        let profiles = &directory.meta.profiles;
        if let Some(profile) = order.profile.as_ref().filter(|name| !profiles.contains_key(*name)) {
            let offered: Vec<_> = profiles.keys().map(String::as_str).collect();
            return Err(AcmeError::Unsupported(format!("the profile {profile:?}, only {offered:?}")));
        }
        let mut extra_members = Map::new();
        if let Some(not_after) = order.not_after {
            extra_members.insert("notAfter".to_owned(), json!(not_after));
        }
        let mut request = InstantOrder::new(&order.identifiers);
        if let Some(profile) = &order.profile {
            request = request.profile(profile);
        }
        if order.replaces.is_some() && directory.renewal_info.is_none() {
            return Err(AcmeError::Unsupported("renewal information".to_owned()));
        }
        if let Some(identifier) = order.replaces.as_deref().and_then(parse_identifier) {
            request = request.replaces(identifier);
        }
        let adapter = InstantAcmeAdapter::new(self.session(), extra_members).await?;
        let result = Action::AuthorizeOrder.label(adapter.account.new_order(&request)).await;
        let response = adapter.response(self.session(), result)?;
        let url = response.required_location("order")?;
        self.session().server().check_resource(&url).await?;
        Ok((url, self.order_state(&response).await?))
    }

    async fn order_state(&self, response: &AcmeResponse) -> Result<OrderState, AcmeError> {
        let state = OrderState { retry_after: response.retry_after, ..response.resource()? };
        for url in [&state.finalize].into_iter().chain(&state.certificate).chain(&state.authorizations) {
            self.session().server().check_resource(url).await?;
        }
        Ok(state)
    }

    /// Fetches an order.
    ///
    /// # Errors
    /// The server rejects the request, with `malformed` or status 404 if it no longer has the order.
    pub async fn order(&self, url: &str) -> Result<OrderState, AcmeError> {
        let response = Action::GetOrder.label(self.session().post_as_get(url)).await?;
        self.order_state(&response).await
    }

    /// Fetches an authorization.
    ///
    /// # Errors
    /// The server rejects the request.
    pub async fn authorization(&self, url: &str) -> Result<AuthorizationState, AcmeError> {
        let response = Action::GetAuthorization.label(self.session().post_as_get(url)).await?;
        let state = AuthorizationState { retry_after: response.retry_after, ..response.resource()? };
        for challenge in &state.challenges {
            self.session().server().check_resource(&challenge.url).await?;
        }
        Ok(state)
    }

    /// Asks the server to validate a challenge, RFC 8555 section 7.5.1. It is not an error if the server has already
    /// validated it or is doing so: fetch the authorization for the result.
    ///
    /// # Errors
    /// The server rejects the request.
    pub async fn challenge_ready(&self, url: &str) -> Result<Challenge, AcmeError> {
        match Action::AcceptChallenge.label(self.session().post(url, &json!({}))).await {
            Ok(response) => response.json(),
            Err(error) if error.problem_type() == Some("malformed") => {
                let response = Action::GetChallenge.label(self.session().post_as_get(url)).await?;
                let challenge: Challenge = response.json()?;
                if challenge.status == ChallengeStatus::Pending { Err(error) } else { Ok(challenge) }
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the CSR (DER) of a `ready` order. If the server already has one, the order is fetched instead.
    ///
    /// # Errors
    /// The server rejects the CSR, with `badCSR` if it does not match the order.
    pub async fn finalize(
        &self,
        order_url: &str,
        finalize_url: &str,
        csr: &[u8],
    ) -> Result<OrderState, AcmeError> {
        let payload = json!({ "csr": BASE64_URL_SAFE_NO_PAD.encode(csr) });
        match Action::CreateOrderCert.label(self.session().post(finalize_url, &payload)).await {
            Ok(response) => self.order_state(&response).await,
            Err(error)
                if matches!(error.problem_type(), Some("orderNotReady" | "malformed" | "unauthorized")) =>
            {
                let order = self.order(order_url).await?;
                // The CSR was sent before, and the response was lost.
                if matches!(order.status, OrderStatus::Processing | OrderStatus::Valid) {
                    Ok(order)
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches the default chain of a certificate and the URLs of its alternate chains.
    ///
    /// # Errors
    /// The server rejects the request.
    pub async fn certificate(&self, url: &str) -> Result<CertificateChains, AcmeError> {
        let response = Action::FetchCert.label(self.session().post_as_get(url)).await?;
        let default = String::from_utf8(response.body.to_vec())
            .map_err(|_| response.protocol_error("the certificate chain is not text"))?;
        Ok(CertificateChains { default, alternates: response.alternates })
    }

    /// Fetches the chain whose topmost certificate was issued by `preferred`, a common name. Falls back to the default
    /// chain if `preferred` is empty or no chain matches.
    ///
    /// # Errors
    /// The outer error: the server rejects a request. The inner error: the default chain can't be read.
    pub async fn preferred_chain(
        &self,
        url: &str,
        preferred: &str,
    ) -> Result<Result<Chain, ChainError>, AcmeError> {
        let chains = self.certificate(url).await?;
        let default = Chain::from_pem(chains.default.as_bytes());
        if preferred.is_empty() || default.as_ref().is_ok_and(|chain| chain.topmost_issuer() == preferred) {
            return Ok(default);
        }
        for alternate in &chains.alternates {
            let other = self.certificate(alternate).await?;
            match Chain::from_pem(other.default.as_bytes()) {
                Ok(chain) if chain.topmost_issuer() == preferred => return Ok(Ok(chain)),
                // An unreadable alternate is skipped: another one may match.
                _ => {}
            }
        }
        Ok(default)
    }

    /// Fetches when to renew a certificate, by its identifier of RFC 9773 section 4.1.
    ///
    /// # Errors
    /// [`AcmeError::Unsupported`] if the server offers no renewal information.
    pub async fn renewal_info(&self, identifier: &str) -> Result<RenewalInfo, AcmeError> {
        let parsed = parse_identifier(identifier)
            .ok_or_else(|| AcmeError::Unsupported(format!("renewal information for {identifier:?}")))?;
        let adapter = InstantAcmeAdapter::new(self.session(), Map::new()).await?;
        let result = Action::GetRenewalInfo.label(adapter.account.renewal_info(&parsed)).await;
        let response = adapter.response(self.session(), result)?;
        Ok(RenewalInfo { retry_after: response.retry_after, ..response.json()? })
    }

    /// Revokes a certificate (DER), RFC 8555 section 7.6.
    ///
    /// # Errors
    /// `alreadyRevoked` if it has been revoked before.
    pub async fn revoke(&self, certificate: &[u8]) -> Result<(), AcmeError> {
        let adapter = InstantAcmeAdapter::new(self.session(), Map::new()).await?;
        let certificate = CertificateDer::from(certificate);
        let request = RevocationRequest { certificate: &certificate, reason: None };
        let result = Action::RevokeCert.label(adapter.account.revoke(&request)).await;
        adapter.response(self.session(), result).map(drop)
    }
}

/// Parses a certificate identifier of RFC 9773 section 4.1 into the type of instant-acme.
fn parse_identifier(text: &str) -> Option<CertificateIdentifier<'static>> {
    let json = json!(text).to_string();
    serde_json::from_str::<CertificateIdentifier<'_>>(&json).ok().map(CertificateIdentifier::into_owned)
}
