//! The ACME client against real Pebbles: every kind of account, order, and rejection.

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use operator::{
    acme::{
        Account, AccountKey, AccountStatus, AcmeError, AuthorizationStatus, Class, ExternalAccountKey,
        Identifier, NewOrder, OrderStatus,
    },
    pki::{Chain, Curve, KeyEncoding, KeyKind, PrivateKey},
};
use serde_json::json;
use support::{Issued, World, csr, http01, order};
use testbed::pebble::Settings;
use tokio::time::sleep;

const P256: KeyKind = KeyKind::Ecdsa(Curve::P256);

fn problem_type<T>(outcome: Result<T, AcmeError>) -> Result<String> {
    let error = outcome.err().context("the request was accepted")?;
    ensure!(error.class() == Class::Refused, "{error:?}");
    Ok(error.problem_type().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn every_kind_of_account_key_issues() -> Result<()> {
    for kind in [
        KeyKind::Rsa { bits: 2048 },
        KeyKind::Rsa { bits: 4096 },
        P256,
        KeyKind::Ecdsa(Curve::P384),
        KeyKind::Ecdsa(Curve::P521),
        KeyKind::Ed25519,
    ] {
        let settings = Settings { ed25519_accounts: kind == KeyKind::Ed25519, ..Settings::default() };
        let world = World::new(&settings).await?;
        let account = world.account(kind).await.with_context(|| kind.to_string())?;
        let issued = world.issue(&account, &order(&["a.example.test", "*.b.example.test"])).await;
        // HTTP-01 can't validate a wildcard, so this order is placed and then fails.
        ensure!(issued.is_err(), "a wildcard was issued through HTTP-01");
        let Issued { chain, key } = world.issue(&account, &order(&["a.example.test"])).await?;
        chain.check(&key, &["a.example.test".to_owned()], &[], jiff::Timestamp::UNIX_EPOCH)?;
        ensure!(chain.certificates().len() == 2);
    }
    Ok(())
}

/// Released Pebbles reject Ed25519 account keys, like Let's Encrypt does.
#[tokio::test]
async fn unsupported_account_key_is_rejected() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let key = Arc::new(AccountKey::new(PrivateKey::generate(KeyKind::Ed25519)?));
    let rejected = Account::find_or_create(world.server()?, key, &[], None).await;
    ensure!(problem_type(rejected)? == "badSignatureAlgorithm");
    Ok(())
}

/// An account key as cert-manager stores it (RSA-2048, PKCS#1) is enough to find the account again.
#[tokio::test]
async fn account_is_found_by_its_key() -> Result<()> {
    let world = World::new(&Settings::default()).await?;
    let key = PrivateKey::generate(KeyKind::Rsa { bits: 2048 })?;
    let secret = key.to_pem(KeyEncoding::Traditional)?;
    ensure!(secret.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let contact = ["mailto:admin@example.test".to_owned()];
    let first =
        Account::find_or_create(world.server()?, Arc::new(AccountKey::new(key)), &contact, None).await?;

    let again = || -> Result<_> { Ok(Arc::new(AccountKey::new(PrivateKey::from_pem(secret.as_bytes())?))) };
    let found = Account::find(world.server()?, again()?).await?;
    ensure!(found.url() == first.url() && found.status() == AccountStatus::Valid);
    ensure!(found.key().thumbprint() == first.key().thumbprint());
    ensure!(found.key().private_key_hash()? == first.key().private_key_hash()?);
    let mut same = Account::find_or_create(world.server()?, again()?, &contact, None).await?;
    ensure!(same.url() == first.url());

    same.update_contact(&["mailto:other@example.test".to_owned()]).await?;
    ensure!(same.contact() == ["mailto:other@example.test"], "{:?}", same.contact());
    let other_key = Arc::new(AccountKey::new(PrivateKey::generate(P256)?));
    ensure!(problem_type(Account::find(world.server()?, other_key).await)? == "accountDoesNotExist");
    Ok(())
}

/// Issuance works with valid nonces and with half of them rejected, without authorization reuse and with it.
#[tokio::test]
async fn bad_nonces_and_reuse_do_not_matter() -> Result<()> {
    for (nonces, reuse) in [(0, 0), (50, 0), (0, 100), (50, 100)] {
        let settings = Settings {
            nonce_rejection_percent: nonces,
            authorization_reuse_percent: reuse,
            alternate_roots: 1,
            ed25519_accounts: true,
            ..Settings::default()
        };
        let world = World::new(&settings).await?;
        let address = world.pebble.address();
        for kind in [KeyKind::Rsa { bits: 2048 }, P256, KeyKind::Ed25519] {
            let account = world.account(kind).await?;
            let mut new_order = order(&["a.example.test", "b.example.test"]);
            new_order.identifiers.push(Identifier::Ip(address));
            for _ in 0..2 {
                let Issued { chain, key } = world.issue(&account, &new_order).await?;
                let names = ["a.example.test".to_owned(), "b.example.test".to_owned()];
                chain.check(&key, &names, &[address], jiff::Timestamp::UNIX_EPOCH)?;
                let identifier = chain.leaf().ari_id().context("no identifier")?;
                account.renewal_info(&identifier).await?;
                account.revoke(&chain.certificates()[0]).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn deactivated_authorization_is_reported() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let (_, state) = account.new_order(&order(&["deactivated.example.test"])).await?;
    account.session().post(&state.authorizations[0], &json!({ "status": "deactivated" })).await?;
    let authorization = account.authorization(&state.authorizations[0]).await?;
    ensure!(authorization.status == AuthorizationStatus::Deactivated, "{:?}", authorization.status);
    Ok(())
}

#[tokio::test]
async fn endless_bad_nonces_are_transient() -> Result<()> {
    let world = World::new(&Settings { nonce_rejection_percent: 100, ..Settings::calm() }).await?;
    let key = Arc::new(AccountKey::new(PrivateKey::generate(P256)?));
    let error = Account::find_or_create(world.server()?, key, &[], None)
        .await
        .err()
        .context("the request was accepted")?;
    ensure!(error.class() == Class::Transient && error.problem_type() == Some("badNonce"), "{error:?}");
    ensure!(world.requests().len() < 60, "{} requests", world.requests().len());
    Ok(())
}

#[tokio::test]
async fn reused_authorizations_skip_challenges() -> Result<()> {
    let world = World::new(&Settings { authorization_reuse_percent: 100, ..Settings::calm() }).await?;
    let account = world.account(P256).await?;
    let new_order = order(&["again.example.test"]);
    world.issue(&account, &new_order).await?;
    let challenges = world.count("chalZ");
    let (url, state) = account.new_order(&new_order).await?;
    ensure!(state.status == OrderStatus::Ready, "{:?}", state.status);
    world.complete(&account, &url, &new_order, &PrivateKey::generate(P256)?).await?;
    ensure!(world.count("chalZ") == challenges, "a challenge was requested");
    Ok(())
}

#[tokio::test]
async fn external_account_binding_is_sent() -> Result<()> {
    // 32 bytes of zero.
    let mac_key = "A".repeat(43);
    let keys = BTreeMap::from([("kid-1".to_owned(), mac_key.clone())]);
    let world = World::new(&Settings { external_account_keys: keys, ..Settings::calm() }).await?;
    let server = world.server()?;
    ensure!(server.directory().await?.meta.external_account_required);
    let key = Arc::new(AccountKey::new(PrivateKey::generate(KeyKind::Rsa { bits: 2048 })?));
    let rejected = Account::find_or_create(Arc::clone(&server), Arc::clone(&key), &[], None).await;
    ensure!(problem_type(rejected)? == "externalAccountRequired");

    let wrong = ExternalAccountKey::new("kid-1", "E".repeat(43).as_bytes())?;
    let rejected = Account::find_or_create(Arc::clone(&server), Arc::clone(&key), &[], Some(&wrong)).await;
    ensure!(rejected.is_err_and(|error| error.class() == Class::Refused));
    let unknown = ExternalAccountKey::new("kid-2", mac_key.as_bytes())?;
    let rejected = Account::find_or_create(Arc::clone(&server), Arc::clone(&key), &[], Some(&unknown)).await;
    ensure!(rejected.is_err_and(|error| error.class() == Class::Refused));

    let right = ExternalAccountKey::new("kid-1", mac_key.as_bytes())?;
    let first = Account::find_or_create(Arc::clone(&server), Arc::clone(&key), &[], Some(&right)).await?;
    let again = Account::find_or_create(server, key, &[], Some(&right)).await?;
    ensure!(first.url() == again.url());
    world.issue(&again, &order(&["bound.example.test"])).await?;
    Ok(())
}

#[tokio::test]
async fn profile_is_requested_if_offered() -> Result<()> {
    let settings = Settings::calm().profile("shortlived", Duration::from_hours(1));
    let world = World::new(&settings).await?;
    let account = world.account(P256).await?;
    for (profile, seconds) in [("shortlived", 3600), ("default", 90 * 24 * 3600)] {
        let new_order = NewOrder { profile: Some(profile.to_owned()), ..order(&["profile.example.test"]) };
        let leaf = world.issue(&account, &new_order).await?.chain.leaf().clone();
        let lifetime = leaf.not_after.as_second() - leaf.not_before.as_second();
        ensure!((lifetime - seconds).abs() <= 1, "{profile}: {lifetime} s");
    }
    let new_order = NewOrder { profile: Some("golden".to_owned()), ..order(&["profile.example.test"]) };
    let error = account.new_order(&new_order).await.err().context("the request was accepted")?;
    ensure!(error.class() == Class::Fatal, "{error:?}");
    let text = error.to_string();
    ensure!(text.contains("\"golden\"") && text.contains("[\"default\", \"shortlived\"]"), "{text}");
    Ok(())
}

#[tokio::test]
async fn ip_address_is_issued() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let address = world.pebble.address();
    let new_order = NewOrder { identifiers: vec![Identifier::Ip(address)], ..NewOrder::default() };
    let Issued { chain, key } = world.issue(&account, &new_order).await?;
    chain.check(&key, &[], &[address], jiff::Timestamp::UNIX_EPOCH)?;
    Ok(())
}

#[tokio::test]
async fn hundred_names_fit_one_certificate() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let names: Vec<String> = (0..100).map(|number| format!("n{number}.example.test")).collect();
    let new_order = order(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let Issued { chain, key } = world.issue(&account, &new_order).await?;
    chain.check(&key, &names, &[], jiff::Timestamp::UNIX_EPOCH)?;
    Ok(())
}

#[tokio::test]
async fn preferred_chain_matches_the_topmost_issuer() -> Result<()> {
    let world = World::new(&Settings { alternate_roots: 2, ..Settings::calm() }).await?;
    let account = world.account(P256).await?;
    let new_order = order(&["chain.example.test"]);
    let key = PrivateKey::generate(P256)?;
    let (url, _) = account.new_order(&new_order).await?;
    let default = world.complete(&account, &url, &new_order, &key).await?;
    let certificate = account.order(&url).await?.certificate.context("no certificate")?;
    let chains = account.certificate(&certificate).await?;
    ensure!(chains.alternates.len() == 2, "{:?}", chains.alternates);
    let mut issuers = vec![default.topmost_issuer().to_owned()];
    for alternate in &chains.alternates {
        let chain = Chain::from_pem(account.certificate(alternate).await?.default.as_bytes())?;
        let issuer = chain.topmost_issuer().to_owned();
        let chosen = account.preferred_chain(&certificate, &issuer).await??;
        ensure!(chosen.to_pem() == chain.to_pem(), "{issuer} was not chosen");
        issuers.push(issuer);
    }
    issuers.sort();
    issuers.dedup();
    ensure!(issuers.len() == 3, "{issuers:?}");
    let other = account.preferred_chain(&certificate, "Unknown Root").await??;
    ensure!(other.to_pem() == default.to_pem());
    Ok(())
}

/// The state that survives a crash: the key, and the URL of the order once it is known.
struct Durable {
    key: PrivateKey,
    account_url: String,
    order_url: Option<String>,
}

/// Makes one step from the durable state. Returns `None` until there is a certificate.
async fn step(
    world: &World,
    account: &Account,
    durable: &mut Durable,
    new_order: &NewOrder,
) -> Result<Option<Chain>> {
    let Some(url) = &durable.order_url else {
        durable.order_url = Some(account.new_order(new_order).await?.0);
        return Ok(None);
    };
    let state = account.order(url).await?;
    match state.status {
        OrderStatus::Pending => {
            let authorization =
                account.authorization(state.authorizations.first().context("no authorization")?).await?;
            if authorization.status == AuthorizationStatus::Pending {
                let challenge = http01(&authorization)?;
                world.serve(account, challenge);
                account.challenge_ready(&challenge.url).await?;
            }
        }
        OrderStatus::Ready => {
            account.finalize(url, &state.finalize, &csr(new_order).sign(&durable.key)?).await?;
        }
        OrderStatus::Valid => {
            let certificate = state.certificate.context("no certificate")?;
            return Ok(Some(account.preferred_chain(&certificate, "").await??));
        }
        OrderStatus::Processing => {}
        OrderStatus::Invalid => anyhow::bail!("the order is invalid: {:?}", state.error),
    }
    sleep(Duration::from_millis(20)).await;
    Ok(None)
}

/// After a crash at any step, the same order still leads to a certificate for the same key.
#[tokio::test]
async fn order_resumes_after_a_crash_at_any_step() -> Result<()> {
    let settings = Settings { nonce_rejection_percent: 50, ..Settings::calm() };
    let world = World::new(&settings).await?;
    let secret = PrivateKey::generate(P256)?.to_pem(KeyEncoding::Pkcs8)?;
    let account_key =
        || -> Result<_> { Ok(Arc::new(AccountKey::new(PrivateKey::from_pem(secret.as_bytes())?))) };
    for crash_after in 1..8 {
        let new_order = order(&[&format!("crash-{crash_after}.example.test")]);
        let account = Account::find_or_create(world.server()?, account_key()?, &[], None).await?;
        let mut durable = Durable {
            key: PrivateKey::generate(P256)?,
            account_url: account.url().to_owned(),
            order_url: None,
        };
        let mut chain = None;
        for _ in 0..crash_after {
            chain = step(&world, &account, &mut durable, &new_order).await?;
        }
        drop(account);
        let first_url = durable.order_url.clone().context("the first step places no order")?;

        // Only the durable state is left: no connection, no nonce, no directory.
        let account = Account::from_url(world.server()?, account_key()?, durable.account_url.clone());
        for _ in 0..200 {
            if chain.is_some() {
                break;
            }
            chain = step(&world, &account, &mut durable, &new_order).await?;
        }
        let chain = chain.with_context(|| format!("no certificate after a crash at step {crash_after}"))?;
        let names: Vec<_> = csr(&new_order).dns_names;
        chain.check(&durable.key, &names, &[], jiff::Timestamp::UNIX_EPOCH)?;
        ensure!(durable.order_url.as_deref() == Some(first_url.as_str()), "a second order was placed");
    }
    ensure!(world.count("/order-plz") >= 7);
    Ok(())
}

#[tokio::test]
async fn resent_requests_are_not_errors() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let new_order = order(&["twice.example.test"]);
    let key = PrivateKey::generate(P256)?;
    let (url, state) = account.new_order(&new_order).await?;
    let authorization = account.authorization(&state.authorizations[0]).await?;
    let challenge = http01(&authorization)?;
    world.serve(&account, challenge);
    account.challenge_ready(&challenge.url).await?;
    while account.order(&url).await?.status == OrderStatus::Pending {
        sleep(Duration::from_millis(20)).await;
    }
    account.challenge_ready(&challenge.url).await.context("validated the challenge again")?;
    let csr = csr(&new_order).sign(&key)?;
    let finalize = account.order(&url).await?.finalize;
    account.finalize(&url, &finalize, &csr).await?;
    let again =
        account.finalize(&url, &finalize, &csr).await.context("finalized a processing order again")?;
    ensure!(matches!(again.status, OrderStatus::Processing | OrderStatus::Valid), "{:?}", again.status);
    world.complete(&account, &url, &new_order, &key).await?;
    account.finalize(&url, &finalize, &csr).await.context("finalized a valid order again")?;
    Ok(())
}

#[tokio::test]
async fn failed_challenge_has_the_reason_of_the_ca() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let (url, state) = account.new_order(&order(&["wrong.example.test"])).await?;
    let authorization = account.authorization(&state.authorizations[0]).await?;
    let challenge = http01(&authorization)?;
    world.serve_wrong(challenge, "this is not it");
    account.challenge_ready(&challenge.url).await?;
    for _ in 0..100 {
        if account.order(&url).await?.status == OrderStatus::Invalid {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let authorization = account.authorization(&state.authorizations[0]).await?;
    ensure!(authorization.status == AuthorizationStatus::Invalid, "{:?}", authorization.status);
    let error =
        authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref()).context("no error")?;
    let detail = error.detail.clone().unwrap_or_default();
    ensure!(detail.contains("this is not it") || detail.contains("key authorization"), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn rejections_name_the_cause() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let new_order = order(&["blocked.example.test"]);
    let error =
        account.new_order(&new_order).await.err().context("an order for a blocked name was accepted")?;
    ensure!(
        error.class() == Class::Refused && error.problem_type() == Some("rejectedIdentifier"),
        "{error:?}"
    );
    ensure!(error.to_string().contains("blocked.example.test"), "{error}");

    let (url, state) = account.new_order(&order(&["early.example.test"])).await?;
    let csr = csr(&order(&["early.example.test"])).sign(&PrivateKey::generate(P256)?)?;
    let early = account.finalize(&url, &state.finalize, &csr).await;
    ensure!(problem_type(early)? == "orderNotReady");
    let missing = format!("{url}x");
    ensure!(account.order(&missing).await.is_err_and(|error| error.class() != Class::Transient));
    Ok(())
}

#[tokio::test]
async fn renewal_replaces_at_most_once() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let new_order = order(&["renew.example.test"]);
    let issued = loop {
        let issued = world.issue(&account, &new_order).await?;
        // RFC 9773 section 4.1 keeps the leading zero of a serial number whose first bit is set. Pebble issues one in
        // 256 certificates with such a number, and doesn't find them by it.
        if issued.chain.leaf().serial_number.first() != Some(&0) {
            break issued;
        }
    };
    let leaf = issued.chain.leaf();
    let identifier = leaf.ari_id().context("no identifier")?;
    let info = account.renewal_info(&identifier).await?;
    let window = info.suggested_window;
    ensure!(
        window.start < window.end && window.start >= leaf.not_before && window.end <= leaf.not_after,
        "{window:?}"
    );
    ensure!(info.retry_after == Some(Duration::from_hours(6)), "{:?}", info.retry_after);

    let renewal = NewOrder { replaces: Some(identifier.clone()), ..new_order.clone() };
    let (url, state) = account.new_order(&renewal).await?;
    ensure!(state.replaces.as_ref() == Some(&identifier), "{:?}", state.replaces);
    world.complete(&account, &url, &renewal, &PrivateKey::generate(P256)?).await?;

    // Already replaced (`alreadyReplaced`), and unknown to the server (Pebble responds with `serverInternal`).
    let (authority, _) = identifier.split_once('.').context("no authority")?;
    for replaced in [identifier.clone(), format!("{authority}.AIdlQyE")] {
        let again = NewOrder { replaces: Some(replaced), ..new_order.clone() };
        let error = account.new_order(&again).await.err().context("it is replaced twice")?;
        ensure!(error.may_be_caused_by_replaces(), "{error:?}");
        let again = NewOrder { replaces: None, ..again };
        let (url, state) = account.new_order(&again).await?;
        ensure!(state.replaces.is_none(), "{:?}", state.replaces);
        world.complete(&account, &url, &again, &PrivateKey::generate(P256)?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn certificate_is_revoked_once() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let issued = world.issue(&account, &order(&["revoked.example.test"])).await?;
    let leaf = &issued.chain.certificates()[0];
    account.revoke(leaf).await?;
    ensure!(problem_type(account.revoke(leaf).await)? == "alreadyRevoked");
    Ok(())
}

#[tokio::test]
async fn deactivated_account_places_no_orders() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    account.session().post(account.url(), &json!({ "status": "deactivated" })).await?;
    let rejected =
        account.new_order(&order(&["late.example.test"])).await.err().context("the order was accepted")?;
    ensure!(rejected.class() == Class::Refused, "{rejected:?}");
    Ok(())
}

#[tokio::test]
async fn not_after_is_requested() -> Result<()> {
    let world = World::new(&Settings::calm()).await?;
    let account = world.account(P256).await?;
    let not_after: jiff::Timestamp = "2027-01-01T00:00:00Z".parse()?;
    let new_order = NewOrder { not_after: Some(not_after), ..order(&["end.example.test"]) };
    let issued = world.issue(&account, &new_order).await?;
    ensure!(issued.chain.leaf().not_after == not_after, "{}", issued.chain.leaf().not_after);
    Ok(())
}
