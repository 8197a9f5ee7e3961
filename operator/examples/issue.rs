//! Gets a certificate from a Pebble on this machine through `operator::acme`, one request after the other.
//!
//! ```text
//! cargo xtask tools && cargo run -p operator --example issue
//! ```

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use operator::{
    acme::{
        Account, AccountKey, ChallengeType, Identifier, NewOrder, OrderStatus, Server, ServerSettings, Trust,
    },
    pki::{CsrRequest, Curve, KeyKind, PrivateKey},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use testbed::{
    http, paths,
    pebble::{Pebble, Settings, TokenServer},
    tools::Tools,
};

#[tokio::main]
async fn main() -> Result<()> {
    // An ACME server, and a web server where it asks for tokens.
    let pebble = Pebble::on_host(&Tools::seen_at(paths::cache()?), &Settings::calm()).await?;
    let tokens = TokenServer::start(&pebble).await?;
    let http::Trust::Roots(roots) = pebble.trust() else { bail!("Pebble has no CA") };
    let roots = CertificateDer::pem_slice_iter(roots.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let trust = Trust::Roots(roots);
    let settings = ServerSettings::new(pebble.directory_url());
    let settings = ServerSettings { trust, allow_loopback: true, ..settings };

    // RFC 8555 sections 7.3 to 7.5: an account, an order, and one challenge for its only name.
    let key = || PrivateKey::generate(KeyKind::Ecdsa(Curve::P256));
    let (server, account_key) = (Arc::new(Server::new(settings)?), Arc::new(AccountKey::new(key()?)));
    let account = Account::find_or_create(server, account_key, &[], None).await?;
    let identifiers = vec![Identifier::Dns("web.example.test".to_owned())];
    let (url, mut order) = account.new_order(&NewOrder { identifiers, ..NewOrder::default() }).await?;
    let authorization = account.authorization(&order.authorizations[0]).await?;
    let mut challenges = authorization.challenges.iter();
    let challenge =
        challenges.find(|it| it.r#type == ChallengeType::Http01).context("no http-01 challenge")?;
    tokens.add(&challenge.token, &account.key().key_authorization(&challenge.token));
    account.challenge_ready(&challenge.url).await?;

    // Section 7.4: finalize once the order is ready, and download once it is valid.
    let csr = CsrRequest { dns_names: vec!["web.example.test".to_owned()], ..CsrRequest::default() };
    while order.status != OrderStatus::Valid {
        ensure!(order.status != OrderStatus::Invalid, "the order failed: {:?}", order.error);
        tokio::time::sleep(Duration::from_millis(100)).await;
        order = match order.status {
            OrderStatus::Ready => account.finalize(&url, &order.finalize, &csr.sign(&key()?)?).await?,
            _ => account.order(&url).await?,
        };
    }
    let url = order.certificate.context("a valid order has a certificate")?;
    println!("{}", account.certificate(&url).await?.default);
    Ok(())
}
