//! The times in a Certificate's status: `notBefore`, `notAfter` and `renewalTime`.

use crds::{
    certmanager::{CertificateSpec, CertificateStatus, RenewalPolicy},
    condition::whole_seconds,
};
use jiff::Timestamp;

use crate::{
    decision::{
        renewal::{ari_renewal_time, renewal_time},
        windows,
    },
    pki::LeafCertificate,
};

/// Sets the three times for the certificate in the Secret. Returns what is wrong with the maintenance windows, if it affects a renewal time
/// that was not reported before.
pub(super) fn set(
    status: &mut CertificateStatus,
    spec: &CertificateSpec,
    leaf: Option<&LeafCertificate>,
    uid: &str,
) -> Option<String> {
    status.not_before = leaf.map(|leaf| whole_seconds(leaf.not_before));
    status.not_after = leaf.map(|leaf| whole_seconds(leaf.not_after));
    let renewal = spec.renewal.as_ref();
    let disabled = renewal.and_then(|renewal| renewal.policy) == Some(RenewalPolicy::Disabled);
    let leaf = leaf.filter(|_| !disabled);
    let desired = leaf.and_then(|leaf| {
        let by_formula =
            renewal_time(leaf.not_before, leaf.not_after, spec.renew_before, spec.renew_before_percentage)?;
        Some((suggested(status, leaf, uid).unwrap_or(by_formula), leaf.not_after))
    });
    let windows = renewal.and_then(|renewal| renewal.windows.as_deref()).unwrap_or_default();
    let (time, problem) = match desired {
        Some((time, end)) if !windows.is_empty() => match windows::within(windows, time, end) {
            Ok(time) => (Some(time), None),
            // An expired certificate is worse than a renewal outside of the windows.
            Err(why) => (Some(time), Some(format!("{why}; the certificate is renewed at {time} anyway"))),
        },
        desired => (desired.map(|(time, _)| time), None),
    };
    let time = time.map(whole_seconds);
    let is_new = status.renewal_time != time;
    status.renewal_time = time;
    problem.filter(|_| is_new)
}

/// A time in the window that the issuer's server suggests.
fn suggested(status: &CertificateStatus, leaf: &LeafCertificate, uid: &str) -> Option<Timestamp> {
    let window = status.acme.as_ref()?.ari.as_ref()?.suggested_window.as_ref()?;
    let window = (window.start.as_ref()?.0, window.end.as_ref()?.0);
    Some(ari_renewal_time(window, (leaf.not_before, leaf.not_after), uid))
}
