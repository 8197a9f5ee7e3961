//! What the operator's simulation of its scheduler printed, as figures.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::record::{Figure, Record};

/// A figure: section, row and column of what was printed, its name here, its unit.
const FIGURES: [[&str; 5]; 14] = [
    ["FLEET", "certificates", "at first", "certificates at first", ""],
    ["FLEET", "certificates", "at the end", "certificates at the end", ""],
    ["CERTIFICATES", "45 days", "issued", "issued for 45 days", ""],
    ["CERTIFICATES", "160 hours", "issued", "issued for 160 hours", ""],
    ["FROM DUE TO ISSUED", "renewals", "longest queue", "longest queue of renewals", ""],
    ["FROM DUE TO ISSUED", "renewals", "wait p50", "renewals wait, p50", "s"],
    ["FROM DUE TO ISSUED", "renewals", "wait p99", "renewals wait, p99", "s"],
    ["FROM DUE TO ISSUED", "new", "longest queue", "longest queue of new certificates", ""],
    ["REQUESTS", "newOrder", "mean", "newOrder requests, mean", "/s"],
    ["REQUESTS", "newOrder", "most in a minute", "newOrder requests, busiest minute", "/s"],
    ["REQUESTS", "all", "mean", "all requests, mean", "/s"],
    ["REQUESTS", "all", "most in a minute", "all requests, busiest minute", "/s"],
    ["OUTAGES", "CA", "drained after", "all renewed after the CA's outage", "s"],
    ["OUTAGES", "operator", "drained after", "all renewed after the operator's outage", "s"],
];

/// How long a million certificates and a year may take, seconds.
const LIMIT: f64 = 120.0;

/// Fills a record with what was printed.
pub(crate) fn fill(record: &mut Record, printed: &Value, took: Duration) -> Result<()> {
    let sum = |section: &str, column: &str| -> Result<f64> {
        let rows = printed[section].as_object().with_context(|| format!("there is no {section}"))?;
        Ok(rows.values().filter_map(|row| row[column].as_f64()).sum())
    };
    record.figures.push(Figure::new("wall time", took.as_secs_f64(), "s").at_most(LIMIT));
    record
        .figures
        .push(Figure::new("certificates that expired", sum("CERTIFICATES", "expired")?, "").at_most(0.0));
    let refused = sum("LIMITS OF THE CA", "refused")?;
    record.figures.push(Figure::new("requests that the CA's limits refused", refused, "").at_most(0.0));
    for [section, row, column, name, unit] in FIGURES {
        let value = printed[section][row][column].as_f64();
        let value = value.with_context(|| format!("the simulation tells no {section}, {row}, {column}"))?;
        record.figures.push(Figure::new(name, value, unit));
    }
    Ok(())
}
