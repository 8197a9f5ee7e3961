//! What `cargo xtask` and the programs that it starts share: paths, progress, cargo, images, and what users verify.
//!
//! Builds in seconds, so it must not depend on a Kubernetes client, an async runtime, TLS, or a crypto backend.
//! Next: `bin/xtask` for the commands.

pub mod image;
pub mod paths;
pub mod process;
pub mod progress;
pub mod release;
pub mod supply_chain;
pub mod tool;
