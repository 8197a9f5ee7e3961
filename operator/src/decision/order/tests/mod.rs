//! Orders, decision by decision, and in a model world. Next: `placing.rs`, `challenges.rs` and `answers.rs` for single
//! decisions, `model.rs` for the world.

mod answers;
mod ca;
mod challenges;
mod model;
mod placing;
mod world;

use std::sync::LazyLock;

use crds::{
    acme::{ChallengeStatus, OfferedChallenge},
    condition::whole_seconds,
    fixtures,
};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use kube::ResourceExt;
use serde_json::json;

use super::*;
use crate::decision::retry::EXPECTATION_TTL;
use crate::{
    decision::{backoff, testing::Failure},
    pki::{self, CsrRequest, Curve, KeyKind, PrivateKey},
    reason::Reason,
};

/// A CSR (PEM) for three names, and the chain that is issued for it. Made once, as keys take time.
static ISSUED: LazyLock<(String, Chain)> = LazyLock::new(|| {
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    let names = names(3);
    let csr = CsrRequest { dns_names: names.clone(), ..CsrRequest::default() }.sign_pem(&key);
    let chain = pki::testing::issue(&key, &names, Timestamp::UNIX_EPOCH, SignedDuration::from_hours(1));
    (csr.expect("a CSR"), Chain::from_pem(chain.as_bytes()).expect("a chain"))
});

/// The first names of all tests' orders.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{index}.example.test")).collect()
}

/// A time after another one.
fn after(time: Timestamp, by: Duration) -> Timestamp {
    time + SignedDuration::try_from(by).expect("a duration of a test")
}

const URL: &str = "https://ca/order";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn authorization(name: &str, state: State) -> Authorization {
    let offered = |type_: &str| OfferedChallenge {
        token: format!("{name}-token"),
        type_: type_.to_owned(),
        url: format!("https://ca/{type_}/{name}"),
    };
    Authorization {
        challenges: Some(vec![offered("tls-alpn-01"), offered("http-01")]),
        identifier: Some(name.to_owned()),
        initial_state: Some(state),
        url: format!("https://ca/authz/{name}"),
        wildcard: None,
    }
}

/// An Order, and all that a decision about it takes.
struct Fixture {
    order: Order,
    acme: AcmeIssuer,
    challenges: Vec<Arc<Challenge>>,
    progress: OrderProgress,
    renewal: Renewal,
    created_here: bool,
    now: Timestamp,
}

impl Fixture {
    /// An Order that was not placed yet.
    fn unplaced() -> Self {
        Self {
            order: fixtures::order("web", |it| {
                it.metadata.namespace = Some("a".into());
                it.metadata.uid = Some("1".into());
                it.spec.request = ByteString(ISSUED.0.clone().into_bytes());
            }),
            acme: fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer"),
            challenges: Vec::new(),
            progress: OrderProgress::default(),
            renewal: Renewal::Nothing,
            created_here: true,
            now: now(),
        }
    }

    /// An Order that was placed, with these authorizations.
    fn placed(authorizations: Vec<Authorization>) -> Self {
        let mut it = Self::unplaced();
        it.order.status = Some(OrderStatus {
            url: Some(URL.into()),
            finalize_url: Some("https://ca/finalize".into()),
            authorizations: Some(authorizations),
            state: Some(State::Pending),
            ..OrderStatus::default()
        });
        it
    }

    /// An Order that waits for the Challenge of "a".
    fn pending() -> Self {
        let mut it = Self::placed(vec![authorization("a", State::Pending)]);
        it.create_challenges();
        it
    }

    /// An Order whose control of "a" was proven before.
    fn proven() -> Self {
        Self::placed(vec![authorization("a", State::Valid)])
    }

    fn with_view<T>(&self, f: impl FnOnce(&View<'_>) -> T) -> T {
        let status = self.order.status.clone().unwrap_or_default();
        f(&View {
            order: &self.order,
            status: &status,
            progress: &self.progress,
            issuer: IssuerView { acme: &self.acme, has_account: true, new_orders: Some(300) },
            challenges: &self.challenges,
            submitted: &[],
            left_behind: &[],
            deleted: &[],
            renewal: self.renewal,
            created_here: self.created_here,
            now: self.now,
        })
    }

    fn decide(&self) -> Decision {
        self.with_view(decide)
    }

    fn request(&self) -> Request {
        match self.decide().next {
            Next::Send(request) => request,
            next @ Next::Finish { .. } => panic!("it sends nothing: {next:?}"),
        }
    }

    /// The decision about the answer to the next request.
    fn answered(&self, answer: Answer) -> Decision {
        let request = self.request();
        self.with_view(|view| on_answer(view, &request, answer))
    }

    fn failed(&self, failure: Failure) -> Decision {
        self.answered(Answer::Failed(failure.error()))
    }

    /// Creates the Challenges that are missing.
    fn create_challenges(&mut self) {
        let Request::KeyAuthorizations(plans) = self.request() else { panic!("no Challenges are missing") };
        let planned = plans.into_iter().map(|plan| (plan, "key".to_owned())).collect();
        for action in actions(self.answered(Answer::KeyAuthorizations(planned))) {
            let Action::CreateChallenges(created) = action else { panic!("{action:?}") };
            self.challenges.extend(created.into_iter().map(Arc::new));
        }
    }

    fn set_challenge(&mut self, index: usize, state: State, reason: Option<&str>) {
        Arc::make_mut(&mut self.challenges[index]).status = Some(ChallengeStatus {
            state: Some(state),
            reason: reason.map(ToOwned::to_owned),
            ..ChallengeStatus::default()
        });
    }
}

fn actions(decision: Decision) -> Vec<Action> {
    match decision.next {
        Next::Finish { actions, .. } => actions,
        Next::Send(request) => panic!("it sends {request:?}"),
    }
}

/// The final state and its reason, which are also published.
fn failure(decision: Decision) -> (State, String) {
    let (state, reason) = (decision.status.state, decision.status.reason.clone());
    assert!(decision.status.failure_time.is_some());
    let (state, reason) = (state.expect("a state"), reason.expect("a reason"));
    let event = EventNote::warning(Reason::Failed, reason.clone());
    assert_eq!(actions(decision), [Action::WriteStatus, Action::Publish(event)]);
    (state, reason)
}

fn wait(decision: &Decision) -> Duration {
    match &decision.next {
        Next::Finish { outcome: Outcome::Requeue(Requeue::After(after)), .. }
        | Next::Finish { outcome: Outcome::Retry { after, .. }, .. } => *after,
        next => panic!("it does not wait: {next:?}"),
    }
}

/// An order at the server with two authorizations.
fn state(status: &str, retry_after: Option<u64>) -> OrderState {
    let document = json!({
        "status": status,
        "authorizations": ["https://ca/authz/a", "https://ca/authz/b"],
        "finalize": "https://ca/finalize",
    });
    let state: OrderState = serde_json::from_value(document).expect("an order");
    OrderState { retry_after: retry_after.map(Duration::from_secs), ..state }
}
