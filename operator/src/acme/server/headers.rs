//! Response headers: `Retry-After`, and `Link` to alternate chains.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{DATE, HeaderValue, LINK, RETRY_AFTER},
};
use jiff::Timestamp;

/// Returns how long `Retry-After` asks to wait (RFC 9110 section 10.2.3). It holds either seconds or a date, which is
/// compared with the `Date` header, that is, with the clock of the server, and with `now` if that header is missing.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |value: &HeaderValue| http_date(value.to_str().ok()?);
    let now = headers.get(DATE).and_then(date).unwrap_or(now);
    Some(Duration::try_from(http_date(value)?.duration_since(now)).unwrap_or_default())
}

/// Parses a date in any of the three formats of RFC 9110 section 5.6.7.
fn http_date(text: &str) -> Option<Timestamp> {
    Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}

/// How many alternate chains are considered. CAs offer up to three.
pub const MAX_ALTERNATES: usize = 10;

/// Returns the first targets of `Link` headers with `rel="alternate"`, RFC 8288.
pub(super) fn alternates(headers: &HeaderMap) -> Vec<String> {
    let links = headers.get_all(LINK).into_iter().filter_map(|value| value.to_str().ok());
    links
        .flat_map(|value| value.split(", <").map(|link| link.trim_start_matches('<')))
        .filter_map(|link| link.split_once('>'))
        .filter(|(_, parameters)| {
            parameters.split(';').any(|parameter| {
                let parameter = parameter.trim().replace('"', "");
                parameter.eq_ignore_ascii_case("rel=alternate")
            })
        })
        .map(|(target, _)| target.to_owned())
        .take(MAX_ALTERNATES)
        .collect()
}

pub(super) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn retry_after_accepts_seconds_and_dates() {
        let now = Timestamp::from_second(784_111_770).expect("a time");
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (given, seconds) in [
            (&[("retry-after", "120")][..], Some(120)),
            (&[("retry-after", " 7 ")], Some(7)),
            (&[date], Some(7)),
            // The `Date` of the server takes precedence over our clock.
            (&[date, ("date", "Sun, 06 Nov 1994 08:48:37 GMT")], Some(60)),
            (&[date, ("date", "Sun, 06 Nov 1994 09:48:37 GMT")], Some(0)),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "-1")], None),
            (&[], None),
        ] {
            assert_eq!(retry_after(&headers(given), now), seconds.map(Duration::from_secs), "{given:?}");
        }
    }

    #[test]
    fn alternates_are_found_among_links() {
        let given = headers(&[
            ("link", "<https://acme.example.test/dir>;rel=\"index\""),
            (
                "link",
                "<https://acme.example.test/1>;rel=\"alternate\", <https://acme.example.test/2>; rel=alternate",
            ),
            ("link", "broken"),
        ]);
        assert_eq!(alternates(&given), ["https://acme.example.test/1", "https://acme.example.test/2"]);
        let many = vec!["<https://acme.example.test/1>;rel=\"alternate\""; 500].join(", ");
        assert_eq!(alternates(&headers(&[("link", &many)])).len(), MAX_ALTERNATES);
    }
}
