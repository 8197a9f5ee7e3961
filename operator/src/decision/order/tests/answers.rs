//! What the server says after the challenges, and how it fails.

use super::*;

#[test]
fn server_without_an_end_is_polled_less_and_less() {
    let mut fixture = Fixture::proven();
    let mut waits = Vec::new();
    for _ in 0..12 {
        let decision = fixture.answered(Answer::Order(state("processing", None)));
        waits.push(wait(&decision));
        fixture.now += SignedDuration::try_from(wait(&decision)).expect("a short wait");
        fixture.progress = decision.progress;
        fixture.order.status = Some(decision.status);
    }
    let waits: Vec<_> = waits.iter().map(Duration::as_millis).collect();
    assert_eq!(waits, [100, 250, 500, 500, 1000, 1000, 2000, 2000, 4000, 4000, 8000, 8000]);
    let reason = fixture.order.status.as_ref().and_then(|status| status.reason.as_deref());
    assert_eq!(
        reason,
        Some(
            "waiting for the ACME server to issue the certificate: the order is processing; it is polled every few seconds"
        )
    );
    assert!(matches!(fixture.request(), Request::Order { .. }), "the server has the CSR");
}

/// Most servers that say when to poll are done by then: a status write would only take time.
#[test]
fn only_a_long_wait_for_the_server_is_reported() {
    let reason = |retry_after| {
        Fixture::proven().answered(Answer::Order(state("processing", Some(retry_after)))).status.reason
    };
    assert_eq!(reason(5), None);
    let reason = reason(60).expect("a reason");
    assert!(
        reason.ends_with("the order is processing; the next poll is at 2026-01-01T00:01:00Z"),
        "{reason}"
    );
}

/// A server may issue while it answers the CSR. If the download then fails, the order is fetched again.
#[test]
fn csr_is_sent_once_if_the_download_fails() {
    let mut fixture = Fixture::proven();
    let issued = OrderState { certificate: Some("https://ca/cert/1".to_owned()), ..state("valid", None) };
    let decision = fixture.answered(Answer::Order(issued));
    assert!(matches!(decision.next, Next::Send(Request::Certificate { .. })));
    fixture.progress = decision.progress;
    assert!(matches!(fixture.request(), Request::Order { .. }));
}

#[test]
fn order_that_is_not_ready_gets_the_csr_again() {
    let mut fixture = Fixture::proven();
    let decision = fixture.failed(Failure::problem("orderNotReady", 403));
    assert!(matches!(decision.next, Next::Send(Request::Order { .. })));
    let decision = fixture.answered(Answer::Order(state("pending", None)));
    fixture.now += SignedDuration::from_secs(1);
    fixture.progress = decision.progress;
    assert!(matches!(fixture.request(), Request::Finalize { .. }));
}

#[test]
fn invalid_order_fails_with_the_servers_reason() {
    let invalid = |error: serde_json::Value| OrderState {
        error: serde_json::from_value(error).expect("a problem document"),
        ..state("invalid", None)
    };
    let fixture = Fixture::proven();
    let failure = |error| failure(fixture.answered(Answer::Order(invalid(error))));
    assert_eq!(failure(json!({ "detail": "CAA forbids it" })), (State::Invalid, "CAA forbids it".into()));
    // A server must not fill the status.
    assert!(failure(json!({ "detail": "x".repeat(1 << 20) })).1.len() <= 2000);
    for error in [json!({ "detail": "" }), json!(null)] {
        let reason = "the ACME server marked the order as invalid without giving a reason";
        assert_eq!(failure(error), (State::Invalid, reason.into()));
    }
}

#[test]
fn valid_order_keeps_its_certificate() {
    let mut fixture = Fixture::proven();
    fixture.acme.preferred_chain = Some("Root".into());
    let valid = OrderState { certificate: Some("https://ca/cert".into()), ..state("valid", None) };
    let decision = fixture.answered(Answer::Order(valid));
    let Next::Send(Request::Certificate { url, preferred_chain }) = decision.next else {
        panic!("{decision:?}")
    };
    assert_eq!((url.as_str(), preferred_chain.as_str()), ("https://ca/cert", "Root"));
    let decision = fixture.answered(Answer::Certificate(Ok(ISSUED.1.clone())));
    assert_eq!((decision.status.state, &decision.status.reason), (Some(State::Valid), &None));
    assert!(decision.status.certificate.is_some());
    assert_eq!(actions(decision), [Action::WriteStatus]);
    let (state, _) = failure(fixture.answered(Answer::Certificate(Chain::from_pem(b"no PEM"))));
    assert_eq!(state, State::Errored);
}

#[test]
fn retries_back_off_and_name_the_next_attempt() {
    let mut fixture = Fixture::proven();
    let error: AcmeError = Failure::problem("serverInternal", 500).error();
    for failures in 0..12 {
        let decision = fixture.failed(Failure::problem("serverInternal", 500));
        let after = backoff::after_error(failures, "1");
        assert_eq!(wait(&decision), after);
        let until = fixture.now + SignedDuration::try_from(after).expect("a short wait");
        let next = if after <= Duration::from_mins(1) {
            "within a minute".to_owned()
        } else {
            format!("at {}", whole_seconds(until).0)
        };
        assert_eq!(decision.status.reason, Some(format!("{error}; the next attempt is {next}")));
        fixture.progress = decision.progress;
        // Its own status enqueues it, and changes nothing.
        assert_eq!(actions(fixture.decide()), [Action::WriteStatus]);
        fixture.now = until;
    }
}

#[test]
fn rate_limit_is_waited_for() {
    let limited = |retry_after| Failure::Page { status: 429, retry_after };
    let rejected = |fixture: Fixture, request: &Request, retry_after| {
        let answer = Answer::Failed(limited(retry_after).error());
        fixture.with_view(|view| on_answer(view, request, answer))
    };
    let place = Request::Place(new_order(&Fixture::unplaced().order.spec, now()));
    // Limits on new orders last up to a week.
    assert_eq!(wait(&rejected(Fixture::unplaced(), &place, Some(u64::MAX))), Duration::from_hours(24));
    for (retry_after, expected) in [(None, 60), (Some(0), 1), (Some(90), 90), (Some(u64::MAX), 3600)] {
        let decision = Fixture::proven().failed(limited(retry_after));
        assert_eq!(wait(&decision), Duration::from_secs(expected), "{retry_after:?}");
        assert!(
            decision.status.reason.is_some_and(|reason| reason.contains("; the next attempt is at 2026-01-"))
        );
    }
}

#[test]
fn new_order_limit_holds_the_accounts_other_orders() {
    let limited =
        |detail| Failure::Problem { type_: "rateLimited", status: 429, detail, retry_after: Some(60) };
    let fixture = Fixture::unplaced();
    let place = Request::Place(new_order(&fixture.order.spec, fixture.now));
    let rejected = |request: &Request, detail| {
        let answer = Answer::Failed(limited(detail).error());
        actions(fixture.with_view(|view| on_answer(view, request, answer)))
    };
    let until = now() + SignedDuration::from_mins(1);
    assert_eq!(
        rejected(&place, "too many new orders (300) from this account"),
        [Action::CloseNewOrders { until }, Action::WriteStatus]
    );
    assert_eq!(rejected(&place, "too many certificates (5) already issued"), [Action::WriteStatus]);
    assert_eq!(rejected(&Request::Profiles, "too many new orders"), [Action::WriteStatus]);
}

#[test]
fn lost_account_is_recovered() {
    let decision = Fixture::proven().failed(Failure::problem("accountDoesNotExist", 400));
    assert!(wait(&decision) <= Duration::from_secs(1));
    assert_eq!(actions(decision), [Action::RecoverAccount, Action::WriteStatus]);
}

/// Orders of a deactivated account fail, and its issuer must not stay ready.
#[test]
fn unauthorized_order_has_the_account_checked() {
    let fixture = Fixture::unplaced();
    let request = Request::Place(new_order(&fixture.order.spec, fixture.now));
    let answer = Answer::Failed(Failure::problem("unauthorized", 403).error());
    let decision = fixture.with_view(|view| on_answer(view, &request, answer));
    assert_eq!(decision.status.state, Some(State::Errored));
    assert!(matches!(
        &actions(decision)[..],
        [Action::RecoverAccount, Action::WriteStatus, Action::Publish(_)]
    ));
}

#[test]
fn order_without_an_account_waits_for_its_issuer() {
    let fixture = Fixture::proven();
    let decision = fixture.with_view(|view| {
        let issuer = IssuerView { has_account: false, ..view.issuer };
        decide(&View { issuer, ..*view })
    });
    let reason = decision.status.reason.as_deref().unwrap_or_default();
    assert!(reason.starts_with("waiting for the Issuer \"issuer\" to become ready"), "{reason}");
    assert_eq!(actions(decision), [Action::WriteStatus]);
}

#[test]
fn refusal_fails_the_order() {
    let (state, reason) = failure(Fixture::proven().failed(Failure::problem("badCSR", 400)));
    assert_eq!(
        (state, reason.as_str()),
        (State::Errored, "400 urn:ietf:params:acme:error:badCSR: the detail")
    );
}
