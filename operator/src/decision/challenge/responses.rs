//! What the CA's responses about a challenge and its authorization mean (RFC 8555 sections 7.1.6 and 7.5.1).

use crds::{acme::State, condition::one_line};
use kube::ResourceExt;

use super::{ChallengeProgress, Decision, Next, Notify, Phase, REPORT_WAITING_AFTER, View};
use crate::{
    acme::{AcmeError, AuthorizationState, AuthorizationStatus, Class},
    decision::{
        Reaction, Requeue, backoff,
        problem::{with_next_attempt, with_regular_attempts, with_time},
    },
};

/// The longest text of the server in a status, in bytes.
const LONGEST_TEXT: usize = 1000;

/// What a Challenge says while the CA takes its time.
pub const VALIDATING: &str = "Waiting for the ACME server to validate the challenge";

/// Decides what follows from the CA's response to [`super::Action::Submit`].
pub fn on_submitted(view: &View<'_>, result: Result<(), AcmeError>) -> Decision {
    if let Err(error) = result {
        return on_acme_error(view, Subject::Challenge, error);
    }
    let (progress, requeue) = view.again_after(backoff::poll(0, None));
    let progress = ChallengeProgress { phase: Phase::Accepted, polls: 1, failures: 0, ..progress };
    Decision::new(Some(progress), Next::Requeue(requeue))
}

/// Decides what follows from the CA's response to [`super::Action::FetchAuthorization`].
pub fn on_authorization(view: &View<'_>, result: Result<AuthorizationState, AcmeError>) -> Decision {
    let state = match result {
        Ok(state) => state,
        Err(error) => return on_acme_error(view, Subject::Authorization, error),
    };
    let failed = |as_: State, name: &str| {
        let why = problem(view, &state).unwrap_or_else(|| format!("the authorization is {name}"));
        view.end(as_, why)
    };
    match state.status {
        // No status was written so far, and none is needed: the Order deletes the Challenge.
        AuthorizationStatus::Valid if view.challenge.status.is_none() => {
            let progress = ChallengeProgress { phase: Phase::Valid, ..view.progress };
            Decision {
                notify: Some(Notify::Order),
                ..Decision::new(Some(progress), Next::Requeue(Requeue::Resync))
            }
        }
        AuthorizationStatus::Valid => view.end(State::Valid, "Successfully authorized domain".to_owned()),
        AuthorizationStatus::Pending => {
            let wait = backoff::poll(view.progress.polls, state.retry_after);
            let (progress, requeue) = view.again_after(wait);
            let polls = progress.polls.saturating_add(1);
            let progress = ChallengeProgress { polls, failures: 0, ..progress };
            // The server asks for a wait that is worth its time in the text.
            let is_long = wait > REPORT_WAITING_AFTER && state.retry_after.is_some();
            let reason = || {
                let until = progress.next_attempt;
                let is_stated = is_long.then(|| with_next_attempt(VALIDATING, wait, until));
                view.waiting(is_stated.unwrap_or_else(|| VALIDATING.to_owned()))
            };
            Decision {
                status: (is_long || view.age() >= REPORT_WAITING_AFTER).then(reason),
                ..Decision::new(Some(progress), Next::Requeue(requeue))
            }
        }
        AuthorizationStatus::Invalid => failed(State::Invalid, "invalid"),
        AuthorizationStatus::Expired => failed(State::Expired, "expired"),
        AuthorizationStatus::Revoked => failed(State::Invalid, "revoked"),
        AuthorizationStatus::Deactivated => failed(State::Invalid, "deactivated"),
    }
}

/// Why the CA did not accept the challenge, in its own words.
fn problem(view: &View<'_>, state: &AuthorizationState) -> Option<String> {
    let challenge = state.challenges.iter().find(|challenge| challenge.url == view.challenge.spec.url)?;
    let problem = challenge.error.as_ref()?;
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    let detail = problem.detail.as_deref().unwrap_or("the server gave no reason");
    Some(format!("{} ({})", one_line(detail, LONGEST_TEXT), one_line(kind, 100)))
}

/// What a request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Challenge,
    Authorization,
}

/// Decides what follows from a failed request.
fn on_acme_error(view: &View<'_>, subject: Subject, error: AcmeError) -> Decision {
    let failures = view.progress.failures;
    let backoff = backoff::after_error(failures, &view.challenge.uid().unwrap_or_default());
    let reaction = Reaction::to(&error);
    let (after, notify) = match reaction {
        Reaction::Retry => (backoff, None),
        // Even a server that always asks to wait for one second gets fewer requests each time.
        Reaction::WaitFor(wait) => (wait.max(backoff), None),
        Reaction::RecoverAccount => (backoff, Some(Notify::Issuer)),
        // Servers say so of an authorization that they have forgotten.
        Reaction::Fail if subject == Subject::Authorization && error.problem_type() == Some("malformed") => {
            return view.end(State::Expired, error.to_string());
        }
        // No ACME server has looked at the request: a proxy or a name server on the way may answer otherwise soon.
        Reaction::Fail if subject == Subject::Authorization && error.class() == Class::Fatal => {
            (backoff, None)
        }
        Reaction::Fail => return view.end(State::Errored, error.to_string()),
    };
    let (progress, _) = view.again_after(after);
    // With a time in each text, each retry would write the status, and then that of each owner.
    let reason = if matches!(reaction, Reaction::WaitFor(_)) {
        with_time(&error, progress.next_attempt)
    } else {
        with_regular_attempts(&error)
    };
    // A failed poll that is soon repeated needs no status, which would cost a second one in the end.
    let is_quiet = subject == Subject::Authorization
        && view.age() < REPORT_WAITING_AFTER
        && after < REPORT_WAITING_AFTER;
    Decision {
        status: (!is_quiet).then(|| view.waiting(reason)),
        event: None,
        progress: Some(ChallengeProgress { failures: failures.saturating_add(1), ..progress }),
        notify,
        next: Next::Retry { after, source: error },
    }
}
