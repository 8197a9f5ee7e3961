//! Keeps the table of tokens up to date with a watch on all Challenges.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::Response;
use crds::acme::Challenge;
use futures::{Stream, StreamExt, future::join_all};
use kube::{
    Api, Client, Config,
    client::ClientBuilder,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use tower::util::MapResponseLayer;

use crate::Tokens;

/// Time in seconds after which the API server ends a watch, and the next one starts. It is the longest time between two responses.
const WATCH_SECONDS: u32 = 45;

/// Time to connect to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time without data after which a connection to the API server is given up: longer than a watch.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns a client that gives up dead connections, and notes in the table when the API server responds.
///
/// # Errors
/// The configuration is invalid.
pub fn client(mut config: Config, tokens: &Tokens) -> kube::Result<Client> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    // The timeout counts from the request, not from the end of the response before it.
    config.reset_reader_on_write = true;
    Ok(ClientBuilder::try_from(config)?.with_layer(&note_responses(tokens.clone())).build())
}

/// Returns a layer that notes successful responses. A rejected request does not count: without permission, the table is outdated too.
fn note_responses<B>(
    tokens: Tokens,
) -> MapResponseLayer<impl Fn(Response<B>) -> Response<B> + Clone + Send + 'static> {
    MapResponseLayer::new(move |response: Response<B>| {
        if response.status().is_success() {
            tokens.note_response();
        }
        response
    })
}

/// Watches the Challenges of some namespaces, or of all if it is given none, and never returns. Challenges that cannot be
/// deserialized are skipped, and do not affect others.
pub async fn watch(client: Client, namespaces: Vec<String>, tokens: Tokens) {
    let watch = |challenges: Api<DeserializeGuard<Challenge>>| {
        watcher::watcher(challenges, watcher::Config::default().timeout(WATCH_SECONDS)).default_backoff()
    };
    if namespaces.is_empty() {
        return drive_watch(watch(Api::all(client)), &tokens, |all| tokens.replace_all(all)).await;
    }
    let unlisted = Mutex::new(BTreeSet::from_iter(&namespaces));
    let watches = namespaces.iter().map(|namespace| {
        let challenges = Api::namespaced(client.clone(), namespace);
        drive_watch(watch(challenges), &tokens, |all| {
            tokens.replace_namespace(namespace, all);
            let mut unlisted = unlisted.lock().unwrap_or_else(PoisonError::into_inner);
            unlisted.remove(namespace);
            if unlisted.is_empty() {
                tokens.note_synced();
            }
        })
    });
    join_all(watches).await;
}

async fn drive_watch(
    events: impl Stream<Item = watcher::Result<Event<DeserializeGuard<Challenge>>>>,
    tokens: &Tokens,
    replace: impl Fn(Vec<Challenge>),
) {
    let mut events = pin!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(challenge)) => listed.extend(valid(challenge)),
            Ok(Event::InitDone) => {
                tracing::info!(challenges = listed.len(), "listed Challenges");
                replace(std::mem::take(&mut listed));
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

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use axum::{
        body::{Body, Bytes},
        http::{Request, StatusCode},
    };
    use futures::stream;
    use tokio::time::sleep;
    use tower::{Layer, service_fn};

    use super::*;

    /// An API server without Challenges. Its watches last as long as requested while it is `alive`; afterwards it accepts requests
    /// and does not respond.
    fn api_server(tokens: &Tokens, alive: Arc<AtomicBool>) -> Client {
        let respond = move |request: Request<kube::client::Body>| {
            let (query, alive) = (request.uri().query().unwrap_or_default().to_owned(), Arc::clone(&alive));
            async move {
                while !alive.load(Ordering::Relaxed) {
                    sleep(Duration::from_secs(1)).await;
                }
                let body = if query.contains("watch=true") {
                    assert!(query.contains(&format!("timeoutSeconds={WATCH_SECONDS}")), "{query}");
                    let end = sleep(Duration::from_secs(u64::from(WATCH_SECONDS)));
                    let silence = stream::once(end).filter_map(async |()| None::<Result<Bytes, Infallible>>);
                    Body::from_stream(silence)
                } else {
                    Body::from(r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#)
                };
                Ok::<_, Infallible>(Response::new(body))
            }
        };
        Client::new(note_responses(tokens.clone()).layer(service_fn(respond)), "default")
    }

    /// A quiet watch is heard each time it starts again. Once the API server is silent, the table is outdated after two minutes.
    #[tokio::test(start_paused = true)]
    async fn table_is_outdated_when_the_watch_is_dead() {
        let (tokens, alive) = (Tokens::default(), Arc::new(AtomicBool::new(true)));
        let watch = tokio::spawn(watch(api_server(&tokens, Arc::clone(&alive)), Vec::new(), tokens.clone()));
        for _ in 0..300 {
            sleep(Duration::from_secs(2)).await;
            assert!(tokens.is_synced() && tokens.is_current(), "a quiet watch");
        }
        alive.store(false, Ordering::Relaxed);
        sleep(Duration::from_mins(1)).await;
        assert!(tokens.is_current(), "a short interruption");
        sleep(Duration::from_secs(70)).await;
        assert!(tokens.is_synced() && !tokens.is_current(), "the API server is silent");
        alive.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(2)).await;
        assert!(tokens.is_current(), "the API server responds again");
        watch.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn rejected_requests_are_no_news() {
        let tokens = Tokens::default();
        let respond = async |_: Request<Body>| {
            let rejected = Response::builder().status(StatusCode::FORBIDDEN).body(Body::empty());
            Ok::<_, Infallible>(rejected.expect("a response"))
        };
        let service = note_responses(tokens.clone()).layer(service_fn(respond));
        _ = tower::ServiceExt::oneshot(service, Request::new(Body::empty())).await;
        assert!(!tokens.is_current());
    }
}
