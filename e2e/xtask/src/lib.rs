//! What `cargo xtask` and the programs that it starts have in common: paths, progress, cargo, images.
//!
//! Light on purpose: no Kubernetes client, async runtime, TLS or crypto backend. Next: `bin/xtask` for the commands.

pub mod image;
pub mod paths;
pub mod process;
pub mod progress;
pub mod release;
