//! `cargo xtask demo`: the shortest way to see it work.

use anyhow::{Result, ensure};
use e2e::{
    cluster::{self, Cluster, Mode, Standing},
    harness, http,
    pebble::Pebble,
    progress::Steps,
    tools::Tools,
};

use crate::{
    cluster::{Choice, tell_how_to_use},
    images,
};

const HOST: &str = "web.demo.example.test";

pub(crate) async fn run(choice: &Choice, steps: &Steps) -> Result<()> {
    let options = choice.options();
    let tools = Tools::ensure(steps).await?;
    let cluster = if cluster::standing(&options.name)? == Standing::Running {
        Cluster::attach(&options.name)?
    } else {
        cluster::start(&options, &tools, steps).await?
    };
    if cluster.mode() == Mode::Node {
        images::load(&cluster, steps).await?;
        let step = steps.begin(format!("serving a page under http://{HOST}/"), None);
        cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: demo }\n").await?;
        harness::serve_page(&cluster, "demo", "web", HOST).await?;
        let url = format!("http://{HOST}/hostname");
        let page = harness::await_page(&cluster, &url, &http::Trust::Nothing, harness::TIMEOUT).await?;
        step.done(format!("Pod {page:?} answers through Traefik"));
    }
    let step = steps.begin("fetching Pebble's directory", None);
    let pebble = Pebble::of_cluster(&cluster)?;
    let directory = http::get(pebble.network(), &pebble.directory_url(), pebble.trust()).await?;
    ensure!(directory.status().is_success(), "Pebble answers {}", directory.status());
    step.done(pebble.directory_url());
    println!("\n{}", String::from_utf8_lossy(directory.body()).trim());
    cluster.keep()?;
    steps.summary("the demo");
    tell_how_to_use(&cluster);
    Ok(())
}
