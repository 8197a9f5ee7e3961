//! Runs the program `testbed` like `cargo xtask` does, and finds what a cluster leaves on the machine.
//! Checks the machine itself, and must not rely on the testbed's own records. Next: `e2e_cleanup.rs`.

#![allow(dead_code, reason = "each test program uses only a part")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use testbed::{cluster::Layout, paths};
use xtask::process::text;

/// The limit of each wait.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);

/// The program `testbed`, with arguments.
pub(crate) fn testbed(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(arguments).current_dir(paths::workspace());
    command
}

/// A name of a cluster that no other run uses.
pub(crate) fn name(prefix: &str) -> String {
    format!("test-{prefix}-{}", std::process::id())
}

/// Waits until a check returns a value.
pub(crate) fn wait<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = check() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s for {what}", TIMEOUT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The namespaces of a running cluster, by their names in the kernel, such as `net:[4026532281]`.
pub(crate) fn namespaces_of(cluster: &str) -> Result<BTreeSet<String>> {
    let own = namespaces_of_process(Path::new("/proc/self"));
    let mut namespaces = BTreeSet::new();
    for process in supervisors_of(cluster) {
        namespaces.extend(namespaces_of_process(&process).difference(&own).cloned());
    }
    if namespaces.is_empty() {
        bail!("the cluster {cluster:?} has no namespaces: it is not running");
    }
    Ok(namespaces)
}

/// Asserts that nothing of a cluster is left on the machine, and that no process is in its former namespaces.
pub(crate) fn assert_gone(cluster: &str, namespaces: &BTreeSet<String>) -> Result<()> {
    let folder = folder_of(cluster)?;
    let mut left: Vec<String> = Vec::new();
    if folder.exists() {
        left.push(format!("the folder {}", folder.display()));
    }
    for process in supervisors_of(cluster) {
        left.push(format!("the process {}", process.display()));
    }
    // A namespace exists as long as a process or a mount refers to it.
    for process in processes() {
        for namespace in namespaces_of_process(&process).intersection(namespaces) {
            left.push(format!("{} in the namespace {namespace}", process.display()));
        }
    }
    let state = folder.to_string_lossy();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    left.extend(mounts.lines().filter(|line| line.contains(&*state)).map(|line| format!("the mount {line}")));
    left.extend(mounts.lines().filter(|line| line.contains("nsfs")).filter_map(|line| {
        namespaces.iter().find(|name| line.contains(name.as_str())).map(|name| format!("the mount of {name}"))
    }));
    for hierarchy in
        fs::read_dir("/sys/fs/cgroup")?.flatten().map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()])
    {
        let group = hierarchy.join(format!("testbed-{cluster}"));
        if group.exists() {
            left.push(format!("the control group {}", group.display()));
        }
    }
    if !left.is_empty() {
        bail!("left of the cluster {cluster:?}: {}", left.join(", "));
    }
    Ok(())
}

/// Kills every process of a cluster's supervisor with SIGKILL, the guard first, so that nothing cleans up.
pub(crate) fn kill_supervisors(cluster: &str) {
    for process in supervisors_of(cluster) {
        let pid = process.file_name().unwrap_or_default().to_owned();
        _ = Command::new("kill").arg("-KILL").arg(pid).status();
    }
}

/// The links and packet rules of the host's network.
pub(crate) fn host_network() -> Result<String> {
    let links = Command::new("ip").args(["-brief", "link"]).output()?;
    let rules = Command::new("nft").args(["list", "ruleset"]).output()?;
    Ok(text(&links) + &text(&rules))
}

/// The folder of a cluster.
pub(crate) fn folder_of(cluster: &str) -> Result<PathBuf> {
    Ok(Layout::outside(paths::clusters()?.join(cluster)).root().to_owned())
}

fn processes() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok()))
        .collect()
}

/// The processes guard, unshare, init, and serve of a cluster, in this order.
fn supervisors_of(cluster: &str) -> Vec<PathBuf> {
    let argument = format!("\"name\":\"{cluster}\"");
    let mut found: Vec<_> = processes()
        .into_iter()
        .filter(|process| {
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(&argument)
        })
        .collect();
    found.sort();
    found
}

fn namespaces_of_process(process: &Path) -> BTreeSet<String> {
    ["mnt", "net", "pid", "pid_for_children", "user"]
        .iter()
        .filter_map(|kind| fs::read_link(process.join("ns").join(kind)).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect()
}

/// Asserts that a program fails with an error of one paragraph that contains all of `words`.
pub(crate) fn assert_refused(command: &mut Command, words: &[&str]) -> Result<()> {
    let output = command.output().with_context(|| format!("failed to start {command:?}"))?;
    let printed = String::from_utf8_lossy(&output.stderr);
    let error = printed.split_once("error: ").map(|(_, error)| error).unwrap_or_default();
    if output.status.success() || error.is_empty() {
        bail!("expected an error, got {}: {}", output.status, text(&output));
    }
    for word in words {
        if !error.contains(word) {
            bail!("the error does not contain {word:?}: {error}");
        }
    }
    if error.trim().contains("\n\n") {
        bail!("the error is more than one paragraph: {error}");
    }
    Ok(())
}
