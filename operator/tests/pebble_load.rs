//! The number of requests per order when many orders are placed concurrently.

mod support;

use std::{collections::HashMap, sync::Arc};

use anyhow::{Result, ensure};
use operator::pki::{Curve, KeyKind};
use support::{World, order};
use testbed::pebble::Settings;
use tokio::time::Instant;

const P256: KeyKind = KeyKind::Ecdsa(Curve::P256);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_orders_reuse_nonces() -> Result<()> {
    const ORDERS: usize = 200;
    let world = Arc::new(World::new(&Settings::calm()).await?);
    let account = world.account(P256).await?;
    let began = Instant::now();
    let issuances = (0..ORDERS).map(|number| {
        let (world, account) = (Arc::clone(&world), account.clone());
        tokio::spawn(async move {
            world.issue_sparingly(&account, &order(&[&format!("n{number}.example.test")])).await
        })
    });
    let mut counts = Vec::new();
    for issuance in issuances.collect::<Vec<_>>() {
        counts.push(issuance.await??);
    }
    let time = began.elapsed();
    let nonces = world.count("newNonce");
    let mut histogram: HashMap<usize, usize> = HashMap::new();
    for requests in &counts {
        *histogram.entry(*requests).or_default() += 1;
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    println!(
        "{ORDERS} orders on one account in {time:.1?}: at most {most} ACME requests each ({histogram:?}), {nonces} \
         newNonce, {} requests in total",
        world.requests().len()
    );
    ensure!(most <= 8, "an order took more than 8 requests: {histogram:?}");
    ensure!(nonces <= 10, "{nonces} newNonce requests");
    Ok(())
}
