//! Memory does not grow with the number of orders. This test has a process of its own, because it measures its memory.

mod support;

use std::{fs, sync::Arc};

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use operator::pki::{Curve, KeyKind};
use support::{World, order};
use testbed::pebble::Settings;

/// The growth that 900 issuances may cause, KiB.
const LEAK_LIMIT: u64 = 3 * 1024;

const P256: KeyKind = KeyKind::Ecdsa(Curve::P256);

/// Returns the resident memory of this process, KiB.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("no number")?.parse().context("no number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_issuances() -> Result<()> {
    const MAX_CONCURRENT: usize = 20;
    let world = Arc::new(World::new(&Settings::calm()).await?);
    let account = world.account(P256).await?;
    let issue_many = async |from: usize, to: usize| -> Result<()> {
        stream::iter(from..to)
            .map(|number| {
                let (world, account) = (Arc::clone(&world), account.clone());
                async move { world.issue_sparingly(&account, &order(&[&format!("m{number}.example.test")])).await }
            })
            .buffer_unordered(MAX_CONCURRENT)
            .try_for_each(async |_| Ok(()))
            .await?;
        // The recorded requests would grow too.
        world.forget();
        Ok(())
    };
    issue_many(0, 100).await?;
    let early = resident()?;
    issue_many(100, 1000).await?;
    let late = resident()?;
    println!("resident after 100 issuances {early} KiB, after 1,000 {late} KiB");
    // The pools of the allocator still grow a little. A leak would be some KiB for each of the 900 issuances.
    ensure!(late <= early + LEAK_LIMIT, "memory grew from {early} KiB to {late} KiB");
    Ok(())
}
