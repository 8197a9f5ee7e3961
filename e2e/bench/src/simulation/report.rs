//! The report of a simulation: tables for people, JSON for programs, and failures.
//!
//! Knows what must hold; must not simulate. Next: `summary.rs` for the figures that are published.

use std::{fmt, time::Duration};

use serde_json::{Map, Value, json};

use crate::simulation::{
    figures::{Outage, Queue},
    fleet::Profile,
    run::Simulation,
    validity::{seconds, timestamp},
};

/// How much the number of polls may differ from the expected number, as a share.
const SAMPLE_TOLERANCE: f64 = 0.05;

/// A number in a table.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Count(u64),
    /// Per second.
    Rate(f64),
    /// From 0 to 1.
    Share(f64),
    Span(Duration),
    /// Since 1970.
    Time(Duration),
    /// Not applicable, or it did not happen.
    None,
}

impl Figure {
    fn json(self) -> Value {
        match self {
            Self::Count(count) => json!(count),
            Self::Rate(number) | Self::Share(number) => json!(number),
            Self::Span(span) => json!(span.as_secs()),
            Self::Time(time) => json!(timestamp(seconds(time))),
            Self::None => Value::Null,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::Count(count) => grouped(count),
            Self::Rate(rate) => format!("{rate:.2}/s"),
            Self::Share(share) => format!("{:.1} %", 100.0 * share),
            Self::Span(span) => human(span),
            Self::Time(time) => timestamp(seconds(time)).strftime("%d %b %H:%M").to_string(),
            Self::None => "-".to_owned(),
        };
        f.pad(&text)
    }
}

/// A count with a space between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// A span in its two largest units.
fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// One table.
struct Section {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<(&'static str, Vec<Figure>)>,
}

/// All figures of a simulation, and what is wrong.
pub struct Report {
    sections: Vec<Section>,
    /// Everything that must not happen but did, as sentences. Empty if the simulation succeeded.
    pub failures: Vec<String>,
}

impl Report {
    pub(crate) fn of(it: &Simulation) -> Self {
        let sections =
            vec![fleet(it), certificates(it), queues(it), requests(it), polls(it), outages(it), limits(it)];
        Self { sections, failures: failures(it) }
    }

    /// All figures by section, row, and column. Spans are in seconds, rates in requests per second. `failures` has the failures.
    pub fn json(&self) -> Value {
        let sections = self.sections.iter().map(|section| {
            let rows = section.rows.iter().map(|(name, figures)| {
                let figures = section.columns.iter().zip(figures);
                let figures = figures.map(|(column, figure)| ((*column).to_owned(), figure.json()));
                ((*name).to_owned(), Value::Object(figures.collect()))
            });
            (section.title.to_owned(), Value::Object(rows.collect()))
        });
        let mut all: Map<String, Value> = sections.collect();
        all.insert("failures".to_owned(), json!(self.failures));
        Value::Object(all)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.sections.iter().flat_map(|section| &section.rows).map(|(name, _)| name.len());
        let width = names.max().unwrap_or_default() + 2;
        for section in &self.sections {
            write!(f, "{:width$}", section.title)?;
            for column in section.columns {
                write!(f, "{column:>18}")?;
            }
            writeln!(f)?;
            for (name, figures) in &section.rows {
                write!(f, "  {name:<0$}", width - 2)?;
                for figure in figures {
                    write!(f, "{figure:>18}")?;
                }
                writeln!(f)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn fleet(it: &Simulation) -> Section {
    let figures = vec![
        Figure::Count(it.scenario.certificates.into()),
        Figure::Count(u64::try_from(it.fleet.len()).unwrap_or_default()),
        Figure::Span(it.scenario.length()),
    ];
    Section {
        title: "FLEET",
        columns: &["at the start", "at the end", "after"],
        rows: vec![("certificates", figures)],
    }
}

fn certificates(it: &Simulation) -> Section {
    let row = |profile: Profile| {
        let outcomes = it.figures.outcomes(profile);
        let figures = vec![
            Figure::Count(outcomes.issued),
            Figure::Count(outcomes.expired),
            Figure::Share(outcomes.least_left),
            Figure::Count(outcomes.failed),
            Figure::Count(outcomes.expired_orders),
            Figure::Span(outcomes.longest_order),
        ];
        (profile.name(), figures)
    };
    Section {
        title: "CERTIFICATES",
        columns: &[
            "issued",
            "expired",
            "least time left",
            "not validated",
            "expired orders",
            "longest order",
        ],
        rows: Profile::ALL.map(row).to_vec(),
    }
}

fn queues(it: &Simulation) -> Section {
    let row = |queue: &Queue| {
        vec![
            Figure::Count(queue.longest.into()),
            Figure::Time(queue.longest_at),
            Figure::Span(queue.percentile(50)),
            Figure::Span(queue.percentile(99)),
            Figure::Span(queue.percentile(100)),
        ]
    };
    Section {
        title: "FROM DUE TO ISSUED",
        columns: &["longest queue", "at", "wait p50", "wait p99", "wait max"],
        rows: vec![("renewals", row(&it.figures.renewals)), ("new", row(&it.figures.new))],
    }
}

fn requests(it: &Simulation) -> Section {
    let length = it.scenario.length().as_secs_f64();
    let row = |(name, total, busiest): (&'static str, u64, u64)| {
        let (mean, busiest) = (float(total) / length, float(busiest) / 60.0);
        (name, vec![Figure::Count(total), Figure::Rate(mean), Figure::Rate(busiest)])
    };
    Section {
        title: "REQUESTS",
        columns: &["total", "mean", "busiest minute"],
        rows: it.figures.requests.totals().map(row).collect(),
    }
}

fn polls(it: &Simulation) -> Section {
    let figures = vec![Figure::Count(it.polls.sent), Figure::Share(float(it.polls.sent) / it.polls.expected)];
    Section {
        title: "POLLS OF RENEWAL INFORMATION",
        columns: &["polls", "of expected"],
        rows: vec![("sample of 1 in 20", figures)],
    }
}

fn outages(it: &Simulation) -> Section {
    let row = |(outage, failed): (&Outage, Figure)| {
        let backlog = Figure::Count(outage.longest_backlog.into());
        let cleared = outage.cleared.map_or(Figure::None, Figure::Span);
        (outage.name, vec![Figure::Span(outage.length), failed, backlog, cleared])
    };
    let failed = [Figure::Count(it.figures.unanswered), Figure::None];
    Section {
        title: "OUTAGES",
        columns: &["length", "failed requests", "longest backlog", "cleared after"],
        rows: it.figures.outages.iter().zip(failed).map(row).collect(),
    }
}

fn limits(it: &Simulation) -> Section {
    let rows = it.authority.rejected().map(|(name, times)| (name, vec![Figure::Count(times)]));
    Section { title: "LIMITS OF THE CA", columns: &["rejected"], rows: rows.collect() }
}

/// Everything that must not happen but did.
fn failures(it: &Simulation) -> Vec<String> {
    let rejected =
        it.rejections().into_iter().map(|(name, times)| format!("the CA rejected {times} requests: {name}"));
    let expired = Profile::ALL.into_iter().filter_map(|profile| {
        let expired = it.figures.outcomes(profile).expired;
        (expired > 0).then(|| format!("{expired} certificates with a lifetime of {} expired", profile.name()))
    });
    let outages = it.figures.outages.iter().filter_map(|outage| {
        let never = outage.cleared.is_none() && outage.end < it.scenario.end;
        never.then(|| format!("the backlog after the outage of the {} was never cleared", outage.name))
    });
    let difference = float(it.polls.sent) / it.polls.expected - 1.0;
    let polls = (difference.abs() > SAMPLE_TOLERANCE).then(|| {
        format!("the number of polls differs from the expected number by {:.1} %", 100.0 * difference)
    });
    rejected.chain(expired).chain(outages).chain(polls).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few billion, for people")]
fn float(count: u64) -> f64 {
    count as f64
}
