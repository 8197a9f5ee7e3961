//! The example that users write, to the letter.

use anyhow::{Context, Result, ensure};
use e2e::{
    harness, operator,
    user::{self, User},
};
use testbed::{
    bring_up,
    cluster::{Mode, Options},
    helm::helm,
    page,
    pebble::Pebble,
};
use xtask::progress::Steps;

use crate::ALONE;

#[tokio::test]
async fn the_users_own_example_works_to_the_letter() -> Result<()> {
    let _with_others = ALONE.read().await;
    // With a cluster of its own: its Traefik serves the class of the example, nginx.
    let name = format!("test-example-{}", std::process::id());
    let options = Options { ingress_class: "nginx".to_owned(), ..Options::new(name, Mode::Node) };
    let tools = harness::cluster()?.tools();
    let cluster = bring_up::start(&options, tools, &Steps::default()).await?;
    operator::load_images(&cluster).await?;
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
    ensure!(page.with_context(|| user.log())? == "web");
    helm(&cluster, &["test", operator::NAME, "--namespace", operator::NAME, "--timeout=60s"]).await?;
    cluster.end()
}
