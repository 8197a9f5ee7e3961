//! Renewal windows: the times at which a due renewal may start.
//!
//! Knows cron schedules and time zones; must not know when a renewal is due. Next: `certificate/times.rs`, which passes that in.

use std::cmp::min;

use crds::{certmanager::RenewalWindow, condition::whole_seconds};
use croner::{
    Cron, Weekday,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};

/// How many windows of a Certificate are used. The definition allows as many.
pub const MOST_WINDOWS: usize = 100;

/// How many days before and after a due renewal are searched for an opening: more than a year, so that yearly windows are found, and so
/// few that a window which never opens costs next to nothing.
pub const LONGEST_SEARCH_DAYS: usize = 400;

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
/// There are too many windows, one is malformed, or none opens before `end`. The error is a message for users.
pub fn within(windows: &[RenewalWindow], desired: Timestamp, end: Timestamp) -> Result<Timestamp, String> {
    if windows.len() > MOST_WINDOWS {
        return Err(format!(
            "spec.renewal.windows has {} windows, but at most {MOST_WINDOWS} are allowed. Join some in one cron expression",
            windows.len()
        ));
    }
    let mut next: Option<Timestamp> = None;
    for (index, window) in windows.iter().enumerate() {
        let window = Window::of(window).map_err(|why| format!("spec.renewal.windows[{index}]: {why}"))?;
        if window.is_open(desired) {
            return Ok(desired);
        }
        let opens = window.opens_after(desired, end);
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

    fn is_open(&self, time: Timestamp) -> bool {
        let local = |time| self.zone.to_datetime(time).date();
        let (mut day, first) = (local(time), local(time.checked_sub(self.length).unwrap_or(Timestamp::MIN)));
        for _ in 0..LONGEST_SEARCH_DAYS {
            if let Some(opened) = self.openings(day).rev().find(|opened| *opened <= time) {
                return time.duration_since(opened) < self.length;
            }
            match day.yesterday() {
                Ok(earlier) if day > first => day = earlier,
                _ => break,
            }
        }
        false
    }

    /// The next opening, if there is one until the day of `end`.
    fn opens_after(&self, time: Timestamp, end: Timestamp) -> Option<Timestamp> {
        let (mut day, last) = (self.zone.to_datetime(time).date(), self.zone.to_datetime(end).date());
        for _ in 0..LONGEST_SEARCH_DAYS {
            let opens = self.openings(day).find(|opens| *opens > time);
            if opens.is_some() || day >= last {
                return opens;
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    /// The openings on a day, in the order of its clock.
    fn openings(&self, day: Date) -> impl DoubleEndedIterator<Item = Timestamp> {
        let hours = if self.matches_day(day).unwrap_or_default() { 0..24_i8 } else { 0..0 };
        let pattern = &self.opening.pattern;
        hours
            .filter(|hour| pattern.hour_match(u32::from(hour.unsigned_abs())).unwrap_or_default())
            .flat_map(move |hour| (0..60_i8).map(move |minute| (hour, minute)))
            .filter(|(_, minute)| pattern.minute_match(u32::from(minute.unsigned_abs())).unwrap_or_default())
            .flat_map(move |(hour, minute)| self.instants(day, hour, minute))
    }

    fn matches_day(&self, day: Date) -> Result<bool, CronError> {
        let (pattern, year) = (&self.opening.pattern, i32::from(day.year()));
        let (month, of_month) = (u32::from(day.month().unsigned_abs()), u32::from(day.day().unsigned_abs()));
        let of_week = u32::from(day.weekday().to_sunday_zero_offset().unsigned_abs());
        let weekday = Weekday::from_days_from_sunday(of_week);
        Ok(pattern.month_match(month)? && pattern.day_match(year, month, of_month, weekday)?)
    }

    /// When a clock in the zone shows a time: twice if it is set back then, and later by the gap if it is set forward past that time.
    fn instants(
        &self,
        day: Date,
        hour: i8,
        minute: i8,
    ) -> impl DoubleEndedIterator<Item = Timestamp> + use<> {
        let time = Time::new(hour, minute, 0, 0).unwrap_or_default();
        let found = self.zone.to_ambiguous_timestamp(day.to_datetime(time));
        let again = match found.offset() {
            AmbiguousOffset::Fold { .. } => found.later().ok(),
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Gap { .. } => None,
        };
        found.compatible().ok().into_iter().chain(again)
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
            (window("0 2 31 2,4,6,9,11 *", "", "1h"), "none of spec.renewal.windows"),
        ] {
            let error = result(std::slice::from_ref(&window), "2026-03-02T12:00:00Z");
            assert!(error.as_ref().is_err_and(|error| error.contains(words)), "{window:?}: {error:?}");
        }
    }

    /// The clock shows 02:30 twice when daylight saving time ends, and never when it starts.
    #[test]
    fn window_opens_when_clocks_change() {
        let nights = [window("30 2 * * *", "Europe/Berlin", "10m")];
        for (desired, expected) in [
            ("2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T00:50:00Z", "2026-10-25T01:30:00Z"),
            ("2026-03-29T00:45:00Z", "2026-03-29T01:30:00Z"),
        ] {
            let end = at(desired) + SignedDuration::from_hours(240);
            assert_eq!(within(&nights, at(desired), end), Ok(at(expected)));
        }
    }

    #[test]
    fn yearly_window_is_found() {
        let (desired, end) = (at("2026-01-02T00:00:00Z"), at("2036-01-01T00:00:00Z"));
        let yearly = [window("0 2 1 1 *", "", "1h")];
        assert_eq!(within(&yearly, desired, end), Ok(at("2027-01-01T02:00:00Z")));
        let long = [window("0 2 1 1 *", "", "8760h")];
        assert_eq!(within(&long, desired, end), Ok(desired));
    }

    /// `tests/limits.rs` measures what they cost: until the year 5000, it would be seconds.
    #[test]
    fn windows_that_never_open_are_given_up() {
        let windows = vec![window("0 0 31 2,4,6,9,11 *", "Europe/Berlin", "2000000h"); MOST_WINDOWS];
        assert!(within(&windows, Timestamp::UNIX_EPOCH, Timestamp::MAX).is_err());
        assert!(within(&windows, Timestamp::MIN, Timestamp::MAX).is_err());
        let more = vec![window("* * * * *", "", "1h"); MOST_WINDOWS + 1];
        let error = within(&more, Timestamp::UNIX_EPOCH, Timestamp::MAX);
        assert!(error.is_err_and(|it| it.contains("has 101 windows, but at most 100 are allowed")));
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
