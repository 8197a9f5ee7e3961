//! CRDs that may be installed and removed at any time, and the watches of their kinds, which run meanwhile.
//!
//! Knows whether a CRD exists, by a watch of its metadata alone; must not know what it defines. Next: `watch.rs`.

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::PartialObjectMeta,
    runtime::{
        WatchStreamExt,
        watcher::{self, Config, Event},
    },
};
use tokio::sync::watch;

use super::error_text;

/// Whether a CRD is installed, as far as is known. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Definition(watch::Sender<Option<bool>>);

impl Default for Definition {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Definition {
    /// Whether the CRD is known to be missing.
    pub fn is_missing(&self) -> bool {
        *self.0.borrow() == Some(false)
    }

    /// Notes whether the CRD is installed.
    pub fn note(&self, is_installed: bool) {
        self.0.send_replace(Some(is_installed));
    }

    /// Watches the CRD with a name until the process ends.
    pub async fn watch(&self, client: Client, name: &'static str) {
        let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client);
        let config = Config::default().fields(&format!("metadata.name={name}"));
        let mut events = watcher::watcher(api, config).default_backoff().boxed();
        let (mut listed, mut is_refused) = (false, false);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed = false,
                Ok(Event::InitApply(_)) => listed = true,
                Ok(Event::InitDone) => self.note(listed),
                Ok(Event::Apply(_)) => self.note(true),
                Ok(Event::Delete(_)) => self.note(false),
                // The kind's own watch says whether it exists, only later.
                Err(error) if is_forbidden(&error) => {
                    if !is_refused {
                        tracing::info!(
                            name,
                            "this operator may not watch the CRD, will ask for its objects instead"
                        );
                    }
                    is_refused = true;
                    self.note(true);
                }
                Err(error) => {
                    tracing::warn!(name, error = error_text(&error), "failed to watch a CRD, will retry");
                    // Nothing may wait for it.
                    self.0.send_if_modified(|known| known.replace(known.unwrap_or(true)).is_none());
                }
            }
        }
    }

    /// Waits until it is known whether the CRD is installed, and returns that.
    pub(super) async fn is_installed(&self) -> bool {
        self.wait_for(Option::is_some).await == Some(true)
    }

    /// Waits until the CRD is installed.
    pub(super) async fn installed(&self) {
        self.wait_for(|known| *known == Some(true)).await;
    }

    /// Waits until the CRD is missing.
    pub(super) async fn removed(&self) {
        self.wait_for(|known| *known == Some(false)).await;
    }

    async fn wait_for(&self, condition: impl FnMut(&Option<bool>) -> bool) -> Option<bool> {
        // The sender lives as long as this.
        self.0.subscribe().wait_for(condition).await.ok().and_then(|known| *known)
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(error)
    | watcher::Error::WatchStartFailed(error)
    | watcher::Error::WatchFailed(error)) = error
    else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if [401, 403].contains(&status.code))
}
