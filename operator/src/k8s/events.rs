//! What users are told beside an object's status. In the background: nothing waits for it, and nothing fails with it.

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::objects::EventNote;

/// Tells users, in the name of one controller.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// `controller` is how events name their source, such as `cert-manager-certificates-issuing`.
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let reporter = Reporter { controller: controller.to_owned(), instance: Some(instance.to_owned()) };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Tells of an object.
    pub fn publish<K>(&self, note: &EventNote, about: &K)
    where
        K: Resource<DynamicType = ()>,
    {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.clone(),
            // Longer ones are refused.
            note: Some(note.message.chars().take(1000).collect()),
            // Two events that differ in nothing but their note are taken for one.
            action: note.message.chars().take(100).collect(),
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
