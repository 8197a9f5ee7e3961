//! Orders, authorizations, renewal information, and certificate chains, as requests and responses carry them. Next:
//! `order.rs` for the calls.

use std::{fmt, marker::PhantomData, time::Duration};

use instant_acme::{AuthorizationStatus, Challenge, Identifier, OrderStatus, Problem};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// The most authorizations of an order: as many as the status of an Order can hold.
pub const MAX_AUTHORIZATIONS: usize = 1000;

/// The most challenges of an authorization. There are about five types.
pub const MAX_CHALLENGES: usize = 32;

/// A request for a certificate, RFC 8555 section 7.4.
#[derive(Clone, Debug, Default)]
pub struct NewOrder {
    /// The identifiers of the certificate, at least one.
    pub identifiers: Vec<Identifier>,
    /// The profile, one of [`DirectoryMeta::profiles`](super::DirectoryMeta::profiles).
    pub profile: Option<String>,
    /// The requested end of validity. Most servers reject orders that set it.
    pub not_after: Option<Timestamp>,
    /// The identifier of the certificate that this one replaces, RFC 9773 section 4.1.
    pub replaces: Option<String>,
}

/// An order as the server reports it, RFC 8555 section 7.1.3.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderState {
    /// The step of the protocol that the order has reached.
    pub status: OrderStatus,
    /// When the server considers the order invalid.
    pub expires: Option<Timestamp>,
    /// The identifiers of the order.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_AUTHORIZATIONS>")]
    pub identifiers: Vec<Identifier>,
    /// URLs of the authorizations that the server requires, one for each identifier.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_AUTHORIZATIONS>")]
    pub authorizations: Vec<String>,
    /// Why the order failed. Not every server reports it here.
    pub error: Option<Problem>,
    /// URL that takes the CSR.
    pub finalize: String,
    /// URL of the certificate, once the order is `valid`.
    pub certificate: Option<String>,
    /// The certificate that is replaced, if the server accepted that, RFC 9773 section 5.
    pub replaces: Option<String>,
    /// How long the server asks to wait before the order is fetched again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// An authorization as the server reports it, RFC 8555 section 7.1.4.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationState {
    /// The identifier, without the `*.` of a wildcard.
    pub identifier: Identifier,
    /// The status. Servers may reuse an authorization that is already `valid`.
    pub status: AuthorizationStatus,
    /// When the authorization expires.
    pub expires: Option<Timestamp>,
    /// The challenges that can prove control of the identifier.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_CHALLENGES>")]
    pub challenges: Vec<Challenge>,
    /// Whether the authorization is for a wildcard, that is, all names one label below.
    #[serde(default)]
    pub wildcard: bool,
    /// How long the server asks to wait before the authorization is fetched again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// When to renew a certificate, RFC 9773 section 4.2.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInfo {
    /// The window in which the server asks clients to renew.
    pub suggested_window: RenewalWindow,
    /// URL of a page that explains the window.
    #[serde(rename = "explanationURL")]
    pub explanation_url: Option<String>,
    /// How long the server asks to wait before the next fetch. If it doesn't say, 6 h apply (RFC 9773).
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// The time span in which to renew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RenewalWindow {
    /// The start of the window, UTC.
    pub start: Timestamp,
    /// The end of the window, UTC.
    pub end: Timestamp,
}

/// The chains that a server offers for one certificate, RFC 8555 section 7.4.2.
#[derive(Clone, Debug)]
pub struct CertificateChains {
    /// The default chain, PEM.
    pub default: String,
    /// URLs of the alternate chains.
    pub alternates: Vec<String>,
}

/// Reads a list of at most `MAX` entries, and stops at the first one too many.
fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct AtMost<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX} entries")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = list.next_element()? {
                if entries.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                entries.push(entry);
            }
            Ok(entries)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_bounded_while_they_are_read() {
        let order = |count: usize| {
            let authorizations = vec!["https://ca/authz"; count];
            let order = json!({ "status": "pending", "finalize": "f", "authorizations": authorizations });
            serde_json::from_value::<OrderState>(order).map(|order| order.authorizations.len())
        };
        assert_eq!(order(1000).expect("an order"), 1000);
        let error = order(1001).expect_err("too many authorizations").to_string();
        assert!(error.contains("expected a list of at most 1000 entries"), "{error}");
        let challenge = json!({ "type": "http-01", "url": "u", "token": "t", "status": "pending" });
        let identifier = json!({ "type": "dns", "value": "a" });
        let authorization = json!({
            "identifier": identifier, "status": "pending", "challenges": vec![challenge; 33],
        });
        assert!(serde_json::from_value::<AuthorizationState>(authorization).is_err());
    }
}
