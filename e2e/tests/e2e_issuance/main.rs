//! The main job, in Pods installed by Helm on a real node: annotations become certificates, and stay so.

mod example;
mod faults;
mod lifecycle;
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

/// Installs the chart once, in whichever test comes first.
async fn installed() -> Result<()> {
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

/// A test in a namespace of its own, with a user there and the operator installed.
async fn scenario(name: &str, test: impl AsyncFnOnce(&User<'_>, &Namespace) -> Result<()>) -> Result<()> {
    installed().await?;
    with_namespace(name, async |namespace| {
        let user = User::new(namespace.cluster(), namespace.name()).await?;
        test(&user, namespace).await
    })
    .await
}

/// The tests that measure do so alone.
static ALONE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// The scenarios that are also told without a node, in `apiserver_issuance.rs`.
macro_rules! shared {
    ($($scenario:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $scenario() -> Result<()> {
            let _with_others = ALONE.read().await;
            scenario("shared", async |user, _| {
                user.create_cluster_issuer(&user.namespace, &Pebble::of_cluster(user.cluster)?, json!({})).await?;
                scenarios::$scenario(user).await
            })
            .await
        })+
    };
}

e2e::each_scenario!(shared);
