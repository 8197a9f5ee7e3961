//! The published figures of a simulation, taken from its report. Next: `report.rs`.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::record::{Figure, Record};

/// Figures: section, row, and column of the report, then the published name and unit.
const FIGURES: [[&str; 5]; 14] = [
    ["FLEET", "certificates", "at the start", "certificates at the start", ""],
    ["FLEET", "certificates", "at the end", "certificates at the end", ""],
    ["CERTIFICATES", "45 days", "issued", "issued with a lifetime of 45 days", ""],
    ["CERTIFICATES", "160 hours", "issued", "issued with a lifetime of 160 hours", ""],
    ["FROM DUE TO ISSUED", "renewals", "longest queue", "longest queue of renewals", ""],
    ["FROM DUE TO ISSUED", "renewals", "wait p50", "time from due to renewed, p50", "s"],
    ["FROM DUE TO ISSUED", "renewals", "wait p99", "time from due to renewed, p99", "s"],
    ["FROM DUE TO ISSUED", "new", "longest queue", "longest queue of new certificates", ""],
    ["REQUESTS", "newOrder", "mean", "newOrder requests, mean", "/s"],
    ["REQUESTS", "newOrder", "busiest minute", "newOrder requests, busiest minute", "/s"],
    ["REQUESTS", "all", "mean", "all requests, mean", "/s"],
    ["REQUESTS", "all", "busiest minute", "all requests, busiest minute", "/s"],
    ["OUTAGES", "CA", "cleared after", "backlog cleared after the CA's outage", "s"],
    ["OUTAGES", "operator", "cleared after", "backlog cleared after the operator's outage", "s"],
];

/// How long the simulation of a million certificates over a year may take, in seconds.
const LIMIT: f64 = 120.0;

/// Adds the figures of a report to a record.
pub(crate) fn fill(record: &mut Record, report: &Value, took: Duration) -> Result<()> {
    let sum = |section: &str, column: &str| -> Result<f64> {
        let rows =
            report[section].as_object().with_context(|| format!("the report has no section {section}"))?;
        Ok(rows.values().filter_map(|row| row[column].as_f64()).sum())
    };
    record.figures.push(Figure::new("wall time", took.as_secs_f64(), "s").at_most(LIMIT));
    record
        .figures
        .push(Figure::new("expired certificates", sum("CERTIFICATES", "expired")?, "").at_most(0.0));
    let rejected = sum("LIMITS OF THE CA", "rejected")?;
    record.figures.push(Figure::new("requests rejected by the CA's limits", rejected, "").at_most(0.0));
    for [section, row, column, name, unit] in FIGURES {
        let value = report[section][row][column].as_f64();
        let value = value.with_context(|| format!("the report has no {section}, {row}, {column}"))?;
        record.figures.push(Figure::new(name, value, unit));
    }
    Ok(())
}
