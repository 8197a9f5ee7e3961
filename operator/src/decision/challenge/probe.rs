//! What is probed before a challenge is submitted (RFC 8555 section 8.3), because a failed validation costs one of a few attempts.

use std::time::Duration;

use crds::{acme::ChallengeStatus, condition::whole_seconds, http01::SOLVER_PORT};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::{Action, ChallengeProgress, Decision, Next, Phase, View};
use crate::decision::{Requeue, backoff};

/// How long a challenge is submitted only after a successful probe from inside the cluster. A name that could not be reached from
/// inside all that time (no hairpin, another DNS) is left to the CA. Pods of the solver that could not be reached (a NetworkPolicy) are
/// left to the probe of the name.
pub const SELF_CHECK_REQUIRED_FOR: Duration = Duration::from_mins(2);

/// How long a wrong answer is waited out if an ingress controller serves the route. After that, what is seen from inside the cluster
/// may be wrong (split DNS, a proxy in front), and the CA is asked once.
const WRONG_ANSWER_FOR: Duration = Duration::from_mins(10);

/// How long some requests may get a wrong answer while others get the right one. After that, the CA is asked: something may limit how many
/// connections the operator may have.
const PARTIAL_ANSWER_FOR: Duration = Duration::from_mins(1);

/// Right answers of a route, of which no two in a row are a minute apart. UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    first: Timestamp,
    last: Timestamp,
}

impl Answered {
    /// Another right answer.
    fn again(before: Option<Self>, now: Timestamp) -> Self {
        let first = before.filter(|before| before.is_recent(now)).map_or(now, |before| before.first);
        Self { first, last: now }
    }

    fn is_recent(self, now: Timestamp) -> bool {
        elapsed(self.last, now) < PARTIAL_ANSWER_FOR
    }
}

/// How often a wait instead of the self-check starts again because the route was lost.
const MOST_RESTARTS: u32 = 2;

/// The age from which the status of a Challenge says what it waits for. Most are valid before anyone could read it; Ingress
/// controllers under load apply changes every two seconds.
pub const REPORT_WAITING_AFTER: Duration = Duration::from_secs(3);

/// The same for a route that is accepted: it is served soon, and its user has nothing to do.
const REPORT_ACCEPTED_AFTER: Duration = Duration::from_secs(10);

/// What ingress controllers say in the status of a route. Not all of them say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// No controller has accepted it, or none says so.
    Unknown,
    /// They serve it.
    Accepted,
    /// They serve it, but something else is known that keeps the CA's request from it.
    AcceptedInVain,
}

/// Whether the CA could get an answer, as far as the operator can do something about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presentation {
    /// Everything is in place, and was so before.
    InPlace,
    /// The route was missing or different, and has been written.
    Written,
    /// A user has to change something: what, and how.
    Blocked(String),
}

/// What is requested to see whether the CA would get the right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Every Pod that gives the answer. Until all of them do, the route would lead to wrong answers.
    Solver,
    /// The URL that the CA requests.
    Route,
    /// The same URL over several connections at the same time. Processes and replicas of an ingress controller start to serve a route at
    /// different times, and the CA may get to the last one. A balancer that goes by the client's address leads all of them to the same.
    Replicas,
}

/// How many connections [`Probe::Replicas`] makes: if half of what serves the name is not ready, one in 256 times all of them lead to the
/// other half.
pub const REPLICA_CONNECTIONS: usize = 8;

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The right answer.
    Reachable,
    /// A server was reached, and gave another answer or none.
    WrongAnswer(String),
    /// No server was reached: the name does not resolve, or its address does not respond.
    Unreachable(String),
}

/// The result of [`Probe::Solver`] from the result of each Pod.
pub fn pods_result(pods: Vec<ProbeResult>) -> ProbeResult {
    if pods.is_empty() {
        return ProbeResult::WrongAnswer(
            "no http01-solver Pod is ready. Check the Pods in the operator's namespace with `kubectl get pods`"
                .to_owned(),
        );
    }
    let mut unreachable = None;
    for result in pods {
        match result {
            ProbeResult::Reachable => {}
            ProbeResult::WrongAnswer(why) => {
                return ProbeResult::WrongAnswer(format!(
                    "an http01-solver Pod does not serve the challenge yet: {why}"
                ));
            }
            ProbeResult::Unreachable(why) => unreachable = Some(why),
        }
    }
    unreachable.map_or(ProbeResult::Reachable, |why| {
        ProbeResult::Unreachable(format!(
            "an http01-solver Pod can't be reached: {why}. If NetworkPolicies restrict egress, allow the operator to connect to \
             port {SOLVER_PORT} of the http01-solver"
        ))
    })
}

/// The result of [`Probe::Replicas`] from the result of each connection.
pub fn replicas_result(connections: Vec<ProbeResult>) -> ProbeResult {
    let others = connections.into_iter().find(|result| *result != ProbeResult::Reachable);
    match others {
        None | Some(ProbeResult::Reachable) => ProbeResult::Reachable,
        Some(ProbeResult::WrongAnswer(why) | ProbeResult::Unreachable(why)) => {
            ProbeResult::WrongAnswer(partial(&why))
        }
    }
}

/// Why a route is not ready although some requests get the right answer.
fn partial(why: &str) -> String {
    format!(
        "not all requests get the right answer yet, because parts of the ingress controller don't serve the challenge, or something \
         limits connections: {why}"
    )
}

/// Decides what follows from the result of [`Action::Present`].
pub fn on_presented(view: &View<'_>, presentation: Presentation) -> Decision {
    let presented_since = view.progress.presented_since.or(Some(view.now));
    let probes = view.progress.probes.saturating_add(1);
    let answered = view.progress.answered.filter(|_| presentation == Presentation::InPlace);
    let progress = ChallengeProgress { probes, presented_since, answered, ..view.progress };
    let view = View { progress, ..*view };
    if let Presentation::Blocked(why) = presentation {
        let progress = ChallengeProgress {
            presented_since: None,
            unreachable_since: None,
            wrong_since: None,
            answered: None,
            ..progress
        };
        let view = View { progress, ..view };
        return probe_again(&view, view.blocked(propagation(&why)));
    }
    let Some(wait) = view.challenge.spec.solver.wait_instead_of_self_check else {
        let probe = if progress.phase == Phase::Presenting { Probe::Solver } else { Probe::Route };
        return Decision::act(progress, Action::Probe(probe));
    };
    wait_instead(&view, SignedDuration::from_nanos(wait.as_nanos()), &presentation)
}

/// Waits as long as the solver asks for, then submits. A route that was lost meanwhile takes as long as the first one to be served,
/// so the wait starts again.
fn wait_instead(view: &View<'_>, wait: SignedDuration, presentation: &Presentation) -> Decision {
    let first = view.status().presented_at;
    // Something that takes the route away each time must not keep the CA from being asked.
    let lost =
        first.is_some() && *presentation == Presentation::Written && view.progress.restarts < MOST_RESTARTS;
    let presented_at = first.filter(|_| !lost).unwrap_or_else(|| whole_seconds(view.now));
    let until = presented_at.0.checked_add(wait).unwrap_or(Timestamp::MAX);
    if until <= view.now {
        return Decision::act(view.progress, Action::Submit);
    }
    let why = if lost {
        ". Something deleted or changed the route of the challenge, so the wait started again"
    } else {
        ""
    };
    let reason = format!(
        "Waiting until {} because the solver has waitInsteadOfSelfCheck{why}",
        whole_seconds(until).0
    );
    let restarts = view.progress.restarts.saturating_add(u32::from(lost));
    let progress = ChallengeProgress { next_attempt: until, restarts, ..view.progress };
    Decision {
        status: Some(ChallengeStatus { presented_at: Some(presented_at), ..view.waiting(reason) }),
        ..Decision::new(Some(progress), Next::Requeue(Requeue::at(until, view.now)))
    }
}

/// Decides what follows from the result of [`Action::Probe`].
pub fn on_probe(view: &View<'_>, probe: Probe, result: &ProbeResult) -> Decision {
    match (probe, result) {
        (Probe::Solver, ProbeResult::Reachable) => {
            let progress =
                ChallengeProgress { phase: Phase::Reachable, unreachable_since: None, ..view.progress };
            Decision::act(progress, Action::Probe(Probe::Route))
        }
        (Probe::Route, ProbeResult::Reachable) => {
            let answered = Some(Answered::again(view.progress.answered, view.now));
            let progress =
                ChallengeProgress { answered, unreachable_since: None, wrong_since: None, ..view.progress };
            Decision::act(progress, Action::Probe(Probe::Replicas))
        }
        (Probe::Replicas, ProbeResult::Reachable) => Decision::act(view.progress, Action::Submit),
        (probe, ProbeResult::Unreachable(why)) => {
            let since = view.progress.unreachable_since.unwrap_or(view.now);
            let progress =
                ChallengeProgress { unreachable_since: Some(since), wrong_since: None, ..view.progress };
            if elapsed(since, view.now) >= SELF_CHECK_REQUIRED_FOR {
                return match probe {
                    // Ingress controllers may reach Pods that the operator may not connect to.
                    Probe::Solver => {
                        let progress = ChallengeProgress { phase: Phase::Reachable, ..progress };
                        Decision::act(progress, Action::Probe(Probe::Route))
                    }
                    // The CA may reach more than the operator does.
                    Probe::Route | Probe::Replicas => Decision::act(progress, Action::Submit),
                };
            }
            let view = View { progress, ..*view };
            probe_again(&view, view.waiting(propagation(why)))
        }
        (Probe::Replicas, ProbeResult::WrongAnswer(why)) => {
            let since = view.progress.answered.map_or(view.now, |answered| answered.first);
            if elapsed(since, view.now) >= PARTIAL_ANSWER_FOR {
                return Decision::act(view.progress, Action::Submit);
            }
            probe_again(view, view.waiting(propagation(why)))
        }
        (Probe::Route, ProbeResult::WrongAnswer(why)) => {
            let is_accepted = view.acceptance != Acceptance::Unknown;
            let since = view.progress.wrong_since.filter(|_| is_accepted).unwrap_or(view.now);
            let progress =
                ChallengeProgress { unreachable_since: None, wrong_since: Some(since), ..view.progress };
            // The CA may see another answer than we do.
            if elapsed(since, view.now) >= WRONG_ANSWER_FOR {
                return Decision::act(progress, Action::Submit);
            }
            let view = View { progress, ..*view };
            // The texts of the two probes would alternate.
            let is_partial = progress.answered.is_some_and(|answered| answered.is_recent(view.now));
            let why = if is_partial { partial(why) } else { why.clone() };
            probe_again(&view, view.waiting(propagation(&why)))
        }
        (Probe::Solver, ProbeResult::WrongAnswer(why)) => {
            let progress = ChallengeProgress {
                unreachable_since: None,
                wrong_since: None,
                answered: None,
                ..view.progress
            };
            let view = View { progress, ..*view };
            probe_again(&view, view.waiting(propagation(why)))
        }
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// Probes again after a while, with this status once it is worth reading.
fn probe_again(view: &View<'_>, status: ChallengeStatus) -> Decision {
    // What kept the answer from being presented has been reported, and is no wait for the route.
    let age = view.progress.presented_since.map_or_else(|| view.age(), |since| elapsed(since, view.now));
    let is_expected = view.progress.phase == Phase::Reachable && view.acceptance == Acceptance::Accepted;
    let report_after = if is_expected { REPORT_ACCEPTED_AFTER } else { REPORT_WAITING_AFTER };
    let wait = backoff::self_check(view.progress.probes, &view.challenge.name_any());
    let (progress, requeue) = view.again_after(wait);
    Decision {
        status: (age >= report_after).then_some(status),
        ..Decision::new(Some(progress), Next::Requeue(requeue))
    }
}

/// The reason in cert-manager's words, which other tools match.
fn propagation(why: &str) -> String {
    format!("Waiting for HTTP-01 challenge propagation: {why}")
}

#[cfg(test)]
mod tests {
    use crds::fixtures;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    /// What follows from a probe of the route at an age: the next action, or what the status says while it waits.
    fn after(age: Duration, result: &ProbeResult) -> Result<Action, Option<String>> {
        after_probe(Probe::Route, Acceptance::Unknown, age, result)
    }

    fn after_probe(
        probe: Probe,
        acceptance: Acceptance,
        age: Duration,
        result: &ProbeResult,
    ) -> Result<Action, Option<String>> {
        let challenge = fixtures::challenge("web", |_| {});
        let progress = ChallengeProgress {
            phase: Phase::Reachable,
            presented_since: Some(START),
            unreachable_since: Some(START),
            answered: Some(Answered { first: START, last: START }),
            ..ChallengeProgress::new(&challenge, START)
        };
        let view = View { challenge: &challenge, requested: true, acceptance, progress, now: START + age };
        let decision = on_probe(&view, probe, result);
        match decision.next {
            Next::Act(action) => Ok(action),
            Next::Requeue(Requeue::After(wait)) if wait <= Duration::from_secs(10) => {
                Err(decision.status.and_then(|status| status.reason))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn right_answer_everywhere_is_submitted() {
        let right = ProbeResult::Reachable;
        assert_eq!(after(Duration::ZERO, &right), Ok(Action::Probe(Probe::Replicas)));
        assert_eq!(
            after_probe(Probe::Replicas, Acceptance::Unknown, Duration::ZERO, &right),
            Ok(Action::Submit)
        );
    }

    /// A worker of nginx that does not know the route yet responds with 503, and a failed validation is repeated an hour later.
    #[test]
    fn one_wrong_answer_is_waited_out() {
        let wrong = ProbeResult::WrongAnswer("status 503".into());
        let mut connections = vec![ProbeResult::Reachable; REPLICA_CONNECTIONS];
        assert_eq!(replicas_result(connections.clone()), ProbeResult::Reachable);
        connections[REPLICA_CONNECTIONS - 1] = wrong;
        let result = replicas_result(connections);
        let reason = after_probe(Probe::Replicas, Acceptance::Unknown, REPORT_WAITING_AFTER, &result)
            .expect_err("it waits");
        let reason = reason.expect("a reason");
        assert!(reason.contains("not all") && reason.ends_with("status 503"), "{reason}");
    }

    /// A limit of connections must not keep a challenge from being submitted.
    #[test]
    fn partial_answer_is_submitted_after_a_minute() {
        let partial = replicas_result(vec![ProbeResult::Reachable, ProbeResult::WrongAnswer("429".into())]);
        let at = |age| after_probe(Probe::Replicas, Acceptance::Unknown, age, &partial);
        assert!(at(PARTIAL_ANSWER_FOR.mul_f64(0.99)).is_err());
        assert_eq!(at(PARTIAL_ANSWER_FOR), Ok(Action::Submit));
    }

    /// One of two replicas never serves the challenge: each probe of the route may lead to it.
    #[test]
    fn wrong_answers_between_do_not_start_the_minute_again() {
        let challenge = fixtures::challenge("web", |_| {});
        let wrong = ProbeResult::WrongAnswer("status 404".into());
        let mut progress =
            ChallengeProgress { phase: Phase::Reachable, ..ChallengeProgress::new(&challenge, START) };
        let mut submitted = None;
        for step in 0..20_u32 {
            let now = START + Duration::from_secs(9) * step;
            let acceptance = Acceptance::Accepted;
            let at = |progress| View { challenge: &challenge, requested: true, acceptance, progress, now };
            let results = if step % 2 == 0 {
                vec![(Probe::Route, ProbeResult::Reachable), (Probe::Replicas, wrong.clone())]
            } else {
                vec![(Probe::Route, wrong.clone())]
            };
            for (probe, result) in results {
                let decision = on_probe(&at(progress), probe, &result);
                progress = decision.progress.expect("it is remembered");
                if matches!(decision.next, Next::Act(Action::Submit)) {
                    submitted = submitted.or(Some(now));
                }
            }
        }
        assert_eq!(submitted, Some(START + Duration::from_secs(72)));
        assert_eq!(progress.without_route().answered, None, "a new route has to be served everywhere again");
    }

    #[test]
    fn waiting_is_reported_after_three_seconds() {
        for result in
            [ProbeResult::WrongAnswer("404".into()), ProbeResult::Unreachable("no such host".into())]
        {
            assert_eq!(after(Duration::ZERO, &result), Err(None));
            let reason = after(REPORT_WAITING_AFTER, &result).expect_err("it waits").expect("a reason");
            assert!(reason.starts_with("Waiting for HTTP-01 challenge propagation: "), "{reason}");
        }
    }

    /// Under load, an ingress controller needs several seconds to serve what it has accepted. If something is known to keep requests from the
    /// route, a user has something to do.
    #[test]
    fn accepted_route_is_reported_late() {
        let wrong = ProbeResult::WrongAnswer("404".into());
        for (acceptance, reported_after) in [
            (Acceptance::Unknown, REPORT_WAITING_AFTER),
            (Acceptance::Accepted, REPORT_ACCEPTED_AFTER),
            (Acceptance::AcceptedInVain, REPORT_WAITING_AFTER),
        ] {
            let status = |age| after_probe(Probe::Route, acceptance, age, &wrong).expect_err("it waits");
            let before = status(reported_after.mul_f64(0.99));
            assert_eq!(before, None, "{acceptance:?}");
            assert!(status(reported_after).is_some(), "{acceptance:?}");
        }
    }

    #[test]
    fn unreachable_is_submitted_after_two_minutes() {
        let unreachable = ProbeResult::Unreachable("timed out".into());
        assert!(after(SELF_CHECK_REQUIRED_FOR.mul_f64(0.99), &unreachable).is_err());
        assert_eq!(after(SELF_CHECK_REQUIRED_FOR, &unreachable), Ok(Action::Submit));
    }

    #[test]
    fn wrong_answer_is_never_submitted() {
        let wrong = ProbeResult::WrongAnswer("status 404".into());
        assert!(after(SELF_CHECK_REQUIRED_FOR * 1000, &wrong).is_err());
    }

    #[test]
    fn every_pod_must_answer() {
        let wrong = ProbeResult::WrongAnswer("404".into());
        let right = ProbeResult::Reachable;
        assert_eq!(pods_result(vec![right.clone(), right.clone()]), right);
        let unreachable = ProbeResult::Unreachable("refused".into());
        for pods in [vec![], vec![right.clone(), wrong.clone()], vec![unreachable.clone(), wrong]] {
            let result = pods_result(pods.clone());
            assert!(matches!(result, ProbeResult::WrongAnswer(_)), "{pods:?}: {result:?}");
        }
        let ProbeResult::Unreachable(why) = pods_result(vec![right, unreachable]) else {
            panic!("unreachable")
        };
        assert!(why.contains("refused") && why.contains("port 8089"), "{why}");
    }

    /// A policy that denies the operator's egress to the solver must not stop all certificates.
    #[test]
    fn unreachable_solver_is_left_to_the_route() {
        let challenge = fixtures::challenge("web", |_| {});
        let unreachable = ProbeResult::Unreachable("timed out".into());
        let mut progress = ChallengeProgress {
            phase: Phase::Presenting,
            presented_since: Some(START),
            ..ChallengeProgress::new(&challenge, START)
        };
        for (age, expected) in [(0, None), (119, None), (120, Some(Action::Probe(Probe::Route)))] {
            let now = START + Duration::from_secs(age);
            let acceptance = Acceptance::Unknown;
            let view = View { challenge: &challenge, requested: true, acceptance, progress, now };
            let decision = on_probe(&view, Probe::Solver, &unreachable);
            let action = match decision.next {
                Next::Act(action) => Some(action),
                Next::Requeue(_) => None,
                retry @ Next::Retry { .. } => panic!("{retry:?}"),
            };
            assert_eq!(action, expected, "after {age} s");
            progress = decision.progress.expect("it is remembered");
        }
        assert_eq!(progress.phase, Phase::Reachable, "the solver is not probed again");
    }
}
