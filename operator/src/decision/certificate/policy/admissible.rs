//! Rules about whether the operator may act on a Certificate at all.

use std::time::Duration;

use crds::{annotations::secret, certmanager::Certificate};
use kube::ResourceExt;

use super::Finding;
use crate::{
    decision::{
        Requeue,
        certificate::{DesiredCertificate, Origin, SecretView, View},
        retry::LONGEST_UNWATCHED,
    },
    objects,
    pki::Csr,
    reason::Reason,
};

/// When a Certificate is reconciled again whose Secret belongs to another Certificate.
pub(in super::super) const RIVAL_DELAY: Duration = Duration::from_secs(30);

/// Why a Certificate is only reported on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Refusal {
    /// For the Ready condition.
    pub finding: Finding,
    /// When the rules are checked again if nothing changes.
    pub requeue: Requeue,
}

/// How many other Certificates with the same Secret are compared. Each change of one is a reconcile of all of them.
pub const MOST_RIVALS: usize = 20;

type Rule = fn(&View<'_>) -> Option<Refusal>;

const RULES: [Rule; 2] = [secret_is_foreign, secret_belongs_to_rival];

/// What the spec of a Certificate asks for, if the operator may act on it.
pub(in super::super) fn admit(view: &View<'_>) -> Result<DesiredCertificate, Refusal> {
    let desired = DesiredCertificate::parse(&view.certificate.spec).map_err(|message| Refusal {
        finding: Finding { reason: Reason::InvalidSpec, message },
        requeue: Requeue::Resync,
    })?;
    RULES.iter().find_map(|rule| rule(view)).map_or(Ok(desired), Err)
}

/// A Secret with content that was not issued for a Certificate is never overwritten, except one that a user created by hand.
fn secret_is_foreign(view: &View<'_>) -> Option<Refusal> {
    let secret = view.secret.filter(|secret| secret.has_data && !is_requested(view, secret))?;
    let Origin::Foreign(obstacle) = &secret.origin else { return None };
    let what = if secret.leaf().is_some() { "a certificate" } else { "data" };
    let name = &view.certificate.spec.secret_name;
    let message = format!(
        "the Secret {name:?} contains {what} that was not issued for a Certificate, and is left alone, because \
         {obstacle}. Change spec.secretName, delete the Secret, or hand it over with `kubectl annotate secret {name} --namespace \
         {} {}={}`; it is looked at every {} s",
        view.certificate.namespace().unwrap_or_default(),
        secret::CERTIFICATE_NAME,
        view.certificate.name_any(),
        LONGEST_UNWATCHED.as_secs(),
    );
    // It lacks the label that Secrets are watched by.
    Some(Refusal {
        finding: Finding { reason: Reason::ForeignSecret, message },
        requeue: Requeue::After(LONGEST_UNWATCHED),
    })
}

/// Whether the key in a Secret is that of the CertificateRequest of the issued revision.
fn is_requested(view: &View<'_>, secret: &SecretView) -> bool {
    let Some(revision) = view.certificate.status.as_ref().and_then(|status| status.revision) else {
        return false;
    };
    let mut requests = view.requests.iter();
    let request = requests.find(|it| objects::certificate_request::revision(it) == Some(revision));
    let csr = request.and_then(|request| Csr::from_pem(&request.spec.request.0).ok());
    csr.is_some_and(|csr| secret.has_key_of(&csr))
}

/// Of several Certificates with one Secret, only one may write it: the one that the Secret names, else the oldest, else the first by name.
fn secret_belongs_to_rival(view: &View<'_>) -> Option<Refusal> {
    let named = view.secret.and_then(SecretView::certificate_name);
    let rank = |certificate: &Certificate| {
        let name = certificate.name_any();
        (Some(name.as_str()) != named, certificate.creation_timestamp(), name)
    };
    let secret = &view.certificate.spec.secret_name;
    let (first, own) = (view.rivals.iter().map(|rival| rank(rival)).min()?, rank(view.certificate));
    let message = if view.rivals.len() > MOST_RIVALS && own.0 {
        format!(
            "more than {MOST_RIVALS} other Certificates name the Secret {secret:?}, so none is issued into it: Certificates can't share \
             a Secret. Change spec.secretName, or delete the others; this is checked every 30 seconds"
        )
    } else if first > own {
        return None;
    } else {
        format!(
            "the Secret {secret:?} belongs to the Certificate {:?}: two Certificates can't share a Secret. Change spec.secretName, or \
             delete one of them; this is checked every 30 seconds",
            first.2,
        )
    };
    let finding = Finding { reason: Reason::IncorrectCertificate, message };
    Some(Refusal { finding, requeue: Requeue::After(RIVAL_DELAY) })
}
