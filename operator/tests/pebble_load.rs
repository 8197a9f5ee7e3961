//! The number of requests per order when many orders are placed concurrently.

mod support;

use std::{collections::BTreeMap, sync::Arc};

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
    world.forget();
    let began = Instant::now();
    let issuances = (0..ORDERS).map(|number| {
        let (world, account) = (Arc::clone(&world), account.clone());
        tokio::spawn(async move {
            world.issue_sparingly(&account, &order(&[&format!("n{number}.example.test")])).await
        })
    });
    let mut counts: Vec<usize> = Vec::new();
    for issuance in issuances.collect::<Vec<_>>() {
        counts.push(issuance.await??);
    }
    let time = began.elapsed();
    let nonces = world.count("newNonce");
    let mut histogram: BTreeMap<usize, usize> = BTreeMap::new();
    for requests in &counts {
        *histogram.entry(*requests).or_default() += 1;
    }
    counts.sort_unstable();
    let median = counts[ORDERS / 2];
    let total = world.requests().len();
    println!(
        "{ORDERS} orders on one account in {time:.1?}: {median} ACME requests each (median; {histogram:?}), {nonces} \
         newNonce, {total} requests in total"
    );
    // How often one order is polled depends on how long the CA takes for it. The other requests don't.
    ensure!(median <= 8, "half of the orders took more than 8 requests: {histogram:?}");
    ensure!(nonces <= 10, "{nonces} newNonce requests");
    let expected = nonces + counts.iter().sum::<usize>();
    ensure!(total == expected, "{total} requests instead of {expected}: some were sent again");
    Ok(())
}
