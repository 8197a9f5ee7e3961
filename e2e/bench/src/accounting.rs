//! Turns the costs of a workload into figures per certificate, with the targets that they have to meet.
//!
//! Knows units and targets; must not know how costs are measured. Next: `record.rs`.

use std::collections::BTreeMap;

use anyhow::Result;
use e2e::cert_manager_fixture::KeyAlgorithm;

use crate::{
    baselines,
    bench::Workload,
    controller_under_test::{Controller, OPERATOR},
    measure::Costs,
    record::{Figure, f64_of},
    session::Session,
};

impl Session<'_> {
    /// Records costs, divided by the number of certificates or hosts.
    pub(crate) fn account(&mut self, costs: &Costs) -> Result<()> {
        let (bench, record) = (self.bench, &mut self.record);
        let count = bench.number;
        let each = |counts: BTreeMap<String, usize>| -> BTreeMap<String, f64> {
            counts.into_iter().map(|(what, number)| (what, f64_of(number) / f64_of(count))).collect()
        };
        let is = |workload: Workload| workload.name() == record.workload;
        // A certificate that is issued alone has a Service and an EndpointSlice to itself, and so takes more requests.
        let concurrent = is(Workload::Burst) || is(Workload::RenewWave);
        let issues = concurrent || is(Workload::Latency) || is(Workload::ManyNames);
        let item = if is(Workload::ManyNames) { "host" } else { "certificate" };
        let starts = is(Workload::Adopt) || is(Workload::Restart);
        record.api_requests = each(costs.api());
        let api = record.api_requests.values().sum();
        let api = Figure::new(format!("API requests per {item}"), api, "requests");
        record.figures.push(api.at_most(20.0).only_if(concurrent));
        if issues {
            record.acme_requests = each(costs.acme.clone());
            let acme = record.acme_requests.values().sum();
            let acme = Figure::new(format!("ACME requests per {item}"), acme, "requests");
            record.figures.push(acme.at_most(8.0));
        }
        for (program, time, peak) in &costs.programs {
            let each = time.as_secs_f64() * 1000.0 / f64_of(count);
            let name = format!("{} CPU time per {item}", program.name);
            record.figures.push(Figure::new(name, each, "ms"));
            // Other controllers generate keys with other libraries.
            if program.name == OPERATOR && concurrent && bench.controller == Controller::Ours {
                let keys = baselines::key_generation(bench.key)?.as_secs_f64() * 1000.0;
                let rest = (each - keys).max(0.0);
                let rest = Figure::new("operator CPU time without key generation", rest, "ms");
                // The time to generate an RSA key is random, so the rest is only accurate to a few milliseconds.
                record.figures.push(rest.at_most(15.0).only_if(bench.key == KeyAlgorithm::Ecdsa));
            }
            let resident = Figure::new(format!("{} peak memory", program.name), megabytes(*peak), "MB");
            let target = if count > 5000 { 130.0 } else { 45.0 };
            let has_target = program.name == OPERATOR && starts;
            record.figures.push(resident.at_most(target).only_if(has_target));
        }
        record.figures.push(Figure::new(
            format!("data from the API server per {item}"),
            megabytes(costs.received) * 1000.0 / f64_of(count),
            "kB",
        ));
        record.figures.push(Figure::new("wall time", costs.wall.as_secs_f64(), "s"));
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
