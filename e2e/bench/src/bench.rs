//! What a command measures and how: the workloads, the options, and the start of a record.
//!
//! Knows names and defaults; must not measure. Next: `run.rs`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::ValueEnum;
use e2e::{cert_manager, cert_manager_fixture::KeyAlgorithm};
use jiff::Timestamp;
use testbed::{
    bring_up,
    cluster::{Cluster, Mode, Options},
    tools::Tools,
};
use xtask::progress::Steps;

use crate::{
    controller_under_test::Controller,
    record::{self, Machine, Record},
};

/// A load on a controller, or on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// One annotated Ingress after another.
    Latency,
    /// Concurrent annotated Ingresses.
    Burst,
    /// One Ingress with many hosts.
    ManyNames,
    /// First start with existing Certificates and Secrets.
    Adopt,
    /// Restart with nothing due.
    Restart,
    /// First start with Certificates that are all due for renewal.
    RenewWave,
    /// Certificates with nothing to do.
    Idle,
    /// Bursts of annotated Ingresses, each deleted before the next one.
    Soak,
    /// The leader stops, crashes, and is lost.
    Failover,
    /// One annotated Ingress after another, beside a tenant that keeps the controller busy.
    Isolation,
    /// The lower bounds of the machine.
    Baselines,
    /// A year on a virtual clock.
    Simulation,
}

impl Workload {
    /// The name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Burst => "burst",
            Self::ManyNames => "many-names",
            Self::Adopt => "adopt",
            Self::Restart => "restart",
            Self::RenewWave => "renew-wave",
            Self::Idle => "idle",
            Self::Soak => "soak",
            Self::Failover => "failover",
            Self::Isolation => "isolation",
            Self::Baselines => "baselines",
            Self::Simulation => "simulation",
        }
    }
}

/// What users annotate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Ingresses, whose challenges are routed by Ingresses.
    #[default]
    Ingress,
    /// Gateways, whose challenges are routed by HTTPRoutes.
    Gateway,
}

/// The options of a command.
#[derive(Debug)]
pub struct Bench {
    /// The command line, without the file for the record.
    pub command: String,
    /// The number of certificates, hosts, or runs.
    pub number: usize,
    /// The algorithm of the private keys.
    pub key: KeyAlgorithm,
    /// What is annotated.
    pub source: Source,
    /// The extra latency of each request to the ACME server.
    pub acme_latency: Duration,
    /// How long `idle` observes the controller.
    pub observed: Duration,
    /// The controller to measure.
    pub controller: Controller,
    /// The user name by which another controller authenticates to the API server.
    pub client: Option<String>,
    /// An existing cluster with the CRDs and permissions that the controller needs.
    pub cluster: Option<String>,
    /// The folder of our release binaries.
    pub binaries: PathBuf,
    /// The programs of the testbed.
    pub tools: Tools,
}

impl Bench {
    /// The kind of cluster that a workload needs. Only cert-manager's challenges need Pods, and so a node.
    pub(crate) fn mode(&self, workload: Workload) -> Mode {
        let issues = !matches!(workload, Workload::Adopt | Workload::Restart | Workload::Idle);
        if self.controller == Controller::CertManager && issues { Mode::Node } else { Mode::ControlPlane }
    }

    /// The existing cluster that the command names, otherwise a new one.
    pub(crate) async fn cluster(&self, mode: Mode, steps: &Steps) -> Result<Cluster> {
        if let Some(name) = &self.cluster {
            return Cluster::attach(name);
        }
        let name = format!("bench-{}", std::process::id());
        let options = Options { gateway_api: self.source == Source::Gateway, ..Options::new(name, mode) };
        bring_up::start(&options, &self.tools, steps).await
    }

    /// A record without figures.
    pub(crate) fn record(&self, workload: Workload) -> Result<Record> {
        let (controller, version) = match &self.controller {
            Controller::Ours => ("acme-operator".to_owned(), record::version()?),
            Controller::CertManager => {
                (cert_manager::NAME.to_owned(), Tools::cert_manager_version()?.to_owned())
            }
            _ => (self.client.clone().unwrap_or_default(), String::new()),
        };
        Ok(Record {
            command: self.command.clone(),
            workload: workload.name().to_owned(),
            number: self.number,
            controller,
            version,
            measured: now(),
            machine: Machine::this()?,
            figures: Vec::new(),
            api_requests: BTreeMap::new(),
            acme_requests: BTreeMap::new(),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "records have the real time of the measurement")]
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
