//! Who this process is to the API server: approvers decide by the user in a CertificateRequest.

use hyper::StatusCode;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client, api::PostParams};

/// The user that a CertificateRequest names as its requester.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// The name, such as `system:serviceaccount:acme-operator:acme-operator`.
    pub username: String,
    /// The UID. Empty for users that have none.
    pub uid: String,
    /// The groups, in the API server's order.
    pub groups: Vec<String>,
}

/// The user whom the API server authenticates this process as. `None` if the API server doesn't say.
///
/// The extra attributes are left out: they name the token, which changes every hour, and requests have to name their own.
pub(super) async fn read(client: &Client) -> Result<Option<Requester>, kube::Error> {
    let reviews = Api::<SelfSubjectReview>::all(client.clone());
    let review = match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
        Err(kube::Error::Api(status)) if is_unavailable(status.code) => {
            tracing::warn!(
                "the API server doesn't say who this process is, so new CertificateRequests don't name their requester"
            );
            return Ok(None);
        }
        review => review?,
    };
    let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
    Ok(user.username.filter(|name| !name.is_empty()).map(|username| Requester {
        username,
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
    }))
}

/// Whether reviews are turned off or forbidden.
fn is_unavailable(code: u16) -> bool {
    [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED]
        .iter()
        .any(|status| status.as_u16() == code)
}
