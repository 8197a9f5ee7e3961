//! Whatever happens to a cluster's processes, nothing of it stays on the machine.
//!
//! One test at a time: each looks at the whole machine.

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
fn down_leaves_nothing_of_a_cluster_with_running_pods() -> Result<()> {
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
    ensure!(
        assert_gone(&name, &namespaces).is_err(),
        "a running cluster is told apart from one that is gone"
    );

    let down = testbed(&["cluster", "down", "--name", &name]).output()?;
    ensure!(down.status.success(), "{}", text(&down));
    assert_gone(&name, &namespaces)?;
    ensure!(host_network()? == network, "the host's links or packet rules changed");
    Ok(())
}

#[test]
fn a_killed_xtask_leaves_nothing_at_whatever_step_it_is_killed() -> Result<()> {
    let _alone = alone();
    // What is there when the kill comes: from the first trace of the cluster to the last step but one.
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
            // The earliest kill may come before there is anyone to clean up: that is what `down` is for.
            let down = testbed(&["cluster", "down", "--name", &name]).output()?;
            ensure!(down.status.success(), "{}", text(&down));
        } else {
            wait("the cluster to end by itself", || {
                matches!(cluster::state_of(&name), Ok(ClusterState::Absent)).then_some(())
            })?;
        }
        assert_gone(&name, &namespaces).with_context(|| format!("killed when {sign} was there"))?;
    }
    Ok(())
}

#[test]
fn a_cluster_whose_supervisors_were_killed_is_stale_until_down() -> Result<()> {
    let _alone = alone();
    let name = name("stale");
    let up = testbed(&["cluster", "up", "--name", &name]).output()?;
    ensure!(up.status.success(), "{}", text(&up));
    let namespaces = namespaces_of(&name)?;
    kill_supervisors(&name);
    wait("the cluster to be stale", || {
        matches!(cluster::state_of(&name), Ok(ClusterState::Stale)).then_some(())
    })?;

    let way_out = format!("cargo xtask cluster down --name {name}");
    assert_refused(&mut testbed(&["cluster", "up", "--name", &name]), &["left behind", &way_out])?;
    assert_refused(
        &mut testbed(&["cluster", "kubectl", "--name", &name, "get", "pods"]),
        &["left behind", &way_out],
    )?;

    let down = testbed(&["cluster", "down", "--name", &name]).output()?;
    ensure!(down.status.success(), "{}", text(&down));
    assert_gone(&name, &namespaces)?;
    let again = testbed(&["cluster", "down", "--name", &name]).output()?;
    ensure!(again.status.success() && text(&again).contains("there was no cluster"), "{}", text(&again));
    Ok(())
}
