//! Challenges: leads the way to the solver, looks whether it works, tells the server, and follows what it says.

use std::{sync::Arc, time::Duration};

use crds::{
    acme::{Challenge, ChallengeStatus, Order, State},
    annotations::challenge::{FINALIZER, LEGACY_FINALIZER},
};
use jiff::Timestamp;
use kube::{ResourceExt, api::Patch, runtime::reflector::ObjectRef};
use serde_json::json;

use crate::{
    acme::{AuthorizationState, AuthorizationStatus, Class},
    context::{AnyIssuer, Context, IssuerLookup},
    decision::{
        Requeue, backoff,
        challenge::{
            self, AfterCheck, ChallengeProgress, Presentation, Probe, ProbeResult, REPORT_WAITING_AFTER, Step,
        },
        order::asks_for,
    },
    error::ReconcileError,
    k8s,
    objects::{EventNote, metadata::controlled_by},
    solvers::{FIELD_MANAGER, Solver},
};

/// Its name, as cert-manager's metrics and events have it.
pub(super) const NAME: &str = "challenges";

pub(super) async fn reconcile(
    object: Arc<Challenge>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let uid = object.uid().unwrap_or_default();
    let memory =
        context.challenges.get(&uid).unwrap_or_else(|| ChallengeProgress::new(since(&object, context.now())));
    let namespace = object.namespace().unwrap_or_default();
    let issuer = match context.issuer(&object.spec.issuer_ref, &namespace) {
        IssuerLookup::Found(issuer) => Some(issuer),
        IssuerLookup::Foreign | IssuerLookup::Missing => None,
    };
    let ours = issuer.as_ref().is_some_and(|issuer| is_ours(&object, issuer, &context));
    let step = challenge::decide(&object, ours, &memory);
    let mut reconciling = Reconciling { context: &context, challenge: &object, namespace, memory };
    match (step, issuer) {
        (Step::CleanUp, _) => reconciling.clean_up().await,
        (Step::Nothing, _) | (_, None) => {
            // Its Order has yet to hear that it is valid.
            if !reconciling.memory.valid {
                context.challenges.forget(&uid);
            }
            Ok(Requeue::Resync)
        }
        (Step::PresentAndCheck, Some(issuer)) => reconciling.present_and_check(&issuer).await,
        (Step::PresentAndWait { until }, Some(issuer)) => reconciling.present_and_wait(until, &issuer).await,
        (Step::Poll, Some(issuer)) => reconciling.poll(&issuer).await,
    }
}

/// Since when a Challenge is: what was waited before this process began counts.
fn since(challenge: &Challenge, now: Timestamp) -> Timestamp {
    challenge.creation_timestamp().map_or(now, |created| created.0.min(now))
}

/// Whether the Order that owns a Challenge asks for it.
fn is_ours(challenge: &Challenge, issuer: &AnyIssuer, context: &Context) -> bool {
    let (Some(owner), Some(acme)) = (controlled_by(&challenge.metadata, "Order"), &issuer.acme) else {
        return false;
    };
    let namespace = challenge.namespace().unwrap_or_default();
    let order = context.stores.orders.get(&ObjectRef::<Order>::new(&owner.name).within(&namespace));
    order.is_some_and(|order| order.uid().as_deref() == Some(&owner.uid) && asks_for(&order, acme, challenge))
}

struct Reconciling<'a> {
    context: &'a Context,
    challenge: &'a Challenge,
    namespace: String,
    memory: ChallengeProgress,
}

impl Reconciling<'_> {
    fn remember(&self) {
        self.context.challenges.put(self.challenge.uid().unwrap_or_default(), self.memory);
    }

    async fn present_and_check(&mut self, issuer: &AnyIssuer) -> Result<Requeue, ReconcileError> {
        let seen = match self.present().await? {
            Presentation::Blocked(problem) => ProbeResult::WrongAnswer(problem),
            Presentation::Presented => self.look().await,
        };
        self.memory.checks = self.memory.checks.saturating_add(1);
        let name = self.challenge.name_any();
        match challenge::after_check(&seen, &self.memory, &name, self.context.now()) {
            AfterCheck::Accept => self.accept(issuer).await,
            AfterCheck::Again { after, reason } => {
                self.remember();
                if let Some(reason) = reason {
                    self.show(reason).await?;
                }
                Ok(Requeue::After(after))
            }
        }
    }

    async fn present_and_wait(
        &mut self,
        until: Timestamp,
        issuer: &AnyIssuer,
    ) -> Result<Requeue, ReconcileError> {
        let problem = self.present().await?;
        let now = self.context.now();
        if until <= now {
            return self.accept(issuer).await;
        }
        self.remember();
        let waiting = || "Waiting as the solver's waitInsteadOfSelfCheck says".to_owned();
        self.show(match problem {
            Presentation::Blocked(problem) => problem,
            Presentation::Presented => waiting(),
        })
        .await?;
        Ok(Requeue::at(until, now))
    }

    /// First whether the solver's Pods know the challenge, then the way that the CA takes.
    async fn look(&mut self) -> ProbeResult {
        let solver = match Solver::of(self.challenge) {
            Ok(solver) => solver,
            Err(unsupported) => return ProbeResult::WrongAnswer(unsupported.to_string()),
        };
        if !self.memory.solved {
            let solved = solver.probe(Probe::Solver, self.context).await;
            if solved != ProbeResult::Reachable {
                return solved;
            }
            self.memory.solved = true;
        }
        solver.probe(Probe::Route, self.context).await
    }

    /// Sees that everything is there that leads to the solver.
    async fn present(&self) -> Result<Presentation, ReconcileError> {
        match Solver::of(self.challenge) {
            Ok(solver) => solver.present(self.memory.checks.is_multiple_of(8), self.context).await,
            Err(unsupported) => Ok(Presentation::Blocked(unsupported.to_string())),
        }
    }

    async fn clean_up(&self) -> Result<Requeue, ReconcileError> {
        if let Ok(solver) = Solver::of(self.challenge)
            && solver.needs_finalizer()
        {
            solver.clean_up(self.context).await?;
        }
        let finalizers =
            self.challenge.finalizers().iter().filter(|it| *it != FINALIZER && *it != LEGACY_FINALIZER);
        let patch = json!({ "metadata": {
            "resourceVersion": self.challenge.resource_version(),
            "finalizers": finalizers.collect::<Vec<_>>(),
        } });
        let challenges = self.context.api::<Challenge>(&self.namespace);
        k8s::patch(&challenges, FIELD_MANAGER, &self.challenge.name_any(), Patch::Merge(patch)).await?;
        self.context.challenges.forget(&self.challenge.uid().unwrap_or_default());
        Ok(Requeue::Resync)
    }

    async fn accept(&mut self, issuer: &AnyIssuer) -> Result<Requeue, ReconcileError> {
        let account = self.context.account(issuer).await?;
        if let Err(error) = account.challenge_ready(&self.challenge.spec.url).await {
            return match error.class() {
                Class::Refused | Class::Fatal => self.end(State::Errored, error.to_string()).await,
                Class::Transient | Class::RateLimited { .. } => {
                    self.show(error.to_string()).await?;
                    Err(error.into())
                }
            };
        }
        self.memory.accepted = true;
        self.memory.polls = 1;
        self.remember();
        Ok(Requeue::After(backoff::poll(0, None)))
    }

    /// Reads the authorization: it says more than the challenge.
    async fn poll(&mut self, issuer: &AnyIssuer) -> Result<Requeue, ReconcileError> {
        let account = self.context.account(issuer).await?;
        let state = match account.authorization(&self.challenge.spec.authorization_url).await {
            Ok(state) => state,
            Err(error) if error.class() == Class::Refused => {
                let state =
                    if error.problem_type() == Some("malformed") { State::Expired } else { State::Errored };
                return self.end(state, error.to_string()).await;
            }
            Err(error) => return Err(error.into()),
        };
        match state.status {
            AuthorizationStatus::Valid if self.challenge.status.is_none() => {
                // Nothing was said of it so far, and its Order will delete it: a status would be read by nobody.
                self.memory.valid = true;
                self.remember();
                if let Some(order) = controlled_by(&self.challenge.metadata, "Order") {
                    self.context.wake_order(&order.name, &self.namespace);
                }
                Ok(Requeue::Resync)
            }
            AuthorizationStatus::Valid => {
                self.end(State::Valid, "Successfully authorized domain".to_owned()).await
            }
            AuthorizationStatus::Pending => {
                let wait = backoff::poll(self.memory.polls, state.retry_after);
                self.memory.polls = self.memory.polls.saturating_add(1);
                self.remember();
                let age = self.context.now().duration_since(self.memory.since);
                if Duration::try_from(age).is_ok_and(|age| age >= REPORT_WAITING_AFTER) {
                    self.show("Waiting for the ACME server to validate it".to_owned()).await?;
                }
                Ok(Requeue::After(wait))
            }
            other => {
                let name = format!("{other:?}").to_lowercase();
                let reason = self.problem(&state).unwrap_or_else(|| format!("the authorization is {name}"));
                self.end(challenge::failed_state(&name), reason).await
            }
        }
    }

    /// Why the server did not accept it, in its own words.
    fn problem(&self, state: &AuthorizationState) -> Option<String> {
        let challenge = state.challenges.iter().find(|challenge| challenge.url == self.challenge.spec.url)?;
        let problem = challenge.error.as_ref()?;
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.rsplit(':').next().unwrap_or_default();
        Some(format!("{} ({kind})", problem.detail.as_deref().unwrap_or("the server gives no reason")))
    }

    /// Tells users what it waits for.
    async fn show(&self, reason: String) -> Result<(), ReconcileError> {
        let mut status = self.challenge.status.clone().unwrap_or_default();
        status.processing = Some(true);
        status.presented = Some(true);
        status.presented_at =
            status.presented_at.or_else(|| Some(crds::condition::whole_seconds(self.context.now())));
        status.state = Some(State::Pending);
        status.reason = Some(reason);
        self.write(&status).await
    }

    async fn end(&self, state: State, reason: String) -> Result<Requeue, ReconcileError> {
        let mut status = self.challenge.status.clone().unwrap_or_default();
        status.processing = Some(false);
        status.presented = Some(true);
        status.state = Some(state);
        status.reason = Some(reason.clone());
        self.write(&status).await?;
        if state != State::Valid {
            let note = EventNote::warning("Failed", reason);
            self.context.publish(FIELD_MANAGER, &note, self.challenge);
        }
        self.context.challenges.forget(&self.challenge.uid().unwrap_or_default());
        Ok(Requeue::Resync)
    }

    async fn write(&self, status: &ChallengeStatus) -> Result<(), ReconcileError> {
        let api = self.context.api::<Challenge>(&self.namespace);
        self.context
            .write_status(&api, FIELD_MANAGER, self.challenge, self.challenge.status.as_ref(), status)
            .await
            .map(drop)
    }
}
