//! The example manifests of users, applied unchanged.

use anyhow::{Context, Result, ensure};
use e2e::{
    harness, operator,
    user::{self, User},
};
use testbed::{
    audit::AuditMark,
    bring_up,
    cluster::{Mode, Options},
    helm::helm,
    page,
    pebble::Pebble,
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
    let user = User::new(&cluster, "default").await?;
    let pebble = Pebble::of_cluster(&cluster)?;
    let bundle = user::ca_bundle(&pebble)?;
    let issuer = include_str!("../../manifests/example-issuer.yaml")
        .replace("$SERVER", &pebble.directory_url())
        .replace("$CA_BUNDLE", bundle.as_str().unwrap_or_default());
    cluster.apply(&issuer).await?;
    page::serve_page(&cluster, "default", "web", "other.default.example.test").await?;
    let host = "web.default.example.test";
    cluster
        .apply_in(
            Some("default"),
            &include_str!("../../manifests/example-ingress.yaml").replace("$HOST", host),
        )
        .await?;
    let root = pebble.issuing_root(0).await?;
    let page = page::await_page(&cluster, &format!("https://{host}/hostname"), &root, harness::TIMEOUT).await;
    let page = page.with_context(|| user.log())?;
    ensure!(page == "web", "the page is {page:?}");
    helm(&cluster, &["test", operator::NAME, "--namespace", operator::NAME, "--timeout=60s"]).await?;
    user.await_quiet().await?;
    let rejected = operator::rejected(&mark, operator::NAME)?;
    ensure!(rejected.is_empty(), "the API server rejected {rejected:?}");
    forgery::ensure_rejected(&user, operator::NAME, "web").await?;
    cluster.end()
}
