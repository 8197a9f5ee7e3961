//! The lower bounds of a machine: generating keys, writing to its API server, ordering from its Pebble.
//!
//! Knows keys, clients, and Pebble; must not know the operator. Next: `workloads/standalone.rs`.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::Result;
use e2e::cert_manager_fixture::KeyAlgorithm;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use testbed::{
    acme,
    pebble::{Pebble, Settings, TokenServer},
    tools::Tools,
};

use crate::record::f64_of;

/// The number of objects to write.
const WRITES: usize = 1000;

/// The number of concurrent writes and orders.
const CONCURRENCY: usize = 16;

/// The number of certificates to order, first one after another and then concurrently.
const ORDERS: usize = 50;

/// The number of private keys to generate: the time to generate an RSA key is random.
const KEYS: u32 = 200;

/// The mean time to generate a private key on one core.
pub(crate) fn key_generation(key: KeyAlgorithm) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..KEYS {
        black_box(key.generate()?);
    }
    Ok(began.elapsed() / KEYS)
}

/// How many small objects the API server can create per second.
pub(crate) async fn api_writes_per_second(client: &Client) -> Result<f64> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let began = Instant::now();
    let written: Vec<_> = stream::iter(0..WRITES)
        .map(|index| {
            let object = ConfigMap {
                metadata: ObjectMeta { name: Some(format!("baseline-{index}")), ..ObjectMeta::default() },
                ..ConfigMap::default()
            };
            let api = &api;
            async move { api.create(&PostParams::default(), &object).await }
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(f64_of(written.len()) / began.elapsed().as_secs_f64())
}

/// The speed of ordering with only instant-acme: the median time of one certificate, and concurrent certificates per second.
pub(crate) async fn bare_orders(tools: &Tools) -> Result<(Duration, f64)> {
    let pebble = Pebble::on_host(tools, &Settings::calm()).await?;
    let tokens = TokenServer::start(&pebble).await?;
    let account = acme::new_account(&pebble, acme::account_builder(&pebble)).await?;
    let issue = async |index: usize| {
        let name = format!("baseline-{index}.example.test");
        let serve = async |token: &str, key_authorization: &str| {
            tokens.add(token, key_authorization);
            Ok(())
        };
        acme::issue(&account, &[&name], serve).await
    };
    let mut times = Vec::new();
    for index in 0..ORDERS {
        let began = Instant::now();
        issue(index).await?;
        times.push(began.elapsed());
    }
    times.sort();
    let began = Instant::now();
    let issued: Vec<_> =
        stream::iter(ORDERS..2 * ORDERS).map(&issue).buffer_unordered(CONCURRENCY).try_collect().await?;
    Ok((times[ORDERS / 2], f64_of(issued.len()) / began.elapsed().as_secs_f64()))
}
