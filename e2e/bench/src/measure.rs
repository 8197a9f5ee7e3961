//! Measures what a span of time cost: requests from the API server's audit log and Pebble's log, CPU time and memory from the kernel.
//!
//! Knows processes and logs; must not know workloads. Next: `accounting.rs` for the figures.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use testbed::{
    audit::{AuditEvent, AuditMark},
    cluster::{API_PORT, Cluster, Process},
    pebble::CLUSTER_PROCESS,
    process::peak_resident,
};

use crate::controller_under_test::{ControllerUnderTest, Program};

/// The kernel's unit of CPU time in `/proc/PID/stat`: `USER_HZ`, a hundredth of a second on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// A measurement in progress.
#[derive(Debug)]
pub(crate) struct Measuring {
    mark: AuditMark,
    acme_log: PathBuf,
    /// The length of the ACME server's log at the beginning, in bytes.
    acme_log_offset: u64,
    programs: Vec<(Program, Duration)>,
    received: u64,
    began: Instant,
}

/// What a span of time cost.
#[derive(Debug)]
pub(crate) struct Costs {
    /// How long the measured work took.
    pub(crate) wall: Duration,
    /// When the measurement began.
    pub(crate) began_at: Timestamp,
    /// The controller's requests to the API server in order, without those about its Lease.
    pub(crate) events: Vec<AuditEvent>,
    /// Requests to the ACME server, by kind.
    pub(crate) acme: BTreeMap<String, usize>,
    /// CPU time, and peak resident memory in bytes, by program.
    pub(crate) programs: Vec<(Program, Duration, u64)>,
    /// Bytes that the controller received from the API server, on connections that are still open.
    pub(crate) received: u64,
}

impl Measuring {
    /// Begins a measurement of the controller's running programs.
    pub(crate) async fn begin(cluster: &Cluster, controller: &ControllerUnderTest<'_>) -> Result<Self> {
        let acme_log = cluster.layout().log(CLUSTER_PROCESS);
        let acme_log_offset = acme_log.metadata()?.len();
        let programs = controller.programs();
        let mut before = Vec::new();
        for program in programs {
            // Resets the peak of resident memory: proc_pid_clear_refs(5).
            fs::write(format!("/proc/{}/clear_refs", program.pid), "5")?;
            before.push((program, cpu_time(program.pid)?));
        }
        let received = received(cluster, controller).await?;
        Ok(Self {
            mark: AuditMark::now(cluster)?,
            acme_log,
            acme_log_offset,
            programs: before,
            received,
            began: Instant::now(),
        })
    }

    /// When the measurement began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// The time since the measurement began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Adds a program that was started after the beginning.
    pub(crate) fn add(&mut self, program: Program) {
        self.programs.push((program, Duration::ZERO));
    }

    /// The controller's requests so far, without those about its Lease.
    pub(crate) fn events(&self, controller: &ControllerUnderTest<'_>) -> Result<Vec<AuditEvent>> {
        let mut events = self.mark.events()?;
        events.retain(|event| event.user() == controller.client() && event.resource() != "leases");
        Ok(events)
    }

    /// Ends the measurement. `wall` is how long the measured work took.
    pub(crate) async fn end(
        self,
        cluster: &Cluster,
        controller: &ControllerUnderTest<'_>,
        wall: Duration,
    ) -> Result<Costs> {
        let programs = self.programs.iter().map(|(program, before)| {
            let spent = cpu_time(program.pid)?.saturating_sub(*before);
            Ok((*program, spent, peak_resident(program.pid)?))
        });
        Ok(Costs {
            wall,
            began_at: self.mark.made(),
            events: self.events(controller)?,
            acme: acme_requests(&self.acme_log, self.acme_log_offset)?,
            programs: programs.collect::<Result<_>>()?,
            received: received(cluster, controller).await?.saturating_sub(self.received),
        })
    }
}

impl Costs {
    /// Requests to the API server, by verb and resource.
    pub(crate) fn api(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for event in &self.events {
            *counts.entry(format!("{} {}", event.verb, event.resource())).or_default() += 1;
        }
        counts
    }

    /// The number of requests that write, including Events.
    pub(crate) fn writes(&self) -> usize {
        self.events.iter().filter(|event| event.is_write()).count()
    }

    /// The time of the last request that is not a watch, since the beginning.
    pub(crate) fn last_request(&self) -> Duration {
        let requests = self.events.iter().filter(|event| event.verb != "watch");
        let last = requests.map(AuditEvent::received).max();
        last.and_then(|last| last.duration_since(self.began_at).try_into().ok()).unwrap_or_default()
    }

    /// The CPU time of a program, and its peak resident memory in bytes.
    pub(crate) fn of(&self, name: &str) -> Option<(Duration, u64)> {
        let (_, time, peak) = self.programs.iter().find(|(program, ..)| program.name == name)?;
        Some((*time, *peak))
    }
}

/// The CPU time of a process, in user and system mode.
fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    ticks(&stat).map(|ticks| TICK * ticks).with_context(|| format!("failed to parse {path}"))
}

/// The sum of fields 14 and 15 of proc_pid_stat(5). Field 2, the name, may contain anything, but ends with the last parenthesis.
fn ticks(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// The requests in Pebble's log after an offset in bytes, by kind.
fn acme_requests(log: &PathBuf, offset: u64) -> Result<BTreeMap<String, usize>> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut counts = BTreeMap::new();
    for line in BufReader::new(file).lines() {
        if let Some(kind) = kind_of_request(&line?) {
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// The kind of request in a line of Pebble's log: a resource of RFC 8555 section 7.1 or RFC 9773. `None` if the line has no request.
fn kind_of_request(line: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 11] = [
        ("/dir", "directory"),
        ("/nonce-plz", "newNonce"),
        ("/sign-me-up", "newAccount"),
        ("/my-account", "account"),
        ("/order-plz", "newOrder"),
        ("/my-order/", "order"),
        ("/authZ/", "authorization"),
        ("/chalZ/", "challenge"),
        ("/finalize-order/", "finalize"),
        ("/certZ/", "certificate"),
        ("/draft-ietf-acme-ari-03/renewalInfo/", "renewalInfo"),
    ];
    let (request, _) = line.split_once(" -> calling handler()")?;
    let path = request.rsplit(' ').next()?;
    KINDS.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, kind)| *kind)
}

/// The bytes that the controller has received on its open connections to the API server.
async fn received(cluster: &Cluster, controller: &ControllerUnderTest<'_>) -> Result<u64> {
    let finished = cluster.run(Process::new("ss", "/usr/bin/ss", ["-tinHOp"])).await?;
    let pids = controller.programs_inside();
    Ok(finished.output.lines().filter_map(|line| received_by(line, &pids)).sum())
}

/// `bytes_received` in a line of `ss -tinHOp`, if the line is about a connection of one of these processes to the API server.
fn received_by(line: &str, pids: &[u32]) -> Option<u64> {
    let mut words = line.split_whitespace();
    let peer = words.nth(4)?;
    let is_ours = pids.iter().any(|pid| line.contains(&format!("pid={pid},")));
    let bytes = line.split_whitespace().find_map(|word| word.strip_prefix("bytes_received:"))?;
    (is_ours && peer.ends_with(&format!(":{API_PORT}"))).then(|| bytes.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_parsed_after_any_process_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 900 0 0 0 17 5 0 0 20 0 7 0 100 1000 200";
        assert_eq!(ticks(stat), Some(22));
        assert_eq!(ticks("42"), None);
    }

    #[test]
    fn pebble_log_lines_have_request_kinds() {
        let line = "Pebble 2026/11/25 20:00:00 POST /order-plz -> calling handler()";
        assert_eq!(kind_of_request(line), Some("newOrder"));
        assert_eq!(kind_of_request("Pebble 2026/11/25 20:00:00 There are now 3 authorizations"), None);
        let line = "Pebble 2026/11/25 20:00:00 HEAD /nonce-plz -> calling handler()";
        assert_eq!(kind_of_request(line), Some("newNonce"));
    }

    #[test]
    fn only_api_connections_of_the_process_count() {
        let line = |pid: u32, port: u16| {
            format!(
                "ESTAB 0 0 10.0.0.1:4000 10.0.0.1:{port} users:((\"operator\",pid={pid},fd=9)) cubic \
                 bytes_sent:10 bytes_acked:11 bytes_received:1234 segs_out:4"
            )
        };
        assert_eq!(received_by(&line(7, API_PORT), &[7]), Some(1234));
        assert_eq!(received_by(&line(8, API_PORT), &[7]), None);
        assert_eq!(received_by(&line(7, 443), &[7]), None);
    }
}
