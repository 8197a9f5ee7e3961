//! Notices that the password of a keystore has changed: its Secret is the user's, and lacks the label that a watch would find.
//!
//! Compares resourceVersions; must not decide whether a keystore fits, which `decision/certificate/keystores.rs` does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crds::meta::SecretKeySelector;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

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

impl Reconciler<'_> {
    pub(super) async fn read_passwords(
        &self,
        references: Vec<SecretKeySelector>,
    ) -> Result<Passwords, ReconcileError> {
        let namespace = self.namespace();
        let (mut passwords, mut read) = (Vec::new(), Vec::new());
        for reference in references {
            let name = &reference.name;
            let secret = self.context.kube.api::<Secret>(&namespace).get_opt(name).await;
            let secret = secret.tried(|| format!("read Secret {namespace}/{name}"))?;
            let version = secret.as_ref().and_then(ResourceExt::resource_version);
            read.push(SecretVersion { name: name.clone(), version });
            let key = reference.key.as_deref().unwrap_or_default();
            let value =
                secret.and_then(|secret| secret.data?.remove(key)).filter(|value| !value.0.is_empty());
            passwords.push((reference, value.and_then(|value| Password::from_bytes(&value.0))));
        }
        self.context.memory.passwords.put(self.uid(), read);
        Ok(Passwords(passwords))
    }
}

/// Enqueues the Certificates whose keystores have another password than the one that was read last.
pub(in super::super) async fn enqueue_changed(context: Arc<Context>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        for ((namespace, secret), readers) in readers(&context) {
            tokio::time::sleep(PAUSE).await;
            let Ok(found) = context.kube.api::<Secret>(&namespace).get_metadata_opt(&secret).await else {
                // The next look may succeed, and so may the next reconcile of its own accord.
                continue;
            };
            let version = found.and_then(|found| found.resource_version());
            for Reader { certificate, .. } in readers.iter().filter(|reader| reader.version != version) {
                context.memory.settled.forget(&namespace, certificate);
                context.cache.certificates.enqueuer().enqueue_named(certificate, Some(&namespace));
            }
        }
    }
}

/// A Certificate that was decided on with a password.
struct Reader {
    certificate: String,
    /// The resourceVersion of the Secret with the password.
    version: Option<String>,
}

/// The Certificates that were decided on with a password, by namespace and name of its Secret.
fn readers(context: &Context) -> BTreeMap<(String, String), Vec<Reader>> {
    let mut readers = BTreeMap::<_, Vec<_>>::new();
    for certificate in context.cache.certificates.matching(|it| it.spec.keystores.is_some()) {
        let uid = certificate.uid().unwrap_or_default();
        let namespace = certificate.namespace().unwrap_or_default();
        for SecretVersion { name, version } in context.memory.passwords.get(&uid).unwrap_or_default() {
            let reader = Reader { certificate: certificate.name_any(), version };
            readers.entry((namespace.clone(), name)).or_default().push(reader);
        }
    }
    readers
}
