//! Connections to servers outside of the Kubernetes API: which addresses are allowed, and which certificates are
//! trusted. Must not know protocols above TLS. Next: `address.rs`, `tls.rs`.

mod address;
mod tls;

pub use self::{address::MAX_LOOKUPS, tls::Trust};
pub(crate) use self::{
    address::{FilteringResolver, NO_ALLOWED_ADDRESS, is_forbidden},
    tls::tls_config,
};
