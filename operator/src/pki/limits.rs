//! How large what we parse may be. The numbers are cert-manager's, which chose them after
//! [GHSA-r4pg-vg54-wxx4](https://github.com/advisories/GHSA-r4pg-vg54-wxx4): parsing takes more than linear time.

/// A private key as PEM, bytes.
pub(super) const MAX_KEY_PEM_BYTES: usize = 13_000;

/// A chain as PEM, bytes.
pub(super) const MAX_CHAIN_PEM_BYTES: usize = 95_000;

/// How many certificates a chain may have.
pub(super) const MAX_CHAIN_LENGTH: usize = 20;

/// A CSR as PEM, bytes: as large as a certificate may be.
pub(super) const MAX_CSR_PEM_BYTES: usize = 36_500;
