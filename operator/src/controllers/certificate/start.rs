//! The first reconcile of each Certificate. Their Secrets are read in pages, because a request for each would take most of the start.
//!
//! Knows which Secrets are read; must not know what they mean. Next: `secret.rs`, which reads a Secret of which no page has said anything.

use std::{
    future::pending,
    sync::{Arc, Weak},
    time::Duration,
};

use crds::annotations::secret;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::{super::scope, secret::is_slow};
use crate::{
    cache::{Cache, SecretRead},
    context::Context,
    decision::certificate::SecretView,
    error_chain::ErrorChain,
    k8s::{Page, Pages, ReadPage, Scope},
};

/// The fewest Certificates in a namespace or the cluster for which pages are read.
const FEWEST: usize = 50;

/// How many Secrets with the label there may be for each Certificate, or most of what is read would be of no use.
const MOST_SECRETS: usize = 4;

/// How many Certificates have the content of their Secret in memory when the next page is taken.
const MOST_AHEAD: usize = 50;

/// How long the reconciles of a page are waited for. Those that take longer wait for something else, and hold up no page.
const LONGEST_WAIT: Duration = Duration::from_millis(300);

/// How often it is checked whether they are done.
const CHECK_EVERY: Duration = Duration::from_millis(2);

/// Enqueues the Certificates that are issued, each with its Secret: the controller begins with the others. Runs until the process ends,
/// as all tasks of controllers do.
pub(in super::super) async fn enqueue_all(context: Arc<Context>) {
    let certificates = &context.cache.certificates;
    for scope in scope::served::<Secret>(&context) {
        let namespace = scope.namespace.clone();
        if is_worthwhile(&context.cache, &namespace)
            && let Err(error) = read_secrets(scope, &context).await
        {
            let error = ErrorChain(&error).to_string();
            tracing::warn!(namespace, error, "failed to read Secrets in pages, will read each by itself");
        }
    }
    certificates.enqueue_named(|namespace, name| context.memory.settled.get(namespace, name).is_none());
    pending::<()>().await;
}

/// Whether pages take fewer requests, and little more data, than a request for each Secret. An empty namespace is the cluster.
fn is_worthwhile(cache: &Cache, namespace: &str) -> bool {
    let (certificates, secrets) = (cache.certificates.len_in(namespace), cache.secrets.len_in(namespace));
    certificates >= FEWEST && secrets >= FEWEST && secrets / MOST_SECRETS <= certificates
}

/// Reads Secrets in pages, and enqueues their Certificates. Each page is requested while the one before is reconciled, so that only two
/// are in memory.
async fn read_secrets(scope: Scope<Secret>, context: &Context) -> Result<(), ReadPage> {
    let mut pages = Pages::new(scope.api, format!("{}=true", secret::FULL_ACCESS_LABEL));
    let mut ahead: Vec<Weak<SecretView>> = Vec::new();
    let mut page = pages.next().await?;
    while let Some(current) = page {
        let (next, taken) = tokio::join!(pages.next(), take_page(current, &mut ahead, context));
        taken?;
        page = next?;
    }
    Ok(())
}

/// Takes the Secrets of a page, and waits until most of their Certificates are reconciled.
async fn take_page(
    page: Page<Secret>,
    ahead: &mut Vec<Weak<SecretView>>,
    context: &Context,
) -> Result<(), ReadPage> {
    for secret in page.objects()? {
        ahead.extend(take(&secret?, context));
        // Parsing a page takes many milliseconds.
        yield_now().await;
    }
    drop(page);
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        ahead.retain(|view| view.strong_count() > 0);
        if Instant::now() > deadline {
            ahead.clear();
        }
        if ahead.len() <= MOST_AHEAD {
            return Ok(());
        }
        sleep(CHECK_EVERY).await;
    }
}

/// Enqueues the Certificates of a Secret, and keeps what it contains for them.
fn take(secret: &Secret, context: &Context) -> Option<Weak<SecretView>> {
    let (namespace, name) = (secret.namespace()?, secret.name_any());
    let certificates = context.cache.certificates_of_secret(&namespace, &name);
    if certificates.is_empty() {
        return None;
    }
    // This process has decided on it since the page was read: what it wrote may be newer than the page, and than what the watch shows.
    if certificates.iter().any(|name| context.memory.settled.get(&namespace, name).is_some()) {
        return None;
    }
    let version = secret.resource_version().unwrap_or_default();
    // It may have changed or been deleted since.
    let is_current = context.cache.secrets.get(&namespace, &name).is_some_and(|it| *it.version == *version);
    let key = (namespace, name);
    let is_known = context.cache.secret_reads.get(&key).is_some();
    let mut kept = None;
    // One that takes long to parse is read by its reconcile, so that it delays no other.
    if is_current && !is_known && !is_slow(secret) {
        let view = Arc::new(SecretView::parse(secret));
        kept = Some(Arc::downgrade(&view));
        context.cache.secret_reads.put(key.clone(), SecretRead::Present { version, view });
    }
    for certificate in certificates {
        context.cache.certificates.enqueuer().enqueue_named(&certificate, Some(&key.0));
    }
    kept
}
