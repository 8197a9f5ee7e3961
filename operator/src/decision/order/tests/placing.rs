//! Placing orders, and reading their authorizations.

use crds::{annotations::order::ACCOUNT, certmanager::CertificateRequest};

use super::{super::placing::stored_authorization, *};
use crate::acme::Identifier;

/// Users choose how many earlier requests are kept.
#[test]
fn only_the_latest_requests_say_what_is_renewed() {
    let latest = latest_requests((1..=10_000).map(|revision| format!("web-{revision}")).collect());
    assert_eq!(latest[..2], ["web-10000", "web-9999"]);
    assert_eq!(latest.len(), 8);
}

/// What users can write, such as a revision, does not make a renewal: another issuer, another server, or other names are a new order for
/// the CA.
#[test]
fn order_renews_what_its_issuer_issued_for_its_names() {
    let issued = |change: &dyn Fn(&mut CertificateRequest)| {
        fixtures::certificate_request("web-1", |it| {
            it.spec.request = ByteString(ISSUED.0.clone().into_bytes());
            let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
            it.status = serde_json::from_value(ready).expect("a status");
            change(it);
        })
    };
    let order = |names: &[&str]| {
        fixtures::order("web", |it| {
            it.spec.issuer_ref = issued(&|_| {}).spec.issuer_ref;
            it.spec.common_name = None;
            it.spec.dns_names = Some(names.iter().map(|&name| name.to_owned()).collect());
        })
    };
    let placed_by = |account: &str| {
        fixtures::order("web-1-1", |it| {
            it.annotations_mut().insert(ACCOUNT.to_owned(), account.to_owned());
        })
    };
    let renewal = |order: &Order, earlier: &CertificateRequest, earlier_order: Option<&Order>| {
        renewal(order, Some("https://ca.test/account/2"), earlier, earlier_order)
    };
    let (request, its_order) = (issued(&|_| {}), placed_by("https://ca.test/account/1"));
    let same = order(&["2.example.test", "0.Example.test", "1.example.test"]);
    assert_eq!(renewal(&same, &request, Some(&its_order)), Renewal::AllNames);
    let more = ["0.example.test", "1.example.test", "2.example.test", "3.example.test"];
    for names in [&more[..], &more[..1]] {
        assert_eq!(renewal(&order(names), &request, Some(&its_order)), Renewal::SomeNames);
    }
    assert_eq!(renewal(&order(&more[3..]), &request, Some(&its_order)), Renewal::Nothing);
    for earlier in [issued(&|it| it.spec.issuer_ref.name = "staging".into()), issued(&|it| it.status = None)]
    {
        assert_eq!(renewal(&same, &earlier, Some(&its_order)), Renewal::Nothing);
    }
    assert_eq!(renewal(&same, &request, None), Renewal::Nothing, "its server is unknown");
    let staging = placed_by("https://staging.ca.test/account/1");
    assert_eq!(renewal(&same, &request, Some(&staging)), Renewal::Nothing, "the issuer has another server");
    // cert-manager has placed it.
    for (url, expected) in
        [("https://ca.test/order/1", Renewal::AllNames), ("https://ca.test:444/order/1", Renewal::Nothing)]
    {
        let theirs = fixtures::order("web-1-1", |it| {
            it.status = Some(OrderStatus { url: Some(url.to_owned()), ..OrderStatus::default() });
        });
        assert_eq!(renewal(&same, &request, Some(&theirs)), expected, "{url}");
    }
}

/// Such an Order was not created by this process, so another one may have placed it.
#[test]
fn earlier_order_is_read_before_it_is_placed() {
    let mut fixture = Fixture { created_here: false, ..Fixture::unplaced() };
    assert!(matches!(fixture.request(), Request::Stored));
    let placed = OrderStatus { url: Some(URL.into()), ..OrderStatus::default() };
    let failed = OrderStatus { state: Some(State::Errored), ..OrderStatus::default() };
    for stored in [Some(placed), Some(failed), None] {
        let decision = fixture.answered(Answer::Stored(stored));
        assert_eq!(wait(&decision), EXPECTATION_TTL, "the watch shows it soon");
        assert_eq!(actions(decision), []);
    }
    let decision = fixture.answered(Answer::Stored(Some(OrderStatus::default())));
    assert!(matches!(decision.next, Next::Send(Request::Slot { .. })));
    fixture.progress = decision.progress;
    assert!(matches!(fixture.request(), Request::Slot { .. }), "it is read once");
}

#[test]
fn new_order_has_sorted_names_then_addresses() {
    let order = fixtures::order("web", |it| {
        it.spec.dns_names = Some(vec!["b".into(), "a".into()]);
        it.spec.common_name = Some("aa".into());
        it.spec.ip_addresses = Some(vec!["192.0.2.1".into()]);
        it.spec.duration = Some("24h".parse().expect("a duration"));
    });
    let placed = new_order(&order.spec, now());
    let address = Identifier::Ip("192.0.2.1".parse().expect("an address"));
    let names = ["a", "aa", "b"].map(|name| Identifier::Dns(name.into()));
    assert_eq!(placed.identifiers, [&names[..], &[address]].concat());
    assert_eq!(placed.not_after, Some(now() + SignedDuration::from_hours(24)));
    // An address as common name is among the addresses already.
    let order = fixtures::order("web", |it| it.spec.common_name = Some("192.0.2.1".into()));
    assert_eq!(new_order(&order.spec, now()).identifiers.len(), 1);
}

#[test]
fn profile_is_checked_before_the_slot() {
    let mut fixture = Fixture::unplaced();
    fixture.order.spec.profile = Some("shortlived".into());
    assert!(matches!(fixture.request(), Request::Profiles));
    let decision = fixture.answered(Answer::Profiles(vec!["shortlived".into()]));
    assert!(matches!(decision.next, Next::Send(Request::Slot { limit: Some(300), held: None })));
    let (state, reason) = failure(fixture.answered(Answer::Profiles(vec!["classic".into()])));
    assert_eq!(state, State::Errored);
    assert_eq!(
        reason,
        "Failed to create Order: acme: certificate authority does not advertise a profile with name shortlived"
    );
}

#[test]
fn slot_is_kept_until_its_time() {
    let mut fixture = Fixture::unplaced();
    let slot = now() + SignedDuration::from_millis(36_500);
    let decision = fixture.answered(Answer::Slot(NewOrderSlot::At(slot)));
    assert_eq!(wait(&decision), Duration::from_millis(36_500));
    let reason = "waiting for a new-order slot: the CA allows 300 new orders in 3 hours; the next attempt is at \
                  2026-01-01T00:00:36Z";
    assert_eq!(decision.status.reason.as_deref(), Some(reason));
    fixture.progress = decision.progress;
    // Whatever enqueues it meanwhile.
    assert_eq!(wait(&fixture.decide()), Duration::from_millis(36_500));
    fixture.now = slot;
    assert!(matches!(fixture.request(), Request::Slot { held: Some(held), .. } if held == slot));
    let decision = fixture.answered(Answer::Slot(NewOrderSlot::Now));
    assert!(matches!(decision.next, Next::Send(Request::Place(_))));
}

#[test]
fn renewal_takes_no_slot() {
    let mut fixture = Fixture::unplaced();
    fixture.renewal = Renewal::AllNames;
    assert!(matches!(fixture.request(), Request::Place(_)));
    // The CA sees it otherwise.
    let too_many = Failure::Problem {
        type_: "rateLimited",
        status: 429,
        detail: "too many new orders (300) from this account",
        retry_after: Some(60),
    };
    fixture.progress = fixture.failed(too_many).progress;
    fixture.now += SignedDuration::from_mins(1);
    assert!(matches!(fixture.request(), Request::Slot { .. }));
}

/// The reference to the replaced certificate makes it a renewal only if this server has issued that, and accepts the reference.
#[test]
fn order_with_a_rejected_replacement_takes_a_slot() {
    for (renewal, failure) in [
        (Renewal::SomeNames, Failure::problem("alreadyReplaced", 409)),
        (Renewal::SomeNames, Failure::problem("serverInternal", 500)),
        (Renewal::SomeNames, Failure::Unsupported),
        (Renewal::AllNames, Failure::problem("alreadyReplaced", 409)),
    ] {
        let needs_slot = renewal != Renewal::AllNames;
        let mut fixture = Fixture { renewal, ..Fixture::unplaced() };
        fixture.order.spec.replaces = Some("aki.serial".into());
        assert!(matches!(fixture.request(), Request::Place(order) if order.replaces.is_some()));
        let decision = fixture.failed(failure);
        match &decision.next {
            Next::Send(Request::Slot { .. }) => assert!(needs_slot),
            Next::Send(Request::Place(order)) => assert!(!needs_slot && order.replaces.is_none()),
            next => panic!("{next:?}"),
        }
        fixture.progress = decision.progress;
        assert_eq!(matches!(fixture.request(), Request::Slot { .. }), needs_slot);
        let placed = fixture.answered(Answer::Slot(NewOrderSlot::Now)).next;
        assert!(matches!(placed, Next::Send(Request::Place(order)) if order.replaces.is_none()));
    }
    // For example, a user has changed the issuer's server.
    let mut fixture = Fixture::unplaced();
    fixture.order.spec.replaces = Some("aki.serial".into());
    assert!(matches!(fixture.request(), Request::Slot { .. }));
}

/// The URL is remembered with the answer, so that a status write that fails can't lead to a second order.
#[test]
fn placed_order_is_never_placed_again() {
    let mut fixture = Fixture::unplaced();
    fixture.order.spec.dns_names = Some(vec!["a".into(), "b".into()]);
    let placed = Answer::Placed { url: URL.into(), state: state("pending", None) };
    let decision = fixture.answered(placed);
    let Next::Send(Request::Authorizations { urls, within: Some(_) }) = &decision.next else {
        panic!("{decision:?}")
    };
    assert_eq!(urls.len(), 2);
    fixture.progress = decision.progress;
    assert!(matches!(fixture.request(), Request::Order { url } if url == URL));
    let decision = fixture.failed(Failure::problem("serverInternal", 500));
    assert_eq!(decision.status.url.as_deref(), Some(URL));
    assert_eq!(decision.status.state, Some(State::Pending));
}

/// Otherwise a process that ends while a slow server is read would leave an order that the next one places again.
#[test]
fn url_is_stored_before_slow_authorizations_are_read() {
    let mut fixture = Fixture::unplaced();
    fixture.order.spec.dns_names = Some((0..9).map(|index| format!("{index}.test")).collect());
    let urls = |count: usize| (0..count).map(|index| format!("https://ca/authz/{index}")).collect();
    let placed = |count| {
        let state = OrderState { authorizations: urls(count), ..state("pending", None) };
        fixture.answered(Answer::Placed { url: URL.into(), state })
    };
    let is_stored = |decision: Decision| {
        let (url, finalize_url) = (decision.status.url.clone(), decision.status.finalize_url.clone());
        assert_eq!((url.as_deref(), finalize_url.as_deref()), (Some(URL), Some("https://ca/finalize")));
        actions(decision) == [Action::WriteStatus]
    };
    assert!(is_stored(placed(9)));
    let quick = placed(8);
    let Next::Send(request) = &quick.next else { panic!("{quick:?}") };
    let slow = fixture.with_view(|view| {
        let view = View { status: &quick.status, progress: &quick.progress, ..*view };
        on_answer(&view, request, Answer::SlowAuthorizations)
    });
    fixture.order.status = Some(slow.status.clone());
    assert!(is_stored(slow));
    let state = OrderState { authorizations: urls(9), ..state("pending", None) };
    let decision = fixture.answered(Answer::Order(state));
    assert!(matches!(decision.next, Next::Send(Request::Authorizations { within: None, .. })));
}

#[test]
fn only_the_url_is_stored_if_the_status_is_rejected() {
    let url = |url: &str| OrderStatus { url: Some(url.into()), ..OrderStatus::default() };
    let read = OrderStatus { reason: Some("a reason".into()), ..url(URL) };
    let before = OrderStatus { reason: Some("waiting".into()), ..OrderStatus::default() };
    let expected = OrderStatus { state: Some(State::Pending), url: Some(URL.into()), ..before.clone() };
    assert_eq!(placed_only(Some(&before), &read), Some(expected));
    assert_eq!(placed_only(Some(&url(URL)), &read), None);
    assert_eq!(placed_only(None, &before), None);
}

#[test]
fn unread_authorizations_are_fetched() {
    let url_only =
        |name| Authorization { url: authorization(name, State::Pending).url, ..Authorization::default() };
    for authorizations in [
        vec![],
        vec![url_only("a.example.test")],
        vec![authorization("a.example.test", State::Pending), url_only("b.example.test")],
    ] {
        assert!(matches!(Fixture::placed(authorizations).request(), Request::Order { .. }));
    }
}

/// Without them, the order would be fetched again and again.
#[test]
fn order_without_usable_authorizations_fails() {
    let fixture = Fixture::placed(vec![]);
    let empty = OrderState { authorizations: vec![], ..state("pending", None) };
    let (_, reason) = failure(fixture.answered(Answer::Order(empty)));
    assert_eq!(reason, "the ACME server returned an order without authorizations");
    let document = json!({
        "identifier": { "type": "permanent-identifier", "value": "7" }, "status": "pending", "challenges": [],
    });
    let unknown = serde_json::from_value(document).expect("an authorization");
    let (_, reason) =
        failure(fixture.answered(Answer::Authorizations(vec![("https://ca/1".into(), unknown)])));
    assert!(reason.contains("https://ca/1") && reason.contains("neither a DNS name nor"), "{reason}");
}

/// A server must not get the operator to prove control of names that were never requested.
#[test]
fn authorization_that_was_not_ordered_fails() {
    let ordered = |names: &[&str]| {
        let mut fixture = Fixture::placed(vec![]);
        fixture.order.spec.dns_names = Some(names.iter().map(|&name| name.to_owned()).collect());
        fixture.order.spec.common_name = None;
        fixture.order.spec.ip_addresses = Some(vec!["2001:db8::1".into()]);
        fixture
    };
    let read = |(index, (name, wildcard)): (usize, &(&str, bool))| {
        let type_ = if name.contains(':') { "ip" } else { "dns" };
        let document = json!({
            "identifier": { "type": type_, "value": name },
            "wildcard": wildcard,
            "status": "pending",
            "challenges": [],
        });
        (format!("https://ca/authz/{index}"), serde_json::from_value(document).expect("an authorization"))
    };
    for (names, authorizations, stray) in [
        (&["a.test"][..], &[("A.test", false)][..], None),
        (&["a.test", "*.A.test"], &[("a.test", true), ("2001:DB8::1", false), ("a.test", false)], None),
        (&["*.a.test"], &[("*.a.test", false)], None),
        (&["a.test"], &[("victim.test", false)], Some("\"victim.test\"")),
        (&["a.test"], &[("a.test", true)], Some("\"*.a.test\"")),
        (&["*.a.test"], &[("a.test", false)], Some("\"a.test\"")),
        (&["a.test", "b.test"], &[("a.test", false), ("a.test", false)], Some("authz/1")),
        (&["a.test"], &[("2001:db8::2", false)], Some("\"2001:db8::2\"")),
    ] {
        let answer = Answer::Authorizations(authorizations.iter().enumerate().map(read).collect());
        let decision = ordered(names).answered(answer);
        match stray {
            None => assert_eq!(actions(decision), [Action::WriteStatus], "{authorizations:?}"),
            Some(stray) => {
                let (state, reason) = failure(decision);
                assert_eq!(state, State::Errored);
                assert!(reason.contains(stray) && reason.contains("asks for control"), "{reason}");
            }
        }
    }
    // Not even read.
    let many = OrderState { authorizations: vec!["https://ca/authz".into(); 3], ..state("pending", None) };
    let (_, reason) = failure(ordered(&["a.test"]).answered(Answer::Order(many)));
    assert!(reason.contains("3 authorizations for an order of 2 names"), "{reason}");
}

#[test]
fn authorization_is_stored_without_its_wildcard() {
    let document = json!({
        "identifier": { "type": "dns", "value": "*.a" },
        "status": "revoked",
        "challenges": [
            { "type": "http-01", "url": "https://ca/1", "token": "t", "status": "pending" },
            { "type": "other-01", "url": "https://ca/2", "status": "pending" },
            { "type": "other-02", "url": "https://ca/2", "token": "../t", "status": "pending" },
            { "type": "other-03", "url": "https://ca/2", "token": "t".repeat(129), "status": "pending" },
            { "type": "o".repeat(65), "url": "https://ca/2", "token": "t", "status": "pending" },
        ],
    });
    let read = serde_json::from_value(document).expect("an authorization");
    let stored = stored_authorization("https://ca/authz".into(), &read);
    assert_eq!(stored.identifier.as_deref(), Some("a"));
    assert_eq!((stored.wildcard, stored.initial_state), (Some(true), Some(State::Invalid)));
    let offered = stored.challenges.expect("challenges");
    // Others can't be presented, or not be stored.
    assert_eq!(offered.iter().map(|it| it.type_.as_str()).collect::<Vec<_>>(), ["http-01"]);
}
