//! Gateways as users write them. Knows the Gateway API and annotations. Next: `user.rs`.

use anyhow::Result;
use crds::gateway::Gateway;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::cluster::IngressController;

use crate::user::User;

/// A listener for HTTP on port 80.
pub fn http() -> Value {
    json!({ "name": "http", "port": 80, "protocol": "HTTP" })
}

/// A listener for HTTPS on port 443.
pub fn https(name: &str, host: &str, secret: &str) -> Value {
    json!({
        "name": name,
        "port": 443,
        "protocol": "HTTPS",
        "hostname": host,
        "tls": { "certificateRefs": [{ "name": secret }] },
    })
}

/// A Gateway that Traefik serves.
pub fn gateway(name: &str, annotations: &Value, listeners: &[Value]) -> Value {
    gateway_of(IngressController::Traefik, name, annotations, listeners)
}

/// A Gateway.
pub fn gateway_of(
    served_by: IngressController,
    name: &str,
    annotations: &Value,
    listeners: &[Value],
) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "gatewayClassName": served_by.gateway_class(), "listeners": listeners },
    })
}

/// The change of an issuer that lets it solve challenges with HTTPRoutes, a JSON merge patch of `spec.acme`.
pub fn solvers() -> Value {
    json!({ "solvers": [{ "http01": { "gatewayHTTPRoute": {} } }] })
}

/// Applies an object in the user's namespace.
pub async fn apply(user: &User<'_>, object: &Value) -> Result<()> {
    user.cluster.apply_in(Some(&user.namespace), &object.to_string()).await
}

/// Applies a Gateway with a listener for HTTP and one for HTTPS, whose host and Secret have its name.
pub async fn apply_simple(user: &User<'_>, name: &str, annotations: &Value) -> Result<()> {
    let listeners = [http(), https("https", &user.host(name), name)];
    let object: DynamicObject = serde_json::from_value(gateway(name, annotations, &listeners))?;
    let kind = ApiResource::erase::<Gateway>(&());
    let gateways: Api<DynamicObject> = Api::namespaced_with(user.client.clone(), &user.namespace, &kind);
    gateways.patch(name, &PatchParams::apply("user").force(), &Patch::Apply(&object)).await?;
    Ok(())
}
