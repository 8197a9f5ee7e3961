//! Limits that the operating system sets for this process.

use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};
use rustix::process::setpriority_process;

/// The nice value that takes the smallest share of a core.
const LOWEST_PRIORITY: i32 = 19;

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

/// Gives this thread the lowest priority, for good: it then gets a core only if nothing else needs it. For work that takes seconds.
pub fn lower_priority() {
    if let Err(error) = setpriority_process(None, LOWEST_PRIORITY) {
        tracing::debug!(%error, "failed to lower the priority of a thread");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn only_one_thread_gets_the_lowest_priority() -> rustix::io::Result<()> {
        let before = getpriority_process(None)?;
        let lowered = std::thread::spawn(|| {
            lower_priority();
            getpriority_process(None)
        });
        assert_eq!(lowered.join().expect("the thread ends")?, LOWEST_PRIORITY);
        assert_eq!(getpriority_process(None)?, before, "that of another thread");
        Ok(())
    }

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
