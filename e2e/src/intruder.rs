//! What an attacker who has the operator's token tries: writes that admission policies and roles must reject.
//!
//! Knows requests and their rejections; must not know policies. Next: `crds/src/admission/operator.yaml`.

use std::fmt::Debug;

use anyhow::{Context, Result, bail, ensure};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use testbed::{cluster::Cluster, service_account};

/// Requests with the operator's own token, in a namespace.
pub struct Intruder {
    client: kube::Client,
    namespace: String,
}

impl Intruder {
    /// An intruder with the token of a release's operator.
    pub async fn new(cluster: &Cluster, release: &str, namespace: &str) -> Result<Self> {
        let token = service_account::token(cluster, release, release).await?;
        let client = cluster.client_with_token(&token).await?;
        Ok(Self { client, namespace: namespace.to_owned() })
    }

    /// The objects of a kind in the namespace.
    pub fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Ensures that the creation of an object is rejected, in words that contain `expected`.
    pub async fn ensure_no_creation<K>(&self, object: Value, expected: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug,
        K: Serialize + DeserializeOwned,
    {
        let what = object.to_string();
        let created = self.api::<K>().create(&PostParams::default(), &serde_json::from_value(object)?).await;
        ensure_rejected(created, expected).context(what)
    }

    /// Ensures that a merge patch is rejected, in words that contain `expected`.
    pub async fn ensure_no_change<K>(&self, name: &str, patch: Value, expected: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug,
        K: DeserializeOwned,
    {
        let patched = self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        ensure_rejected(patched, expected).with_context(|| patch.to_string())
    }
}

/// Ensures that a request was rejected, in words that contain `expected`.
pub fn ensure_rejected<T>(outcome: Result<T, kube::Error>, expected: &str) -> Result<()> {
    match outcome {
        Ok(_) => bail!("the request was not rejected"),
        Err(kube::Error::Api(status)) => {
            ensure!(
                status.message.contains(expected),
                "the rejection does not say {expected:?}: {}",
                status.message
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
