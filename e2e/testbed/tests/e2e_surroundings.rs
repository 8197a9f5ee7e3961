//! Missing programs, missing rights, and other bad environments. Each ends with one paragraph that says what to do, and
//! an exit code other than 0. Runs the program `testbed` only. Next: `support/mod.rs`.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use support::{assert_refused, name, testbed};
use testbed::tools::{self, Tool, Tools};
use xtask::{
    paths::{self, CACHE_VARIABLE, STATE_VARIABLE},
    process::text,
};

/// The user ID of `nobody`, who owns no files.
const NOBODY: &str = "65534";

/// A folder that every user may write to.
fn open_folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
    Ok(folder)
}

/// A `PATH` with only the given programs, as shell scripts.
fn path_with(folder: &Path, programs: &[(&str, &str)]) -> Result<String> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    for (name, script) in programs {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(bin.to_string_lossy().into_owned())
}

/// The program `testbed`, run by a user other than root, who can read copies of it and of the tools.
fn as_nobody(folder: &Path, arguments: &[&str]) -> Result<Command> {
    let cache = folder.join("cache");
    if !cache.exists() {
        share(&paths::cache()?.join("tools"), &cache.join("tools"))?;
        share_file(Path::new(env!("CARGO_BIN_EXE_testbed")), &folder.join("testbed"))?;
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
        .arg(folder.join("testbed"))
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env(CACHE_VARIABLE, &cache)
        .env(STATE_VARIABLE, folder.join("state"));
    Ok(command)
}

/// Links or copies the programs of a cache, without their sources.
fn share(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() && entry.file_name() != "src" {
            share(&source, &target)?;
        } else if entry.metadata()?.permissions().mode() & 0o111 != 0 && entry.file_type()?.is_file() {
            share_file(&source, &target)?;
        }
    }
    Ok(())
}

/// Makes a hard link to a file, or a copy if that fails.
fn share_file(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("failed to copy {}", from.display()))?;
    }
    Ok(())
}

#[test]
fn control_plane_works_without_root() -> Result<()> {
    let folder = open_folder()?;
    let name = name("nobody");
    let up =
        as_nobody(folder.path(), &["cluster", "up", "--control-plane-only", "--name", &name])?.output()?;
    ensure!(up.status.success(), "{}", text(&up));
    let get = as_nobody(
        folder.path(),
        &["cluster", "kubectl", "--name", &name, "get", "namespaces", "-o", "name"],
    )?;
    let got = text(&{ get }.output()?);
    ensure!(got.contains("namespace/kube-system"), "{got}");

    // Traefik listens on port 80, although this user may not bind it outside.
    let record = fs::read(folder.path().join("state/clusters").join(&name).join("cluster.json"))?;
    let record: serde_json::Value = serde_json::from_slice(&record)?;
    let relay = testbed::http::Network::Relay(record["relay"].as_str().context("no relay")?.parse()?);
    let answer = tokio::runtime::Runtime::new()?.block_on(testbed::http::get(
        &relay,
        "http://anything.example.test/",
        &testbed::http::Trust::Nothing,
    ))?;
    ensure!(answer.status() == 404, "{}", answer.status());

    let down = as_nobody(folder.path(), &["cluster", "down", "--name", &name])?.output()?;
    ensure!(down.status.success(), "{}", text(&down));
    ensure!(!folder.path().join("state/clusters").join(&name).exists());
    Ok(())
}

#[test]
fn node_without_root_is_refused() -> Result<()> {
    let folder = open_folder()?;
    assert_refused(
        &mut as_nobody(folder.path(), &["cluster", "up", "--name", &name("no-root")])?,
        &["needs root", "--control-plane-only"],
    )
}

#[test]
fn missing_go_is_reported() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_with(folder.path(), &[])?;
    let mut command = testbed(&["tools"]);
    command.env(CACHE_VARIABLE, folder.path().join("cache")).env("PATH", path);
    assert_refused(&mut command, &["failed to start Go", "Install Go 1.26"])
}

#[test]
fn missing_python_is_reported() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_with(folder.path(), &[])?;
    // Only Traefik is missing.
    let cache = folder.path().join("cache");
    let traefik = Tools::seen_at(paths::cache()?).path(Tool::Traefik);
    fs::create_dir_all(cache.join("tools"))?;
    for entry in fs::read_dir(paths::cache()?.join("tools"))? {
        let entry = entry?;
        if !traefik.starts_with(entry.path()) {
            symlink(entry.path(), cache.join("tools").join(entry.file_name()))?;
        }
    }
    let mut command = testbed(&["tools"]);
    command.env(CACHE_VARIABLE, cache).env("PATH", path);
    assert_refused(&mut command, &["failed to start Python", "Install Python 3 with pip"])
}

/// A `go` that appends the program to `notes`, sleeps 50 ms, and makes an empty file. `go mod vendor` makes only the
/// file that is edited.
fn slow_go(notes: &Path) -> String {
    format!(
        r#"if [ "$1" = mod ]; then
    /bin/mkdir -p vendor/github.com/letsencrypt/pebble/v2/wfe
    echo '"crypto/ecdsa" jose.ES512, case *ecdsa.PublicKey:' >vendor/github.com/letsencrypt/pebble/v2/wfe/jose.go
    exit
fi
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
echo "$out" >>{notes}
/bin/sleep 0.05
: >"$out""#,
        notes = notes.display()
    )
}

/// A cache with Traefik only.
fn cache_with_traefik(folder: &Path) -> Result<PathBuf> {
    let cache = folder.join("cache");
    let traefik = Tools::seen_at(paths::cache()?).path(Tool::Traefik);
    let its_folder = traefik.parent().context("a tool is in a folder")?;
    fs::create_dir_all(cache.join("tools"))?;
    symlink(its_folder, cache.join("tools").join(its_folder.file_name().context("a folder has a name")?))?;
    Ok(cache)
}

/// The number of tools that Go builds: all but Traefik.
fn go_builds() -> usize {
    tools::testbed().len() - 1
}

#[test]
fn concurrent_runs_build_each_tool_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let notes = folder.path().join("notes");
    let path = path_with(folder.path(), &[("go", &slow_go(&notes))])?;
    let cache = cache_with_traefik(folder.path())?;
    let start = || testbed(&["tools"]).env(CACHE_VARIABLE, &cache).env("PATH", &path).spawn();
    let mut runs = [start()?, start()?];
    for run in &mut runs {
        ensure!(run.wait()?.success());
    }
    let built = fs::read_to_string(&notes)?;
    ensure!(built.lines().count() == go_builds(), "{built}");
    Ok(())
}

#[test]
fn interrupted_build_is_resumed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let notes = folder.path().join("notes");
    let path = path_with(folder.path(), &[("go", &slow_go(&notes))])?;
    let cache = cache_with_traefik(folder.path())?;
    let start = || testbed(&["tools"]).env(CACHE_VARIABLE, &cache).env("PATH", &path).spawn();
    let built = || fs::read_to_string(&notes).unwrap_or_default().lines().count();

    let mut interrupted = start()?;
    support::wait("some tools to be built", || (built() >= 4).then_some(()))?;
    interrupted.kill()?;
    interrupted.wait()?;
    let before = built();
    ensure!(start()?.wait()?.success());
    // Only the tool whose build was interrupted is built again.
    let after = built() - before;
    ensure!(after <= go_builds() - (before - 1) && after > 0, "{before} before, {after} after");
    ensure!(start()?.wait()?.success() && built() == before + after, "something was built a second time");
    Ok(())
}

#[test]
fn failed_build_shows_the_output_of_go() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_with(folder.path(), &[("go", "echo 'proxy.invalid: no such host' >&2; exit 1")])?;
    let cache = folder.path().join("cache");
    let mut command = testbed(&["tools"]);
    command.env(CACHE_VARIABLE, &cache).env("PATH", path);
    assert_refused(
        &mut command,
        &["building kube-apiserver", "no such host", "check the network", &cache.to_string_lossy()],
    )
}

#[test]
fn full_disk_is_reported() -> Result<()> {
    struct Tmpfs(PathBuf);
    impl Drop for Tmpfs {
        fn drop(&mut self) {
            _ = umount2(&self.0, MntFlags::MNT_DETACH);
        }
    }
    let folder = tempfile::tempdir()?;
    mount(Some("testbed-test"), folder.path(), Some("tmpfs"), MsFlags::empty(), Some("size=1m"))
        .context("failed to mount a small tmpfs")?;
    let tmpfs = Tmpfs(folder.path().to_owned());
    let mut command = testbed(&["tools"]);
    // Go's caches are elsewhere and warm: only the cache of tools is small.
    command.env(CACHE_VARIABLE, &tmpfs.0);
    assert_refused(&mut command, &["the disk is full", CACHE_VARIABLE, "larger disk"])
}

#[test]
fn taken_relay_port_is_reported() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let name = name("port");
    assert_refused(
        &mut testbed(&["cluster", "up", "--control-plane-only", "--name", &name, "--relay-port", &port]),
        &[&format!("port {port}"), "--relay-port"],
    )?;
    ensure!(!support::folder_of(&name)?.exists(), "the refused cluster left its folder");
    Ok(())
}

#[test]
fn missing_cluster_is_reported() -> Result<()> {
    let name = name("absent");
    assert_refused(
        &mut testbed(&["cluster", "kubectl", "--name", &name, "get", "pods"]),
        &[&format!("`cargo xtask cluster up --name {name}`")],
    )
}

#[test]
fn forbidden_namespaces_are_reported() -> Result<()> {
    let folder = open_folder()?;
    let name = name("no-userns");
    let command = as_nobody(folder.path(), &["cluster", "up", "--control-plane-only", "--name", &name])?;
    let program = command.get_args().map(ToOwned::to_owned).collect::<Vec<_>>();
    // Runs the program after `--` in a user namespace whose limit is 0, so that it can't create another one.
    let (as_user, testbed) =
        program.split_at(program.iter().position(|word| word == "--").context("no --")? + 1);
    let mut limited = Command::new(command.get_program());
    limited
        .args(as_user)
        .args(["unshare", "--user", "--map-current-user", "--keep-caps", "--", "sh", "-c"])
        .arg("echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"")
        .arg("sh")
        .args(testbed)
        .current_dir(folder.path());
    for (variable, value) in command.get_envs() {
        limited.env(variable, value.unwrap_or_default());
    }
    assert_refused(
        &mut limited,
        &["doesn't let this user create namespaces", "max_user_namespaces", "run as root"],
    )
}
