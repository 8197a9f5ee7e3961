//! Figures and records, and the JSON file that stores them.
//!
//! Knows numbers, units, and targets; must not know workloads. Next: `page.rs` for the published page.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, process::Command};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use xtask::paths;

/// The controller in a record that was measured without one.
pub(crate) const NO_CONTROLLER: &str = "no controller";

/// A number that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, such as `all ready`.
    pub name: String,
    /// The number, in `unit`.
    pub value: f64,
    /// The unit, such as `s` or `MB`. Empty for counts.
    pub unit: String,
    /// The target, if the project has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// A target that a figure has to meet, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// The figure must not be greater.
    AtMost(f64),
    /// The figure must not be less.
    AtLeast(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl Figure {
    /// A figure without a target.
    pub fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self { name: name.into(), value, unit: unit.to_owned(), target: None }
    }

    /// The figure with a target that it must not exceed.
    pub fn at_most(self, limit: f64) -> Self {
        Self { target: Some(Target::AtMost(limit)), ..self }
    }

    /// The figure with a target that it must reach.
    pub fn at_least(self, limit: f64) -> Self {
        Self { target: Some(Target::AtLeast(limit)), ..self }
    }

    /// The figure, without its target unless the target applies.
    pub fn only_if(self, applies: bool) -> Self {
        Self { target: self.target.filter(|_| applies), ..self }
    }

    /// The number with its unit.
    pub fn amount(&self) -> String {
        format!("{} {}", number(self.value), self.unit)
    }

    /// The target, and whether the figure meets it.
    pub fn verdict(&self) -> Option<String> {
        let target = self.target?;
        let (sign, limit) = match target {
            Target::AtMost(limit) => ('≤', limit),
            Target::AtLeast(limit) => ('≥', limit),
        };
        let met = if target.is_met(self.value) { "✓" } else { "✗" };
        Some(format!("{sign} {} {} {met}", number(limit), self.unit))
    }
}

/// A number with about three significant digits, and never in exponential form.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A count for divisions.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn f64_of(count: usize) -> f64 {
    count as f64
}

/// The machine of a measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The number of cores.
    pub cores: usize,
    /// The model of the processor.
    pub processor: String,
    /// The memory, in GiB.
    pub memory_gib: u64,
    /// The release of the kernel.
    pub kernel: String,
}

impl Machine {
    /// The machine that runs this program.
    pub fn this() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("failed to read {path}"));
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let processor = field(&read("/proc/cpuinfo")?, "model name");
        let memory = field(&read("/proc/meminfo")?, "MemTotal");
        let kib: u64 = memory.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: processor.unwrap_or_default(),
            memory_gib: kib.div_ceil(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        })
    }
}

/// The result of one command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The command that repeats the measurement.
    pub command: String,
    /// The name of the workload, such as `burst`.
    pub workload: String,
    /// The number of certificates, hosts, or runs.
    pub number: usize,
    /// The name of the controller.
    pub controller: String,
    /// The version of the controller. For ours, the commit, with a `+` if there were uncommitted changes.
    pub version: String,
    /// The time of the measurement.
    pub measured: Timestamp,
    /// The machine of the measurement.
    pub machine: Machine,
    /// The figures, in the order in which they are shown.
    pub figures: Vec<Figure>,
    /// Requests to the API server per certificate or host, by verb and resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub api_requests: BTreeMap<String, f64>,
    /// Requests to the ACME server per certificate or host, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acme_requests: BTreeMap<String, f64>,
}

impl Record {
    /// The run with the median first figure. Of an even number of runs, the greater one of the two in the middle.
    pub fn median(mut runs: Vec<Self>) -> Option<Self> {
        let first = |run: &Self| run.figures.first().map(|figure| figure.value).unwrap_or_default();
        runs.sort_by(|one, other| first(one).total_cmp(&first(other)));
        let middle = runs.len() / 2;
        (!runs.is_empty()).then(|| runs.swap_remove(middle))
    }

    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// The record as a table for a terminal.
    pub fn table(&self) -> String {
        let mut text = format!("\n$ {}\n{} {}\n\n", self.command, self.controller, self.version);
        let width = |of: fn(&Figure) -> usize| self.figures.iter().map(of).max().unwrap_or_default();
        let names = width(|figure| figure.name.chars().count());
        let amounts = width(|figure| figure.amount().chars().count());
        for figure in &self.figures {
            let verdict = figure.verdict().unwrap_or_default();
            _ = writeln!(text, "  {:names$}  {:>amounts$}  {verdict}", figure.name, figure.amount());
        }
        for (title, counts) in self.requests() {
            _ = writeln!(text, "\n  {title}, {} in total", number(counts.values().sum()));
            for (what, count) in counts {
                _ = writeln!(text, "  {:>8}  {what}", number(*count));
            }
        }
        text
    }

    /// The requests that were counted, each with a title.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<String, f64>)> {
        [
            ("API requests by verb and resource", &self.api_requests),
            ("ACME requests by kind", &self.acme_requests),
        ]
        .into_iter()
        .filter(|(_, counts)| !counts.is_empty())
    }
}

/// The records in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Records(pub Vec<Record>);

impl Records {
    /// Reads a file. A file that does not exist has no records.
    pub fn read(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("failed to parse the measurements in {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// Adds a record. It replaces an older one of the same command and controller.
    pub fn put(&mut self, record: Record) {
        let is_same = |it: &Record| it.command == record.command && it.controller == record.controller;
        match self.0.iter_mut().find(|it| is_same(it)) {
            Some(old) => *old = record,
            None => self.0.push(record),
        }
    }

    /// Writes all records to a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

/// The commit of this checkout, with a `+` if the sources of the programs have uncommitted changes.
pub(crate) fn version() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").args(arguments).current_dir(paths::workspace()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=9", "HEAD"])?;
    // The sources of the measured programs.
    let changed =
        git(&["status", "--porcelain", "Cargo.toml", "Cargo.lock", "crds", "operator", "http01-solver"])?;
    Ok(if changed.is_empty() { commit } else { commit + "+" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(command: &str, value: f64) -> Record {
        Record {
            command: command.to_owned(),
            workload: "burst".to_owned(),
            number: 50,
            controller: "acme-operator".to_owned(),
            version: "1".to_owned(),
            measured: Timestamp::UNIX_EPOCH,
            machine: Machine { cores: 2, processor: "a".to_owned(), memory_gib: 8, kernel: "6".to_owned() },
            figures: vec![Figure::new("all ready", value, "s").at_most(8.0)],
            api_requests: BTreeMap::from([("create orders".to_owned(), 1.0)]),
            acme_requests: BTreeMap::new(),
        }
    }

    #[test]
    fn record_replaces_an_older_one_of_its_command() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let mut records = Records::default();
        for (command, value) in [("a", 1.0), ("b", 2.0), ("a", 3.0)] {
            records.put(record(command, value));
        }
        records.write(file.path())?;
        let read = Records::read(file.path())?;
        assert_eq!(read, records);
        let values: Vec<_> = read.0.iter().map(|record| record.figures[0].value).collect();
        assert_eq!(values, [3.0, 2.0]);
        Ok(())
    }

    #[test]
    fn median_run_is_kept() {
        let median = |values: &[f64]| {
            let runs = values.iter().map(|value| record("a", *value)).collect();
            Record::median(runs).map(|run| run.figures[0].value)
        };
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[9.0]), Some(9.0));
        assert_eq!(median(&[9.0, 8.0]), Some(9.0));
        assert_eq!(median(&[10.0, 8.0, 9.0]), Some(9.0));
    }

    #[test]
    fn figures_show_their_target() {
        let verdict = |value| Figure::new("all ready", value, "s").at_most(8.0).verdict();
        assert_eq!(verdict(7.5).as_deref(), Some("≤ 8.00 s ✓"));
        assert_eq!(verdict(8.5).as_deref(), Some("≤ 8.00 s ✗"));
        let rate = Figure::new("rate", 399.0, "per minute").at_least(400.0);
        assert_eq!(rate.verdict().as_deref(), Some("≥ 400 per minute ✗"));
        assert!(record("a", 7.5).table().contains("all ready  7.50 s  ≤ 8.00 s ✓"));
    }
}
