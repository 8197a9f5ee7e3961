//! The certificates, each in a few bytes, and when the operator's own decisions renew them.

use std::time::Duration;

use jiff::Timestamp;
use operator::decision::{
    backoff::fraction,
    renewal::{ari_renewal_time, renewal_time},
};

use crate::simulation::{
    scenario::Scenario,
    validity::{Validity, renewal_share, seconds, suggested_window, timestamp},
};

/// Which certificate: its place in the fleet.
pub(crate) type Id = u32;

/// One of how many certificates belongs to an issuer whose server is not asked when to renew.
const WITHOUT_ARI: u32 = 10;

/// One of how many names never validates.
const BROKEN: u32 = 200;

/// A lifetime, one of Let's Encrypt's profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// 45 days.
    Tlsserver,
    /// 160 hours.
    Shortlived,
}

impl Profile {
    pub(crate) const ALL: [Self; 2] = [Self::Tlsserver, Self::Shortlived];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tlsserver => "45 days",
            Self::Shortlived => "160 hours",
        }
    }

    pub(crate) fn lifetime(self) -> Duration {
        match self {
            Self::Tlsserver => Duration::from_hours(45 * 24),
            Self::Shortlived => Duration::from_hours(160),
        }
    }
}

/// The requests of an issuance, of which one comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// newOrder.
    Place,
    /// Reading the order's authorization.
    Read,
    /// Telling the CA to validate.
    Accept,
    /// Reading what became of the authorization.
    Check,
    /// Sending the CSR.
    Finalize,
    /// Reading the order.
    Poll,
    /// Fetching the chain.
    Download,
}

/// A Certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certificate {
    /// What it has; `None` if it never had one, or only one that is long over.
    pub(crate) validity: Option<Validity>,
    pub(crate) profile: Profile,
    /// Whether there was one before, so that an order renews it.
    pub(crate) renews: bool,
    pub(crate) step: Step,
    /// Since when a new one is due, in seconds since 1970; `None` if none is.
    pub(crate) due: Option<u32>,
    /// When its order was placed, in seconds since 1970.
    pub(crate) ordered: u32,
    /// Its turn among the new orders, in seconds since 1970.
    pub(crate) turn: Option<u32>,
    /// How many issuances failed in a row.
    pub(crate) failures: u8,
    /// How many requests failed in a row.
    pub(crate) errors: u8,
}

impl Certificate {
    /// One that somebody has just asked for.
    pub(crate) fn new(id: Id) -> Self {
        Self {
            validity: None,
            profile: if id.is_multiple_of(2) { Profile::Tlsserver } else { Profile::Shortlived },
            renews: false,
            step: Step::Place,
            due: None,
            ordered: 0,
            turn: None,
            failures: 0,
            errors: 0,
        }
    }

    /// One of those that are there when the simulation begins, of any age, and when it is due, since 1970. A name that never
    /// validates had a certificate once, and was tried often since.
    fn existing(id: Id, scenario: &Scenario) -> (Self, Duration) {
        let certificate = Self { renews: true, ..Self::new(id) };
        let drawn = fraction("age", &[scenario.seed, i64::from(id)]);
        if !validates(id) {
            let due = scenario.begin + Duration::from_hours(32).mul_f64(drawn);
            return (Self { failures: 6, ..certificate }, due);
        }
        let lifetime = certificate.profile.lifetime();
        let begin = seconds(scenario.begin);
        let age = seconds(lifetime.mul_f64(drawn * renewal_share(lifetime)));
        let validity = Validity { not_before: begin - age, not_after: begin - age + seconds(lifetime) };
        (Self { validity: Some(validity), ..certificate }, renewal(id, validity).max(scenario.begin))
    }
}

/// Those that are there when the simulation begins, and when each is due first, since 1970.
pub(crate) fn existing(scenario: &Scenario) -> impl Iterator<Item = (Certificate, Duration)> {
    (0..scenario.certificates).map(|id| Certificate::existing(id, scenario))
}

/// Whether a name leads where it should.
pub(crate) fn validates(id: Id) -> bool {
    !is_one_in(BROKEN, "broken", id)
}

/// Whether the CA is asked when to renew.
pub(crate) fn asks_when_to_renew(id: Id) -> bool {
    !is_one_in(WITHOUT_ARI, "without ARI", id)
}

/// Whether a certificate is one of those that something is so of.
pub(crate) fn is_one_in(number: u32, what: &str, id: Id) -> bool {
    fraction(what, &[i64::from(id)]) * f64::from(number) < 1.0
}

/// When the operator renews, since 1970.
pub(crate) fn renewal(id: Id, validity: Validity) -> Duration {
    let life = (timestamp(validity.not_before), timestamp(validity.not_after));
    let time = if asks_when_to_renew(id) {
        ari_renewal_time(suggested_window(validity), life, Uid::of(id).as_str())
    } else {
        renewal_time(life.0, life.1, None, None).expect("it ends after it begins")
    };
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

/// The UID of an object, which decisions take as a seed: eight hexadecimal digits.
pub(crate) struct Uid([u8; 8]);

impl Uid {
    pub(crate) fn of(id: Id) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut rest = id;
        Self([(); 8].map(|()| {
            let digit = DIGITS[usize::try_from(rest % 16).unwrap_or_default()];
            rest /= 16;
            digit
        }))
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("digits")
    }
}
