//! `docs/BENCHMARKS.md` and its plots, made of nothing but the records.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use e2e::cert_manager::NAME as CERT_MANAGER;

use crate::{
    plot::Plot,
    record::{Figure, Record, Records, f64_of, number},
};

/// The records that are published, in the repository.
pub const RECORDS: &str = "docs/benchmarks.json";

/// The page.
pub const PAGE: &str = "docs/BENCHMARKS.md";

/// The page that everybody reads first, with a table between two marks.
const README: &str = "README.md";
const MARKS: [&str; 2] = ["<!-- figures -->\n", "<!-- /figures -->"];

/// What everybody reads first: a command, one of its figures, and what that is to readers.
const SHOWN: [(&str, &str, &str); 9] = [
    ("latency", "annotation to Secret, p50", "annotated Ingress to TLS Secret, RSA-2048, median"),
    ("burst -n 50", "all ready", "50 Ingresses at once, RSA-2048, all ready"),
    ("burst -n 50", "API requests for each", "API requests for each of these"),
    ("many-names", "Secret with all hosts", "one Ingress with 100 hosts"),
    ("burst -n 1000 --key ecdsa", "rate", "1000 Ingresses at once, ECDSA"),
    (
        "adopt -n 5000 --runs 3",
        "start to all ready",
        "5000 Certificates that are there, first start to all ready",
    ),
    ("adopt -n 5000 --runs 3", "operator, peak resident", "memory of the operator meanwhile, at most"),
    (
        "idle -n 1000",
        "operator, peak resident",
        "memory of the operator with 1000 Certificates and nothing to do",
    ),
    (
        "failover",
        "SIGKILL to the next Secret, longest of 3",
        "leader killed to the next Secret, longest of 3",
    ),
];

/// The folder of the plots.
const PLOTS: &str = "docs/benchmarks";

/// A plot: workload, figure, name of its file, title.
const DRAWN: [(&str, &str, &str, &str); 5] = [
    ("burst", "rate", "burst-rate", "Annotated Ingresses at once: certificates a minute"),
    (
        "burst",
        "API requests for each",
        "burst-requests",
        "Annotated Ingresses at once: API requests for each",
    ),
    ("burst", "operator, peak resident", "burst-memory", "Annotated Ingresses at once: memory"),
    ("adopt", "start to all ready", "adopt-time", "Certificates that are there: start to all ready"),
    ("adopt", "operator, peak resident", "adopt-memory", "Certificates that are there: memory"),
];

const BEGINNING: &str = "\
# What it costs, and how that grows

<!-- Made by `cargo xtask bench page` from docs/benchmarks.json. -->

All figures are measured from outside, with a real kube-apiserver and etcd, Pebble as the ACME server and Traefik as the
ingress controller, all on the machine that is named: requests by the API server's audit log and Pebble's log, processor
time and resident memory by the kernel. Each comes with its command; `✓` and `✗` tell whether it is what the project
holds itself to. The private keys of `latency`, `burst` and `many-names` are RSA with 2048 bits where nothing else is said,
which is the default of a Certificate: making one takes longer than all the rest of the operator's work for it, and how
long is luck, so what was spent beyond it is known to a few milliseconds only. Those of the other workloads are P-256.

cert-manager is measured by the same commands with `--controller cert-manager`: its controllers as its Go module has them,
set as its own program sets them, without leader election and with all rights, on its own definitions without its webhook,
and with a node for its Pods where it issues; what these Pods use is not counted. Any other controller that serves
`cert-manager.io/v1` is measured by
`cargo xtask bench burst -n 50 --cluster NAME --controller external:PID --client USERNAME`; see `cargo xtask bench --help`.
";

/// Writes the page and its plots, or says what is not as it would be written.
///
/// # Errors
/// `check` is set and something differs.
pub fn write(workspace: &Path, check: bool) -> Result<()> {
    let records = Records::read(&workspace.join(RECORDS))?;
    let readme = fs::read_to_string(workspace.join(README))?;
    let mut files =
        vec![(PAGE.to_owned(), page(&records)), (README.to_owned(), with_table(&readme, &records)?)];
    for (name, plot) in plots(&records) {
        files.push((format!("{PLOTS}/{name}.svg"), plot.svg()));
    }
    for (name, content) in files {
        let path = workspace.join(&name);
        if check {
            let there = fs::read_to_string(&path).unwrap_or_default();
            anyhow::ensure!(there == content, "{name} is not what `cargo xtask bench page` writes");
        } else {
            fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
            fs::write(&path, content).with_context(|| format!("failed to write {name}"))?;
        }
    }
    Ok(())
}

/// The README with the table of figures between its marks.
fn with_table(readme: &str, records: &Records) -> Result<String> {
    let [begin, end] = MARKS;
    let (before, rest) = readme.split_once(begin).context("the README has no mark for its figures")?;
    let (_, after) = rest.split_once(end).context("the README's figures have no end")?;
    let table = table(records);
    Ok(format!("{before}{begin}{table}{end}{after}"))
}

/// The figures that everybody reads first, with cert-manager's where they were measured.
fn table(records: &Records) -> String {
    let amount = |command: &str, figure: &str| {
        let record =
            records.0.iter().find(|record| record.command == format!("cargo xtask bench {command}"))?;
        record.figure(figure).map(Figure::amount)
    };
    let cert_manager = records.0.iter().find(|record| record.controller == CERT_MANAGER);
    let version = cert_manager.map(|record| record.version.as_str()).unwrap_or_default();
    let mut table = format!(
        "| on two cores, all of the cluster on them | acme-operator | {CERT_MANAGER} {version} | |\n\
         | --- | ---: | ---: | --- |\n"
    );
    for (command, figure, shown) in SHOWN {
        let Some(ours) = amount(command, figure) else { continue };
        let theirs = amount(&format!("{command} --controller {CERT_MANAGER}"), figure).unwrap_or_default();
        _ = writeln!(table, "| {shown} | {ours} | {theirs} | `cargo xtask bench {command}` |");
    }
    table
}

/// The plots that there are records for: at least two points.
fn plots(records: &Records) -> Vec<(&'static str, Plot)> {
    let drawn = DRAWN.iter().filter_map(|(workload, figure, file, title)| {
        let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
        let mut unit = "";
        for record in records.0.iter().filter(|record| record.workload == *workload) {
            let Some(found) = record.figure(figure) else { continue };
            unit = &found.unit;
            let key = if record.command.contains("--key rsa") { ", RSA" } else { "" };
            let name = format!("{}{key}", record.controller);
            let point = (f64_of(record.number), found.value);
            match lines.iter_mut().find(|(of, _)| *of == name) {
                Some((_, points)) => points.push(point),
                None => lines.push((name, vec![point])),
            }
        }
        for (_, points) in &mut lines {
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        lines.retain(|(_, points)| points.len() > 1);
        let plot = Plot {
            title: (*title).to_owned(),
            across: "certificates".to_owned(),
            upwards: unit.to_owned(),
            lines,
        };
        (!plot.lines.is_empty()).then_some((*file, plot))
    });
    drawn.collect()
}

fn page(records: &Records) -> String {
    let mut text = BEGINNING.to_owned();
    let mut machines: Vec<String> = Vec::new();
    for record in &records.0 {
        let machine = &record.machine;
        let told = format!(
            "{} cores ({}), {} GiB of memory, Linux {}",
            machine.cores, machine.processor, machine.memory_gib, machine.kernel
        );
        if !machines.contains(&told) {
            machines.push(told);
        }
    }
    _ = writeln!(text, "\n{}\n## Where\n", table(records));
    for machine in &machines {
        _ = writeln!(text, "- {machine}");
    }
    let plots = plots(records);
    if !plots.is_empty() {
        _ = writeln!(text, "\n## How it grows\n");
        for (name, plot) in &plots {
            _ = writeln!(text, "![{}](benchmarks/{name}.svg)\n", plot.title);
        }
    }
    _ = writeln!(text, "## Figures");
    for record in &records.0 {
        text += &section(record);
    }
    text
}

fn section(record: &Record) -> String {
    let mut text = format!("\n### `{}`\n\n", record.command);
    let version = if record.version.is_empty() { String::new() } else { format!(" {}", record.version) };
    _ = writeln!(text, "{}{version}, {}\n", record.controller, record.measured.strftime("%Y-%m-%d"));
    _ = writeln!(text, "| figure | measured | held to |\n|---|---:|---|");
    for figure in &record.figures {
        let Figure { name, .. } = figure;
        _ = writeln!(text, "| {name} | {} | {} |", figure.amount(), figure.verdict().unwrap_or_default());
    }
    for (title, counts) in
        [("API requests for each", &record.api_requests), ("ACME requests for each", &record.acme_requests)]
    {
        if !counts.is_empty() {
            let list: Vec<_> =
                counts.iter().map(|(what, count)| format!("{what} {}", number(*count))).collect();
            _ = writeln!(text, "\n{title}: {}.", list.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_pages_match_the_records() -> Result<()> {
        write(xtask::paths::workspace(), true)
    }

    #[test]
    fn the_table_of_the_readme_is_between_its_marks() -> Result<()> {
        let readme = "before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n";
        let records: Records = serde_json::from_str(
            r#"[{ "command": "cargo xtask bench burst -n 50", "workload": "burst", "number": 50,
                  "controller": "acme-operator", "version": "1", "measured": "2026-01-01T00:00:00Z",
                  "machine": { "cores": 2, "processor": "a", "memory_gib": 8, "kernel": "6" },
                  "figures": [{ "name": "all ready", "value": 4.5, "unit": "s" }] },
                { "command": "cargo xtask bench burst -n 50 --controller cert-manager", "workload": "burst",
                  "number": 50, "controller": "cert-manager", "version": "v1", "measured": "2026-01-01T00:00:00Z",
                  "machine": { "cores": 2, "processor": "a", "memory_gib": 8, "kernel": "6" },
                  "figures": [{ "name": "all ready", "value": 90.0, "unit": "s" }] }]"#,
        )?;
        let written = with_table(readme, &records)?;
        assert!(written.starts_with("before\n") && written.ends_with("after\n") && !written.contains("old"));
        assert!(
            written.contains("all ready | 4.50 s | 90.0 s | `cargo xtask bench burst -n 50` |"),
            "{written}"
        );
        assert_eq!(with_table(&written, &records)?, written);
        Ok(())
    }
}
