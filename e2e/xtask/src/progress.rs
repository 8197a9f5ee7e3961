//! Progress of long work, for people and logs: the step that runs, its expected time, and the time it took.
//! Writes to standard error only: standard output is for results. Knows nothing about what a step does.
//! Next: `release.rs`, which reports its builds with it.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Steps expected to take at least this long are announced when they begin, even where no spinner can be drawn.
const WORTH_ANNOUNCING: Duration = Duration::from_secs(5);

/// A sequence of named steps, with the time that each took.
#[derive(Debug)]
pub struct Steps {
    began: Instant,
    taken: Mutex<Vec<(String, Duration)>>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { began: Instant::now(), taken: Mutex::default() }
    }
}

impl Steps {
    /// Begins a step. `expected` is the usual time on two cores, for steps that take seconds or more.
    pub fn begin(&self, title: impl Into<String>, expected: Option<Duration>) -> Step<'_> {
        let title = title.into();
        let bar = ProgressBar::new_spinner();
        let hint = expected.map(|time| format!(", about {}", Human(time))).unwrap_or_default();
        bar.set_style(
            ProgressStyle::with_template("  {spinner} {msg} {elapsed}").expect("the template is well-formed"),
        );
        bar.set_message(format!("{title}{hint}"));
        if bar.is_hidden() {
            if expected.is_some_and(|time| time >= WORTH_ANNOUNCING) {
                eprintln!("  … {title}{hint}");
            }
        } else {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Step { steps: self, title, bar, began: Instant::now(), finished: false }
    }

    /// Prints a line between steps.
    pub fn say(&self, line: impl Display) {
        eprintln!("{line}");
    }

    /// Prints the total time and the three longest steps.
    pub fn summary(&self, what: &str) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        taken.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        let longest: Vec<String> =
            taken.iter().take(3).map(|(title, time)| format!("{title} {}", Human(*time))).collect();
        let longest =
            if longest.is_empty() { String::new() } else { format!(" (longest: {})", longest.join(", ")) };
        eprintln!("{what} took {}{longest}", Human(self.began.elapsed()));
    }
}

/// A step in progress. It counts as failed if it is dropped without [`Step::done`].
#[derive(Debug)]
pub struct Step<'a> {
    steps: &'a Steps,
    title: String,
    bar: ProgressBar,
    began: Instant,
    finished: bool,
}

impl Step<'_> {
    /// Ends a step that succeeded. `detail` is its result in a few words, or empty.
    pub fn done(mut self, detail: impl Display) {
        let time = self.began.elapsed();
        self.finish('✓', detail, time);
        self.steps.taken.lock().unwrap_or_else(PoisonError::into_inner).push((self.title.clone(), time));
    }

    fn finish(&mut self, mark: char, detail: impl Display, time: Duration) {
        self.finished = true;
        self.bar.finish_and_clear();
        let detail = detail.to_string();
        let separator = if detail.is_empty() { "" } else { ": " };
        eprintln!("  {mark} {}{separator}{detail} ({})", self.title, Human(time));
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.finish('✗', "", self.began.elapsed());
        }
    }
}

/// A duration as people write it: `230 ms`, `4.2 s`, `3 min 50 s`.
#[derive(Clone, Copy, Debug)]
pub struct Human(pub Duration);

impl Display for Human {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            seconds @ 1..60 if self.0.subsec_millis() == 0 => write!(f, "{seconds} s"),
            1..60 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            seconds if seconds % 60 == 0 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} min {} s", seconds / 60, seconds % 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_printed_in_common_units() {
        for (duration, text) in [
            (Duration::from_millis(7), "7 ms"),
            (Duration::from_millis(4240), "4.2 s"),
            (Duration::from_secs(6), "6 s"),
            (Duration::from_mins(3), "3 min"),
            (Duration::from_secs(230), "3 min 50 s"),
        ] {
            assert_eq!(Human(duration).to_string(), text);
        }
    }
}
