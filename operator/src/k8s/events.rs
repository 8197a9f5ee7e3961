//! Kubernetes Events. They are published in the background: no reconcile waits for one, and none fails with one.
//!
//! They have the form that client-go gives them, and cert-manager's have: `core/v1` with times, a count, and a source. `cmctl`,
//! `kubectl get events --sort-by=.lastTimestamp`, and exporters read these fields.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, Client, Resource,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::Mutex as AsyncMutex, time::timeout};

use crate::{objects::EventNote, sync::lock};

/// How long an event is counted in the same object when it happens again.
const COUNTED_FOR: SignedDuration = SignedDuration::from_mins(10);

/// How long a request for an event may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How many events are remembered, so that they are counted.
const MOST_REMEMBERED: usize = 1024;

/// The longest name of an object in the name of its event, in bytes: the rest is a dot and 16 digits.
const LONGEST_NAME: usize = 236;

/// Where the API server keeps the events of objects without a namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// Publishes events.
pub struct Events {
    client: Client,
    /// This process, such as the Pod's name.
    instance: String,
    recent: Arc<Mutex<Recent>>,
}

/// An event that has happened, perhaps several times.
#[derive(Clone, Debug)]
struct Series {
    /// The name of its object.
    name: String,
    count: i32,
    first: Timestamp,
    last: Timestamp,
    /// The count that was written last. One event is written at a time: the second one would not find the object that the first one
    /// is creating.
    written: Arc<AsyncMutex<i32>>,
}

impl Events {
    pub(super) fn new(client: Client, instance: String) -> Self {
        Self { client, instance, recent: Arc::default() }
    }

    /// Publishes an event about an object. `controller` is its source, such as `cert-manager-certificates-issuing`. A failure is only
    /// logged.
    pub(super) fn publish<K>(&self, controller: &'static str, note: &EventNote, about: &K, now: Timestamp)
    where
        K: Resource<DynamicType = ()>,
    {
        let reference = about.object_ref(&());
        let series = lock(&self.recent).count(key(controller, note, &reference), &reference, now);
        let namespace = reference.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let events = Api::<Event>::namespaced(self.client.clone(), namespace);
        let event = event(controller, &self.instance, note, reference, &series);
        tokio::spawn(async move {
            match timeout(DEADLINE, write(&events, &event, &series)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, reason = event.reason, "failed to publish an event");
                }
                Err(_) => tracing::debug!(reason = event.reason, "failed to publish an event in time"),
            }
        });
    }
}

/// Counts in an existing object, or creates one, unless a later event has been counted meanwhile.
async fn write(events: &Api<Event>, event: &Event, series: &Series) -> Result<(), kube::Error> {
    let mut written = series.written.lock().await;
    if *written < series.count {
        write_next(events, event, series).await?;
        *written = series.count;
    }
    Ok(())
}

async fn write_next(events: &Api<Event>, event: &Event, series: &Series) -> Result<(), kube::Error> {
    if series.count > 1 {
        let again = json!({ "count": event.count, "lastTimestamp": event.last_timestamp });
        let patched =
            events.patch_metadata(&series.name, &PatchParams::default(), &Patch::Merge(&again)).await;
        match patched {
            // It has expired, or was deleted.
            Err(kube::Error::Api(status)) if status.code == StatusCode::NOT_FOUND.as_u16() => {}
            patched => return patched.map(drop),
        }
    }
    events.create(&PostParams::default(), event).await.map(drop)
}

/// What makes two events the same.
fn key(controller: &str, note: &EventNote, about: &ObjectReference) -> u64 {
    let mut hasher = DefaultHasher::new();
    (controller, &about.uid, note.warning, note.reason.as_str(), &note.message).hash(&mut hasher);
    hasher.finish()
}

fn event(
    controller: &str,
    instance: &str,
    note: &EventNote,
    about: ObjectReference,
    series: &Series,
) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(series.name.clone()),
            namespace: Some(about.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())),
            ..ObjectMeta::default()
        },
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.as_str().to_owned()),
        message: Some(note.message.clone()),
        count: Some(series.count),
        first_timestamp: Some(Time(series.first)),
        last_timestamp: Some(Time(series.last)),
        source: Some(EventSource { component: Some(controller.to_owned()), host: None }),
        reporting_component: Some(controller.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        involved_object: about,
        ..Event::default()
    }
}

/// The events that may happen again.
#[derive(Debug, Default)]
struct Recent {
    series: HashMap<u64, Series>,
    /// Their keys, the one that happened first is the first.
    ages: VecDeque<u64>,
}

impl Recent {
    fn count(&mut self, key: u64, about: &ObjectReference, now: Timestamp) -> Series {
        let known = self.series.get_mut(&key);
        if let Some(series) = known.filter(|it| now.duration_since(it.last).abs() < COUNTED_FOR) {
            series.count = series.count.saturating_add(1);
            series.last = now;
            return series.clone();
        }
        let unique = key ^ u64::from_ne_bytes(now.as_microsecond().to_ne_bytes());
        let mut name = about.name.clone().unwrap_or_default();
        name.truncate(name.floor_char_boundary(LONGEST_NAME));
        let name = name.trim_end_matches(['-', '.']);
        let series = Series {
            name: format!("{name}.{unique:016x}"),
            count: 1,
            first: now,
            last: now,
            written: Arc::default(),
        };
        if self.series.insert(key, series.clone()).is_none() {
            self.ages.push_back(key);
        }
        while self.ages.len() > MOST_REMEMBERED
            && let Some(oldest) = self.ages.pop_front()
        {
            self.series.remove(&oldest);
        }
        series
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hyper::{Method, Response};
    use k8s_openapi::api::core::v1::Service;
    use kube::client::Body;
    use tokio::time::sleep;

    use super::*;
    use crate::{k8s::testing, reason::Reason};

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn about(name: &str) -> ObjectReference {
        ObjectReference {
            name: Some(name.to_owned()),
            uid: Some(name.to_owned()),
            ..ObjectReference::default()
        }
    }

    #[test]
    fn repetitions_are_counted_in_one_object() {
        let mut recent = Recent::default();
        let first = recent.count(1, &about("web"), START);
        let again = recent.count(1, &about("web"), START + SignedDuration::from_mins(9));
        assert_eq!((again.count, &again.name, again.first), (2, &first.name, START));
        let later = recent.count(1, &about("web"), START + SignedDuration::from_mins(30));
        assert_eq!(later.count, 1, "the first ones may have expired");
        assert_ne!(later.name, first.name);
    }

    /// The events that an API server has, by name, with their counts. To create one takes it a second.
    type Stored = Arc<Mutex<BTreeMap<String, i64>>>;

    async fn serve(stored: Stored, method: Method, path: String, body: serde_json::Value) -> Response<Body> {
        let count = body["count"].as_i64().expect("a count");
        if method == Method::PATCH {
            let name = path.rsplit('/').next().unwrap_or_default();
            return match lock(&stored).get_mut(name) {
                Some(known) => {
                    *known = count;
                    testing::json(StatusCode::OK, &json!({ "metadata": { "name": name } }))
                }
                None => testing::status(StatusCode::NOT_FOUND),
            };
        }
        sleep(Duration::from_secs(1)).await;
        let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
        if lock(&stored).contains_key(&name) {
            return testing::status(StatusCode::CONFLICT);
        }
        lock(&stored).insert(name, count);
        testing::json(StatusCode::CREATED, &body)
    }

    #[tokio::test(start_paused = true)]
    async fn equal_events_of_one_moment_are_all_counted() {
        let stored = Stored::default();
        let served = Arc::clone(&stored);
        let client =
            testing::client(move |method, path, body| serve(Arc::clone(&served), method, path, body));
        let events = Events::new(client, "instance".to_owned());
        let (note, mut about) = (EventNote::warning(Reason::Pending, "a"), Service::default());
        (about.metadata.namespace, about.metadata.name) = (Some("a".to_owned()), Some("web".to_owned()));
        for _ in 0..3 {
            events.publish("issuing", &note, &about, START);
        }
        sleep(Duration::from_mins(1)).await;
        assert_eq!(lock(&stored).values().collect::<Vec<_>>(), [&3]);
    }

    #[test]
    fn remembered_events_are_bounded() {
        let mut recent = Recent::default();
        for key in 0..3000 {
            recent.count(key, &about("web"), START);
        }
        assert_eq!((recent.series.len(), recent.ages.len()), (MOST_REMEMBERED, MOST_REMEMBERED));
        assert_eq!(recent.count(2999, &about("web"), START).count, 2);
        assert_eq!(recent.count(0, &about("web"), START).count, 1);
    }

    #[test]
    fn events_of_different_causes_are_different() {
        let note = |message: &str| EventNote::warning(Reason::Pending, message);
        let one = key("issuing", &note("a"), &about("web"));
        let others = [
            key("trigger", &note("a"), &about("web")),
            key("issuing", &note("b"), &about("web")),
            key("issuing", &note("a"), &about("api")),
            key("issuing", &EventNote::normal(Reason::Pending, "a"), &about("web")),
        ];
        assert!(others.iter().all(|other| *other != one));
    }

    #[test]
    fn longest_name_fits() {
        let name = "a".repeat(253);
        assert_eq!(Recent::default().count(1, &about(&name), START).name.len(), 253);
        let cut = Recent::default().count(1, &about(&format!("{}.b", "a".repeat(235))), START).name;
        assert!(cut.starts_with(&"a".repeat(235)) && !cut.contains(".."), "{cut}");
    }
}
