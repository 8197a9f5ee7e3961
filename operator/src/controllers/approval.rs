//! Whether this process may approve requests to issuers of other groups, which its role decides (`approveSignerNames` in the chart).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, api::PostParams};

use crate::{
    context::Context,
    decision::request,
    error::{ReconcileError, Tried},
};

/// How long an answer of the API server is used.
const VALID_FOR: SignedDuration = SignedDuration::from_secs(50);

/// Whether the role allows the approval of requests to an issuer.
///
/// # Errors
/// The API server rejects the question.
pub(super) async fn is_allowed(
    issuer: &crds::meta::IssuerRef,
    namespace: &str,
    context: &Context,
) -> Result<bool, ReconcileError> {
    for name in request::signer_names(issuer, namespace) {
        if may_approve(name, context).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn may_approve(signer: String, context: &Context) -> Result<bool, ReconcileError> {
    let (answers, now) = (&context.memory.approvals, context.now());
    let is_valid = |read: Timestamp| now.duration_since(read).abs() < VALID_FOR;
    if let Some((allowed, _)) = answers.get(&signer).filter(|(_, read)| is_valid(*read)) {
        return Ok(allowed);
    }
    let attributes = ResourceAttributes {
        group: Some(crds::GROUP.to_owned()),
        resource: Some("signers".to_owned()),
        verb: Some("approve".to_owned()),
        name: Some(signer.clone()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(context.kube.client.clone());
    let review = reviews.create(&PostParams::default(), &review).await;
    let review = review.tried(|| "read whether this process may approve CertificateRequests".to_owned())?;
    let allowed = review.status.is_some_and(|status| status.allowed);
    // Requests can name any issuer.
    answers.retain(|_, (_, read)| is_valid(*read));
    answers.put(signer, (allowed, now));
    Ok(allowed)
}
