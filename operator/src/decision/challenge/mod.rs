//! What to do next about a Challenge: lead the way to the solver, see that it works, tell the server, and look what it says.

mod route;

use std::time::Duration;

use crds::acme::{Challenge, State};
use jiff::{SignedDuration, Timestamp};

pub use self::route::{RouteWrite, must_write_slice, route_write};
use super::{backoff, order::is_final};

/// How long a challenge must be seen from inside the cluster before the server is told. After that, one whose name can't be
/// reached from inside at all (no hairpin, another DNS) is left to the server.
pub const SELF_CHECK_REQUIRED_FOR: Duration = Duration::from_mins(2);

/// How long a challenge may wait before its status says for what: what is over in a moment needs no words. Ingress controllers
/// that are busy take changes every two seconds.
pub const REPORT_WAITING_AFTER: Duration = Duration::from_secs(5);

/// What is remembered of a Challenge between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChallengeProgress {
    /// When it was seen first.
    pub since: Timestamp,
    /// Whether the solver's Pods were seen to answer for it: then only the way to them is in question.
    pub solved: bool,
    /// Whether the server was told.
    pub accepted: bool,
    /// How often the way was looked at.
    pub checks: u32,
    /// How often the server was asked.
    pub polls: u32,
    /// Whether the server has found it valid: what was over in a moment is told to its Order by nothing but this.
    pub valid: bool,
}

impl ChallengeProgress {
    /// Of a Challenge that is seen for the first time.
    pub const fn new(now: Timestamp) -> Self {
        Self { since: now, solved: false, accepted: false, checks: 0, polls: 0, valid: false }
    }
}

/// What a look at the way to the solver has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The right answer.
    Reachable,
    /// Another one, or none from a server that was reached.
    WrongAnswer(String),
    /// Nobody: the name could not be found or its address not reached.
    Unreachable(String),
}

/// What is requested to see whether the CA would get the right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Every Pod that gives the answer. Until all of them do, the route would lead to wrong answers.
    Solver,
    /// The URL that the CA requests.
    Route,
}

/// Whether the CA could get an answer, as far as the operator can do something about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// Everything is in place.
    Presented,
    /// Something is missing that a user has to change: what, and how.
    Blocked(String),
}

/// The result of [`Probe::Solver`] from the result of each Pod.
pub fn pods_result(pods: Vec<ProbeResult>) -> ProbeResult {
    if pods.is_empty() {
        return ProbeResult::WrongAnswer(
            "no http01-solver Pod is ready. Check the Pods in the operator's namespace with `kubectl get pods`"
                .to_owned(),
        );
    }
    for result in pods {
        if let ProbeResult::WrongAnswer(why) | ProbeResult::Unreachable(why) = result {
            return ProbeResult::WrongAnswer(format!(
                "an http01-solver Pod does not serve the challenge yet: {why}"
            ));
        }
    }
    ProbeResult::Reachable
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is at its end, or not ours.
    Nothing,
    /// Takes back what was done to a user's own Ingress, and lets it go.
    CleanUp,
    /// Sees that the route is there, and then whether it works.
    PresentAndCheck,
    /// Sees that the route is there, and waits for a time that was set in place of a look.
    PresentAndWait {
        /// Until then.
        until: Timestamp,
    },
    /// Looks what the server says.
    Poll,
}

/// Decides. `ours` is whether its Order asks for it.
pub fn decide(challenge: &Challenge, ours: bool, memory: &ChallengeProgress) -> Step {
    if challenge.metadata.deletion_timestamp.is_some() {
        let held = challenge.metadata.finalizers.as_ref().is_some_and(|finalizers| {
            finalizers.iter().any(|finalizer| {
                finalizer == crds::annotations::challenge::FINALIZER
                    || finalizer == crds::annotations::challenge::LEGACY_FINALIZER
            })
        });
        return if held { Step::CleanUp } else { Step::Nothing };
    }
    let status = challenge.status.as_ref();
    if !ours || memory.valid || is_final(status.and_then(|status| status.state)) {
        return Step::Nothing;
    }
    if memory.accepted {
        return Step::Poll;
    }
    let Some(wait) = challenge.spec.solver.wait_instead_of_self_check else { return Step::PresentAndCheck };
    let presented =
        status.and_then(|status| status.presented_at.as_ref()).map_or(memory.since, |time| time.0);
    let until = presented.checked_add(SignedDuration::from_nanos(wait.as_nanos())).unwrap_or(Timestamp::MAX);
    Step::PresentAndWait { until }
}

/// After a look at the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterCheck {
    /// The server is told.
    Accept,
    /// It is looked at again, after a while; what users are told meanwhile.
    Again {
        /// From now.
        after: Duration,
        /// For people; none as long as it is quiet.
        reason: Option<String>,
    },
}

/// What a look means.
pub fn after_check(seen: &ProbeResult, memory: &ChallengeProgress, name: &str, now: Timestamp) -> AfterCheck {
    let age = Duration::try_from(now.duration_since(memory.since)).unwrap_or_default();
    let what = match seen {
        ProbeResult::Reachable => return AfterCheck::Accept,
        // The server may see more than we do: once it is its turn.
        ProbeResult::Unreachable(_) if age >= SELF_CHECK_REQUIRED_FOR => return AfterCheck::Accept,
        ProbeResult::WrongAnswer(what) | ProbeResult::Unreachable(what) => what,
    };
    let reason =
        (age >= REPORT_WAITING_AFTER).then(|| format!("Waiting for HTTP-01 challenge propagation: {what}"));
    AfterCheck::Again { after: backoff::self_check(memory.checks, name), reason }
}

/// The state of a challenge that can go nowhere by itself.
pub fn failed_state(of: &str) -> State {
    match of {
        "expired" => State::Expired,
        "invalid" | "deactivated" | "revoked" => State::Invalid,
        _ => State::Errored,
    }
}

#[cfg(test)]
mod tests {
    use crds::{annotations::challenge::FINALIZER, fixtures};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn after(duration: Duration) -> Timestamp {
        START + SignedDuration::try_from(duration).expect("a short duration")
    }

    #[test]
    fn the_server_is_told_once_the_right_answer_was_seen() {
        let memory = ChallengeProgress::new(START);
        assert_eq!(after_check(&ProbeResult::Reachable, &memory, "a", START), AfterCheck::Accept);
        for seen in [ProbeResult::WrongAnswer("404".into()), ProbeResult::Unreachable("no such host".into())]
        {
            let AfterCheck::Again { reason: None, .. } = after_check(&seen, &memory, "a", START) else {
                panic!("{seen:?} is told at once")
            };
            let AfterCheck::Again { reason: Some(reason), .. } =
                after_check(&seen, &memory, "a", after(REPORT_WAITING_AFTER))
            else {
                panic!("{seen:?} is not told")
            };
            assert!(reason.starts_with("Waiting for HTTP-01 challenge propagation: "));
        }
    }

    #[test]
    fn after_two_minutes_a_name_that_nobody_can_reach_is_left_to_the_server_and_a_wrong_answer_never() {
        let memory = ChallengeProgress::new(START);
        let nobody = ProbeResult::Unreachable("timed out".into());
        let wrong = ProbeResult::WrongAnswer("status 404".into());
        let late = after(SELF_CHECK_REQUIRED_FOR);
        assert_eq!(after_check(&nobody, &memory, "a", late), AfterCheck::Accept);
        assert!(matches!(after_check(&wrong, &memory, "a", late), AfterCheck::Again { .. }));
        assert!(matches!(
            after_check(&nobody, &memory, "a", after(SELF_CHECK_REQUIRED_FOR.mul_f64(0.99))),
            AfterCheck::Again { .. }
        ));
    }

    #[test]
    fn a_wait_in_place_of_the_look_counts_from_when_it_was_presented() {
        let mut challenge = fixtures::challenge("web", |it| {
            it.spec.solver.wait_instead_of_self_check = Some(crds::duration::GoDuration::from_secs(30));
        });
        let memory = ChallengeProgress::new(START);
        let until = |challenge: &Challenge| match decide(challenge, true, &memory) {
            Step::PresentAndWait { until } => until,
            other => panic!("{other:?}"),
        };
        assert_eq!(until(&challenge), after(Duration::from_secs(30)));
        challenge.status = Some(crds::acme::ChallengeStatus {
            presented_at: Some(Time(after(Duration::from_secs(10)))),
            ..crds::acme::ChallengeStatus::default()
        });
        assert_eq!(until(&challenge), after(Duration::from_secs(40)));
    }

    #[test]
    fn what_is_not_ours_is_left_alone_but_always_let_go() {
        let memory = ChallengeProgress::new(START);
        let challenge = fixtures::challenge("web", |_| {});
        assert_eq!(decide(&challenge, false, &memory), Step::Nothing);
        let gone = |finalizers: Vec<String>| {
            fixtures::challenge("web", |it| {
                it.metadata.deletion_timestamp = Some(Time(START));
                it.metadata.finalizers = Some(finalizers);
            })
        };
        assert_eq!(decide(&gone(vec![FINALIZER.into()]), false, &memory), Step::CleanUp);
        assert_eq!(decide(&gone(vec!["another's".into()]), true, &memory), Step::Nothing);
    }
}
