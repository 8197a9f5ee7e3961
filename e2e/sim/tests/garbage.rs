//! What the model deletes by itself: objects without owners, and what is in namespaces that are being deleted.

use std::sync::Arc;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use sim::api_server::ApiServer;

fn server() -> Result<ApiServer> {
    ApiServer::new(Arc::new(|| Timestamp::UNIX_EPOCH))
}

async fn create(client: &Client, namespace: &str, name: &str, metadata: Value) -> Result<ConfigMap> {
    let mut object = json!({ "metadata": metadata });
    object["metadata"]["name"] = name.into();
    let object: ConfigMap = serde_json::from_value(object)?;
    Ok(Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &object).await?)
}

/// The names of the objects in a namespace.
async fn names(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let list = Api::<ConfigMap>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?;
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

#[tokio::test]
async fn owned_object_ends_with_its_last_owner() -> Result<()> {
    let (server, objects) = (server()?, "default");
    let client = server.client();
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), objects);
    let mut owners = Vec::new();
    for name in ["one", "two"] {
        let uid = create(&client, objects, name, json!({})).await?.uid();
        owners.push(json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid }));
    }
    create(&client, objects, "of-both", json!({ "ownerReferences": owners })).await?;
    create(&client, objects, "of-none", json!({})).await?;
    api.delete("one", &DeleteParams::default()).await?;
    ensure!(server.collect_garbage() == 0, "one owner is left");
    api.delete("two", &DeleteParams::default()).await?;
    ensure!(server.collect_garbage() == 1 && server.collect_garbage() == 0, "it ends once");
    ensure!(names(&client, objects).await? == ["of-none"], "only what had owners ends");
    Ok(())
}

#[tokio::test]
async fn namespace_ends_when_it_is_empty() -> Result<()> {
    let (server, name) = (server()?, "ends");
    let client = server.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    namespaces.create(&PostParams::default(), &object).await?;
    create(&client, name, "free", json!({})).await?;
    create(&client, name, "held", json!({ "finalizers": ["test/held"] })).await?;
    namespaces.delete(name, &DeleteParams::default()).await?;
    ensure!(create(&client, name, "late", json!({})).await.is_err(), "nothing may be created");
    server.collect_garbage();
    ensure!(names(&client, name).await? == ["held"], "a finalizer holds it");
    let release = json!({ "metadata": { "finalizers": null } });
    let held: Api<ConfigMap> = Api::namespaced(client.clone(), name);
    held.patch("held", &PatchParams::default(), &Patch::Merge(&release)).await?;
    server.collect_garbage();
    ensure!(namespaces.get_opt(name).await?.is_none(), "the namespace is empty, and still exists");
    Ok(())
}
