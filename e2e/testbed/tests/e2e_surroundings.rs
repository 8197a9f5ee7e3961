//! Bad surroundings: each ends with one paragraph that says what to do, and a code that is not 0.

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

/// A user that no file of ours belongs to.
const NOBODY: &str = "65534";

/// A folder that every user may enter.
fn open_folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
    Ok(folder)
}

/// A `PATH` folder with only the given programs.
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

/// The testbed program as a user who is not root: a copy of it, and of the tools, where that user can read them.
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

/// The programs of a tool cache, without what they were made from.
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

/// A second name of a file, or a copy where that can't be.
fn share_file(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("failed to copy {}", from.display()))?;
    }
    Ok(())
}

#[test]
fn a_control_plane_works_without_root() -> Result<()> {
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

    // Port 80 is Traefik's own, though its user may not bind it outside.
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
fn a_node_without_root_is_refused_with_both_ways_out() -> Result<()> {
    let folder = open_folder()?;
    assert_refused(
        &mut as_nobody(folder.path(), &["cluster", "up", "--name", &name("no-root")])?,
        &["needs root", "--control-plane-only"],
    )
}

#[test]
fn without_go_the_error_says_to_install_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_with(folder.path(), &[])?;
    let mut command = testbed(&["tools"]);
    command.env(CACHE_VARIABLE, folder.path().join("cache")).env("PATH", path);
    assert_refused(&mut command, &["Go can't be started", "Install Go 1.26"])
}

#[test]
fn without_python_the_error_says_to_install_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_with(folder.path(), &[])?;
    // All but Traefik is there.
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
    assert_refused(&mut command, &["Python can't be started", "Install Python 3 with pip"])
}

/// A `go` that notes which program it builds, takes a moment, and makes an empty one; what it vendors is no more than what
/// is edited there.
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

/// A cache that holds Traefik only.
fn cache_with_traefik(folder: &Path) -> Result<PathBuf> {
    let cache = folder.join("cache");
    let traefik = Tools::seen_at(paths::cache()?).path(Tool::Traefik);
    let its_folder = traefik.parent().context("a tool lies in a folder")?;
    fs::create_dir_all(cache.join("tools"))?;
    symlink(its_folder, cache.join("tools").join(its_folder.file_name().context("a folder has a name")?))?;
    Ok(cache)
}

/// How many tools Go builds: all but Traefik.
fn go_builds() -> usize {
    tools::testbed().len() - 1
}

#[test]
fn two_runs_at_once_build_each_tool_once() -> Result<()> {
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
fn an_interrupted_build_goes_on_where_it_was() -> Result<()> {
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
    // The one that was under way is built again, no other.
    let after = built() - before;
    ensure!(after <= go_builds() - (before - 1) && after > 0, "{before} before, {after} after");
    ensure!(start()?.wait()?.success() && built() == before + after, "something was built a second time");
    Ok(())
}

#[test]
fn a_tool_that_does_not_build_shows_what_go_said_and_where_the_rest_is() -> Result<()> {
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
fn a_full_disk_is_called_that() -> Result<()> {
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
    // Go's own caches are full and warm; only ours is small.
    command.env(CACHE_VARIABLE, &tmpfs.0);
    assert_refused(&mut command, &["the disk is full", CACHE_VARIABLE, "larger disk"])
}

#[test]
fn a_taken_relay_port_is_named_with_the_way_out() -> Result<()> {
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
fn a_cluster_that_is_not_there_is_told_how_to_start() -> Result<()> {
    let name = name("absent");
    assert_refused(
        &mut testbed(&["cluster", "kubectl", "--name", &name, "get", "pods"]),
        &[&format!("`cargo xtask cluster up --name {name}`")],
    )
}

#[test]
fn a_system_that_forbids_namespaces_is_told_how_to_allow_them() -> Result<()> {
    let folder = open_folder()?;
    let name = name("no-userns");
    let command = as_nobody(folder.path(), &["cluster", "up", "--control-plane-only", "--name", &name])?;
    let program = command.get_args().map(ToOwned::to_owned).collect::<Vec<_>>();
    // `as_nobody` ends in `-- xtask …`: put a user namespace before it whose own limit is 0, where nobody can make
    // another.
    let (as_user, xtask) =
        program.split_at(program.iter().position(|word| word == "--").context("no --")? + 1);
    let mut limited = Command::new(command.get_program());
    limited
        .args(as_user)
        .args(["unshare", "--user", "--map-current-user", "--keep-caps", "--", "sh", "-c"])
        .arg("echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"")
        .arg("sh")
        .args(xtask)
        .current_dir(folder.path());
    for (variable, value) in command.get_envs() {
        limited.env(variable, value.unwrap_or_default());
    }
    assert_refused(
        &mut limited,
        &["doesn't let this user make namespaces", "max_user_namespaces", "run as root"],
    )
}
