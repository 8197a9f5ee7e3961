//! Many orders after one another: memory does not grow. Alone in its process, whose memory is measured.

mod support;

use std::{fs, sync::Arc};

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use operator::pki::{Curve, KeyKind};
use support::{World, order};
use testbed::pebble::Settings;

/// What 900 issuances may add, KiB.
const LEAK_LIMIT: u64 = 3 * 1024;

const P256: KeyKind = KeyKind::Ecdsa(Curve::P256);

/// Resident memory of this process, KiB.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("no number")?.parse().context("no number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_a_thousand_issuances() -> Result<()> {
    const AT_ONCE: usize = 20;
    let world = Arc::new(World::new(&Settings::calm()).await?);
    let account = world.account(P256).await?;
    let issue_many = async |from: usize, to: usize| -> Result<()> {
        stream::iter(from..to)
            .map(|number| {
                let (world, account) = (Arc::clone(&world), account.clone());
                async move { world.walk_sparingly(&account, &order(&[&format!("m{number}.example.test")])).await }
            })
            .buffer_unordered(AT_ONCE)
            .try_for_each(async |_| Ok(()))
            .await?;
        // The test's own books would grow.
        world.forget();
        Ok(())
    };
    issue_many(0, 100).await?;
    let early = resident()?;
    issue_many(100, 1000).await?;
    let late = resident()?;
    println!("resident after 100 issuances {early} KiB, after 1,000 {late} KiB");
    // The allocator's pools still fill a little; a leak would be some KiB for each of the 900.
    ensure!(late <= early + LEAK_LIMIT, "{early} KiB became {late} KiB");
    Ok(())
}
