//! Counts requests to the API server by client, verb, and resource, from its audit log. The server writes the log
//! before it answers, so a count after an answer is exact. Knows nothing about the clients.
//! Next: `audit_policy` in `cluster/config.rs`.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::cluster::Cluster;

/// A position in a cluster's audit log, from which requests are counted.
#[derive(Debug)]
pub struct AuditMark {
    log: PathBuf,
    offset: u64,
    made: Timestamp,
}

/// A request that was answered. Mirrors the parts of `Event` in `audit.k8s.io/v1` that tests use.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// The verb, such as `get`, `list`, `watch`, or `patch`.
    pub verb: String,
    /// The path and the query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    request_received_timestamp: Timestamp,
    user: User,
    object_ref: Option<ObjectReference>,
    response_status: Option<ResponseStatus>,
}

#[derive(Clone, Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Clone, Debug, Deserialize)]
struct ObjectReference {
    #[serde(default)]
    resource: String,
    subresource: Option<String>,
    namespace: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct ResponseStatus {
    code: Option<u16>,
}

impl AuditEvent {
    /// The user name of the client, such as `system:serviceaccount:traefik:traefik`.
    pub fn user(&self) -> &str {
        &self.user.username
    }

    /// The resource with its subresource, such as `certificates/status`. Empty for a path without a resource.
    pub fn resource(&self) -> String {
        self.object_ref.as_ref().map_or_else(String::new, |object| match &object.subresource {
            Some(subresource) => format!("{}/{subresource}", object.resource),
            None => object.resource.clone(),
        })
    }

    /// The namespace, unless the resource is cluster-scoped.
    pub fn namespace(&self) -> Option<&str> {
        self.object_ref.as_ref()?.namespace.as_deref()
    }

    /// The HTTP status of the answer.
    pub fn status(&self) -> Option<u16> {
        self.response_status.as_ref()?.code
    }

    /// When the server received the request.
    pub fn received(&self) -> Timestamp {
        self.request_received_timestamp
    }

    /// Whether the verb is one that changes objects, even if the request failed.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

impl AuditMark {
    /// The current end of the log.
    #[expect(clippy::disallowed_methods, reason = "compared with the time a real API server wrote")]
    pub fn now(cluster: &Cluster) -> Result<Self> {
        let log = cluster.layout().audit_log();
        let offset = log.metadata().with_context(|| format!("failed to read {}", log.display()))?.len();
        Ok(Self { log, offset, made: Timestamp::now() })
    }

    /// When the mark was made.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// All requests that were received and answered since the mark, in order. A watch counts when it ends. A watch that
    /// began before the mark never counts, although its entry in the log comes after it.
    pub fn events(&self) -> Result<Vec<AuditEvent>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut events = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let event: AuditEvent =
                serde_json::from_slice(&line?).context("failed to parse an audit event")?;
            if event.request_received_timestamp >= self.made {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// The number of a client's requests since the mark, by verb and resource, such as `patch certificates/status`.
    pub fn count(&self, user: &str) -> Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for event in self.events()?.iter().filter(|event| event.user() == user) {
            *counts.entry(format!("{} {}", event.verb, event.resource())).or_default() += 1;
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_of_a_real_server_is_parsed() -> Result<()> {
        let event: AuditEvent = serde_json::from_str(
            r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete",
            "requestURI":"/apis/cert-manager.io/v1/namespaces/a/certificates/b/status","verb":"patch",
            "requestReceivedTimestamp":"2026-11-24T12:00:00.123456Z","stageTimestamp":"2026-11-24T12:00:00.130000Z",
            "user":{"username":"system:serviceaccount:a:b","groups":["system:authenticated"]},
            "objectRef":{"resource":"certificates","namespace":"a","name":"b","apiGroup":"cert-manager.io",
            "apiVersion":"v1","subresource":"status"},"responseStatus":{"metadata":{},"code":200}}"#,
        )?;
        assert_eq!(event.user(), "system:serviceaccount:a:b");
        assert_eq!(event.resource(), "certificates/status");
        assert_eq!((event.namespace(), event.status()), (Some("a"), Some(200)));
        assert!(event.is_write());
        Ok(())
    }
}
