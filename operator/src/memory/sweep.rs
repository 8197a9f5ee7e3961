//! Forgets what is about objects that are gone, where their deletion does not say so: a reconcile may remember something after it.

use std::{sync::Arc, time::Duration};

use super::Memory;
use crate::{cache::Cache, context::Context, objects::route};

/// How often memory is swept.
const PERIOD: Duration = Duration::from_mins(10);

/// Sweeps until the process ends.
pub async fn sweep(context: Arc<Context>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        context.memory.sweep(&context.cache);
    }
}

impl Memory {
    /// Forgets what a namespace or a Certificate has left behind.
    fn sweep(&self, cache: &Cache) {
        let has_slice =
            |namespace: &String, name: &String| cache.routed_slices.get(namespace, name).is_some();
        // The watch reports a deletion within seconds.
        self.deleted_keys.retain(|_, ()| false);
        self.namespace_locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        self.idle_since.retain(|namespace, _| cache.services.get(namespace, route::SERVICE).is_some());
        self.slices.retain(|(namespace, name), _| has_slice(namespace, name));
        self.created_orders.retain(|(namespace, name), ()| cache.orders.get(namespace, name).is_some());
        cache.secret_reads.retain(|(namespace, name), _| {
            !cache.indexes.certificates_by_secret.names(namespace, name).is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, hash::Hash};

    use crds::fixtures;
    use jiff::Timestamp;
    use k8s_openapi::{ByteString, api::discovery::v1::EndpointSlice};

    use super::*;
    use crate::{
        cache::SecretRead,
        decision::{order::OrderProgress, problem::Problem, shim::Checked},
        ephemeral_map::EphemeralMap,
        pki::{Curve, KeyKind, PrivateKey},
        reason::Reason,
    };

    fn is_empty<K: Hash + Eq, V: Clone>(map: &EphemeralMap<K, V>) -> bool {
        let found = Cell::new(false);
        map.retain(|_, _| {
            found.set(true);
            true
        });
        !found.get()
    }

    fn memory() -> Memory {
        Memory::new(Timestamp::UNIX_EPOCH)
    }

    /// Tenants create and delete namespaces, and name other Secrets, as often as they like.
    #[test]
    fn what_is_gone_is_swept() {
        let (memory, cache) = (memory(), Cache::default());
        let secret = |name: &str| ("a".to_owned(), name.to_owned());
        cache.indexes.put(&fixtures::certificate("web", |it| {
            it.metadata.namespace = Some("a".to_owned());
            it.spec.secret_name = "named".to_owned();
        }));
        for name in ["named", "gone"] {
            cache.secret_reads.put(secret(name), SecretRead::Absent { since: Timestamp::UNIX_EPOCH });
            memory.slices.put(secret(name), EndpointSlice::default());
            memory.deleted_keys.put(secret(name), ());
            memory.created_orders.put(secret(name), ());
        }
        memory.idle_since.put("a".to_owned(), Timestamp::UNIX_EPOCH);
        let held = memory.namespace_lock("held");
        _ = memory.namespace_lock("a");
        memory.sweep(&cache);
        assert!(cache.secret_reads.get(&secret("named")).is_some());
        assert!(cache.secret_reads.get(&secret("gone")).is_none());
        assert!(is_empty(&memory.slices) && is_empty(&memory.deleted_keys));
        assert!(is_empty(&memory.idle_since) && is_empty(&memory.created_orders));
        assert!(Arc::ptr_eq(&held, &memory.namespace_lock("held")), "it is in use");
        drop(held);
        memory.sweep(&cache);
        assert!(is_empty(&memory.namespace_locks));
    }

    /// Everything that is known by UID ends with the object.
    #[test]
    fn deleted_object_is_forgotten() {
        let memory = memory();
        let uid = || "1".to_owned();
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
        memory.chains.put(uid(), ByteString(vec![1]));
        memory.next_keys.put((uid(), "key".to_owned()), Arc::new(key));
        memory.deleted_keys.put((uid(), "key".to_owned()), ());
        memory.orders.put(uid(), OrderProgress::default());
        memory.passwords.put(uid(), Vec::new());
        let problem = Problem::new(Reason::ApiServerError, "", Duration::ZERO, Timestamp::UNIX_EPOCH);
        memory.problems.put(uid(), problem);
        memory.notes.put(uid(), Vec::new());
        memory.checked_updates.put(uid(), (String::new(), Checked::Same));
        memory.forget("1");
        assert_eq!(memory.chains.take("1"), None);
        assert!(is_empty(&memory.next_keys) && is_empty(&memory.deleted_keys));
        assert!(is_empty(&memory.orders) && is_empty(&memory.passwords));
        assert!(is_empty(&memory.problems) && is_empty(&memory.notes));
        assert!(is_empty(&memory.checked_updates));
    }
}
