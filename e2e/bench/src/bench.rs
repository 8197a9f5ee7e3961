//! What is measured, and how: the parts that all workloads share.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Result;
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

/// What is done to a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// One annotated Ingress after the other.
    Latency,
    /// Annotated Ingresses, all at once.
    Burst,
    /// One Ingress with many hosts.
    ManyNames,
    /// First start with Certificates and Secrets that are there.
    Adopt,
    /// Restart with nothing due.
    Restart,
    /// First start with Certificates that are all due.
    RenewWave,
    /// Certificates and nothing to do.
    Idle,
    /// The leader goes: asked to, and killed.
    Failover,
    /// What can't be gone below.
    Baselines,
    /// A year on a virtual clock.
    Simulation,
}

impl Workload {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Burst => "burst",
            Self::ManyNames => "many-names",
            Self::Adopt => "adopt",
            Self::Restart => "restart",
            Self::RenewWave => "renew-wave",
            Self::Idle => "idle",
            Self::Failover => "failover",
            Self::Baselines => "baselines",
            Self::Simulation => "simulation",
        }
    }
}

/// How it is measured.
#[derive(Debug)]
pub struct Bench {
    /// What was typed.
    pub command: String,
    /// How many certificates, hosts or runs.
    pub number: usize,
    /// The algorithm of the keys.
    pub key: KeyAlgorithm,
    /// How much longer each request to the ACME server takes.
    pub acme_latency: Duration,
    /// How long `idle` observes the controller.
    pub observed: Duration,
    /// What is measured.
    pub controller: Controller,
    /// Its name to the API server, if it is not ours.
    pub client: Option<String>,
    /// A cluster that is there, with the definitions and rights that the controller needs.
    pub cluster: Option<String>,
    /// Where our programs are, built for release.
    pub binaries: PathBuf,
    /// What clusters are made of.
    pub tools: Tools,
}

impl Bench {
    /// Nothing but cert-manager's challenges needs Pods.
    pub(crate) fn mode(&self, workload: Workload) -> Mode {
        let issues = !matches!(workload, Workload::Adopt | Workload::Restart | Workload::Idle);
        if self.controller == Controller::CertManager && issues { Mode::Node } else { Mode::ControlPlane }
    }

    pub(crate) async fn cluster(&self, mode: Mode, steps: &Steps) -> Result<Cluster> {
        if let Some(name) = &self.cluster {
            return Cluster::attach(name);
        }
        let name = format!("bench-{}", std::process::id());
        bring_up::start(&Options::new(name, mode), &self.tools, steps).await
    }

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

#[expect(clippy::disallowed_methods, reason = "when something was measured")]
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
