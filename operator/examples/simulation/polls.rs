//! How often the CA is asked when to renew (RFC 9773): a sample of the fleet asks when the operator's decisions say, and stands
//! for the rest.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use operator::{
    controllers::MAX_CONCURRENT_CERTIFICATES,
    decision::renewal::{first_ari_check, next_ari_check},
};

use crate::{
    authority::{Authority, Request},
    figures::Requests,
    fleet::{self, Id, Uid, Validity, asks_when_to_renew, seconds, timestamp, validates},
    scenario::Scenario,
    wheel::{Entry, MINUTE, Wheel},
};

/// How many certificates one of the sample stands for.
const SAMPLE: u32 = 20;

/// How long Let's Encrypt asks to wait before it is asked again.
const RETRY_AFTER: Duration = Duration::from_hours(6);

/// How many ask at once: each does within the reconcile of its Certificate, and waits for the answer.
const AT_ONCE: u32 = MAX_CONCURRENT_CERTIFICATES as u32;

/// Those who ask.
pub(crate) struct Polls {
    wheel: Wheel,
    due: VecDeque<Id>,
    /// How many may be made in a minute by the sample.
    in_a_minute: usize,
    /// How many were made by the sample.
    pub(crate) made: u64,
    /// How many should have been: the sum over time of those who ask, by how long each waits in the mean.
    pub(crate) expected: f64,
    asking: u32,
}

impl Polls {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let at_once = f64::from(AT_ONCE) / scenario.latency.as_secs_f64();
        let in_a_minute = at_once.min(scenario.polls_per_second) * 60.0 / f64::from(SAMPLE);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
        let in_a_minute = in_a_minute as usize;
        Self {
            wheel: Wheel::new(scenario.begin, scenario.minutes()),
            due: VecDeque::new(),
            in_a_minute,
            made: 0,
            expected: 0.0,
            asking: 0,
        }
    }

    /// Adds a certificate that was issued, unless it is none of the sample or there already.
    pub(crate) fn add(&mut self, id: Id, validity: Validity, issued: Duration) {
        if !fleet::is_one_in(SAMPLE, "sample", id) || !asks_when_to_renew(id) || !validates(id) {
            return;
        }
        let life = (timestamp(validity.not_before), timestamp(validity.not_after));
        let wait = first_ari_check(life.0, life.1, Uid::of(id).as_str()).unwrap_or_default();
        self.asking += 1;
        self.wheel.put(Entry { at: issued + wait.unsigned_abs(), id });
    }

    /// Asks for a minute. `up` is whether the operator is.
    pub(crate) fn minute(
        &mut self,
        now: Duration,
        up: bool,
        authority: &mut Authority,
        requests: &mut Requests,
    ) {
        self.due.extend(self.wheel.take().iter().map(|entry| entry.id));
        if !up {
            return;
        }
        self.expected += f64::from(self.asking) * MINUTE.as_secs_f64() / (RETRY_AFTER.as_secs_f64() * 0.95);
        let made = self.due.len().min(self.in_a_minute);
        for id in self.due.drain(..made) {
            let next = next_ari_check(timestamp(seconds(now)), Some(RETRY_AFTER), Uid::of(id).as_str());
            let wait = next.duration_since(Timestamp::UNIX_EPOCH).max(SignedDuration::ZERO);
            self.wheel.put(Entry { at: wait.unsigned_abs(), id });
        }
        self.made += u64::try_from(made).unwrap_or_default();
        let all = u32::try_from(made).unwrap_or_default() * SAMPLE;
        let rounds = all.div_ceil(AT_ONCE);
        for round in 0..rounds {
            let at = now + MINUTE * round / rounds;
            let times = (all - round * AT_ONCE).min(AT_ONCE);
            // What is refused is seen there.
            let _ = authority.request(Request::RenewalInfo, at, times);
            requests.count(Request::RenewalInfo, at, times);
        }
    }
}
