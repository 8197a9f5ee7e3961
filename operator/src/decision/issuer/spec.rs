//! Whether the spec of an issuer can work at all.

use crds::acme::{AcmeIssuer, Solver};
use hyper::Uri;

use crate::{acme::MAX_CA_BUNDLE_BYTES, reason::Reason};

/// The first versions of Let's Encrypt's API.
const SWITCHED_OFF: [&str; 2] = ["acme-v01.api.letsencrypt.org", "acme-staging.api.letsencrypt.org"];

/// The longest solver, in bytes of JSON: each Challenge has a copy of one.
pub const MAX_SOLVER_BYTES: usize = 64 << 10;

/// The longest solvers of an issuer together, in bytes of JSON: each Challenge is compared with them.
pub const MAX_SOLVERS_BYTES: usize = 256 << 10;

/// Checks the URL of the server, and sizes.
///
/// # Errors
/// The reason of the condition, and its message.
pub(super) fn check(acme: &AcmeIssuer) -> Result<(), (Reason, String)> {
    let server = &acme.server;
    let uri = server.parse::<Uri>().ok().filter(|uri| uri.authority().is_some());
    if uri.as_ref().and_then(Uri::scheme_str) != Some("https") {
        return Err((
            Reason::InvalidURL,
            format!(
                "spec.acme.server: {server:?} is not an https URL. Set it to the URL of the CA's directory, such as \
                 \"https://acme-v02.api.letsencrypt.org/directory\""
            ),
        ));
    }
    if SWITCHED_OFF.iter().any(|old| server.contains(old)) {
        return Err((
            Reason::InvalidConfig,
            format!(
                "spec.acme.server: {server:?} is version 1 of Let's Encrypt's API, which is switched off. Use \
                 \"https://acme-v02.api.letsencrypt.org/directory\""
            ),
        ));
    }
    if acme.ca_bundle.as_ref().is_some_and(|bundle| bundle.0.len() > MAX_CA_BUNDLE_BYTES) {
        return Err((
            Reason::InvalidConfig,
            format!(
                "spec.acme.caBundle is longer than {MAX_CA_BUNDLE_BYTES} bytes. Keep only the CA that has issued the certificate of \
                 the ACME server"
            ),
        ));
    }
    check_solvers(acme)
}

fn check_solvers(acme: &AcmeIssuer) -> Result<(), (Reason, String)> {
    let bytes = |solver: &Solver| serde_json::to_vec(solver).map_or(0, |json| json.len());
    let mut all = 0;
    for (position, solver) in acme.solvers.iter().flatten().enumerate() {
        let bytes = bytes(solver);
        all += bytes;
        if bytes > MAX_SOLVER_BYTES || all > MAX_SOLVERS_BYTES {
            return Err((
                Reason::InvalidConfig,
                format!(
                    "spec.acme.solvers[{position}] is too long: a solver may have {MAX_SOLVER_BYTES} bytes, and all together \
                     {MAX_SOLVERS_BYTES}. Replace dnsNames of its selector by dnsZones or labels, or use several issuers"
                ),
            ));
        }
    }
    Ok(())
}

/// Host and port of a URL.
pub(super) fn host(url: &str) -> Option<String> {
    url.parse::<Uri>().ok()?.authority().map(ToString::to_string)
}
