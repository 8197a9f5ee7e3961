//! What the operator and http01-solver agree on about HTTP-01 challenges (RFC 8555 section 8.3).

/// Port of http01-solver and of the Services that route challenges to it.
///
/// cert-manager's solver has the same port, so NetworkPolicies that allow the one allow the other.
pub const SOLVER_PORT: u16 = 8089;

/// Path at which the CA requests key authorizations, up to the token.
pub const PATH_PREFIX: &str = "/.well-known/acme-challenge/";

/// Returns the path at which the CA requests the key authorization for a token.
///
/// ```
/// assert_eq!(crds::http01::path("a-token"), "/.well-known/acme-challenge/a-token");
/// ```
pub fn path(token: &str) -> String {
    format!("{PATH_PREFIX}{token}")
}
