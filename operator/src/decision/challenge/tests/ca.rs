//! An ACME server in memory with one authorization, which runs the course that a test has drawn.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use super::world::Answer;
use crate::{
    acme::{AcmeError, AuthorizationState, AuthorizationStatus, Phase, Problem},
    decision::{runner::Meter, testing::Failure},
};

/// What the server does.
#[derive(Clone, Debug)]
pub(super) struct CaCourse {
    /// What becomes of the first requests; all after them are answered.
    pub(super) replies: Vec<Reply>,
    /// When every request fails, from the start, and how.
    pub(super) outage: Option<(Duration, Duration, Failure)>,
    /// How long the validation takes.
    pub(super) validation: Duration,
    /// How it ends.
    pub(super) verdict: Verdict,
    /// What the server's own request for the answer gets, if that is not what the operator gets.
    pub(super) sees: Option<Answer>,
    /// How long the authorization can be validated. Afterwards it is `expired`, or the server has forgotten it.
    pub(super) lifetime: Duration,
    pub(super) forgets: bool,
    /// After how many requests it loses the account.
    pub(super) loses_account_after: Option<usize>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// It is done. A pending authorization comes with this `Retry-After`, in seconds.
    Done(Option<u64>),
    /// It is not done.
    Fails(Failure),
    /// It is done, and the response is lost.
    Lost,
}

/// How a validation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// By what the server gets at the challenge's URL.
    ByAnswer,
    /// With a state that has nothing to do with the answer.
    Status(AuthorizationStatus),
}

#[derive(Debug)]
pub(super) struct Ca {
    course: CaCourse,
    replies: VecDeque<Reply>,
    created: Timestamp,
    challenge_url: String,
    status: AuthorizationStatus,
    problem: Option<Problem>,
    submitted: Option<Timestamp>,
    requests: usize,
    pub(super) account_is_lost: bool,
    /// Everything that the server has given as a reason.
    pub(super) causes: Vec<String>,
    pub(super) meter: Meter,
}

impl Ca {
    pub(super) fn new(course: CaCourse, created: Timestamp, challenge_url: &str) -> Self {
        Self {
            replies: course.replies.iter().copied().collect(),
            course,
            created,
            challenge_url: challenge_url.to_owned(),
            status: AuthorizationStatus::Pending,
            problem: None,
            submitted: None,
            requests: 0,
            account_is_lost: false,
            causes: Vec::new(),
            meter: Meter::default(),
        }
    }

    /// Answers a request for validation.
    pub(super) fn submit(&mut self, now: Timestamp, answer: Answer) -> Result<(), AcmeError> {
        self.request(now, answer, |ca| {
            if ca.status == AuthorizationStatus::Pending {
                ca.submitted.get_or_insert(now);
            }
        })
        .map(drop)
    }

    /// Answers a request for the authorization.
    pub(super) fn authorization(
        &mut self,
        now: Timestamp,
        answer: Answer,
    ) -> Result<AuthorizationState, AcmeError> {
        self.request(now, answer, |_| {})
    }

    fn request(
        &mut self,
        now: Timestamp,
        answer: Answer,
        perform: impl FnOnce(&mut Self),
    ) -> Result<AuthorizationState, AcmeError> {
        self.meter.count(now);
        self.requests += 1;
        if self.course.loses_account_after == Some(self.requests) {
            self.account_is_lost = true;
        }
        let reply = match self.course.outage {
            Some((from, until, failure)) if now >= self.created + from && now < self.created + until => {
                Reply::Fails(failure)
            }
            _ if self.account_is_lost => Reply::Fails(Failure::problem("accountDoesNotExist", 400)),
            _ => self.replies.pop_front().unwrap_or(Reply::Done(None)),
        };
        let failure = match reply {
            Reply::Fails(failure) => Some(failure),
            Reply::Lost => Some(Failure::Unreachable(Phase::Lost)),
            Reply::Done(_) if self.is_forgotten(now) => Some(Failure::problem("malformed", 404)),
            Reply::Done(_) => None,
        };
        if !matches!(reply, Reply::Fails(_)) {
            self.validate(now, answer);
            perform(self);
        }
        if let Some(failure) = failure {
            self.causes.push(failure.error().to_string());
            return Err(failure.error());
        }
        let Reply::Done(retry_after) = reply else { panic!("{reply:?} has a response") };
        Ok(self.state(retry_after))
    }

    fn is_forgotten(&self, now: Timestamp) -> bool {
        self.course.forgets && self.is_over(now)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.status == AuthorizationStatus::Pending && now >= self.created + self.course.lifetime
    }

    fn validate(&mut self, now: Timestamp, answer: Answer) {
        if self.is_over(now) {
            self.end(AuthorizationStatus::Expired, None);
        }
        let asked = self.submitted.is_some_and(|submitted| now >= submitted + self.course.validation);
        if self.status != AuthorizationStatus::Pending || !asked {
            return;
        }
        match (self.course.verdict, self.course.sees.unwrap_or(answer)) {
            (Verdict::Status(status), _) => self.end(status, None),
            (Verdict::ByAnswer, Answer::Right) => self.end(AuthorizationStatus::Valid, None),
            (Verdict::ByAnswer, Answer::Wrong) => {
                self.end(AuthorizationStatus::Invalid, Some("incorrectResponse"));
            }
            (Verdict::ByAnswer, Answer::Unreachable) => {
                self.end(AuthorizationStatus::Invalid, Some("connection"));
            }
        }
    }

    fn end(&mut self, status: AuthorizationStatus, problem: Option<&str>) {
        self.status = status;
        self.problem = problem.map(|type_| {
            let document = json!({
                "type": format!("urn:ietf:params:acme:error:{type_}"),
                "detail": "the validation failed",
            });
            serde_json::from_value(document).expect("a problem document")
        });
        self.causes.push(match problem {
            Some(type_) => format!("the validation failed ({type_})"),
            None => format!("the authorization is {}", format!("{status:?}").to_lowercase()),
        });
    }

    fn state(&self, retry_after: Option<u64>) -> AuthorizationState {
        let challenge =
            json!({ "type": "http-01", "url": self.challenge_url, "token": "a-token", "status": "pending" });
        let mut challenge: crate::acme::Challenge = serde_json::from_value(challenge).expect("a challenge");
        challenge.error.clone_from(&self.problem);
        AuthorizationState {
            identifier: crate::acme::Identifier::Dns("web.example.test".to_owned()),
            status: self.status,
            expires: None,
            challenges: vec![challenge],
            wildcard: false,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }
}
