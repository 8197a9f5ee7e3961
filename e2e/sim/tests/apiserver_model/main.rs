//! The model of the API server answers as the real one: the same script of requests is sent to both.
//!
//! Compares codes, reasons, and whole objects, with their field owners; must not compare the texts of errors. Next: `script.rs`.

mod answers;
mod requests;
mod script;

use std::sync::Arc;

use answers::{Conversation, Reply};
use anyhow::{Context, Result, ensure};
use e2e::harness;
use jiff::Timestamp;
use requests::{Call, NAMESPACE};
use script::script;
use serde_json::Value;
use sim::api_server::ApiServer;
use testbed::cluster::Cluster;

/// How many requests the script has at least.
const CALLS: usize = 200;

#[tokio::test]
async fn model_answers_as_the_real_api_server() -> Result<()> {
    let cluster = harness::start_control_plane("model").await?;
    let outcome = compare(&cluster).await;
    cluster.end()?;
    outcome
}

async fn compare(cluster: &Cluster) -> Result<()> {
    harness::install_definitions(cluster).await?;
    let server = ApiServer::new(Arc::new(real_time))?;
    let mut real = Conversation::new(cluster.client().await?);
    let mut model = Conversation::new(server.client());
    let calls = script();
    ensure!(calls.len() >= CALLS, "the script has {} calls", calls.len());
    let mut different = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let expected = real.send(call).await.with_context(|| format!("real: {call}"))?;
        let found = model.send(call).await.with_context(|| format!("model: {call}"))?;
        if expected != found {
            different.push(format!("{number}: {call}\n{}", difference(&expected, &found)));
        }
    }
    different.extend(compare_watches(&mut real, &mut model).await?);
    println!("{} calls, {} different answers", calls.len(), different.len());
    ensure!(different.is_empty(), "{}", different.join("\n"));
    Ok(())
}

/// Every watch from the beginning of the script reports the same changes.
async fn compare_watches(real: &mut Conversation, model: &mut Conversation) -> Result<Vec<String>> {
    let mut different = Vec::new();
    for resource in requests::WATCHED {
        for query in ["resourceVersion=$start.resourceVersion", requests::STREAMED] {
            let call =
                Call::get(format!("{}?watch=true&timeoutSeconds=1&{query}", requests::list_of(resource)));
            let expected = real.watch(&call).await.with_context(|| format!("real: {call}"))?;
            let found = model.watch(&call).await.with_context(|| format!("model: {call}"))?;
            ensure!(!expected.is_empty(), "nothing happened to {resource} in {NAMESPACE}");
            let longest = expected.len().max(found.len());
            for number in 0..longest {
                let (expected, found) = (expected.get(number), found.get(number));
                if expected != found {
                    let [expected, found] = [expected, found].map(|it| it.cloned().unwrap_or_default());
                    let difference = lines_of(&expected, &found);
                    different.push(format!("{call}, event {number}\n{difference}"));
                    break;
                }
            }
        }
    }
    Ok(different)
}

#[expect(clippy::disallowed_methods, reason = "the real server's time is compared")]
fn real_time() -> Timestamp {
    Timestamp::now()
}

fn difference(expected: &Reply, found: &Reply) -> String {
    let codes = if expected.code == found.code {
        String::new()
    } else {
        format!("  real answers {}, the model {}\n", expected.code, found.code)
    };
    codes + &lines_of(&expected.body, &found.body)
}

/// Where two values differ.
fn lines_of(expected: &Value, found: &Value) -> String {
    let mut lines = Vec::new();
    collect(expected, found, &mut String::new(), &mut lines);
    lines.join("\n")
}

fn collect(expected: &Value, found: &Value, path: &mut String, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let names = expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name)));
            for name in names {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                let [expected, found] = [expected, found].map(|it| it.get(name).unwrap_or(&Value::Null));
                collect(expected, found, path, lines);
                path.truncate(length);
            }
        }
        (expected, found) if expected != found => {
            lines.push(format!("  {path}: real {expected}\n  {path}: model {found}"));
        }
        _ => {}
    }
}
