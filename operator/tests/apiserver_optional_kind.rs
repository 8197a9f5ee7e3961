//! The watch of an optional kind against a real API server: its CRD is missing at first, appears, and is removed again.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use e2e::harness::{self, with_namespace};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResource, CustomResourceExt, KubeSchema, ResourceExt,
    api::{DeleteParams, PostParams},
    runtime::watcher::Config,
};
use operator::{
    cache::Kind,
    k8s::{Definition, ObjectEvent, Presence, Scope, Shrink, Watch},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

/// A kind that no API server has.
#[derive(Clone, Debug, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(group = "optional.example.test", version = "v1", kind = "Widget", namespaced)]
struct WidgetSpec {}

impl Shrink for Widget {}

/// How long the watch may take to notice. The API server serves a kind a moment after its CRD was created.
const NOTICE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn optional_kind_comes_and_goes() -> Result<()> {
    with_namespace("optional", async |namespace| {
        let client = namespace.cluster().client().await?;
        let kind = Arc::new(Kind::<Widget>::default());
        let (report, mut reports) = unbounded_channel();
        let writer = kind.take_writer().context("the writer is taken once")?;
        let definition = Definition::default();
        let presence = Presence::Optional(definition.clone());
        let watch = Watch { writer, config: Config::default(), presence };
        let of_client = client.clone();
        let noticing =
            tokio::spawn(async move { definition.watch(of_client, "widgets.optional.example.test").await });
        let scope = Scope { namespace: String::new(), api: Api::all(client.clone()) };
        let task = tokio::spawn(watch.run(
            vec![scope],
            |_| {},
            |_| {},
            move |widget: &Widget, event| {
                // The receiver is gone when the test ends.
                _ = report.send((widget.name_any(), event));
            },
        ));

        // Without its CRD, the kind is known to have no objects.
        timeout(NOTICE, kind.wait_until_listed()).await.context("a missing CRD blocks the kind")?;
        assert!(kind.is_empty(), "there are objects without a CRD");

        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let widgets: Api<Widget> = Api::namespaced(client.clone(), namespace.name());
        for name in ["first", "second"] {
            install(&definitions, &widgets, name).await?;
            // Whether a list or a watch reports it first is a matter of luck.
            await_event(&mut reports, name, &[ObjectEvent::Created, ObjectEvent::Applied]).await?;
            definitions.delete(&Widget::crd().name_any(), &DeleteParams::background()).await?;
            await_event(&mut reports, name, &[ObjectEvent::Deleted]).await?;
            assert!(kind.is_empty(), "objects outlive their CRD");
        }
        task.abort();
        noticing.abort();
        Ok(())
    })
    .await
}

/// Installs the CRD, and creates an object once the API server serves it.
async fn install(
    definitions: &Api<CustomResourceDefinition>,
    widgets: &Api<Widget>,
    name: &str,
) -> Result<()> {
    let object = Widget::new(name, WidgetSpec {});
    let install = async {
        loop {
            // The definition of the round before may still be terminating.
            _ = definitions.create(&PostParams::default(), &Widget::crd()).await;
            if widgets.create(&PostParams::default(), &object).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(harness::TIMEOUT, install).await.with_context(|| format!("failed to create Widget {name}"))
}

async fn await_event(
    reports: &mut UnboundedReceiver<(String, ObjectEvent)>,
    name: &str,
    events: &[ObjectEvent],
) -> Result<()> {
    let is_expected = |(of, event): (String, ObjectEvent)| of == name && events.contains(&event);
    let seen = async { while reports.recv().await.is_some_and(|report| !is_expected(report)) {} };
    timeout(NOTICE, seen).await.with_context(|| format!("the watch did not report {events:?} of {name}"))
}
