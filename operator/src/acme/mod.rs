//! ACME, RFC 8555: the only user of instant-acme.
//!
//! ```text
//! Account, orders by URL ──▶ Session (signs with the account's key) ──▶ Directory (one server: nonces, limits, deadlines)
//!        └── instant-acme (newOrder, renewal information, revocation) ──▶ the same, by its HttpClient trait
//! ```
//!
//! Nothing here sleeps until a server is done, and nothing knows of Kubernetes: every call is one step, and returns the
//! next state or an [`AcmeError`] with its [`Class`]. Next: `error.rs` for the classes, `session.rs` for requests.

mod account;
mod directory;
mod error;
mod external_account;
mod instant;
mod jws;
mod order;
mod resources;
mod response;
mod server;
mod session;

pub use self::{
    account::{Account, AccountStatus},
    directory::{Directory, DirectoryMeta},
    error::{AcmeError, Class, Phase},
    external_account::{ExternalAccountKey, MacKeyError},
    jws::AccountKey,
    resources::{AuthorizationState, CertificateChains, NewOrder, OrderState, RenewalInfo, RenewalWindow},
    response::AcmeResponse,
    server::{Observation, Observer, Server, ServerSettings},
    session::Session,
};
pub use crate::net::Trust;
pub use instant_acme::{
    AuthorizationStatus, Challenge, ChallengeStatus, ChallengeType, Identifier, OrderStatus, Problem,
};
