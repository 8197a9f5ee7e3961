//! What is told at the end: a table for people, JSON for programs, and what is not as it must be.

use std::{fmt, time::Duration};

use serde_json::{Map, Value, json};

use crate::simulation::{
    figures::{Outage, Queue},
    fleet::Profile,
    run::Simulation,
    validity::{seconds, timestamp},
};

/// How far the polls of a sample may be from what they should be.
const SAMPLE_TOLERANCE: f64 = 0.05;

/// A figure.
#[derive(Clone, Copy, Debug)]
enum Figure {
    Count(u64),
    /// In a second.
    Rate(f64),
    /// Of one.
    Share(f64),
    Span(Duration),
    /// Since 1970.
    Time(Duration),
    /// Nothing to tell, or not come to pass.
    Never,
}

impl Figure {
    fn json(self) -> Value {
        match self {
            Self::Count(count) => json!(count),
            Self::Rate(number) | Self::Share(number) => json!(number),
            Self::Span(span) => json!(span.as_secs()),
            Self::Time(time) => json!(timestamp(seconds(time))),
            Self::Never => Value::Null,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::Count(count) => grouped(count),
            Self::Rate(rate) => format!("{rate:.2}/s"),
            Self::Share(share) => format!("{:.1} %", 100.0 * share),
            Self::Span(span) => words(span),
            Self::Time(time) => timestamp(seconds(time)).strftime("%d %b %H:%M").to_string(),
            Self::Never => "-".to_owned(),
        };
        f.pad(&text)
    }
}

/// With a space between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// Two units at most.
fn words(span: Duration) -> String {
    let seconds = span.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// Figures of some things of a kind.
struct Section {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<(&'static str, Vec<Figure>)>,
}

/// All figures, and what is wrong.
pub struct Report {
    sections: Vec<Section>,
    /// What is not as it must be, for people; nothing if all is well.
    pub broken: Vec<String>,
}

impl Report {
    pub(crate) fn of(it: &Simulation) -> Self {
        let sections =
            vec![fleet(it), certificates(it), queues(it), requests(it), polls(it), outages(it), limits(it)];
        Self { sections, broken: broken(it) }
    }

    /// By section, row and column. Spans are in seconds, rates in requests a second.
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
        all.insert("broken".to_owned(), json!(self.broken));
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
        columns: &["at first", "at the end", "after"],
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
            Figure::Count(outcomes.lapsed),
            Figure::Span(outcomes.longest_order),
        ];
        (profile.name(), figures)
    };
    Section {
        title: "CERTIFICATES",
        columns: &["issued", "expired", "least left", "never validate", "orders lapsed", "longest order"],
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
    let row = |(name, total, most): (&'static str, u64, u64)| {
        (
            name,
            vec![Figure::Count(total), Figure::Rate(float(total) / length), Figure::Rate(float(most) / 60.0)],
        )
    };
    Section {
        title: "REQUESTS",
        columns: &["total", "mean", "most in a minute"],
        rows: it.figures.requests.totals().map(row).collect(),
    }
}

fn polls(it: &Simulation) -> Section {
    let figures = vec![Figure::Count(it.polls.made), Figure::Share(float(it.polls.made) / it.polls.expected)];
    Section {
        title: "POLLS OF RENEWAL INFORMATION",
        columns: &["in the sample", "of what is due"],
        rows: vec![("one certificate in twenty", figures)],
    }
}

fn outages(it: &Simulation) -> Section {
    let row = |outage: &Outage, in_vain| {
        let drained = outage.drained.map_or(Figure::Never, Figure::Span);
        let figures =
            vec![Figure::Span(outage.length), in_vain, Figure::Count(outage.longest.into()), drained];
        (outage.name, figures)
    };
    let in_vain = [Figure::Count(it.figures.unanswered), Figure::Never];
    Section {
        title: "OUTAGES",
        columns: &["length", "attempts in vain", "renewals waiting", "drained after"],
        rows: it.figures.outages.iter().zip(in_vain).map(|(outage, in_vain)| row(outage, in_vain)).collect(),
    }
}

fn limits(it: &Simulation) -> Section {
    let rows = it.authority.refused().map(|(name, times)| (name, vec![Figure::Count(times)]));
    Section { title: "LIMITS OF THE CA", columns: &["refused"], rows: rows.collect() }
}

/// What is not as it must be.
fn broken(it: &Simulation) -> Vec<String> {
    let refused =
        it.refusals().into_iter().map(|(name, times)| format!("the CA refused {times} times: {name}"));
    let expired = Profile::ALL.into_iter().filter_map(|profile| {
        let expired = it.figures.outcomes(profile).expired;
        (expired > 0).then(|| format!("{expired} certificates of {} expired", profile.name()))
    });
    let outages = it.figures.outages.iter().filter_map(|outage| {
        let never = outage.drained.is_none() && outage.end < it.scenario.end;
        never.then(|| format!("what waited after the outage of the {} was never done", outage.name))
    });
    let off = float(it.polls.made) / it.polls.expected - 1.0;
    let polls = (off.abs() > SAMPLE_TOLERANCE)
        .then(|| format!("the sample polls {:.1} % off the rate that is due", 100.0 * off));
    refused.chain(expired).chain(outages).chain(polls).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of some thousand million, for people")]
fn float(count: u64) -> f64 {
    count as f64
}
