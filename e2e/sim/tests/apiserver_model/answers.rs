//! What a server answers, without what differs between any two servers: times, versions and UIDs as such, and the texts of errors.
//!
//! Next: `requests.rs`.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt;
use http_body_util::BodyExt;
use hyper::{
    Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use kube::{Client, client::Body};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::requests::Call;

/// How long a watch that the server does not end is read.
const WATCHED: Duration = Duration::from_secs(2);

/// An answer that can be compared.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

/// The requests to one server, and what is remembered of its answers.
pub(crate) struct Conversation {
    client: Client,
    /// The metadata of answers that later requests refer to.
    named: HashMap<String, Value>,
    /// A number for each UID and version, in the order in which they appear.
    numbers: HashMap<String, usize>,
}

impl Conversation {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, named: HashMap::new(), numbers: HashMap::new() }
    }

    pub(crate) async fn send(&mut self, call: &Call) -> Result<Reply> {
        let response = self.client.send(self.request(call)?).await?;
        let code = response.status().as_u16();
        let text = response.into_body().collect().await?.to_bytes();
        let mut body: Value = serde_json::from_slice(&text)
            .unwrap_or_else(|_| String::from_utf8_lossy(&text).trim().to_owned().into());
        if let Some(name) = &call.name {
            self.named.insert(name.clone(), body["metadata"].clone());
        }
        self.normalize(&mut body);
        Ok(Reply { code, body })
    }

    /// The events of a watch, in order.
    pub(crate) async fn watch(&mut self, call: &Call) -> Result<Vec<Value>> {
        let response = self.client.send(self.request(call)?).await?;
        let mut frames = response.into_body().into_data_stream();
        let mut text = Vec::new();
        while let Ok(Some(frame)) = timeout(WATCHED, frames.next()).await {
            text.extend_from_slice(&frame?);
        }
        let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let events = lines.map(serde_json::from_slice::<Value>).collect::<Result<Vec<_>, _>>()?;
        let mut events: Vec<_> = events.into_iter().filter(|event| !is_usual_bookmark(event)).collect();
        for event in &mut events {
            if event["type"] == "BOOKMARK" {
                // Some of the real server's have empty fields of their kind.
                event["object"] = json!({ "annotations": event["object"]["metadata"]["annotations"] });
            }
            self.normalize(event);
        }
        Ok(events)
    }

    fn request(&self, call: &Call) -> Result<Request<Body>> {
        let body = self.filled_in(&call.body);
        let request = Request::builder()
            .method(call.method.as_str())
            .uri(self.filled_in(&call.path))
            .header("user-agent", "script/1")
            .header(ACCEPT, call.accept)
            .header(CONTENT_TYPE, call.format);
        request.body(Body::from(body.into_bytes())).context("a request can't be built")
    }

    /// A text with what earlier answers said, such as `$web.uid`.
    fn filled_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, metadata) in &self.named {
            for field in ["resourceVersion", "uid", "continue"] {
                let value = metadata[field].as_str().unwrap_or_default();
                text = text.replace(&format!("${name}.{field}"), value);
            }
        }
        text
    }

    /// Replaces what differs between any two servers.
    fn normalize(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if fields.get("kind").is_some_and(|kind| kind == "Status") {
                    fields.remove("message");
                    if let Some(details) = fields.get_mut("details").and_then(Value::as_object_mut) {
                        details.remove("causes");
                    }
                }
                if fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) {
                    // It counts the changes of everything else, too.
                    fields["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
                }
                sort_owners(fields);
                self.number_keys(fields);
                for (name, field) in fields.iter_mut() {
                    match name.as_str() {
                        "resourceVersion" | "uid" => self.number(field),
                        "creationTimestamp" | "deletionTimestamp" => *field = json!("a time"),
                        "continue" => *field = json!("a token"),
                        "clusterIP" => *field = json!("an address"),
                        "clusterIPs" => *field = json!(["an address"]),
                        _ => self.normalize(field),
                    }
                }
            }
            Value::Array(elements) => elements.iter_mut().for_each(|element| self.normalize(element)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Replaces the UIDs in the names of owners' fields.
    fn number_keys(&mut self, fields: &mut Map<String, Value>) {
        let with_uid = fields.keys().filter(|name| name.starts_with("k:{\"uid\""));
        for name in with_uid.cloned().collect::<Vec<_>>() {
            let mut key: Value = serde_json::from_str(&name[2..]).unwrap_or_default();
            self.number(&mut key["uid"]);
            if let Some(field) = fields.remove(&name) {
                fields.insert(format!("k:{key}"), field);
            }
        }
    }

    /// Replaces a UID or a version by the number of those that came before it.
    fn number(&mut self, field: &mut Value) {
        let Some(text) = field.as_str() else { return };
        let next = self.numbers.len();
        *field = json!(*self.numbers.entry(text.to_owned()).or_insert(next));
    }
}

/// Owners are sorted by a time in whole seconds.
fn sort_owners(metadata: &mut Map<String, Value>) {
    let Some(owners) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) else { return };
    for owner in &mut *owners {
        // It is missing after some writes of a status.
        owner.as_object_mut().map(|fields| fields.remove("time"));
    }
    owners.sort_by_key(|owner| {
        let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
        (text("manager"), text("operation"), text("subresource"))
    });
}

/// Whether an event only says that nothing has happened.
fn is_usual_bookmark(event: &Value) -> bool {
    event["type"] == "BOOKMARK" && event["object"]["metadata"]["annotations"].is_null()
}
