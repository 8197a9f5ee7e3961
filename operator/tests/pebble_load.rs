//! Many orders at once: what each costs.

mod support;

use std::{collections::HashMap, sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use operator::pki::{Curve, KeyKind};
use support::{World, order};
use testbed::pebble::Settings;

const P256: KeyKind = KeyKind::Ecdsa(Curve::P256);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_orders_at_once_lose_no_nonce() -> Result<()> {
    const ORDERS: usize = 200;
    let world = Arc::new(World::new(&Settings::calm()).await?);
    let account = world.account(P256).await?;
    let began = Instant::now();
    let walks = (0..ORDERS).map(|number| {
        let (world, account) = (Arc::clone(&world), account.clone());
        tokio::spawn(async move {
            world.walk_sparingly(&account, &order(&[&format!("n{number}.example.test")])).await
        })
    });
    let mut taken = Vec::new();
    for walk in walks.collect::<Vec<_>>() {
        taken.push(walk.await??);
    }
    let time = began.elapsed();
    let nonces = world.count("newNonce");
    let mut histogram: HashMap<usize, usize> = HashMap::new();
    for requests in &taken {
        *histogram.entry(*requests).or_default() += 1;
    }
    let most = taken.iter().max().copied().unwrap_or_default();
    println!(
        "{ORDERS} orders on one account in {time:.1?}: at most {most} ACME requests each ({histogram:?}), {nonces} \
         newNonce, {} requests in all",
        world.requests().len()
    );
    ensure!(most <= 8, "{histogram:?}");
    ensure!(nonces <= 10, "{nonces} newNonce requests");
    Ok(())
}
