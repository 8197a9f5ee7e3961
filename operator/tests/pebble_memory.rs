//! Memory does not grow with the number of orders. This test has a process of its own, because it measures its memory.

mod support;

use std::sync::Arc;

use anyhow::{Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use operator::pki::{Curve, KeyKind};
use support::{World, order};
use testbed::{pebble::Settings, process::resident};

/// The growth that 900 issuances may cause, bytes.
const LEAK_LIMIT: u64 = 3 << 20;

const P256: KeyKind = KeyKind::Ecdsa(Curve::P256);

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
    let early = resident("self")?;
    issue_many(100, 1000).await?;
    let late = resident("self")?;
    println!("resident after 100 issuances {} KiB, after 1,000 {} KiB", early / 1024, late / 1024);
    // The pools of the allocator still grow a little. A leak would be some KiB for each of the 900 issuances.
    ensure!(late <= early + LEAK_LIMIT, "memory grew from {early} to {late} bytes");
    Ok(())
}
