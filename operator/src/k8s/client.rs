//! The API server as controllers use it: reads by name, status writes that never go back in time, events.

use std::{fmt::Debug, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, ResourceExt, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::{Events, requester, requester::Requester, version_number, write_status};
use crate::{
    ephemeral_map::EphemeralMap,
    error::{ReconcileError, Tried},
    objects::EventNote,
};

/// The API server, and which status writes the cache may not show yet.
pub struct KubeClient {
    /// The plain client, for what this type does not offer.
    pub client: Client,
    events: Events,
    /// Who this process is to the API server, once it was asked.
    requester: OnceCell<Option<Arc<Requester>>>,
    /// The resourceVersion of the last status write, by UID.
    written: EphemeralMap<String, u64>,
    /// The last status that could not be written, by UID.
    unwritten: EphemeralMap<String, Value>,
}

impl KubeClient {
    /// A client that publishes events in the name of `instance`.
    pub fn new(client: Client, instance: String) -> Self {
        Self {
            events: Events::new(client.clone(), instance),
            client,
            requester: OnceCell::new(),
            written: EphemeralMap::default(),
            unwritten: EphemeralMap::default(),
        }
    }

    /// The objects of a kind in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Writes the status of an object as it was read, if it differs, and remembers that older versions are stale. Returns the
    /// resourceVersion after the write, if there was one.
    ///
    /// # Errors
    /// A conflict if the object has changed since it was read.
    pub async fn write_status<K, S>(
        &self,
        api: &Api<K>,
        manager: &str,
        object: &K,
        old: Option<&S>,
        new: &S,
    ) -> Result<Option<String>, ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        S: Serialize,
    {
        let uid = object.uid().unwrap_or_default();
        let written = match write_status(api, manager, object, old, new).await {
            Ok(written) => written,
            Err(error) => {
                self.unwritten.put(uid, serde_json::to_value(new).unwrap_or_default());
                return Err(error);
            }
        };
        self.unwritten.forget(&uid);
        let Some(written) = written else { return Ok(None) };
        if let Some((uid, version)) = written.uid().zip(version(&written)) {
            self.written.put(uid, version);
        }
        Ok(Some(written.resource_version().unwrap_or_default()))
    }

    /// Writes the last status again if it could not be written: for a reconcile that finds nothing to do, and would not decide
    /// it again.
    ///
    /// # Errors
    /// As [`Self::write_status`].
    pub async fn write_unwritten_status<K, S>(
        &self,
        api: &Api<K>,
        manager: &str,
        object: &K,
        old: Option<&S>,
    ) -> Result<(), ReconcileError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        S: Serialize,
    {
        let Some(status) = self.unwritten.get(&object.uid().unwrap_or_default()) else { return Ok(()) };
        let old = old.map(|old| serde_json::to_value(old).unwrap_or_default());
        self.write_status(api, manager, object, old.as_ref(), &status).await.map(drop)
    }

    /// Drops the status that could not be written, because it must not be written later.
    pub fn discard_unwritten_status(&self, uid: &str) {
        self.unwritten.forget(uid);
    }

    /// Whether an object is older than the last status write: the watch has not reported that yet.
    pub fn is_stale<K: Resource>(&self, object: &K) -> bool {
        let Some(uid) = &object.meta().uid else { return false };
        let stale = self.written.get(uid).zip(version(object)).is_some_and(|(written, read)| read < written);
        if !stale {
            self.written.forget(uid);
        }
        stale
    }

    /// Forgets an object that was deleted.
    pub fn forget(&self, uid: &str) {
        self.written.forget(uid);
        self.unwritten.forget(uid);
    }

    /// Publishes an event about an object, with a controller as its source, such as `cert-manager-certificates-issuing`.
    pub fn publish<K: Resource<DynamicType = ()>>(
        &self,
        controller: &'static str,
        note: &EventNote,
        about: &K,
        now: Timestamp,
    ) {
        self.events.publish(controller, note, about, now);
    }

    /// The user that the API server takes this process for: it is asked once.
    ///
    /// # Errors
    /// The API server rejects the question.
    pub async fn requester(&self) -> Result<Option<Arc<Requester>>, ReconcileError> {
        let read = async || Ok(requester::read(&self.client).await?.map(Arc::new));
        let requester: Result<_, kube::Error> = self.requester.get_or_try_init(read).await;
        requester.cloned().tried(|| "read the identity of this process".to_owned())
    }

    /// One value of a Secret; `None` if the Secret or the value does not exist, or the value is empty.
    ///
    /// # Errors
    /// The API server rejects the read.
    pub async fn secret_value(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, ReconcileError> {
        let secret = self.api::<Secret>(namespace).get_opt(name).await;
        let secret = secret.tried(|| format!("read Secret {namespace}/{name}"))?;
        let value = secret.and_then(|mut secret| secret.data.as_mut()?.remove(key));
        Ok(value.map(|value| Zeroizing::new(value.0)).filter(|value| !value.is_empty()))
    }
}

/// The resourceVersion of an object, as a number that grows.
fn version<K: Resource>(object: &K) -> Option<u64> {
    version_number(object.meta().resource_version.as_deref()?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::Config;

    use super::*;

    fn service(uid: &str, version: &str) -> Service {
        let mut service = Service::default();
        service.metadata.uid = Some(uid.to_owned());
        service.metadata.resource_version = Some(version.to_owned());
        service
    }

    /// A tenant can have as many objects written as they like.
    #[tokio::test]
    async fn written_versions_are_forgotten_when_they_are_seen() {
        let config = Config::new("http://127.0.0.1:1".parse().expect("a URL"));
        let kube = KubeClient::new(Client::try_from(config).expect("a client"), "test".to_owned());
        for uid in ["seen", "deleted"] {
            kube.written.put(uid.to_owned(), 7);
            kube.unwritten.put(uid.to_owned(), Value::Null);
            assert!(kube.is_stale(&service(uid, "6")), "the watch is behind");
            assert!(kube.is_stale(&service(uid, "6")), "it still is");
        }
        assert!(!kube.is_stale(&service("seen", "7")));
        assert_eq!(kube.written.get("seen"), None);
        kube.forget("deleted");
        assert_eq!(kube.written.get("deleted"), None);
        assert_eq!(kube.unwritten.get("deleted"), None);
    }
}
