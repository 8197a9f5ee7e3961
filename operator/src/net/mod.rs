//! How anything outside the cluster's API is talked to: which addresses may be asked, and whose certificates are believed.

mod address;
mod tls;

pub use self::tls::Trust;
pub(crate) use self::{
    address::{FilteringResolver, NO_ALLOWED_ADDRESS, is_forbidden},
    tls::tls_config,
};
