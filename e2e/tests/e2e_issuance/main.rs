//! The operator's main task, in Pods installed by Helm on a real node: annotations become certificates, and these stay valid.
//!
//! Knows users, objects, and logs; must not know the operator's code. Next: one module per subject, and `e2e::scenarios` for the tests
//! that also run without a node.

mod crash;
mod example;
mod faults;
mod forgery;
mod lifecycle;
mod namespaced;
mod speed;

use std::sync::OnceLock;

use anyhow::Result;
use e2e::{
    harness::{self, Namespace, with_namespace},
    operator, scenarios,
    user::User,
};
use serde_json::json;
use testbed::pebble::Pebble;
use tokio::sync::Mutex;

/// Installs the chart in the first test that needs it.
async fn install_once() -> Result<()> {
    static INSTALLED: OnceLock<Mutex<bool>> = OnceLock::new();
    let mut installed = INSTALLED.get_or_init(Mutex::default).lock().await;
    if !*installed {
        let cluster = harness::cluster()?;
        operator::load_images(cluster).await?;
        operator::install(cluster, &[]).await?;
        *installed = true;
    }
    Ok(())
}

/// Runs a test with the operator installed, as a user of a new namespace.
async fn with_user(name: &str, test: impl AsyncFnOnce(&User<'_>, &Namespace) -> Result<()>) -> Result<()> {
    install_once().await?;
    with_namespace(name, async |namespace| {
        let user = User::new(namespace.cluster(), namespace.name()).await?;
        test(&user, namespace).await
    })
    .await
}

/// Tests that measure hold this lock for writing, and all others for reading, so that nothing else runs while they measure.
static MEASURING: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// The scenarios, which `operator/tests/apiserver_issuance.rs` also runs without a node.
macro_rules! shared {
    ($($scenario:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $scenario() -> Result<()> {
            let _not_measuring = MEASURING.read().await;
            with_user("shared", async |user, _| {
                user.create_cluster_issuer(&user.namespace, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
                scenarios::$scenario(user).await
            })
            .await
        })+
    };
}

e2e::each_scenario!(shared);
