//! A cluster leaves nothing on the machine, no matter which of its processes is killed.
//! Each test checks the whole machine, so only one runs at a time. Next: `support/mod.rs` for the checks.

mod support;

use std::{
    process::Stdio,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result, ensure};
use support::{
    assert_gone, assert_refused, folder_of, host_network, kill_supervisors, name, namespaces_of, testbed,
    wait,
};
use testbed::{
    cluster::{self, Cluster, ClusterState},
    page,
};
use xtask::process::text;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn down_removes_a_cluster_with_running_pods() -> Result<()> {
    let _alone = alone();
    let name = name("down");
    let network = host_network()?;
    let up = testbed(&["cluster", "up", "--name", &name]).output()?;
    ensure!(up.status.success(), "{}", text(&up));
    tokio::runtime::Runtime::new()?.block_on(async {
        let cluster = Cluster::attach(&name)?;
        page::serve_page(&cluster, "default", "web", "web.example.test").await?;
        let url = "http://web.example.test/hostname";
        page::await_page(&cluster, url, &testbed::http::Trust::Nothing, support::TIMEOUT).await
    })?;
    let namespaces = namespaces_of(&name)?;
    ensure!(namespaces.len() >= 3, "{namespaces:?}");
    ensure!(assert_gone(&name, &namespaces).is_err(), "a running cluster counts as gone");

    let down = testbed(&["cluster", "down", "--name", &name]).output()?;
    ensure!(down.status.success(), "{}", text(&down));
    assert_gone(&name, &namespaces)?;
    ensure!(host_network()? == network, "the host's links or packet rules changed");
    Ok(())
}

#[test]
fn killed_start_leaves_nothing() -> Result<()> {
    let _alone = alone();
    // The start is killed when this file exists, from the first trace of the cluster to one of the last steps.
    for (step, sign) in
        ["log/supervisor.log", "control.sock", "log/etcd.log", "log/kube-apiserver.log", "log/kubelet.log"]
            .iter()
            .enumerate()
    {
        let name = name(&format!("kill-{step}"));
        let mut up = testbed(&["cluster", "up", "--name", &name])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let folder = folder_of(&name)?;
        wait(sign, || folder.join(sign).exists().then_some(()))?;
        let namespaces = namespaces_of(&name).unwrap_or_default();
        up.kill()?;
        up.wait()?;
        if *sign == "log/supervisor.log" {
            // The kill may come before the guard runs, which cleans up. Then `down` has to.
            let down = testbed(&["cluster", "down", "--name", &name]).output()?;
            ensure!(down.status.success(), "{}", text(&down));
        } else {
            wait("the cluster to end without `down`", || {
                matches!(cluster::state_of(&name), Ok(ClusterState::Absent)).then_some(())
            })?;
        }
        assert_gone(&name, &namespaces).with_context(|| format!("killed when {sign} existed"))?;
    }
    Ok(())
}

#[test]
fn killed_supervisors_leave_a_stale_cluster() -> Result<()> {
    let _alone = alone();
    let name = name("stale");
    let up = testbed(&["cluster", "up", "--name", &name]).output()?;
    ensure!(up.status.success(), "{}", text(&up));
    let namespaces = namespaces_of(&name)?;
    kill_supervisors(&name);
    wait("the cluster to be stale", || {
        matches!(cluster::state_of(&name), Ok(ClusterState::Stale)).then_some(())
    })?;

    let remedy = format!("cargo xtask cluster down --name {name}");
    assert_refused(&mut testbed(&["cluster", "up", "--name", &name]), &["left behind", &remedy])?;
    assert_refused(
        &mut testbed(&["cluster", "kubectl", "--name", &name, "get", "pods"]),
        &["left behind", &remedy],
    )?;

    let down = testbed(&["cluster", "down", "--name", &name]).output()?;
    ensure!(down.status.success(), "{}", text(&down));
    assert_gone(&name, &namespaces)?;
    let again = testbed(&["cluster", "down", "--name", &name]).output()?;
    ensure!(again.status.success() && text(&again).contains("there is no cluster"), "{}", text(&again));
    Ok(())
}
