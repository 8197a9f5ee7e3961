//! The certificates, each in a few bytes, and when the operator's own decisions renew them.
//!
//! Knows Certificates and the time of their renewals; must not know limits. Next: `run.rs` for what happens to them.

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

/// The index of a certificate in the fleet.
pub(crate) type Id = u32;

/// One certificate in this number belongs to an issuer without renewal information (RFC 9773).
const WITHOUT_ARI: u32 = 10;

/// One name in this number never validates.
const BROKEN: u32 = 200;

/// A profile of Let's Encrypt, which determines the lifetime.
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

/// The next request of an issuance, in the order of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// newOrder.
    Place,
    /// Fetch the order's authorization.
    Read,
    /// Ask the CA to validate the challenge.
    Accept,
    /// Fetch the authorization after its validation.
    Check,
    /// Send the CSR.
    Finalize,
    /// Fetch the order.
    Poll,
    /// Fetch the chain.
    Download,
}
#[derive(Clone, Copy, Debug)]
pub(crate) struct Certificate {
    /// The validity of the current certificate. `None` if it was never issued, or expired long ago.
    pub(crate) validity: Option<Validity>,
    pub(crate) profile: Profile,
    /// Whether the CA has issued for this name before, so that an order is a renewal.
    pub(crate) renews: bool,
    pub(crate) step: Step,
    /// Since when an issuance is due, in seconds since 1970. `None` if none is due.
    pub(crate) due: Option<u32>,
    /// When the order was placed, in seconds since 1970.
    pub(crate) ordered: u32,
    /// The new-order slot, in seconds since 1970.
    pub(crate) slot: Option<u32>,
    /// The number of consecutive failed issuances.
    pub(crate) failures: u8,
    /// The number of consecutive failed requests.
    pub(crate) errors: u8,
}

impl Certificate {
    /// A certificate that a user has just requested.
    pub(crate) fn new(id: Id) -> Self {
        Self {
            validity: None,
            profile: if id.is_multiple_of(2) { Profile::Tlsserver } else { Profile::Shortlived },
            renews: false,
            step: Step::Place,
            due: None,
            ordered: 0,
            slot: None,
            failures: 0,
            errors: 0,
        }
    }

    /// A certificate that exists when the simulation begins, of a random age, and when it is due, since 1970. A name that never
    /// validates once had a certificate, and has failed often since.
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

/// The certificates that exist when the simulation begins, and when each is first due, since 1970.
pub(crate) fn existing(scenario: &Scenario) -> impl Iterator<Item = (Certificate, Duration)> {
    (0..scenario.certificates).map(|id| Certificate::existing(id, scenario))
}

/// Whether the CA's validation of a name succeeds.
pub(crate) fn validates(id: Id) -> bool {
    !is_one_in(BROKEN, "broken", id)
}

/// Whether the operator fetches renewal information (RFC 9773) for a certificate.
pub(crate) fn uses_ari(id: Id) -> bool {
    !is_one_in(WITHOUT_ARI, "without ARI", id)
}

/// Whether a certificate is in a random sample of one in `number`. `what` names the sample.
pub(crate) fn is_one_in(number: u32, what: &str, id: Id) -> bool {
    fraction(what, &[i64::from(id)]) * f64::from(number) < 1.0
}

/// When the operator renews a certificate, since 1970.
pub(crate) fn renewal(id: Id, validity: Validity) -> Duration {
    let life = (timestamp(validity.not_before), timestamp(validity.not_after));
    let time = if uses_ari(id) {
        ari_renewal_time(suggested_window(validity), life, Uid::of(id).as_str())
    } else {
        renewal_time(life.0, life.1, None, None).expect("a certificate ends after it begins")
    };
    Duration::try_from(time.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

/// The UID of an object, which decisions use as a seed: eight hexadecimal digits.
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
