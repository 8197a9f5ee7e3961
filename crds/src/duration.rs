//! Durations in Go's syntax, such as `2160h` or `1.5h`: the format of `metav1.Duration` fields and of annotations.
//!
//! Mirrors [`time.ParseDuration`](https://pkg.go.dev/time#ParseDuration) and
//! [`Duration.String`](https://pkg.go.dev/time#Duration.String) exactly: the same texts are valid, have the same value
//! to the nanosecond, and are printed in the same form. `kube::core::Duration` is not used because it calculates in
//! floating point and prints `5400s` where Go prints `1h30m0s`, so objects would change when they are read and written.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A signed number of nanoseconds from -2⁶³ to 2⁶³−1, about 292 years in either direction.
///
/// ```
/// use crds::duration::GoDuration;
///
/// let duration: GoDuration = "1.5h".parse()?;
/// assert_eq!(duration.to_string(), "1h30m0s");
/// assert_eq!(duration.as_nanos(), 5_400_000_000_000);
/// # Ok::<(), crds::duration::ParseDuration>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(i64);

/// Error of parsing a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseDuration {
    /// The duration does not fit into 64 bits of nanoseconds.
    #[error("failed to parse duration {0:?}: it is longer than 292 years")]
    Overflow(String),
    /// The text is not a sequence of numbers with units.
    #[error("failed to parse duration {0:?}: use numbers with units, such as \"2160h\" or \"1h30m\"")]
    Syntax(String),
    /// A number has no unit, or one that Go does not support.
    #[error("failed to parse duration {0:?}: each number needs one of the units h, m, s, ms, us, µs, and ns")]
    Unit(String),
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    // U+00B5 and U+03BC: Go accepts both.
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// Creates a duration from whole seconds.
    pub const fn from_secs(seconds: i32) -> Self {
        Self(seconds as i64 * 1_000_000_000)
    }

    /// Returns the number of nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Converts to a duration of the standard library; `None` if it is negative.
    pub fn to_std(self) -> Option<Duration> {
        u64::try_from(self.0).ok().map(Duration::from_nanos)
    }
}

impl FromStr for GoDuration {
    type Err = ParseDuration;

    fn from_str(text: &str) -> Result<Self, ParseDuration> {
        let syntax = || ParseDuration::Syntax(text.to_owned());
        let overflow = || ParseDuration::Overflow(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        // The only number that needs no unit.
        if rest == "0" {
            return Ok(Self(0));
        }
        if rest.is_empty() {
            return Err(syntax());
        }
        let mut nanos: u64 = 0;
        while !rest.is_empty() {
            let (whole, after) = split_digits(rest);
            let (fraction, after) = after.strip_prefix('.').map_or(("", after), split_digits);
            if whole.is_empty() && fraction.is_empty() {
                return Err(syntax());
            }
            let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let unit = UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, nanos)| *nanos);
            let unit = unit.ok_or_else(|| ParseDuration::Unit(text.to_owned()))?;
            let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| overflow())? };
            nanos = whole
                .checked_mul(unit)
                .and_then(|part| part.checked_add(fraction_to_nanos(fraction, unit)))
                .and_then(|part| nanos.checked_add(part))
                .filter(|sum| *sum <= 1 << 63)
                .ok_or_else(overflow)?;
            rest = after;
        }
        let signed = if negative { -i128::from(nanos) } else { i128::from(nanos) };
        i64::try_from(signed).map(Self).map_err(|_| overflow())
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Converts the digits after the decimal point to nanoseconds, rounded down like Go's: as many digits as fit into 63 bits,
/// multiplied in floating point.
fn fraction_to_nanos(digits: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1_f64);
    for digit in digits.bytes().map(|byte| u64::from(byte - b'0')) {
        let next = value.checked_mul(10).and_then(|value| value.checked_add(digit));
        let Some(next) = next.filter(|next| i64::try_from(*next).is_ok()) else { break };
        value = next;
        scale *= 10.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the rounding of Go; the product is less than one unit, so it fits"
    )]
    {
        (value as f64 * (unit as f64 / scale)) as u64
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", Decimal { value: nanos, places: 3 }),
            1_000_000..1_000_000_000 => write!(f, "{}ms", Decimal { value: nanos, places: 6 }),
            _ => {
                let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
                let (hours, minutes) = (minutes / 60, minutes % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                write!(f, "{}s", Decimal { value: rest, places: 9 })
            }
        }
    }
}

/// A decimal fraction, printed without trailing zeros.
struct Decimal {
    value: u64,
    places: u32,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10_u64.pow(self.places);
        let (whole, fraction) = (self.value / scale, self.value % scale);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{fraction:0width$}", width = self.places as usize);
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GoDuration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            // The API server estimates the cost of a rule from the maximum length.
            "maxLength": 64,
            "x-kubernetes-validations": [{
                "rule": r"self.matches('^[-+]?(0|([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))*)$')",
                "message": "must be a duration: numbers with units, such as \"2160h\" or \"1h30m\"",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts, and how Go 1.26 prints the parsed durations; `unit` if Go reports a missing unit.
    const PARSED_AND_PRINTED_BY_GO: &[(&str, &str)] = &[
        ("0", "0s"),
        ("+0", "0s"),
        ("2160h", "2160h0m0s"),
        ("1.5h", "1h30m0s"),
        ("90m", "1h30m0s"),
        ("5m", "5m0s"),
        ("1h1m1s", "1h1m1s"),
        ("-1.5s", "-1.5s"),
        ("1.", "unit"),
        ("1.s", "1s"),
        (".5s", "500ms"),
        ("1500µs", "1.5ms"),
        ("1500μs", "1.5ms"),
        ("1us", "1µs"),
        ("39h9m14.425s", "39h9m14.425s"),
        ("0.1ns", "0s"),
        ("9223372036854775807ns", "2562047h47m16.854775807s"),
        ("-9223372036854775808ns", "-2562047h47m16.854775808s"),
        ("0.9223372036854775807h", "55m20.413933267s"),
        ("0.3333333333333333333h", "20m0s"),
        ("0.830103483285477580700h", "49m48.372539827s"),
        ("9007199254740993ns", "2501h59m59.254740993s"),
    ];

    #[test]
    fn durations_print_as_in_go() {
        for (text, printed) in PARSED_AND_PRINTED_BY_GO {
            match text.parse::<GoDuration>() {
                Ok(duration) => assert_eq!(duration.to_string(), *printed, "{text}"),
                Err(error) => {
                    assert!(matches!(error, ParseDuration::Unit(_)) && *printed == "unit", "{text}: {error}");
                }
            }
        }
    }

    #[test]
    fn texts_that_go_rejects_are_rejected() {
        for text in [
            "",
            "-",
            "3",
            "1d",
            "1h ",
            " 1h",
            "1h-1m",
            "h",
            ".",
            ".s",
            "1e3s",
            "9223372036854775808ns",
            "3000000h",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printed_durations_parse_to_the_same_value(nanos: i64) {
            let duration = GoDuration(nanos);
            prop_assert_eq!(duration.to_string().parse::<GoDuration>(), Ok(duration));
        }

        #[test]
        fn parsing_never_panics(text: String) {
            _ = text.parse::<GoDuration>();
        }
    }
}
