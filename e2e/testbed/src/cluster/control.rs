//! The protocol between a cluster's supervisor and its clients: one JSON value per line over a Unix socket. Has the
//! messages and the client. Must not know what a message does. Next: `supervisor/serve.rs`, which answers.
//!
//! Every open connection is a lease. Unless a client asked to keep the cluster, it ends when the last connection
//! closes, so that a killed run leaves nothing behind.

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

/// How long the supervisor may take to answer, except when it runs a program.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A program to run inside the cluster's namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Process {
    /// The name, unique in the cluster. The log is `<name>.log`.
    pub name: String,
    /// The path as seen inside the cluster.
    pub program: PathBuf,
    /// The arguments.
    pub arguments: Vec<String>,
    /// Environment variables, in addition to the supervisor's.
    pub environment: BTreeMap<String, String>,
}

impl Process {
    /// A program with arguments, and no environment variables of its own.
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

/// A request of a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Keep the cluster when no client is connected.
    Keep,
    /// Reserve a TCP port of the node.
    ReservePort,
    /// Run a program until it exits, and return its output.
    Run(Process),
    /// Start a program that runs as long as the cluster.
    Start(Process),
    /// Start a program that runs as long as this connection.
    StartBound(Process),
    /// List the programs that were started by [`Request::Start`].
    Status,
    /// End the cluster.
    Stop,
}

/// Whether a program is running, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The name in [`Process`].
    pub name: String,
    /// The process ID inside the cluster.
    pub pid: u32,
    /// How it ended, as text such as `exit status: 1`. `None` while it runs.
    pub ended: Option<String>,
}

/// The result of a program that has exited.
#[derive(Debug, Serialize, Deserialize)]
pub struct Finished {
    /// Whether the exit code was 0.
    pub success: bool,
    /// Standard output, then standard error: the last mebibyte of each.
    pub output: String,
}

/// An answer: the result of a request, or the error as text.
pub(crate) type Answer<T> = Result<T, String>;

/// An open connection to a supervisor, which is a lease. It is blocking, so that it is not bound to an async runtime
/// and can be kept in a static.
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

    /// Sends a request and waits for the answer. There is no limit for [`Request::Run`].
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        let timeout = (!matches!(request, Request::Run(_))).then_some(ANSWER_TIMEOUT);
        self.stream.set_read_timeout(timeout)?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.write_all(&line).context("failed to send a request to the cluster's supervisor")?;
        let mut answer = String::new();
        // The answer is one line, so this reader never buffers more than that.
        BufReader::new(&self.stream)
            .read_line(&mut answer)
            .context("failed to read the answer of the cluster's supervisor")?;
        if answer.is_empty() {
            bail!("the cluster's supervisor ended before it answered");
        }
        serde_json::from_str::<Answer<T>>(&answer)?.map_err(anyhow::Error::msg)
    }
}
