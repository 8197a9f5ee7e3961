//! The example manifests of users, applied unchanged.

use anyhow::{Result, ensure};
use e2e::{harness, operator, scenarios};
use testbed::{
    audit::AuditMark,
    bring_up,
    cluster::{Mode, Options},
    helm::helm,
};
use xtask::progress::Steps;

use crate::{MEASURING, forgery};

/// The Ingress is served with a valid certificate, and `helm test` succeeds. From the installation on, no role and no policy rejects a
/// request, except for what is forged with the operator's token.
#[tokio::test]
async fn users_example_works_unchanged() -> Result<()> {
    let _not_measuring = MEASURING.read().await;
    // A separate cluster, whose Traefik serves the ingress class of the example, nginx.
    let name = format!("test-example-{}", std::process::id());
    let options = Options { ingress_class: "nginx".to_owned(), ..Options::new(name, Mode::Node) };
    let tools = harness::cluster()?.tools();
    let cluster = bring_up::start(&options, tools, &Steps::default()).await?;
    operator::load_images(&cluster).await?;
    let mark = AuditMark::now(&cluster)?;
    operator::install(&cluster, &[]).await?;
    let user = scenarios::example_is_served(&cluster).await?;
    helm(&cluster, &["test", operator::NAME, "--namespace", operator::NAME, "--timeout=60s"]).await?;
    user.await_quiet().await?;
    let rejected = operator::rejected(&mark, operator::NAME)?;
    ensure!(rejected.is_empty(), "the API server rejected {rejected:?}");
    forgery::ensure_rejected(&user, operator::NAME, "web").await?;
    cluster.end()
}
