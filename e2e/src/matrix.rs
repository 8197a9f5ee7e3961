//! Which system has passed which story, and how fast: what `cargo xtask test systems` prints at its end.
//!
//! Knows names and times; must not know what a story is. Next: `e2e/tests/systems_ingresses/`, which fills it.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The environment variable for the file of a test run, which each story appends to.
pub const MATRIX_VARIABLE: &str = "ACME_OPERATOR_MATRIX";

/// How long the certificates of a story took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Until the Secret existed, or all of them did.
    pub secret: Option<Duration>,
    /// Until HTTPS was served with it.
    pub https: Option<Duration>,
}

impl Times {
    /// Both times.
    pub fn new(secret: Duration, https: Duration) -> Self {
        Self { secret: Some(secret), https: Some(https) }
    }
}

/// One cell of the matrix, a line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Cell {
    system: String,
    story: String,
    passed: bool,
    times: Times,
}

/// Runs a story of a system, prints its result, and enters it into the matrix.
///
/// # Errors
/// The story's own.
pub async fn story(system: &str, name: &str, run: impl AsyncFnOnce() -> Result<Times>) -> Result<()> {
    let result = run().await.with_context(|| format!("{system} fails the story {name:?}"));
    let times = result.as_ref().copied().unwrap_or_default();
    let cell = Cell { system: system.to_owned(), story: name.to_owned(), passed: result.is_ok(), times };
    println!("{system}: {name}: {}", outcome(&cell));
    if let Some(path) = env::var_os(MATRIX_VARIABLE) {
        let mut line = serde_json::to_vec(&cell)?;
        line.push(b'\n');
        File::options().create(true).append(true).open(path)?.write_all(&line)?;
    }
    result.map(drop)
}

/// The matrix of a test run as text: a line per system and story. `None` if no story has run.
pub fn table(path: &Path) -> Result<Option<String>> {
    let lines = match fs::read_to_string(path) {
        Ok(lines) => lines,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut systems: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
    for line in lines.lines() {
        let cell: Cell = serde_json::from_str(line)?;
        systems.entry(cell.system.clone()).or_default().push(cell);
    }
    let cells = || systems.values().flatten();
    let width = |of: fn(&Cell) -> usize| cells().map(of).max().unwrap_or_default();
    let (system_width, story_width) = (width(|cell| cell.system.len()), width(|cell| cell.story.len()));
    let mut table = String::new();
    for cell in cells() {
        let Cell { system, story, .. } = cell;
        _ = writeln!(table, "{system:system_width$}  {story:story_width$}  {}", outcome(cell));
    }
    Ok((!table.is_empty()).then_some(table))
}

fn outcome(cell: &Cell) -> String {
    if !cell.passed {
        return "FAILED".to_owned();
    }
    let time = |what: &str, time: Option<Duration>| {
        time.map(|time| format!(", {what} {:.2} s", time.as_secs_f64())).unwrap_or_default()
    };
    format!("passed{}{}", time("Secret", cell.times.secret), time("HTTPS", cell.times.https))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_per_system_and_story() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("matrix");
        assert_eq!(table(&path)?, None);
        let times = Times::new(Duration::from_millis(460), Duration::from_secs(1));
        let cell = |system: &str, story: &str, passed, times| -> Result<String> {
            let (system, story) = (system.to_owned(), story.to_owned());
            Ok(serde_json::to_string(&Cell { system, story, passed, times })? + "\n")
        };
        let lines = [
            cell("traefik", "first issuance", true, times)?,
            cell("contour", "cleanup", true, Times::default())?,
            cell("traefik", "renewal", false, Times::default())?,
        ];
        fs::write(&path, lines.concat())?;
        assert_eq!(
            table(&path)?.as_deref(),
            Some(
                "contour  cleanup         passed\n\
                 traefik  first issuance  passed, Secret 0.46 s, HTTPS 1.00 s\n\
                 traefik  renewal         FAILED\n"
            )
        );
        Ok(())
    }
}
