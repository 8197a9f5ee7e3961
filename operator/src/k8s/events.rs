//! Kubernetes Events. They are published in the background: no reconcile waits for one, and none fails with one.

use std::hash::{DefaultHasher, Hash, Hasher};

use crds::condition::one_line;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::objects::EventNote;

/// The beginning of a message, and a hash of all of it.
fn action(message: &str) -> String {
    let mut hasher = DefaultHasher::new();
    message.hash(&mut hasher);
    let begin: String = one_line(message, 200).chars().take(80).collect();
    format!("{begin} {:016x}", hasher.finish())
}

/// Publishes events in the name of one controller.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// `controller` is the source of the events, such as `cert-manager-certificates-issuing`; `instance` is this process.
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let reporter = Reporter { controller: controller.to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes an event about an object. A failure is only logged.
    pub fn publish<K>(&self, note: &EventNote, about: &K)
    where
        K: Resource<DynamicType = ()>,
    {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.as_str().to_owned(),
            note: Some(note.message.clone()),
            // The recorder counts events as one if they differ only in their note.
            action: action(&note.message),
            secondary: None,
        };
        let reference = about.object_ref(&());
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            if let Err(error) = recorder.publish(&event, &reference).await {
                tracing::debug!(%error, reason = event.reason, "failed to publish an event");
            }
        });
    }
}
