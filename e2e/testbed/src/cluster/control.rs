//! What is said between a cluster's supervisor and its users: one JSON object a line over a Unix socket.
//! Holds the words and the client; `supervisor.rs` answers.
//!
//! Every open connection is a lease: a cluster that nobody asked to keep ends when the last one closes, so a
//! killed run leaves nothing behind.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// How long the supervisor may take for an answer that is not a program's end.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A program to run inside the cluster's namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Process {
    /// Unique among the cluster's programs; its log is `<name>.log`.
    pub name: String,
    /// Path as seen in the cluster's mount namespace.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Added to the supervisor's environment.
    pub environment: BTreeMap<String, String>,
}

impl Process {
    /// A program with arguments.
    pub fn new(
        name: &str,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: BTreeMap::new(),
        }
    }

    /// Adds an environment variable.
    pub fn env(mut self, name: &str, value: impl Display) -> Self {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }
}

/// What a user asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Keep the cluster when nobody is connected any more.
    Keep,
    /// A TCP port of the node that nothing else will be told of.
    ReservePort,
    /// Run a program to its end and tell what it printed.
    Run(Process),
    /// Start a program that lives as long as the cluster.
    Start(Process),
    /// Start a program that lives as long as this connection.
    StartBound(Process),
    /// Tell which programs there are.
    Status,
    /// End the cluster.
    Stop,
}

/// Whether a program lives, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// As started.
    pub name: String,
    /// Process id inside the cluster.
    pub pid: u32,
    /// How it ended, as a person reads it; `None` while it runs.
    pub ended: Option<String>,
}

/// What a program that ran to its end left.
#[derive(Debug, Serialize, Deserialize)]
pub struct Finished {
    /// Whether it exited with 0.
    pub success: bool,
    /// Both streams, at most the last megabyte of each.
    pub output: String,
}

/// An answer: what was asked for, or why not.
pub(crate) type Answer<T> = Result<T, String>;

/// An open connection to a supervisor; a lease while it lives. Blocking, and so bound to no async runtime: it may be
/// kept in a static.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
}

impl Connection {
    pub(crate) fn open(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("failed to reach the cluster's supervisor at {}", socket.display()))?;
        Ok(Self { stream })
    }

    /// Asks and waits for the answer, without limit for a program's end.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        let timeout = (!matches!(request, Request::Run(_))).then_some(ANSWER_TIMEOUT);
        self.stream.set_read_timeout(timeout)?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.write_all(&line).context("the cluster's supervisor is gone")?;
        let mut answer = String::new();
        // One line per request, so nothing is left in the reader's buffer.
        BufReader::new(&self.stream)
            .read_line(&mut answer)
            .context("the cluster's supervisor did not answer")?;
        if answer.is_empty() {
            bail!("the cluster's supervisor ended before it answered");
        }
        serde_json::from_str::<Answer<T>>(&answer)?.map_err(anyhow::Error::msg)
    }
}
