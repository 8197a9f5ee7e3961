//! Keeps the table of tokens up to date with a watch on all Challenges.

use std::pin::pin;

use crds::acme::Challenge;
use futures::{Stream, StreamExt};
use kube::{
    Api, Client,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};

use crate::Tokens;

/// Watches all Challenges and never returns. Challenges that cannot be deserialized are skipped, and do not affect others.
pub async fn watch(client: Client, tokens: Tokens) {
    let challenges: Api<DeserializeGuard<Challenge>> = Api::all(client);
    drive_watch(watcher::watcher(challenges, watcher::Config::default()).default_backoff(), tokens).await;
}

async fn drive_watch(
    events: impl Stream<Item = watcher::Result<Event<DeserializeGuard<Challenge>>>>,
    tokens: Tokens,
) {
    let mut events = pin!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(challenge)) => listed.extend(valid(challenge)),
            Ok(Event::InitDone) => {
                tracing::info!(challenges = listed.len(), "listed Challenges");
                tokens.replace_all(std::mem::take(&mut listed));
            }
            Ok(Event::Apply(challenge)) => {
                if let Some(challenge) = valid(challenge) {
                    tokens.insert(&challenge);
                }
            }
            Ok(Event::Delete(challenge)) => {
                if let Some(challenge) = valid(challenge) {
                    tokens.remove(&challenge);
                }
            }
            // The table stays as it was until the watch is restored.
            Err(error) => tracing::warn!(%error, "failed to watch Challenges, will retry"),
        }
    }
}

fn valid(challenge: DeserializeGuard<Challenge>) -> Option<Challenge> {
    challenge.0.inspect_err(|error| tracing::warn!(%error, "skipped an invalid Challenge")).ok()
}
