//! Limits that the operating system sets for this process.

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};

/// Allows as many open files as the operating system lets this process have, and forbids core dumps, which would contain private keys.
/// The soft limit of container runtimes is 1,024: a burst of connections to CAs and probes would exceed it.
pub fn apply() {
    let files = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match files {
        Ok(limit) => tracing::debug!(limit, "raised the limit of open files"),
        Err(error) => tracing::warn!(%error, "failed to raise the limit of open files"),
    }
    if let Err(error) = prctl::set_dumpable(false) {
        tracing::warn!(%error, "failed to forbid core dumps");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limit_becomes_the_hard_limit() -> nix::Result<()> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, soft.min(1024), hard)?;
        apply();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE)?, (hard, hard));
        assert!(!prctl::get_dumpable()?, "core dumps are possible");
        Ok(())
    }
}
