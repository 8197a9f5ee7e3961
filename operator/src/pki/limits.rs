//! Size limits of parsed input. The values are those of cert-manager, which introduced them after
//! [GHSA-r4pg-vg54-wxx4](https://github.com/advisories/GHSA-r4pg-vg54-wxx4): parsing takes more than linear time.

/// The maximum size of a private key in PEM, bytes.
pub const MAX_KEY_PEM_BYTES: usize = 13_000;

/// The maximum size of a chain in PEM, bytes.
pub const MAX_CHAIN_PEM_BYTES: usize = 95_000;

/// The maximum number of certificates in a chain.
pub const MAX_CHAIN_LENGTH: usize = 20;

/// The maximum size of the CA certificates that an issuer provides, in PEM, bytes.
pub const MAX_AUTHORITIES_PEM_BYTES: usize = 330_000;

/// The maximum size of a CSR in PEM, bytes: the same as for one certificate.
pub const MAX_CSR_PEM_BYTES: usize = 36_500;

/// The longest RSA key of an ACME account, bits. Each request to the CA is signed by a thread that serves other objects as well.
pub const MAX_ACCOUNT_KEY_BITS: usize = 4096;

/// The longest RSA key with which threads that serve other objects work, bits: longer ones take tens of milliseconds.
pub(super) const MAX_FAST_KEY_BITS: usize = 4096;

/// The longest PEM of a key that is read by threads that serve other objects, bytes: that of a key of `MAX_FAST_KEY_BITS` has 3300.
pub const MAX_FAST_KEY_PEM_BYTES: usize = 4000;

/// The longest PEM of a chain that is read by threads that serve other objects, bytes: a usual one has 6000.
pub const MAX_FAST_CHAIN_PEM_BYTES: usize = 16_000;
