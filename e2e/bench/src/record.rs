//! Measurements as they are kept: one JSON file for all that is published.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path, process::Command};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use xtask::paths;

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is, such as `all ready`.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what, such as `s` or `MB`.
    pub unit: String,
    /// What it shall be at most, or at least where more is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aim: Option<Aim>,
}

/// What a figure is held to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Aim {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl Figure {
    /// A number without an aim.
    pub fn new(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self { name: name.into(), value, unit: unit.to_owned(), aim: None }
    }

    /// The same, which shall be no more.
    pub fn at_most(self, limit: f64) -> Self {
        Self { aim: Some(Aim::AtMost(limit)), ..self }
    }

    /// The same, which shall be no less.
    pub fn at_least(self, limit: f64) -> Self {
        Self { aim: Some(Aim::AtLeast(limit)), ..self }
    }

    /// The same, held to its aim only then.
    pub fn only_if(self, is_held: bool) -> Self {
        Self { aim: self.aim.filter(|_| is_held), ..self }
    }

    /// The number with its unit.
    pub fn amount(&self) -> String {
        format!("{} {}", number(self.value), self.unit)
    }

    /// What it is held to, and whether it is so.
    pub fn verdict(&self) -> Option<String> {
        let aim = self.aim?;
        let (sign, limit) = match aim {
            Aim::AtMost(limit) => ('≤', limit),
            Aim::AtLeast(limit) => ('≥', limit),
        };
        let met = if aim.is_met(self.value) { "✓" } else { "✗" };
        Some(format!("{sign} {} {} {met}", number(limit), self.unit))
    }
}

/// Three digits, no more than people read.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A count as what is divided.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn f64_of(count: usize) -> f64 {
    count as f64
}

/// The machine that measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// How many cores.
    pub cores: usize,
    /// What kind they are.
    pub processor: String,
    /// How much memory, GiB.
    pub memory_gib: u64,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one.
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

/// What one command measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What to type to measure it again.
    pub command: String,
    /// Such as `burst`.
    pub workload: String,
    /// How many certificates, or hosts, or runs.
    pub number: usize,
    /// What was measured.
    pub controller: String,
    /// Its version, a commit where it is of this repository.
    pub version: String,
    /// When.
    pub measured: Timestamp,
    /// Where.
    pub machine: Machine,
    /// What came out, in the order in which it is shown.
    pub figures: Vec<Figure>,
    /// Requests to the API server for each certificate, by verb and resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub api_requests: BTreeMap<String, f64>,
    /// Requests to the ACME server for each order, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acme_requests: BTreeMap<String, f64>,
}

impl Record {
    /// Of several runs, the one whose first figure is in the middle: the greater one of two.
    pub fn middle(mut runs: Vec<Self>) -> Option<Self> {
        let first = |run: &Self| run.figures.first().map(|figure| figure.value).unwrap_or_default();
        runs.sort_by(|one, other| first(one).total_cmp(&first(other)));
        let middle = runs.len() / 2;
        (!runs.is_empty()).then(|| runs.swap_remove(middle))
    }

    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// A table for a terminal.
    pub fn table(&self) -> String {
        let mut text = format!("\n$ {}\n{} {}\n\n", self.command, self.controller, self.version);
        let width = |of: fn(&Figure) -> usize| self.figures.iter().map(of).max().unwrap_or_default();
        let names = width(|figure| figure.name.chars().count());
        let amounts = width(|figure| figure.amount().chars().count());
        for figure in &self.figures {
            let verdict = figure.verdict().unwrap_or_default();
            _ = writeln!(text, "  {:names$}  {:>amounts$}  {verdict}", figure.name, figure.amount());
        }
        for (title, counts) in
            [("API requests for each", &self.api_requests), ("ACME requests for each", &self.acme_requests)]
        {
            if counts.is_empty() {
                continue;
            }
            _ = writeln!(text, "\n  {title}: {} in all", number(counts.values().sum()));
            for (what, count) in counts {
                _ = writeln!(text, "  {:>8}  {what}", number(*count));
            }
        }
        text
    }
}

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Records(pub Vec<Record>);

impl Records {
    /// Reads a file; none is empty.
    pub fn read(path: &Path) -> Result<Self> {
        match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} does not hold measurements", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("failed to read {}", path.display())),
        }
    }

    /// Adds a record, in place of an older one of the same command and controller.
    pub fn put(&mut self, record: Record) {
        let is_same = |it: &Record| it.command == record.command && it.controller == record.controller;
        match self.0.iter_mut().find(|it| is_same(it)) {
            Some(old) => *old = record,
            None => self.0.push(record),
        }
    }

    /// Writes a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

/// The commit of this checkout; with a `+` if something is not committed.
pub(crate) fn version() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("git").args(arguments).current_dir(paths::workspace()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=9", "HEAD"])?;
    // What is measured is compiled from these.
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
    fn a_record_takes_the_place_of_an_older_one_of_its_command() -> Result<()> {
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
    fn the_run_in_the_middle_counts() {
        let middle = |values: &[f64]| {
            let runs = values.iter().map(|value| record("a", *value)).collect();
            Record::middle(runs).map(|run| run.figures[0].value)
        };
        assert_eq!(middle(&[]), None);
        assert_eq!(middle(&[9.0]), Some(9.0));
        assert_eq!(middle(&[9.0, 8.0]), Some(9.0));
        assert_eq!(middle(&[10.0, 8.0, 9.0]), Some(9.0));
    }

    #[test]
    fn a_figure_says_what_it_is_held_to() {
        let verdict = |value| Figure::new("all ready", value, "s").at_most(8.0).verdict();
        assert_eq!(verdict(7.5).as_deref(), Some("≤ 8.00 s ✓"));
        assert_eq!(verdict(8.5).as_deref(), Some("≤ 8.00 s ✗"));
        let rate = Figure::new("rate", 399.0, "a minute").at_least(400.0);
        assert_eq!(rate.verdict().as_deref(), Some("≥ 400 a minute ✗"));
        assert!(record("a", 7.5).table().contains("all ready  7.50 s  ≤ 8.00 s ✓"));
    }
}
