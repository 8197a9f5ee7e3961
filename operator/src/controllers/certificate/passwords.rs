//! Notices that the password of a keystore has changed: its Secret is the user's, and lacks the label that a watch would find.
//!
//! Compares resourceVersions; must not decide whether a keystore fits, which `decision/certificate/keystores.rs` does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crds::meta::SecretKeySelector;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use zeroize::Zeroizing;

use super::Reconciler;
use crate::{
    context::Context,
    decision::certificate::{Password, Passwords},
    error::{ReconcileError, Tried},
    memory::SecretVersion,
};

/// How often the Secrets are looked at.
const PERIOD: Duration = Duration::from_secs(20);

/// The time between two looks, which bounds the load on the API server if there are many.
const PAUSE: Duration = Duration::from_millis(500);

/// How many Secrets of a namespace are looked at in a round.
const IN_A_ROUND: usize = 20;

/// The Certificates that were decided on with a password, by namespace and name of its Secret.
type Readers = BTreeMap<(String, String), Vec<Reader>>;

impl Reconciler<'_> {
    pub(super) async fn read_passwords(
        &self,
        references: Vec<SecretKeySelector>,
    ) -> Result<Passwords, ReconcileError> {
        let namespace = self.namespace();
        let (mut passwords, mut read, mut secrets) = (Vec::new(), Vec::new(), BTreeMap::new());
        for reference in references {
            let name = &reference.name;
            if !secrets.contains_key(name) {
                let secret = self.context.kube.api::<Secret>(&namespace).get_opt(name).await;
                let secret = secret.tried(|| format!("read Secret {namespace}/{name}"))?;
                let version = secret.as_ref().and_then(ResourceExt::resource_version);
                read.push(SecretVersion { name: name.clone(), version });
                let data = secret.and_then(|secret| secret.data).unwrap_or_default().into_iter();
                let data: BTreeMap<_, _> = data.map(|(key, value)| (key, Zeroizing::new(value.0))).collect();
                secrets.insert(name.clone(), data);
            }
            let key = reference.key.as_deref().unwrap_or_default();
            let value = secrets.get(name).and_then(|data| data.get(key)).filter(|value| !value.is_empty());
            let password = value.and_then(|value| Password::from_bytes(value));
            passwords.push((reference, password));
        }
        self.context.memory.passwords.put(self.uid(), read);
        Ok(Passwords(passwords))
    }
}

/// Enqueues the Certificates whose keystores have another password than the one that was read last.
pub(in super::super) async fn enqueue_changed(context: Arc<Context>) {
    for round in 0_usize.. {
        tokio::time::sleep(PERIOD).await;
        for ((namespace, secret), readers) in fair(readers(&context), round) {
            tokio::time::sleep(PAUSE).await;
            let Ok(found) = context.kube.api::<Secret>(&namespace).get_metadata_opt(&secret).await else {
                // The next look may succeed, and so may the next reconcile of its own accord.
                continue;
            };
            let version = found.and_then(|found| found.resource_version());
            for Reader { uid, certificate, .. } in readers.iter().filter(|reader| reader.version != version) {
                // Once for each change: a Certificate that can't be issued now reads the password later.
                let mut read = context.memory.passwords.get(uid).unwrap_or_default();
                for read in read.iter_mut().filter(|read| read.name == secret) {
                    read.version.clone_from(&version);
                }
                context.memory.passwords.put(uid.clone(), read);
                context.memory.settled.forget(&namespace, certificate);
                context.cache.certificates.enqueuer().enqueue_named(certificate, Some(&namespace));
            }
        }
    }
}

/// A part of the Secrets: of each namespace a few, others in each round, so that many in one namespace hold up no other.
fn fair(all: Readers, round: usize) -> Vec<((String, String), Vec<Reader>)> {
    let mut of_namespace = BTreeMap::<String, Vec<_>>::new();
    for entry in all {
        of_namespace.entry(entry.0.0.clone()).or_default().push(entry);
    }
    let chosen = of_namespace.into_values().flat_map(|secrets| {
        let first = (round * IN_A_ROUND) % secrets.len().next_multiple_of(IN_A_ROUND);
        secrets.into_iter().skip(first).take(IN_A_ROUND)
    });
    chosen.collect()
}

/// A Certificate that was decided on with a password.
struct Reader {
    uid: String,
    certificate: String,
    /// The resourceVersion of the Secret with the password.
    version: Option<String>,
}

/// The Certificates that were decided on with a password, by namespace and name of its Secret.
fn readers(context: &Context) -> Readers {
    let mut readers = Readers::new();
    let index = &context.cache.indexes.certificates_with_keystores;
    let names = index.namespaces().into_iter().flat_map(|namespace| {
        let names = index.names(&namespace);
        names.into_iter().map(move |name| (namespace.clone(), name))
    });
    for (namespace, name) in names {
        let Some(certificate) = context.cache.certificates.get(&namespace, &name) else { continue };
        let uid = certificate.uid().unwrap_or_default();
        for SecretVersion { name: secret, version } in context.memory.passwords.get(&uid).unwrap_or_default()
        {
            let reader = Reader { uid: uid.clone(), certificate: name.clone(), version };
            readers.entry((namespace.clone(), secret)).or_default().push(reader);
        }
    }
    readers
}
