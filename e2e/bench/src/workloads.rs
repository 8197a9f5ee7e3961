//! The workloads: each makes a cluster of its own (or uses one that is named), does something to the controller in it, and
//! tells what that cost.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2e::{
    cert_manager,
    cert_manager_fixture::{Completeness, KeyAlgorithm, Plan},
};
use futures::{TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::json;
use testbed::{
    bring_up,
    cluster::{Cluster, Mode, Options},
    ingress, pebble,
    tools::Tools,
};
use tokio::time::sleep;
use xtask::progress::{Human, Steps};

use super::{
    bed::{Bed, ISSUER, Lookout, QUIET, Ready, await_quiet, await_secret, measure_started},
    floors::{self, f64_of},
    measure::{Costs, Measuring},
    record::{self, Figure, Machine, Record},
    simulation,
    subject::{self, Controller, OPERATOR, Subject},
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
    Floors,
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
            Self::Floors => "floors",
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
    /// How long `idle` watches.
    pub watched: Duration,
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

const REPLICA: &str = "replica";

/// How many requests of users there are at once.
const CONCURRENCY: usize = 64;

impl Bench {
    /// Runs a workload.
    pub async fn run(&self, workload: Workload, steps: &Steps) -> Result<Record> {
        match workload {
            Workload::Floors => return self.floors(steps).await,
            Workload::Simulation => return self.simulation(steps).await,
            _ => {}
        }
        let cluster = self.cluster(self.mode(workload), steps).await?;
        let mut subject =
            Subject::prepare(&cluster, &self.controller, self.client.as_deref(), &self.binaries).await?;
        let bed = Bed::new(&cluster, self.acme_latency, self.key).await?;
        let step = steps.begin(format!("{} of {}", workload.name(), self.number), None);
        let mut record = self.record(workload)?;
        match workload {
            Workload::Latency => self.latency(&bed, &mut subject, &mut record).await,
            Workload::Burst => self.burst(&bed, &mut subject, &mut record).await,
            Workload::ManyNames => self.many_names(&bed, &mut subject, &mut record).await,
            Workload::Adopt => self.adopt(&bed, &mut subject, &mut record, steps).await,
            Workload::Restart => self.restart(&bed, &mut subject, &mut record, steps).await,
            Workload::RenewWave => self.renew_wave(&bed, &mut subject, &mut record, steps).await,
            Workload::Idle => self.idle(&bed, &mut subject, &mut record, steps).await,
            Workload::Failover => self.failover(&bed, &mut subject, &mut record).await,
            Workload::Floors | Workload::Simulation => unreachable!("they need no controller"),
        }?;
        step.done("");
        if self.controller != Controller::Ours {
            // What we hold ourselves to is no promise of others.
            record.figures = record.figures.into_iter().map(|figure| figure.only_if(false)).collect();
        }
        drop(subject);
        drop(bed);
        if self.cluster.is_none() {
            cluster.end()?;
        }
        Ok(record)
    }

    /// Nothing but cert-manager's challenges needs Pods.
    fn mode(&self, workload: Workload) -> Mode {
        let issues = !matches!(workload, Workload::Adopt | Workload::Restart | Workload::Idle);
        if self.controller == Controller::CertManager && issues { Mode::Node } else { Mode::ControlPlane }
    }

    async fn cluster(&self, mode: Mode, steps: &Steps) -> Result<Cluster> {
        if let Some(name) = &self.cluster {
            return Cluster::attach(name);
        }
        let name = format!("bench-{}", std::process::id());
        bring_up::start(&Options::new(name, mode), &self.tools, steps).await
    }

    fn record(&self, workload: Workload) -> Result<Record> {
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

    async fn latency(&self, bed: &Bed<'_>, subject: &mut Subject<'_>, record: &mut Record) -> Result<()> {
        bed.start(subject).await?;
        let measuring = Measuring::begin(bed.cluster, subject, Some(pebble::CLUSTER_PROCESS)).await?;
        let mut times = Vec::new();
        for run in 0..self.number {
            let name = format!("web-{run}");
            let hosts = [bed.user.host(&name)];
            bed.user.ingress(&name, &hosts, json!({})).await?;
            sleep(ingress::REST).await;
            let began = Instant::now();
            bed.user.ingress(&name, &hosts, bed.annotations()).await?;
            await_secret(&bed.user, &name).await?;
            times.push(began.elapsed());
        }
        sleep(QUIET).await;
        let wall = measuring.elapsed();
        let costs = measuring.end(bed.cluster, subject, wall).await?;
        times.sort();
        let part = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64();
        record.figures.extend([
            Figure::new("annotation to Secret, p50", part(50), "s").at_most(1.2),
            Figure::new("annotation to Secret, p95", part(95), "s").at_most(2.5),
            Figure::new("annotation to Secret, longest", part(100), "s"),
        ]);
        self.account(record, &costs)
    }

    async fn burst(&self, bed: &Bed<'_>, subject: &mut Subject<'_>, record: &mut Record) -> Result<()> {
        bed.start(subject).await?;
        let lookout = Lookout::begin(bed, self.number, 0).await?;
        let measuring = Measuring::begin(bed.cluster, subject, Some(pebble::CLUSTER_PROCESS)).await?;
        stream::iter((0..self.number).map(Ok))
            .try_for_each_concurrent(CONCURRENCY, async |index| {
                let name = format!("w{index}");
                bed.user.ingress(&name, &[bed.user.host(&name)], bed.annotations()).await
            })
            .await?;
        let ready = lookout.end(subject, &measuring).await?;
        // What is cleaned up afterwards counts too.
        await_quiet(&measuring, subject).await?;
        let costs = measuring.end(bed.cluster, subject, ready.all).await?;
        let minute = f64_of(self.number) / ready.all.as_secs_f64() * 60.0;
        let all = Figure::new("all ready", ready.all.as_secs_f64(), "s");
        let rate = Figure::new("rate", minute, "certificates/min");
        record.figures.extend([
            all.at_most(8.0).only_if(self.number == 50),
            rate.at_least(400.0).only_if(self.number == 1000 && self.key == KeyAlgorithm::Ecdsa),
            Figure::new("half of them ready", ready.half.as_secs_f64(), "s"),
        ]);
        self.account(record, &costs)
    }

    async fn many_names(&self, bed: &Bed<'_>, subject: &mut Subject<'_>, record: &mut Record) -> Result<()> {
        bed.start(subject).await?;
        // Traefik takes a change at once where it took none for two seconds.
        sleep(QUIET).await;
        let measuring = Measuring::begin(bed.cluster, subject, Some(pebble::CLUSTER_PROCESS)).await?;
        let hosts: Vec<_> = (0..self.number).map(|index| bed.user.host(&format!("h{index}"))).collect();
        bed.user.ingress("web", &hosts, bed.annotations()).await?;
        await_secret(&bed.user, "web").await?;
        let wall = measuring.elapsed();
        await_quiet(&measuring, subject).await?;
        let costs = measuring.end(bed.cluster, subject, wall).await?;
        let all = Figure::new("Secret with all hosts", wall.as_secs_f64(), "s");
        record.figures.push(all.at_most(5.0).only_if(self.number == 100));
        // For each name: that is what challenges are made for.
        self.account(record, &costs)
    }

    async fn adopt(
        &self,
        bed: &Bed<'_>,
        subject: &mut Subject<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        let (ready, costs) = self.start_with(self.restored(), 0, bed, subject, steps).await?;
        let all = Figure::new("start to all ready", ready.all.as_secs_f64(), "s");
        record.figures.push(all.at_most(10.0).only_if(self.number <= 5000));
        record.figures.push(secret_writes(&costs));
        self.account(record, &costs)
    }

    async fn restart(
        &self,
        bed: &Bed<'_>,
        subject: &mut Subject<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        self.start_with(self.restored(), 0, bed, subject, steps).await?;
        subject.stop().await?;
        let mut measuring = Measuring::begin(bed.cluster, subject, None).await?;
        subject.start().await?;
        measure_started(&mut measuring, subject);
        await_quiet(&measuring, subject).await?;
        let wall = measuring.elapsed();
        let costs = measuring.end(bed.cluster, subject, wall).await?;
        let all = Figure::new("start to the last request", costs.last_request().as_secs_f64(), "s");
        record.figures.extend([
            all.at_most(3.0).only_if(self.number <= 5000),
            Figure::new("writes", f64_of(costs.writes()), "requests").at_most(0.0),
        ]);
        self.account(record, &costs)
    }

    async fn renew_wave(
        &self,
        bed: &Bed<'_>,
        subject: &mut Subject<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        let fresh = Plan::fresh(ISSUER, self.number, Completeness::Running, now());
        // A day after two thirds of its life: due.
        let not_before = fresh.not_before - fresh.lifetime * 2 / 3 - SignedDuration::from_hours(24);
        let due = Plan { key: self.key, not_before, ..fresh };
        let (ready, costs) = self.start_with(due, 2, bed, subject, steps).await?;
        let minute = f64_of(self.number) / ready.all.as_secs_f64() * 60.0;
        record.figures.extend([
            Figure::new("start to all renewed", ready.all.as_secs_f64(), "s"),
            Figure::new("rate", minute, "certificates/min"),
        ]);
        self.account(record, &costs)
    }

    async fn idle(
        &self,
        bed: &Bed<'_>,
        subject: &mut Subject<'_>,
        record: &mut Record,
        steps: &Steps,
    ) -> Result<()> {
        self.start_with(self.restored(), 0, bed, subject, steps).await?;
        let measuring = Measuring::begin(bed.cluster, subject, None).await?;
        sleep(self.watched).await;
        let costs = measuring.end(bed.cluster, subject, self.watched).await?;
        let (time, peak) = costs.of(OPERATOR).context("the controller is gone")?;
        let share = time.as_secs_f64() / self.watched.as_secs_f64() * 100.0;
        record.figures.extend([
            Figure::new("watched for", self.watched.as_secs_f64(), "s"),
            Figure::new("writes", f64_of(costs.writes()), "requests").at_most(0.0),
            Figure::new("processor", share, "% of a core").at_most(0.5),
            Figure::new("operator, peak resident", megabytes(peak), "MB"),
            Figure::new("bytes from the API server", megabytes(costs.received) * 1000.0, "kB"),
        ]);
        Ok(())
    }

    async fn failover(&self, bed: &Bed<'_>, subject: &mut Subject<'_>, record: &mut Record) -> Result<()> {
        bed.start(subject).await?;
        let mut worst = BTreeMap::new();
        let cluster = bed.cluster;
        let ours = subject.ours()?;
        // Who leads ends, and is started anew as the one that waits.
        let mut replica = ours.start_replica(cluster, REPLICA)?;
        let mut replica_leads = false;
        for run in 0..self.number {
            for signal in [Signal::SIGTERM, Signal::SIGKILL] {
                let name = format!("web-{run}-{}", signal.as_str().to_lowercase());
                let hosts = [bed.user.host(&name)];
                bed.user.ingress(&name, &hosts, json!({})).await?;
                sleep(ingress::REST).await;
                let leader = if replica_leads { Some(replica.pid()) } else { ours.operator_pid() };
                let began = Instant::now();
                subject::end(leader.context("nobody leads")?, signal).await?;
                bed.user.ingress(&name, &hosts, bed.annotations()).await?;
                await_secret(&bed.user, &name).await?;
                let longest = worst.entry(signal.as_str()).or_insert(Duration::ZERO);
                *longest = began.elapsed().max(*longest);
                if replica_leads {
                    replica = ours.start_replica(cluster, REPLICA)?;
                } else {
                    ours.start_operator(cluster, &[]).await?;
                }
                replica_leads = !replica_leads;
                // It waits for the Lease before it is of use.
                sleep(QUIET).await;
            }
        }
        for (signal, limit) in [(Signal::SIGTERM, 2.0), (Signal::SIGKILL, 20.0)] {
            let longest = worst.get(signal.as_str()).copied().unwrap_or_default().as_secs_f64();
            let name = format!("{signal} to the next Secret, longest of {}", self.number);
            record.figures.push(Figure::new(name, longest, "s").at_most(limit));
        }
        Ok(())
    }

    async fn floors(&self, steps: &Steps) -> Result<Record> {
        let mut record = self.record(Workload::Floors)?;
        "none".clone_into(&mut record.controller);
        for key in [KeyAlgorithm::Rsa, KeyAlgorithm::Ecdsa] {
            let step = steps.begin(format!("making {} keys", key.name()), None);
            let time = floors::key_generation(key)?;
            step.done(Human(time));
            let name = format!("making a key, {}", key.name());
            record.figures.push(Figure::new(name, time.as_secs_f64() * 1000.0, "ms"));
        }
        let step = steps.begin("ordering with instant-acme alone", None);
        let (one, rate) = floors::bare_orders(&self.tools).await?;
        step.done("");
        record.figures.extend([
            Figure::new("one certificate with instant-acme alone", one.as_secs_f64() * 1000.0, "ms"),
            Figure::new("certificates with instant-acme alone, 16 at once", rate * 60.0, "certificates/min"),
        ]);
        let cluster = self.cluster(Mode::ControlPlane, steps).await?;
        let step = steps.begin("writing to the API server", None);
        let rate = floors::api_writes_a_second(&cluster.client().await?).await?;
        step.done("");
        record.figures.push(Figure::new("writes to the API server, 16 at once", rate, "requests/s"));
        if self.cluster.is_none() {
            cluster.end()?;
        }
        Ok(record)
    }

    async fn simulation(&self, steps: &Steps) -> Result<Record> {
        let mut record = self.record(Workload::Simulation)?;
        let arguments = ["simulation".to_owned(), format!("--certificates={}", self.number)];
        let arguments = simulation::Arguments::try_parse_from(arguments)?;
        let step = steps.begin("a year of a million certificates", Some(Duration::from_mins(1)));
        let began = Instant::now();
        let report = tokio::task::spawn_blocking(move || simulation::simulate(&arguments)).await?;
        let took = began.elapsed();
        step.done("");
        print!("{report}");
        ensure!(
            report.broken.is_empty(),
            "the simulation says that something is broken: {:?}",
            report.broken
        );
        simulation::fill(&mut record, &report.json(), took)?;
        Ok(record)
    }

    /// Certificates and Secrets that are there, and nothing else.
    fn restored(&self) -> Plan {
        let plan = Plan::fresh(ISSUER, self.number, Completeness::Restored, now());
        Plan { key: self.key, ..plan }
    }

    /// Makes an estate, starts the controller, and waits until all are issued, with a revision at least, and it has come to
    /// rest.
    async fn start_with(
        &self,
        plan: Plan,
        revision: i64,
        bed: &Bed<'_>,
        subject: &mut Subject<'_>,
        steps: &Steps,
    ) -> Result<(Ready, Costs)> {
        bed.issuer().await?;
        self.build(&plan, bed, steps).await?;
        let lookout = Lookout::begin(bed, self.number, revision).await?;
        let mut measuring = Measuring::begin(bed.cluster, subject, Some(pebble::CLUSTER_PROCESS)).await?;
        subject.start().await?;
        measure_started(&mut measuring, subject);
        let ready = lookout.end(subject, &measuring).await?;
        await_quiet(&measuring, subject).await?;
        let costs = measuring.end(bed.cluster, subject, ready.all).await?;
        Ok((ready, costs))
    }

    async fn build(&self, plan: &Plan, bed: &Bed<'_>, steps: &Steps) -> Result<()> {
        let expected = Duration::from_millis(5) * u32::try_from(self.number).unwrap_or(u32::MAX);
        let step = steps.begin(format!("making {} Certificates and Secrets", plan.count), Some(expected));
        plan.build(&bed.user.client).await?;
        step.done("");
        Ok(())
    }

    /// What it cost for each of so many.
    fn account(&self, record: &mut Record, costs: &Costs) -> Result<()> {
        let count = self.number;
        let each = |counts: BTreeMap<String, usize>| -> BTreeMap<String, f64> {
            counts.into_iter().map(|(what, number)| (what, f64_of(number) / f64_of(count))).collect()
        };
        let is = |workload: Workload| workload.name() == record.workload;
        // One alone has a route to itself, which others share.
        let at_once = is(Workload::Burst) || is(Workload::RenewWave);
        let issues = at_once || is(Workload::Latency) || is(Workload::ManyNames);
        record.api_requests = each(costs.api());
        let api = Figure::new("API requests for each", record.api_requests.values().sum(), "requests");
        record.figures.push(api.at_most(20.0).only_if(at_once));
        if issues {
            record.acme_requests = each(costs.acme.clone());
            let acme = Figure::new("ACME requests for each", record.acme_requests.values().sum(), "requests");
            record.figures.push(acme.at_most(8.0));
        }
        for (program, time, peak) in &costs.programs {
            let each = time.as_secs_f64() * 1000.0 / f64_of(count);
            record.figures.push(Figure::new(
                format!("{}, processor time for each", program.name),
                each,
                "ms",
            ));
            // Others make keys by other libraries.
            if program.name == OPERATOR && at_once && self.controller == Controller::Ours {
                let keys = floors::key_generation(self.key)?.as_secs_f64() * 1000.0;
                let rest = Figure::new("operator, beyond making the key", (each - keys).max(0.0), "ms");
                // RSA keys take some luck: what is left of their mean is known to a few milliseconds only.
                record.figures.push(rest.at_most(15.0).only_if(self.key == KeyAlgorithm::Ecdsa));
            }
            let resident = Figure::new(format!("{}, peak resident", program.name), megabytes(*peak), "MB");
            let aim = if count > 5000 { 100.0 } else { 40.0 };
            let is_held = program.name == OPERATOR && is(Workload::Adopt);
            record.figures.push(resident.at_most(aim).only_if(is_held));
        }
        record.figures.push(Figure::new(
            "bytes from the API server for each",
            megabytes(costs.received) * 1000.0 / f64_of(count),
            "kB",
        ));
        record.figures.push(Figure::new("wall time", costs.wall.as_secs_f64(), "s"));
        Ok(())
    }
}

fn secret_writes(costs: &Costs) -> Figure {
    let is_secret_write =
        |event: &&testbed::audit::AuditEvent| event.is_write() && event.resource() == "secrets";
    let count = costs.events.iter().filter(is_secret_write).count();
    // The key of the ACME account is the one that may be new.
    Figure::new("writes to Secrets", f64_of(count), "requests").at_most(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[expect(clippy::disallowed_methods, reason = "when something was measured")]
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}
