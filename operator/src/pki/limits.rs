//! Size limits of parsed input. The values are those of cert-manager, which introduced them after
//! [GHSA-r4pg-vg54-wxx4](https://github.com/advisories/GHSA-r4pg-vg54-wxx4): parsing takes more than linear time.

/// The maximum size of a private key in PEM, bytes.
pub(super) const MAX_KEY_PEM_BYTES: usize = 13_000;

/// The maximum size of a chain in PEM, bytes.
pub(super) const MAX_CHAIN_PEM_BYTES: usize = 95_000;

/// The maximum number of certificates in a chain.
pub(super) const MAX_CHAIN_LENGTH: usize = 20;

/// The maximum size of a CSR in PEM, bytes: the same as for one certificate.
pub const MAX_CSR_PEM_BYTES: usize = 36_500;
