//! Polls of renewal information (RFC 9773): a sample of the fleet polls at the times that the operator's decisions choose, and
//! represents all certificates.
//!
//! Knows when to poll; must not know issuances. Next: `fleet.rs`.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp};
use operator::{
    controllers::MAX_CONCURRENT_RENEWAL_INFO,
    decision::renewal::{first_ari_check, next_ari_check},
};

use crate::simulation::{
    authority::{Authority, Request},
    figures::Requests,
    fleet::{self, Id, Uid, uses_ari, validates},
    scenario::Scenario,
    validity::{Validity, seconds, timestamp},
    wheel::{Entry, MINUTE, Wheel},
};

/// How many certificates each one in the sample represents.
const SAMPLE: u32 = 20;

/// The Retry-After header of Let's Encrypt's renewal information.
const RETRY_AFTER: Duration = Duration::from_hours(6);

pub(crate) struct Polls {
    wheel: Wheel,
    due: VecDeque<Id>,
    /// How many polls the sample may make per minute.
    per_minute: usize,
    /// How many polls the sample has made.
    pub(crate) sent: u64,
    /// How many polls the sample should have made: the number of polling certificates over time, divided by their mean interval.
    pub(crate) expected: f64,
    /// How many certificates in the sample poll.
    polling: u32,
}

impl Polls {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let per_second = f64::from(MAX_CONCURRENT_RENEWAL_INFO) / scenario.latency.as_secs_f64();
        let per_minute = per_second.min(scenario.polls_per_second) * 60.0 / f64::from(SAMPLE);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
        let per_minute = per_minute as usize;
        Self {
            wheel: Wheel::new(scenario.begin, scenario.minutes()),
            due: VecDeque::new(),
            per_minute,
            sent: 0,
            expected: 0.0,
            polling: 0,
        }
    }

    /// Adds a certificate that was issued for the first time, if it is in the sample.
    pub(crate) fn add(&mut self, id: Id, validity: Validity, issued: Duration) {
        if !fleet::is_one_in(SAMPLE, "sample", id) || !uses_ari(id) || !validates(id) {
            return;
        }
        let life = (timestamp(validity.not_before), timestamp(validity.not_after));
        let wait = first_ari_check(life.0, life.1, Uid::of(id).as_str()).unwrap_or_default();
        self.polling += 1;
        self.wheel.put(Entry { at: issued + wait.unsigned_abs(), id });
    }

    /// Polls for a minute. `up` says whether the operator is running.
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
        self.expected += f64::from(self.polling) * MINUTE.as_secs_f64() / (RETRY_AFTER.as_secs_f64() * 0.95);
        let sent = self.due.len().min(self.per_minute);
        for id in self.due.drain(..sent) {
            let next = next_ari_check(timestamp(seconds(now)), Some(RETRY_AFTER), Uid::of(id).as_str());
            let wait = next.duration_since(Timestamp::UNIX_EPOCH).max(SignedDuration::ZERO);
            self.wheel.put(Entry { at: wait.unsigned_abs(), id });
        }
        self.sent += u64::try_from(sent).unwrap_or_default();
        let all = u32::try_from(sent).unwrap_or_default() * SAMPLE;
        let rounds = all.div_ceil(MAX_CONCURRENT_RENEWAL_INFO);
        for round in 0..rounds {
            let at = now + MINUTE * round / rounds;
            let times = (all - round * MAX_CONCURRENT_RENEWAL_INFO).min(MAX_CONCURRENT_RENEWAL_INFO);
            // The CA counts rejections itself.
            let _ = authority.request(Request::RenewalInfo, at, times);
            requests.count(Request::RenewalInfo, at, times);
        }
    }
}
