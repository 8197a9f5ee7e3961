//! What can't be gone below on a machine: making keys, writing to its API server, ordering from its Pebble.

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

/// How many objects are written.
const WRITES: usize = 1000;

/// How many writes and orders there are at once.
const CONCURRENCY: usize = 16;

/// How many certificates are ordered, one after the other and at once.
const ORDERS: usize = 50;

/// How many private keys are made: those for RSA differ by luck.
const KEYS: u32 = 200;

/// How long it takes on average to make a private key, on one core.
pub(crate) fn key_generation(key: KeyAlgorithm) -> Result<Duration> {
    let began = Instant::now();
    for _ in 0..KEYS {
        black_box(key.generate()?);
    }
    Ok(began.elapsed() / KEYS)
}

/// How many small objects a second the API server takes.
pub(crate) async fn api_writes_a_second(client: &Client) -> Result<f64> {
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

/// What ordering costs with nothing but instant-acme: one certificate alone, and how many a second at once.
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
