//! Challenges: does what `decision::challenge` asks for, and hands each result back to it.
//!
//! Knows how an action is done; must not know what a result means. Next: `decision/challenge/mod.rs`, then `solvers`.

use std::sync::Arc;

use crds::acme::{Challenge, ChallengeStatus, Order};
use jiff::Timestamp;
use kube::{Api, ResourceExt, api::Patch};
use serde_json::json;

use super::report::{Report, Reports, ServerOf};
use crate::{
    acme::Account,
    cache::{AnyIssuer, IssuerLookup},
    context::Context,
    decision::{
        Requeue,
        challenge::{
            self, Acceptance, Action, ChallengeProgress, Decision, Next, Notify, Presentation, ProbeResult,
            View,
        },
        order::asks_for,
    },
    error::ReconcileError,
    k8s,
    objects::{
        self,
        metadata::{Identity, controller_of_kind},
    },
    solvers::{FIELD_MANAGER, Solver, Unsupported},
};

/// The name of the controller in metrics and logs, as cert-manager names it.
pub(super) const NAME: &str = "challenges";

impl Reports for Challenge {
    const MANAGER: &'static str = FIELD_MANAGER;

    const SERVER: Option<ServerOf<Self>> =
        Some(|challenge, cache| cache.server(&challenge.spec.issuer_ref, challenge.namespace_or_empty()));

    type Status = ChallengeStatus;

    fn api(&self, context: &Context) -> Api<Self> {
        context.kube.api(self.namespace_or_empty())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn reported(&self, report: Report<'_>, _: Timestamp) -> Option<Self::Status> {
        match report {
            Report::Problem(problem) => challenge::report(self, &problem.message),
            Report::Solved(problem) => challenge::solved(self, &problem.message),
        }
    }
}

pub(super) async fn reconcile(
    challenge: Arc<Challenge>,
    context: Arc<Context>,
) -> Result<Requeue, ReconcileError> {
    let mut reconciling = gather(&challenge, &context);
    let mut decision = challenge::decide(&reconciling.view());
    loop {
        decision = match reconciling.record(decision).await? {
            Next::Act(action) => reconciling.perform(action).await?,
            Next::Requeue(requeue) => return Ok(requeue),
            Next::Retry { after, source } => return Err(ReconcileError::AcmeRetry { source, after }),
        };
    }
}

fn gather<'a>(challenge: &'a Challenge, context: &'a Context) -> Reconciling<'a> {
    let uid = challenge.uid().unwrap_or_default();
    let now = context.now();
    let progress = context.memory.challenges.get(&uid);
    let mut progress = progress.unwrap_or_else(|| ChallengeProgress::new(challenge, now));
    if context.memory.woken.forget(&uid).is_some() {
        progress = progress.woken(now);
    }
    Reconciling {
        context,
        challenge,
        issuer: requested_issuer(challenge, progress.is_submitted(), context),
        solver: Solver::of(challenge),
        namespace: challenge.namespace().unwrap_or_default(),
        progress,
        uid,
    }
}

/// The issuer of a Challenge, if the Order that owns the Challenge asks for it. One that is submitted is finished as it was begun,
/// whatever the annotations of the Certificate say now.
fn requested_issuer(challenge: &Challenge, is_submitted: bool, context: &Context) -> Option<Box<AnyIssuer>> {
    let namespace = challenge.namespace().unwrap_or_default();
    let IssuerLookup::Found(issuer) = context.cache.issuer(&challenge.spec.issuer_ref, &namespace) else {
        return None;
    };
    let owner = controller_of_kind::<Order>(&challenge.metadata)?;
    let order = context.cache.orders.get(&namespace, &owner.name)?;
    let config = issuer.config.acme();
    let acme = config.as_ref()?;
    let asked = order.uid().as_deref() == Some(&owner.uid)
        && !objects::order::is_of_another_account(&order, issuer.account())
        && (asks_for(&context.cache.routed(&order), acme, challenge)
            || is_submitted && asks_for(&order, acme, challenge));
    asked.then_some(issuer)
}

struct Reconciling<'a> {
    context: &'a Context,
    challenge: &'a Challenge,
    /// `None` if no Order asks for the Challenge.
    issuer: Option<Box<AnyIssuer>>,
    solver: Result<Solver<'a>, Unsupported>,
    uid: String,
    namespace: String,
    progress: ChallengeProgress,
}

impl Reconciling<'_> {
    fn view(&self) -> View<'_> {
        View {
            challenge: self.challenge,
            requested: self.issuer.is_some(),
            acceptance: Acceptance::Unknown,
            progress: self.progress,
            now: self.context.now(),
        }
    }

    async fn record(&mut self, decision: Decision) -> Result<Next, ReconcileError> {
        let Decision { status, event, progress, notify, next } = decision;
        // Before the write, which may fail: what was done counts, and is not repeated immediately.
        if let Some(progress) = progress {
            self.progress = progress;
            self.context.memory.challenges.put(self.uid.clone(), progress);
        }
        if let Some(notify) = notify {
            self.notify(notify);
        }
        match status {
            Some(status) => self.write(&status).await?,
            None if matches!(next, Next::Requeue(_)) => self.write_unwritten().await?,
            None => {}
        }
        if let Some(event) = event {
            self.context.kube.publish(FIELD_MANAGER, &event, self.challenge, self.context.now());
        }
        if progress.is_none() {
            self.context.memory.challenges.forget(&self.uid);
        }
        Ok(next)
    }

    async fn perform(&self, action: Action) -> Result<Decision, ReconcileError> {
        match action {
            Action::Present { create_route } => {
                let presentation = match self.solver {
                    Ok(solver) => solver.present(create_route, self.context).await?,
                    Err(unsupported) => Presentation::Blocked(unsupported.to_string()),
                };
                Ok(challenge::on_presented(&self.view(), presentation))
            }
            Action::Probe(probe) => {
                let result = match self.solver {
                    Ok(solver) => solver.probe(probe, self.context).await,
                    Err(unsupported) => ProbeResult::WrongAnswer(unsupported.to_string()),
                };
                let acceptance =
                    self.solver.map_or(Acceptance::Unknown, |solver| solver.acceptance(self.context));
                Ok(challenge::on_probe(&View { acceptance, ..self.view() }, probe, &result))
            }
            Action::Submit => {
                let result = self.account().await?.challenge_ready(&self.challenge.spec.url).await;
                Ok(challenge::on_submitted(&self.view(), result.map(drop)))
            }
            Action::FetchAuthorization => {
                let url = &self.challenge.spec.authorization_url;
                let result = self.account().await?.authorization(url).await;
                Ok(challenge::on_authorization(&self.view(), result))
            }
            Action::CleanUp => {
                if let Ok(solver) = self.solver
                    && solver.needs_finalizer()
                {
                    solver.clean_up(self.context).await?;
                }
                self.remove_finalizer().await?;
                Ok(challenge::on_cleaned_up())
            }
        }
    }

    async fn account(&self) -> Result<Account, ReconcileError> {
        let Some(issuer) = &self.issuer else {
            return Err(ReconcileError::Internal(
                "the issuer of a requested Challenge is unknown".to_owned(),
            ));
        };
        self.context.account(issuer, &self.namespace).await
    }

    fn notify(&self, notify: Notify) {
        match notify {
            Notify::Order => {
                if let Some(order) = controller_of_kind::<Order>(&self.challenge.metadata) {
                    self.context.cache.orders.enqueuer().enqueue_named(&order.name, Some(&self.namespace));
                }
            }
            Notify::Issuer => {
                if let Some(issuer) = &self.issuer {
                    self.context.recover_account(&issuer.key);
                }
            }
        }
    }

    async fn write(&self, status: &ChallengeStatus) -> Result<(), ReconcileError> {
        let old = self.challenge.status.as_ref();
        let written =
            self.context.kube.write_status(&self.api(), FIELD_MANAGER, self.challenge, old, status).await;
        written.map(drop)
    }

    async fn write_unwritten(&self) -> Result<(), ReconcileError> {
        let (kube, old) = (&self.context.kube, self.challenge.status.as_ref());
        kube.write_unwritten_status(&self.api(), FIELD_MANAGER, self.challenge, old).await
    }

    async fn remove_finalizer(&self) -> Result<(), ReconcileError> {
        let patch = json!({ "metadata": {
            // Another client may have added a finalizer: it must not get lost.
            "resourceVersion": self.challenge.resource_version(),
            "finalizers": challenge::remaining_finalizers(self.challenge),
        } });
        let name = self.challenge.name_any();
        k8s::patch(&self.api(), FIELD_MANAGER, &name, Patch::Merge(patch)).await.map(drop)
    }

    fn api(&self) -> Api<Challenge> {
        self.context.kube.api(&self.namespace)
    }
}
