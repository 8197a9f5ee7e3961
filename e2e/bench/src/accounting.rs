//! Turns what a workload cost into figures for each certificate.

use std::collections::BTreeMap;

use anyhow::Result;
use e2e::cert_manager_fixture::KeyAlgorithm;

use crate::{
    baselines,
    bench::{Bench, Workload},
    controller_under_test::{Controller, OPERATOR},
    measure::Costs,
    record::{Figure, Record, f64_of},
};

impl Bench {
    /// What it cost for each of so many.
    pub(crate) fn account(&self, record: &mut Record, costs: &Costs) -> Result<()> {
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
                let keys = baselines::key_generation(self.key)?.as_secs_f64() * 1000.0;
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

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
