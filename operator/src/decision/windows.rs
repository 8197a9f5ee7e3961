//! Renewal windows: the times at which a due renewal may start.
//!
//! Knows cron schedules and time zones; must not know when a renewal is due. Next: `certificate/times.rs`, which passes that in.

use std::cmp::min;

use crds::{certmanager::RenewalWindow, condition::whole_seconds};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration, Timestamp, Zoned,
    tz::{TimeZone, TimeZoneDatabase},
};

/// The time to renew a certificate that is due at `desired` and expires at `end`: `desired` if a window is open then, otherwise
/// the next opening of a window before `end`.
///
/// ```
/// use crds::certmanager::RenewalWindow;
/// use operator::decision::windows::within;
///
/// // Sundays from 02:00 to 04:00.
/// let window = RenewalWindow {
///     cron: Some("0 2 * * 0".into()),
///     timezone: Some("Europe/Berlin".into()),
///     window_duration: Some("2h".parse()?),
/// };
/// let (friday, end) = ("2026-03-06T00:00:00Z".parse()?, "2026-04-01T00:00:00Z".parse()?);
/// assert_eq!(within(&[window], friday, end), Ok("2026-03-08T01:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A window is malformed, or none opens before `end`. The error is a message for users.
pub fn within(windows: &[RenewalWindow], desired: Timestamp, end: Timestamp) -> Result<Timestamp, String> {
    let mut next: Option<Timestamp> = None;
    for (index, window) in windows.iter().enumerate() {
        let window = Window::of(window).map_err(|why| format!("spec.renewal.windows[{index}]: {why}"))?;
        if window.is_open(desired) {
            return Ok(desired);
        }
        let opens = window.opens_after(desired);
        next = next.into_iter().chain(opens).reduce(min);
    }
    let next = next.map(|time| whole_seconds(time).0).filter(|time| *time < end);
    next.ok_or_else(|| {
        format!("none of spec.renewal.windows opens between {desired} and the certificate's expiry at {end}")
    })
}

struct Window {
    opening: Cron,
    zone: TimeZone,
    length: SignedDuration,
}

impl Window {
    fn of(window: &RenewalWindow) -> Result<Self, String> {
        let zone = match window.timezone.as_deref().unwrap_or_default() {
            "" => TimeZone::UTC,
            // Not the system's zoneinfo: a decision must not depend on files, and the image has none.
            name => TimeZoneDatabase::bundled().get(name).map_err(|_| {
                format!("timezone {name:?} is not an IANA time zone, such as \"Europe/Berlin\"")
            })?,
        };
        let length = window.window_duration.map(|length| SignedDuration::from_nanos(length.as_nanos()));
        let length = length.filter(SignedDuration::is_positive);
        let length = length.ok_or("windowDuration must be set and longer than zero, for example 2h")?;
        let cron = window.cron.as_deref().unwrap_or_default();
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let opening = parser.parse(cron).map_err(|error| {
            format!(
                "cron {cron:?} must have five fields, for example \"0 2 * * 0\" for Sundays at 02:00: {error}"
            )
        })?;
        Ok(Self { opening, zone, length })
    }

    fn local(&self, time: Timestamp) -> Zoned {
        time.to_zoned(self.zone.clone())
    }

    fn is_open(&self, time: Timestamp) -> bool {
        let opened = self.opening.find_previous_occurrence(&self.local(time), true);
        opened.is_ok_and(|opened| time.duration_since(opened.timestamp()) < self.length)
    }

    /// The next opening; `None` if the window never opens again.
    fn opens_after(&self, time: Timestamp) -> Option<Timestamp> {
        self.opening.find_next_occurrence(&self.local(time), false).ok().map(|time| time.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn window(cron: &str, timezone: &str, duration: &str) -> RenewalWindow {
        RenewalWindow {
            cron: Some(cron.to_owned()),
            timezone: Some(timezone.to_owned()).filter(|zone| !zone.is_empty()),
            window_duration: Some(duration.parse().expect("a duration")),
        }
    }

    fn result(windows: &[RenewalWindow], desired: &str) -> Result<String, String> {
        within(windows, at(desired), at("2026-04-01T00:00:00Z")).map(|time| time.to_string())
    }

    #[test]
    fn renewal_waits_for_the_next_window() {
        let nights = window("0 22 * * *", "", "4h");
        let sundays = window("0 2 * * SUN", "America/New_York", "2h");
        for (windows, desired, expected) in [
            (vec![nights.clone()], "2026-03-02T12:00:00Z", "2026-03-02T22:00:00Z"),
            (vec![nights.clone()], "2026-03-02T22:00:00Z", "2026-03-02T22:00:00Z"),
            (vec![nights.clone()], "2026-03-03T01:59:59Z", "2026-03-03T01:59:59Z"),
            (vec![nights.clone()], "2026-03-03T02:00:00Z", "2026-03-03T22:00:00Z"),
            (vec![sundays.clone()], "2026-02-24T12:00:00Z", "2026-03-01T07:00:00Z"),
            // At 02:00 that night, daylight saving time starts and clocks go to 03:00.
            (vec![sundays.clone()], "2026-03-02T12:00:00Z", "2026-03-08T07:00:00Z"),
            (vec![sundays, nights], "2026-03-02T12:00:00Z", "2026-03-02T22:00:00Z"),
        ] {
            assert_eq!(result(&windows, desired).as_deref(), Ok(expected), "{windows:?} {desired}");
        }
    }

    #[test]
    fn invalid_windows_are_rejected_with_the_reason() {
        for (window, words) in [
            (window("0 2 * *", "", "1h"), "five fields"),
            (window("0 0 2 * * *", "", "1h"), "five fields"),
            (window("61 2 * * *", "", "1h"), "five fields"),
            (window("", "", "1h"), "five fields"),
            (window("0 2 * * *", "Mars/Olympus", "1h"), "\"Mars/Olympus\""),
            // A name that only the system's zoneinfo may have.
            (window("0 2 * * *", "posix/Europe/Berlin", "1h"), "not an IANA time zone"),
            (window("0 2 * * *", "", "0s"), "windowDuration"),
            (RenewalWindow { window_duration: None, ..window("0 2 * * *", "", "1h") }, "windowDuration"),
            // Never, and only after the expiry.
            (window("0 2 30 2 *", "", "1h"), "none of spec.renewal.windows"),
            (window("0 2 1 5 *", "", "1h"), "none of spec.renewal.windows"),
        ] {
            let error = result(std::slice::from_ref(&window), "2026-03-02T12:00:00Z");
            assert!(error.as_ref().is_err_and(|error| error.contains(words)), "{window:?}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_cron_never_panics_or_leaves_the_range(
            cron in "[0-9*,/ LW#?@A-Z-]{0,24}",
            desired in 0_i64..4_000_000_000,
        ) {
            let desired = Timestamp::from_second(desired).expect("a time");
            let end = desired + SignedDuration::from_hours(24 * 30);
            if let Ok(time) = within(&[window(&cron, "Europe/Berlin", "90m")], desired, end) {
                prop_assert!(desired <= time && time < end);
                prop_assert_eq!(within(&[window(&cron, "Europe/Berlin", "90m")], time, end), Ok(time));
            }
        }
    }
}
