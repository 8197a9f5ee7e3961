//! What each request to an ACME server is for, as metrics label it. Next: `account.rs` and `order.rs`, which send them.

use std::future::Future;

use strum::IntoStaticStr;
use tokio::task_local;

/// The call that sends a request. The texts are those of cert-manager, where it makes the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Action {
    /// The directory, RFC 8555 section 7.1.1.
    Discover,
    /// A nonce, section 7.2.
    GetNonce,
    /// The creation of an account, section 7.3.
    RegisterAccount,
    /// The search for the account of a key, section 7.3.1.
    GetRegistration,
    /// A change of an account's contacts, section 7.3.2.
    UpdateRegistration,
    /// A new order, section 7.4.
    AuthorizeOrder,
    /// The state of an order, section 7.1.3.
    GetOrder,
    /// The finalization of an order, section 7.4.
    CreateOrderCert,
    /// A certificate chain, section 7.4.2.
    FetchCert,
    /// The state of an authorization, section 7.5.
    GetAuthorization,
    /// The request to validate a challenge, section 7.5.1.
    AcceptChallenge,
    /// The state of a challenge.
    GetChallenge,
    /// A revocation, section 7.6.
    RevokeCert,
    /// Renewal information, RFC 9773 section 4.
    GetRenewalInfo,
    /// Anything else.
    Other,
}

task_local! {
    static ACTION: Action;
}

impl Action {
    /// Labels all requests that a future sends, except those that it labels itself.
    pub(super) async fn label<F: Future>(self, requests: F) -> F::Output {
        ACTION.scope(self, requests).await
    }

    /// The label of the requests of this task.
    pub(super) fn current() -> Self {
        ACTION.try_with(|action| *action).unwrap_or(Self::Other)
    }

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn innermost_label_counts() {
        assert_eq!(Action::current(), Action::Other);
        let nested = async {
            let inner = Action::GetNonce.label(async { Action::current() }).await;
            (inner, Action::current())
        };
        let labels = Action::AuthorizeOrder.label(nested).await;
        assert_eq!(labels, (Action::GetNonce, Action::AuthorizeOrder));
        assert_eq!(Action::CreateOrderCert.as_str(), "create_order_cert");
    }
}
