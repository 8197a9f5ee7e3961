//! A Challenge among an API server, an ingress controller, a CA and a process that runs its decisions, all in memory. Anything but
//! a decision may fail: a write, a request, the process.

use std::time::Duration;

use crds::{
    acme::{Authorization, Challenge, ChallengeType, OfferedChallenge, State},
    condition::whole_seconds,
    duration::GoDuration,
    fixtures,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{
    super::{
        Acceptance, Action, ChallengeProgress, Decision, Next, Notify, Phase, Presentation, Probe,
        ProbeResult, SELF_CHECK_REQUIRED_FOR, View, decide, on_authorization, on_cleaned_up, on_presented,
        on_probe, on_submitted, pods_result, remaining_finalizers,
    },
    ca::{Ca, CaCourse},
    ingresses::{Ingresses, RouteCourse},
};
use crate::{
    decision::{
        Requeue,
        order::is_final,
        runner::{Meter, Runner, Stop, Stored, Write},
    },
    objects::challenge::build,
};

/// How long a state may last without a message.
const SILENCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(10);

/// How long an unreachable server takes to be given up.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);

/// How long a test is interested in a Challenge that waits for its user.
const PATIENCE: Duration = Duration::from_mins(100);

/// Longer than any course takes, with ten waits of a day.
const LONG: Duration = Duration::from_hours(20 * 24);

/// What a request for the challenge's answer gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    Wrong,
    Unreachable,
}

/// What happens to one Challenge.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) ca: CaCourse,
    pub(super) route: RouteCourse,
    pub(super) wait_instead_of_self_check: Option<Duration>,
    /// When the solver's Pods answer.
    pub(super) pods: Duration,
    /// What the URL answers from a time on; the last one stays.
    pub(super) answers: Vec<(Duration, Answer)>,
    /// When the watch shows the Order.
    pub(super) order_shown: Duration,
    /// When the issuer is ready.
    pub(super) issuer_ready: Duration,
    /// How long the issuer takes to recover its account.
    pub(super) recovery: Duration,
    /// What becomes of writes of the Challenge, and of its Ingress.
    pub(super) writes: Vec<Write>,
    pub(super) ingress_writes: Vec<Write>,
    /// How long a watch event takes.
    pub(super) lag: Duration,
    /// After how many effects each process ends.
    pub(super) fuses: Vec<usize>,
}

#[derive(Debug)]
enum Event {
    OrderShown,
    IssuerReady,
    IngressCreated,
    IngressDeleted,
    AccountRecovered,
}

/// What the process knows and loses when it ends.
#[derive(Debug, Default)]
struct Process {
    progress: Option<ChallengeProgress>,
    /// The last status that could not be written.
    unwritten: Option<crds::acme::ChallengeStatus>,
    /// Whether the CA has accepted the challenge.
    accepted: bool,
    /// The last probe of the route in this reconcile.
    probed: Option<ProbeResult>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct World {
    course: Course,
    start: Timestamp,
    runner: Runner,
    challenge: Stored<Challenge>,
    process: Process,
    pub(super) ca: Ca,
    events: Vec<(Timestamp, Event)>,
    order_shown: bool,
    issuer_ready: bool,
    ingresses: Ingresses,
    /// When the route was in place first.
    presented: Option<Timestamp>,
    /// How the Challenge ended, and why.
    pub(super) end: Option<(State, String)>,
    pub(super) gone: bool,
    pub(super) probes: Meter,
    pub(super) status_writes: Meter,
    pub(super) warnings: usize,
    /// Whether the last reconcile failed.
    failed: bool,
}

impl World {
    pub(super) fn new(course: Course) -> Self {
        let start: Timestamp = "2026-01-01T00:00:00.3Z".parse().expect("a time");
        let challenge = challenge(&course, start);
        let mut events = vec![
            (start + course.order_shown, Event::OrderShown),
            (start + course.issuer_ready, Event::IssuerReady),
        ];
        events.extend(match course.route {
            RouteCourse::Own { deleted } => deleted.map(|after| (start + after, Event::IngressDeleted)),
            RouteCourse::Users { created } => created.map(|after| (start + after, Event::IngressCreated)),
        });
        Self {
            start,
            runner: Runner::new(start, &course.fuses),
            ca: Ca::new(course.ca.clone(), start, &challenge.spec.url),
            ingresses: Ingresses::new(&challenge, &course.ingress_writes, course.lag),
            challenge: Stored::new(challenge, course.lag, &course.writes),
            process: Process::default(),
            events,
            order_shown: false,
            issuer_ready: false,
            presented: None,
            end: None,
            gone: false,
            probes: Meter::default(),
            status_writes: Meter::default(),
            warnings: 0,
            failed: false,
            course,
        }
    }

    /// Runs until the Challenge is gone, or waits for nothing but its user.
    pub(super) fn run(&mut self) {
        for _ in 0..20_000 {
            if self.gone || (self.waits_for_its_user() && self.age() > PATIENCE) {
                return;
            }
            assert!(self.age() < LONG, "the Challenge never ends: {:?}", self.process);
            let events = self.events.iter().map(|(time, _)| *time);
            let next = events.chain(self.challenge.next_event()).chain(self.runner.due()).min();
            let next = next.unwrap_or_else(|| panic!("nothing reconciles the Challenge: {:?}", self.process));
            self.assert_explained(next);
            self.runner.now = self.runner.now.max(next);
            self.happen();
            if self.runner.due().is_some_and(|due| due <= self.runner.now) && !self.gone {
                self.reconcile();
            }
        }
        panic!("the Challenge is reconciled without end: {:?}", self.process);
    }

    /// A state that persists until `next` says why.
    fn assert_explained(&self, next: Timestamp) {
        let challenge = self.challenge.current();
        let status = challenge.status.as_ref();
        let is_valid = self.process.progress.is_some_and(|progress| progress.phase == Phase::Valid);
        let persists = next.duration_since(self.runner.now) > SILENCE && self.order_shown && !is_valid;
        let is_over = self.gone
            || challenge.metadata.deletion_timestamp.is_some()
            || is_final(status.and_then(|status| status.state));
        let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
        let is_explained = !reason.is_empty() || self.failed || self.process.unwritten.is_some();
        assert!(is_over || !persists || is_explained, "nothing says what it waits for: {:?}", self.process);
    }

    fn age(&self) -> Duration {
        Duration::try_from(self.runner.now.duration_since(self.start)).unwrap_or_default()
    }

    /// Whether nothing but a user can help: the answer stays wrong, or the Ingress to edit does not exist. Then the status says so,
    /// and the route is probed soon.
    pub(super) fn waits_for_its_user(&self) -> bool {
        let wrong = self.course.answers.last().is_none_or(|(_, answer)| *answer == Answer::Wrong);
        let probed = self.course.wait_instead_of_self_check.is_none();
        let soon = self.runner.now + Duration::from_mins(1);
        let waits = self.process.progress.is_some_and(|progress| {
            matches!(progress.phase, Phase::Presenting | Phase::Reachable) && progress.next_attempt < soon
        });
        let challenge = self.challenge.current();
        let reason = challenge.status.as_ref().and_then(|status| status.reason.as_deref());
        challenge.metadata.deletion_timestamp.is_none()
            && (wrong && probed || self.course.route == RouteCourse::Users { created: None })
            && waits
            && reason.is_some_and(|it| it.starts_with("Waiting for HTTP-01 challenge propagation: "))
    }

    /// Lets everything happen whose time has come.
    fn happen(&mut self) {
        let now = self.runner.now;
        let (due, later) = std::mem::take(&mut self.events).into_iter().partition(|(time, _)| *time <= now);
        self.events = later;
        let due: Vec<_> = due;
        for (_, event) in due {
            match event {
                Event::OrderShown => {
                    self.order_shown = true;
                    self.runner.enqueue();
                }
                Event::IssuerReady => {
                    self.issuer_ready = true;
                    self.runner.enqueue();
                }
                Event::IngressCreated => self.ingresses.create_users(),
                Event::IngressDeleted => self.ingresses.delete_own(),
                Event::AccountRecovered => self.ca.account_is_lost = false,
            }
        }
        if self.challenge.deliver(now) {
            self.runner.enqueue();
            self.reconcile_order();
        }
    }

    /// What the Order does once a Challenge is final: it deletes the Challenge.
    fn reconcile_order(&mut self) {
        let challenge = self.challenge.shown();
        let state = challenge.status.as_ref().and_then(|status| status.state);
        let is_valid = self.process.progress.is_some_and(|progress| progress.phase == Phase::Valid);
        if challenge.metadata.deletion_timestamp.is_some() || !(is_final(state) || is_valid) {
            return;
        }
        let reason = challenge.status.as_ref().and_then(|status| status.reason.clone());
        self.end = Some(match state.filter(|state| is_final(Some(*state))) {
            Some(state) => (state, reason.unwrap_or_default()),
            None => (State::Valid, "Successfully authorized domain".to_owned()),
        });
        let now = self.runner.now;
        self.challenge.change(now, |it| it.metadata.deletion_timestamp = Some(Time(now)));
        self.gone = self.challenge.current().finalizers().is_empty();
    }

    fn reconcile(&mut self) {
        if !self.runner.begin(&self.challenge) {
            return;
        }
        let outcome = self.try_reconcile();
        match outcome {
            Ok(Requeue::After(_)) | Err(Stop::Conflict | Stop::Error | Stop::Retry(_)) => {}
            Ok(Requeue::OnChange | Requeue::Resync) => self.assert_settled(),
            Err(Stop::Crash) => {
                self.process = Process::default();
                self.challenge.restart();
                self.reconcile_order();
            }
        }
        // The runner reports an error.
        self.failed = outcome.is_err();
        self.runner.end(outcome);
    }

    /// Nothing reconciles the Challenge soon, so it must be final, or something else must act.
    fn assert_settled(&self) {
        let status = self.challenge.current().status.as_ref();
        let settled = self.gone
            || !self.order_shown
            || is_final(status.and_then(|status| status.state))
            || self.challenge.current().metadata.deletion_timestamp.is_some();
        assert!(settled, "the Challenge is left without a next reconcile: {:?}", self.process);
    }

    fn view<'a>(&self, challenge: &'a Challenge, progress: ChallengeProgress) -> View<'a> {
        let (requested, acceptance) = (self.order_shown, Acceptance::Unknown);
        View { challenge, requested, acceptance, progress, now: self.runner.now }
    }

    fn try_reconcile(&mut self) -> Result<Requeue, Stop> {
        let challenge = self.challenge.shown().clone();
        self.process.probed = None;
        let new = || ChallengeProgress::new(&challenge, self.runner.now);
        let mut progress = self.process.progress.unwrap_or_else(new);
        let mut decision = decide(&self.view(&challenge, progress));
        loop {
            progress = decision.progress.unwrap_or(progress);
            decision = match self.record(&challenge, decision)? {
                Next::Act(action) => self.perform(&challenge, progress, action)?,
                Next::Requeue(requeue) => return Ok(requeue),
                Next::Retry { after, source: _ } => return Err(Stop::Retry(after)),
            };
        }
    }

    fn record(&mut self, challenge: &Challenge, decision: Decision) -> Result<Next, Stop> {
        let Decision { status, event, progress, notify, next } = decision;
        if progress.is_some() {
            self.process.progress = progress;
        }
        match notify {
            Some(Notify::Order) => self.reconcile_order(),
            Some(Notify::Issuer) => {
                self.events.push((self.runner.now + self.course.recovery, Event::AccountRecovered));
            }
            None => {}
        }
        let again = self.process.unwritten.clone().filter(|_| matches!(next, Next::Requeue(_)));
        if let Some(status) = status.or(again) {
            self.process.unwritten = Some(status.clone());
            if challenge.status.as_ref() != Some(&status) {
                self.status_writes.count(self.runner.now);
                self.challenge.write(self.runner.now, |it| it.status = Some(status))?;
            }
            self.process.unwritten = None;
            self.runner.passed()?;
        }
        self.warnings += usize::from(event.is_some_and(|event| event.warning));
        if progress.is_none() {
            self.process.progress = None;
        }
        Ok(next)
    }

    fn perform(
        &mut self,
        challenge: &Challenge,
        progress: ChallengeProgress,
        action: Action,
    ) -> Result<Decision, Stop> {
        let decision = match action {
            Action::Present { create_route } => {
                let presentation = self.ingresses.present(challenge, create_route, &mut self.runner)?;
                if !matches!(presentation, Presentation::Blocked(_)) {
                    self.presented.get_or_insert(self.runner.now);
                }
                on_presented(&self.view(challenge, progress), presentation)
            }
            Action::Probe(probe) => {
                let result = self.probe(probe);
                on_probe(&self.view(challenge, progress), probe, &result)
            }
            Action::Submit => {
                self.assert_may_submit();
                self.account()?;
                let result = self.ca.submit(self.runner.now, self.answer());
                self.runner.passed()?;
                self.process.accepted = result.is_ok();
                on_submitted(&self.view(challenge, progress), result)
            }
            Action::FetchAuthorization => {
                self.account()?;
                let result = self.ca.authorization(self.runner.now, self.answer());
                self.runner.passed()?;
                on_authorization(&self.view(challenge, progress), result)
            }
            Action::CleanUp => {
                self.ingresses.clean_up(challenge, &mut self.runner)?;
                self.remove_finalizer(challenge)?;
                on_cleaned_up()
            }
        };
        Ok(decision)
    }

    fn account(&self) -> Result<(), Stop> {
        if self.issuer_ready { Ok(()) } else { Err(Stop::Error) }
    }

    /// RFC 8555 section 7.5.1: the client indicates that it is ready. It must be, and it must not ask twice.
    fn assert_may_submit(&self) {
        assert!(!self.process.accepted, "the challenge is submitted twice");
        if let Some(wait) = self.course.wait_instead_of_self_check {
            let presented = self.presented.expect("the route is in place");
            // The status keeps whole seconds.
            let waited = Duration::try_from(self.runner.now.duration_since(presented)).unwrap_or_default();
            assert!(waited + Duration::from_secs(1) >= wait, "the challenge is submitted after {waited:?}");
            return;
        }
        match &self.process.probed {
            Some(ProbeResult::Reachable) => {}
            Some(ProbeResult::Unreachable(_)) => {
                // The creation timestamp has whole seconds.
                let age = self.age() + Duration::from_secs(1);
                assert!(
                    age >= SELF_CHECK_REQUIRED_FOR,
                    "an unreachable challenge is submitted after {age:?}"
                );
            }
            other => panic!("the challenge is submitted after {other:?}"),
        }
    }

    fn probe(&mut self, probe: Probe) -> ProbeResult {
        if probe == Probe::Solver {
            let ready = self.age() >= self.course.pods;
            return pods_result(if ready { vec![ProbeResult::Reachable] } else { Vec::new() });
        }
        if probe == Probe::Route {
            self.probes.count(self.runner.now);
        }
        let result = match self.answer() {
            Answer::Right => ProbeResult::Reachable,
            Answer::Wrong => ProbeResult::WrongAnswer(format!("status 404 at {}", self.runner.now)),
            Answer::Unreachable => ProbeResult::Unreachable("timed out".to_owned()),
        };
        if matches!(result, ProbeResult::Unreachable(_)) {
            self.runner.now += CONNECT_TIMEOUT;
        }
        self.process.probed = Some(result.clone());
        result
    }

    /// What a request for the challenge's answer gets now.
    fn answer(&self) -> Answer {
        let age = self.age();
        let current = self.course.answers.iter().rfind(|(from, _)| *from <= age);
        let answer = current.map_or(Answer::Wrong, |(_, answer)| *answer);
        let routed = self.ingresses.routes(self.challenge.current());
        if answer == Answer::Right && !routed { Answer::Wrong } else { answer }
    }

    fn remove_finalizer(&mut self, challenge: &Challenge) -> Result<(), Stop> {
        let left: Vec<_> = remaining_finalizers(challenge).into_iter().map(ToOwned::to_owned).collect();
        let written = self.challenge.write(self.runner.now, |it| it.metadata.finalizers = Some(left));
        self.gone = self.challenge.current().finalizers().is_empty();
        written?;
        self.runner.passed()
    }

    /// Whether a user's Ingress has nothing of the Challenge.
    pub(super) fn is_clean(&self) -> bool {
        !self.ingresses.has_path(self.challenge.current())
    }
}

/// The Challenge of a course, as the Order creates it.
fn challenge(course: &Course, created: Timestamp) -> Challenge {
    let order = fixtures::order("web", |it| {
        it.metadata.namespace = Some("a".into());
        it.metadata.uid = Some("1".into());
    });
    let authorization = Authorization {
        identifier: Some("web.example.test".into()),
        url: "https://ca.example.test/authorization".into(),
        ..Authorization::default()
    };
    let offered = OfferedChallenge {
        token: "a-token".into(),
        type_: "http-01".into(),
        url: "https://ca.example.test/challenge".into(),
    };
    let mut solver = fixtures::ingress_solver("nginx");
    if matches!(course.route, RouteCourse::Users { .. }) {
        let ingress = solver.http01.as_mut().and_then(|http01| http01.ingress.as_mut());
        ingress.expect("an Ingress solver").name = Some("theirs".into());
    }
    let wait = course.wait_instead_of_self_check.map(|wait| wait.as_secs());
    solver.wait_instead_of_self_check =
        wait.map(|seconds| GoDuration::from_secs(i32::try_from(seconds).expect("a short wait")));
    let key = "a-token.a-thumbprint".to_owned();
    let mut challenge = build(&order, &authorization, &offered, ChallengeType::Http01, &solver, key);
    challenge.metadata.uid = Some("2".into());
    challenge.metadata.creation_timestamp = Some(whole_seconds(created));
    challenge
}
