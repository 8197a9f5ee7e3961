//! Runs `promtool`, which evaluates queries over series that are given to it. Knows its files; must not know what is queried.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testbed::{cluster::Cluster, tools::Tool};
use tokio::process::Command;

/// What a query must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// At least one sample.
    Result,
    /// No sample.
    Nothing,
}

/// Queries over two scrapes that are a minute apart.
pub(crate) struct Promtool<'a> {
    cluster: &'a Cluster,
    /// The label `job` of all series.
    job: &'a str,
    /// The values of each series.
    series: BTreeMap<String, [String; 2]>,
    /// Queries, and the number that each must have as its result; `None` if it must have none.
    queries: Vec<(String, String, Option<u8>)>,
}

impl<'a> Promtool<'a> {
    pub(crate) fn new(cluster: &'a Cluster, job: &'a str) -> Self {
        Self { cluster, job, series: BTreeMap::new(), queries: Vec::new() }
    }

    /// Adds the series of two scrapes, with the labels that Prometheus adds.
    pub(crate) fn scraped(&mut self, first: &str, second: &str) {
        for (position, text) in [first, second].into_iter().enumerate() {
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let Some((series, value)) = line.rsplit_once(' ') else { continue };
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.replace("namespace=", "exported_namespace=");
                let separator = if labels == "}" { "" } else { "," };
                let job = self.job;
                let series =
                    format!("{name}{{job=\"{job}\",namespace=\"acme-operator\",pod=\"a\"{separator}{labels}");
                let values = self.series.entry(series).or_insert_with(|| ["_".to_owned(), "_".to_owned()]);
                value.clone_into(&mut values[position]);
            }
        }
    }

    /// Adds a query. `of` says whose it is.
    pub(crate) fn expect(&mut self, of: &str, query: &str, expected: Expected) {
        let (query, result) = match expected {
            Expected::Result => (format!("count({query}) > bool 0"), Some(1)),
            Expected::Nothing => (format!("count({query})"), None),
        };
        self.queries.push((of.to_owned(), query, result));
    }

    /// Expects a series with each of the labels that an expression names, for each of its metrics, whatever their values.
    pub(crate) fn expect_series_of(&mut self, of: &str, expression: &str) {
        for (metric, labels) in selectors(expression) {
            // Prometheus adds the label `namespace`, and that of the object exists only if it has one.
            let named = labels.iter().filter(|label| !label.ends_with("namespace"));
            let matchers: Vec<_> = named.map(|label| format!("{label}!=\"\"")).collect();
            self.expect(of, &format!("{metric}{{{}}}", matchers.join(",")), Expected::Result);
        }
    }

    /// Evaluates all queries.
    pub(crate) async fn evaluate(&self) -> Result<()> {
        #[expect(clippy::disallowed_methods, reason = "the scrapes have the real time")]
        let now = jiff::Timestamp::now();
        let series = self
            .series
            .iter()
            .map(|(series, values)| json!({ "series": series, "values": values.join(" ") }));
        let tests = self.queries.iter().map(|(_, query, result)| {
            let samples = result.map(|value| json!({ "labels": "{}", "value": value }));
            json!({ "expr": query, "eval_time": "1m", "exp_samples": Vec::from_iter(samples) })
        });
        let cases = json!({ "rule_files": [], "tests": [{
            "interval": "1m",
            // The second value is of now.
            "start_timestamp": (now - jiff::SignedDuration::from_mins(1)).to_string(),
            "input_series": series.collect::<Vec<_>>(),
            "promql_expr_test": tests.collect::<Vec<_>>(),
        }] });
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("cases.yaml"), cases.to_string())?;
        let printed = run(self.cluster, folder.path(), &["test", "rules", "cases.yaml"]).await;
        let whose = || self.queries.iter().map(|(of, query, _)| format!("{of}: {query}")).collect::<Vec<_>>();
        printed.map_err(|error| error.context(whose().join("\n")))
    }
}

/// Checks rules, and runs test cases over them.
pub(crate) async fn check_rules(cluster: &Cluster, rules: &Value, cases: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rules.yaml"), rules.to_string())?;
    std::fs::write(folder.path().join("cases.yaml"), cases)?;
    run(cluster, folder.path(), &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]).await?;
    run(cluster, folder.path(), &["test", "rules", "cases.yaml"]).await
}

async fn run(cluster: &Cluster, folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(cluster.tools().path(Tool::Promtool));
    let output = command.args(arguments).current_dir(folder).kill_on_drop(true).output().await?;
    let text =
        [&*output.stdout, &*output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    ensure!(output.status.success(), "promtool {arguments:?} failed: {text}");
    Ok(())
}

/// The metrics of an expression, each with the labels that its matchers and the aggregation around it name.
fn selectors(expression: &str) -> Vec<(&str, BTreeSet<&str>)> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(begin) = ["acme_operator_", "certmanager_"].iter().filter_map(|it| rest.find(it)).min() {
        let from = &rest[begin..];
        let (metric, after) = from.split_at(from.find(|letter| !is_word(letter)).unwrap_or(from.len()));
        let before = &expression[..expression.len() - from.len()];
        let aggregation = before.rsplit_once("by (").and_then(|(_, list)| list.split_once(')'));
        let labels = aggregation.filter(|(_, between)| !between.contains(')')).map(|(labels, _)| labels);
        let mut labels: BTreeSet<_> =
            labels.into_iter().flat_map(|labels| labels.split(',')).map(str::trim).collect();
        if let Some((matchers, _)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            let name = |matcher: &str| matcher.find(['=', '!']).unwrap_or(matcher.len());
            labels.extend(matchers.split(',').map(|matcher| matcher[..name(matcher)].trim()));
        }
        found.push((metric, labels));
        rest = after;
    }
    found
}
