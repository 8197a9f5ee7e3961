//! An ACME client (RFC 8555), and the only user of instant-acme.
//!
//! ```text
//! Account, orders by URL ──▶ Session (signs with the account key) ──▶ Server (connections, nonces, rate limits, deadlines)
//!        └── instant-acme (newOrder, renewal information, revocation) ──▶ the same Session, through its HttpClient trait
//! ```
//!
//! Each call is one protocol step: it returns the next state or an [`AcmeError`] with its [`Class`], and never waits
//! for a CA to finish. Must not know about Kubernetes. Next: `error.rs` for the classes, `session.rs` for requests.

mod account;
mod action;
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
    action::Action,
    directory::{Directory, DirectoryMeta},
    error::{AcmeError, Class, Phase},
    external_account::{ExternalAccountKey, MacKeyError},
    jws::AccountKey,
    resources::{
        AuthorizationState, CertificateChains, MAX_AUTHORIZATIONS, MAX_CHALLENGES, NewOrder, OrderState,
        RenewalInfo, RenewalWindow,
    },
    response::AcmeResponse,
    server::{MAX_ALTERNATES, MAX_URL_LENGTH, Observation, Observer, Server, ServerSettings},
    session::Session,
};
/// The largest CA bundle of an ACME server, in bytes of PEM: some forty certificates.
pub const MAX_CA_BUNDLE_BYTES: usize = 64 << 10;

pub use crate::net::Trust;
pub use instant_acme::{
    AuthorizationStatus, Challenge, ChallengeStatus, ChallengeType, Identifier, OrderStatus, Problem,
};
