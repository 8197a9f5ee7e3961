//! Each setting of a Pebble has its effect. Every test starts a new Pebble.
//! Uses the testbed's own ACME client, and nothing of the operator. Next: `Settings`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::http::header::RETRY_AFTER;
use instant_acme::{Account, Error, ExternalAccountKey, NewAccount, OrderStatus};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use testbed::{
    acme::{self, Issued},
    http,
    pebble::{Pebble, Settings, TokenServer},
    tools::Tools,
};
use x509_parser::prelude::FromDer;
use xtask::paths;

async fn pebble(settings: &Settings) -> Result<Pebble> {
    Pebble::on_host(&Tools::seen_at(paths::cache()?), settings).await
}

async fn account(pebble: &Pebble) -> Result<Account, Error> {
    acme::new_account(pebble, acme::account_builder(pebble)).await
}

async fn issue(pebble: &Pebble, dns_names: &[&str]) -> Result<Issued> {
    let tokens = TokenServer::start(pebble).await?;
    acme::issue(&account(pebble).await?, dns_names, async |token, key_authorization| {
        tokens.add(token, key_authorization);
        Ok(())
    })
    .await
}

fn validity(chain: &str) -> Result<Duration> {
    let leaf = CertificateDer::pem_slice_iter(chain.as_bytes()).next().context("the chain is empty")??;
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&leaf)?;
    let validity = leaf.validity();
    let seconds = validity.not_after.timestamp() - validity.not_before.timestamp();
    Ok(Duration::from_secs(u64::try_from(seconds)?))
}

#[tokio::test]
async fn pebble_starts_quickly_and_issues() -> Result<()> {
    let mut starts = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let pebble = pebble(&Settings::calm()).await?;
        starts.push(began.elapsed());
        drop(pebble);
    }
    starts.sort();
    println!("a new Pebble answers after {:?} (median of 5)", starts[2]);
    ensure!(starts[2] < Duration::from_secs(1), "{starts:?}");
    let pebble = pebble(&Settings::default()).await?;
    let issued = issue(&pebble, &["a.example.test", "b.example.test"]).await?;
    ensure!(issued.chain.matches("BEGIN CERTIFICATE").count() == 2);
    Ok(())
}

#[tokio::test]
async fn concurrent_pebbles_have_own_addresses() -> Result<()> {
    let settings = Settings::calm();
    let pebbles = futures::future::try_join_all((0..10).map(|_| pebble(&settings))).await?;
    let mut addresses: Vec<_> = pebbles.iter().map(Pebble::address).collect();
    addresses.sort();
    addresses.dedup();
    ensure!(addresses.len() == 10, "{addresses:?}");
    Ok(())
}

#[tokio::test]
async fn profile_sets_the_validity() -> Result<()> {
    let settings = Settings {
        profiles: BTreeMap::from([("minute".to_owned(), Duration::from_mins(1))]),
        ..Settings::calm()
    };
    let pebble = pebble(&settings).await?;
    let issued = issue(&pebble, &["short.example.test"]).await?;
    // In RFC 5280, the validity includes both ends.
    ensure!(validity(&issued.chain)?.abs_diff(Duration::from_mins(1)) <= Duration::from_secs(1));
    Ok(())
}

#[tokio::test]
async fn nonces_are_rejected() -> Result<()> {
    let pebble = pebble(&Settings { nonce_rejection_percent: 100, ..Settings::calm() }).await?;
    let refused = account(&pebble).await;
    let Err(Error::Api(problem)) = refused else {
        anyhow::bail!("the account was created with a rejected nonce")
    };
    ensure!(problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce"), "{problem}");
    Ok(())
}

#[tokio::test]
async fn reused_authorization_makes_an_order_ready() -> Result<()> {
    for (percent, status) in [(100, OrderStatus::Ready), (0, OrderStatus::Pending)] {
        let pebble = pebble(&Settings { authorization_reuse_percent: percent, ..Settings::calm() }).await?;
        let account = account(&pebble).await?;
        let tokens = TokenServer::start(&pebble).await?;
        let mut validated = acme::new_order(&account, &["again.example.test"]).await?;
        acme::authorize(&mut validated, async |token, key_authorization| {
            tokens.add(token, key_authorization);
            Ok(())
        })
        .await?;
        let mut next = acme::new_order(&account, &["again.example.test"]).await?;
        ensure!(next.state().status == status, "{percent} %: {:?}", next.state().status);
    }
    Ok(())
}

#[tokio::test]
async fn account_binding_is_required_and_accepted() -> Result<()> {
    // The key is 32 bytes of zero, as base64url.
    let keys = BTreeMap::from([("kid-1".to_owned(), "A".repeat(43))]);
    let pebble = pebble(&Settings { external_account_keys: keys, ..Settings::calm() }).await?;
    let refused = account(&pebble).await;
    let Err(Error::Api(problem)) = refused else {
        anyhow::bail!("the account was created without a binding")
    };
    ensure!(
        problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:externalAccountRequired"),
        "{problem}"
    );
    let key = ExternalAccountKey::new("kid-1".to_owned(), &[0; 32]);
    let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
    let (_account, _credentials) =
        acme::account_builder(&pebble).create(&new, pebble.directory_url(), Some(&key)).await?;
    Ok(())
}

#[tokio::test]
async fn alternate_roots_and_long_chains_are_served() -> Result<()> {
    let pebble = pebble(&Settings { alternate_roots: 2, chain_length: 2, ..Settings::calm() }).await?;
    let issued = issue(&pebble, &["long.example.test"]).await?;
    ensure!(issued.chain.matches("BEGIN CERTIFICATE").count() == 3, "{}", issued.chain);
    for chain in 0..=2 {
        pebble.issuing_root(chain).await?;
    }
    ensure!(pebble.issuing_root(3).await.is_err());
    Ok(())
}

#[tokio::test]
async fn blocked_name_is_rejected() -> Result<()> {
    let pebble = pebble(&Settings::calm()).await?;
    let refused = issue(&pebble, &["blocked.example.test"]).await;
    let error = format!("{:#}", refused.err().context("a certificate for a blocked name was issued")?);
    ensure!(error.contains("rejectedIdentifier"), "{error}");
    Ok(())
}

/// The `Retry-After` headers of one issuance.
async fn retry_after_of_an_issuance(pebble: &Pebble, tokens: &TokenServer) -> Result<Vec<String>> {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&seen);
    let builder = acme::observed_account_builder(pebble, move |answer| {
        let value = answer
            .headers()
            .get(RETRY_AFTER)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        sink.lock().unwrap_or_else(PoisonError::into_inner).extend(value);
    });
    let account = acme::new_account(pebble, builder).await?;
    acme::issue(&account, &["later.example.test"], async |token, key_authorization| {
        tokens.add(token, key_authorization);
        Ok(())
    })
    .await?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(seen)
}

#[tokio::test]
async fn retry_after_is_a_number_or_a_date_or_absent() -> Result<()> {
    // Pebble picks one at random, so both appear in this many tries.
    const TRIES: usize = 40;
    let never = pebble(&Settings::calm()).await?;
    let seen = retry_after_of_an_issuance(&never, &TokenServer::start(&never).await?).await?;
    ensure!(seen.is_empty(), "{seen:?}");

    let sometimes = pebble(&Settings { retry_after: Duration::from_secs(1), ..Settings::calm() }).await?;
    let tokens = TokenServer::start(&sometimes).await?;
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        seen.extend(retry_after_of_an_issuance(&sometimes, &tokens).await?);
        if seen.iter().any(|value| value == "1") && seen.iter().any(|value| value.ends_with(" GMT")) {
            return Ok(());
        }
    }
    anyhow::bail!("{TRIES} issuances had only {seen:?}")
}

#[tokio::test]
async fn pebble_is_not_trusted_under_another_ca() -> Result<()> {
    let one = pebble(&Settings::calm()).await?;
    let other = pebble(&Settings::calm()).await?;
    ensure!(http::get(one.network(), &one.directory_url(), other.trust()).await.is_err());
    Ok(())
}
