//! Orders, RFC 8555 section 7.4: each function is one step, found again by a URL.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use instant_acme::{
    CertificateIdentifier, Challenge, NewOrder as InstantOrder, OrderStatus, RevocationRequest,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Map, json};

use super::{
    Account, AcmeError, AuthorizationState, CertificateChains, NewOrder, OrderState, RenewalInfo,
    instant::InstantAcmeAdapter,
};
use crate::pki::{Chain, ChainError};

impl Account {
    /// Places an order; returns its URL, which must be kept before anything else is done, with its state. It may be
    /// `pending`, `ready` at once, or an old one that is gone on with.
    ///
    /// What is replaced is a remark to the server: if it stands in the way of the order, that is placed without it.
    ///
    /// # Errors
    /// The server refuses the order, or does not offer the profile.
    pub async fn new_order(&self, order: &NewOrder) -> Result<(String, OrderState), AcmeError> {
        match self.place_order(order).await {
            Err(error) if order.replaces.is_some() && error.may_be_caused_by_replaces() => {
                tracing::info!(%error, replaces = order.replaces, "refused with what it replaces, ordering without");
                self.place_order(&NewOrder { replaces: None, ..order.clone() }).await
            }
            placed => placed,
        }
    }

    async fn place_order(&self, order: &NewOrder) -> Result<(String, OrderState), AcmeError> {
        let directory = self.session().server().directory().await?;
        if let Some(profile) =
            order.profile.as_ref().filter(|name| !directory.meta.profiles.contains_key(*name))
        {
            let offered: Vec<_> = directory.meta.profiles.keys().map(String::as_str).collect();
            return Err(AcmeError::Unsupported(format!("the profile {profile:?}, only {offered:?}")));
        }
        let mut more = Map::new();
        if let Some(not_after) = order.not_after {
            more.insert("notAfter".to_owned(), json!(not_after));
        }
        let mut request = InstantOrder::new(&order.identifiers);
        if let Some(profile) = &order.profile {
            request = request.profile(profile);
        }
        // A server without renewal information knows nothing of what is replaced.
        let replaces = order.replaces.as_deref().filter(|_| directory.renewal_info.is_some());
        if let Some(identifier) = replaces.and_then(parse_identifier) {
            request = request.replaces(identifier);
        }
        let adapter = InstantAcmeAdapter::new(self.session(), more).await?;
        let result = adapter.account.new_order(&request).await;
        let response = adapter.response(self.session(), result)?;
        let url = response.required_location("the order")?;
        Ok((url, OrderState { retry_after: response.retry_after, ..response.json()? }))
    }

    /// Looks at an order.
    ///
    /// # Errors
    /// The server refuses; `malformed` or 404 for one that it has forgotten.
    pub async fn order(&self, url: &str) -> Result<OrderState, AcmeError> {
        let response = self.session().post_as_get(url).await?;
        Ok(OrderState { retry_after: response.retry_after, ..response.json()? })
    }

    /// Looks at an authorization.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn authorization(&self, url: &str) -> Result<AuthorizationState, AcmeError> {
        let response = self.session().post_as_get(url).await?;
        Ok(AuthorizationState { retry_after: response.retry_after, ..response.json()? })
    }

    /// Tells the server to look at a challenge, RFC 8555 section 7.5.1. One that it has looked at, or is looking at, is no
    /// error: look at its authorization.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn challenge_ready(&self, url: &str) -> Result<Challenge, AcmeError> {
        match self.session().post(url, &json!({})).await {
            Ok(response) => response.json(),
            Err(error) if error.problem_type() == Some("malformed") => {
                let challenge: Challenge = self.session().post_as_get(url).await?.json()?;
                if challenge.status == instant_acme::ChallengeStatus::Pending {
                    Err(error)
                } else {
                    Ok(challenge)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the CSR (DER) of a `ready` order. Where the server says that it has one already, the order is looked at.
    ///
    /// # Errors
    /// The server refuses; `badCSR` where the CSR is not what was ordered.
    pub async fn finalize(
        &self,
        order_url: &str,
        finalize_url: &str,
        csr: &[u8],
    ) -> Result<OrderState, AcmeError> {
        let payload = json!({ "csr": BASE64_URL_SAFE_NO_PAD.encode(csr) });
        match self.session().post(finalize_url, &payload).await {
            Ok(response) => Ok(OrderState { retry_after: response.retry_after, ..response.json()? }),
            Err(error)
                if matches!(error.problem_type(), Some("orderNotReady" | "malformed" | "unauthorized")) =>
            {
                let order = self.order(order_url).await?;
                // Sent twice, after an answer that never came.
                if matches!(order.status, OrderStatus::Processing | OrderStatus::Valid) {
                    Ok(order)
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches a certificate's default chain, and where the others are.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn certificate(&self, url: &str) -> Result<CertificateChains, AcmeError> {
        let response = self.session().post_as_get(url).await?;
        let default = String::from_utf8(response.body.to_vec())
            .map_err(|_| response.protocol_error("its answer is no text"))?;
        Ok(CertificateChains { default, alternates: response.alternates })
    }

    /// Fetches the chain whose topmost certificate was issued by `preferred`: the default one where that does, or where no
    /// other does either.
    ///
    /// # Errors
    /// The server refuses, or the default chain can't be read.
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
                // One that can't be read is not the one that is wanted.
                _ => {}
            }
        }
        Ok(default)
    }

    /// Asks when to renew a certificate, by its identifier of RFC 9773 section 4.1.
    ///
    /// # Errors
    /// [`AcmeError::Unsupported`] where the server does not tell.
    pub async fn renewal_info(&self, identifier: &str) -> Result<RenewalInfo, AcmeError> {
        let known = parse_identifier(identifier)
            .ok_or_else(|| AcmeError::Unsupported(format!("renewal information for {identifier:?}")))?;
        let adapter = InstantAcmeAdapter::new(self.session(), Map::new()).await?;
        let result = adapter.account.renewal_info(&known).await;
        let response = adapter.response(self.session(), result)?;
        Ok(RenewalInfo { retry_after: response.retry_after, ..response.json()? })
    }

    /// Revokes a certificate (DER), RFC 8555 section 7.6.
    ///
    /// # Errors
    /// `alreadyRevoked` where it is.
    pub async fn revoke(&self, certificate: &[u8]) -> Result<(), AcmeError> {
        let adapter = InstantAcmeAdapter::new(self.session(), Map::new()).await?;
        let certificate = CertificateDer::from(certificate);
        let result =
            adapter.account.revoke(&RevocationRequest { certificate: &certificate, reason: None }).await;
        adapter.response(self.session(), result).map(drop)
    }
}

/// instant-acme's form of an identifier.
fn parse_identifier(text: &str) -> Option<CertificateIdentifier<'static>> {
    let json = json!(text).to_string();
    serde_json::from_str::<CertificateIdentifier<'_>>(&json).ok().map(CertificateIdentifier::into_owned)
}
