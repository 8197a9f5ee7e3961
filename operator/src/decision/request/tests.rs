use crds::{acme::State, certmanager::KeyUsage, fixtures};
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use kube::ResourceExt;

use super::*;
use crate::{
    decision::certificate::{Cause, Pace},
    objects::metadata::controller,
    pki::{CsrRequest, Curve, KeyKind, PrivateKey, Subject},
};

fn request(change: impl FnOnce(&mut CsrRequest)) -> CertificateRequest {
    let mut csr = CsrRequest { dns_names: vec!["web.example.test".into()], ..CsrRequest::default() };
    change(&mut csr);
    let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
    let pem = csr.sign_pem(&key).expect("a CSR");
    fixtures::certificate_request("web-1", |it| {
        it.metadata.namespace = Some("a".into());
        it.metadata.uid = Some("1".into());
        it.spec.request = ByteString(pem.into_bytes());
    })
}

fn csr(request: &CertificateRequest) -> Result<Csr, ReadCsrError> {
    Csr::from_pem(&request.spec.request.0)
}

fn decided(request: &CertificateRequest, issuer: IssuerView<'_>, order: Option<&Order>) -> Vec<Action> {
    decide(&View {
        request,
        csr: csr(request).as_ref(),
        is_orphan: false,
        issuer,
        order,
        pace: None,
        problem: None,
        auto_approve: true,
        now: Timestamp::UNIX_EPOCH,
    })
}

fn ready(actions: &[Action]) -> Option<(ConditionStatus, String, String)> {
    actions.iter().find_map(|action| match action {
        Action::WriteStatus(status) => {
            let ready = condition::find(&status.conditions, condition::READY)?.clone();
            Some((ready.status, ready.reason?, ready.message?))
        }
        _ => None,
    })
}

#[test]
fn approval_comes_before_the_order() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let actions = decided(
        &request(|_| {}),
        IssuerView::Acme { acme: &acme, account: None, ready: true, message: None },
        None,
    );
    let [Action::WriteStatus(status), Action::CreateOrder(order)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert!(condition::is_true(&status.conditions, condition::APPROVED));
    assert_eq!(order.spec.dns_names.as_deref(), Some(["web.example.test".to_owned()].as_slice()));
}

#[test]
fn unapproved_requests_are_ignored() {
    let request = request(|_| {});
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let issuer = IssuerView::Acme { acme: &acme, account: None, ready: true, message: None };
    let csr = csr(&request);
    let view = View {
        request: &request,
        csr: csr.as_ref(),
        is_orphan: false,
        issuer,
        order: None,
        pace: None,
        problem: None,
        auto_approve: false,
        now: Timestamp::UNIX_EPOCH,
    };
    assert!(decide(&view).is_empty());
}

/// Its issuer's controller waits for the approval, and writes everything else.
#[test]
fn request_to_another_controller_is_only_approved() {
    let mut request = request(|_| {});
    let actions = decided(&request, IssuerView::Other, None);
    assert_eq!(decided(&request, IssuerView::Unsupported, None), actions);
    let [Action::WriteStatus(status)] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(condition::is_true(&status.conditions, condition::APPROVED));
    assert_eq!(status.conditions.len(), 1);
    request.status = Some((**status).clone());
    assert!(decided(&request, IssuerView::Other, None).is_empty(), "it is approved");
    let status = request.status.as_mut().expect("a status");
    status.conditions[0].type_ = condition::DENIED.to_owned();
    assert!(decided(&request, IssuerView::Other, None).is_empty(), "it is denied");
}

#[test]
fn request_reports_that_it_waits_for_its_issuer() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    for (issuer, part) in [
        (IssuerView::Missing, "not found"),
        (
            IssuerView::Acme { acme: &acme, account: None, ready: false, message: None },
            "does not have a Ready status",
        ),
    ] {
        let actions = decided(&request(|_| {}), issuer, None);
        let (status, reason, message) = ready(&actions).expect("a condition");
        assert!(
            status == ConditionStatus::False && reason == "Pending" && message.contains(part),
            "{message}"
        );
        assert_eq!(actions.len(), 1);
    }
}

/// A refusal does not approve: another issuer's approver may have to decide later.
#[test]
fn refused_request_only_says_why() {
    let actions = decided(&request(|_| {}), IssuerView::Refused("not for this namespace"), None);
    let [Action::WriteStatus(status)] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(!condition::is_true(&status.conditions, condition::APPROVED));
    let ready = ready(&actions).expect("a condition");
    assert_eq!(ready, (ConditionStatus::False, "Pending".into(), "not for this namespace".into()));
}

#[test]
fn common_name_must_be_listed() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let issuer = IssuerView::Acme { acme: &acme, account: None, ready: true, message: None };
    let good = request(|csr| csr.subject = Subject::common_name("web.example.test"));
    assert_eq!(ready(&decided(&good, issuer, None)).expect("a condition").1, "Pending");
    for bad in [request(|csr| csr.subject = Subject::common_name("x")), request(|csr| csr.dns_names.clear())]
    {
        assert_eq!(ready(&decided(&bad, issuer, None)).expect("a condition").1, "Failed");
    }
}

#[test]
fn forged_csr_creates_no_order() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let mut forged = request(|_| {});
    let mut der = Csr::from_pem(&forged.spec.request.0).expect("a CSR").der;
    // The last byte belongs to the signature.
    *der.last_mut().expect("a signature") ^= 1;
    let pem = ::pem::encode(&::pem::Pem::new("CERTIFICATE REQUEST", der));
    forged.spec.request = ByteString(pem.into_bytes());
    let actions =
        decided(&forged, IssuerView::Acme { acme: &acme, account: None, ready: true, message: None }, None);
    let (_, reason, message) = ready(&actions).expect("a condition");
    assert_eq!(
        (&*reason, &*message),
        ("Failed", "failed to read the CSR: it is not signed by the key in it")
    );
    assert!(!actions.iter().any(|action| matches!(action, Action::CreateOrder(_))));
}

#[test]
fn failed_order_fails_the_request_with_its_reason() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let request = request(|_| {});
    let order = fixtures::order("web-1-x", |it| {
        it.metadata.owner_references = controller(&request).map(|owner| vec![owner]);
        it.spec.request = request.spec.request.clone();
        it.status = Some(crds::acme::OrderStatus {
            state: Some(State::Invalid),
            reason: Some("no such host".into()),
            ..crds::acme::OrderStatus::default()
        });
    });
    let actions = decided(
        &request,
        IssuerView::Acme { acme: &acme, account: None, ready: true, message: None },
        Some(&order),
    );
    let (_, reason, message) = ready(&actions).expect("a condition");
    assert_eq!(reason, "Failed");
    assert!(message.ends_with("order is in \"invalid\" state: no such host"), "{message}");
}

/// A request was deleted without its Order, or a backup was restored in which owners have other UIDs.
#[test]
fn order_left_behind_is_adopted_or_replaced() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let issuer = IssuerView::Acme { acme: &acme, account: None, ready: true, message: None };
    let request = request(|_| {});
    let mut order = fixtures::order("web-1-x", |it| {
        it.spec.request = request.spec.request.clone();
        it.spec.issuer_ref = request.spec.issuer_ref.clone();
    });
    let adopted = [Action::AdoptOrder("web-1-x".into())];
    assert_eq!(decided(&request, issuer, Some(&order)), adopted, "it has no owner");
    let mut earlier = request.clone();
    earlier.metadata.uid = Some("0".into());
    order.metadata.owner_references = controller(&earlier).map(|owner| vec![owner]);
    assert_eq!(decided(&request, issuer, Some(&order)), adopted, "its owner is gone");
    order.spec.issuer_ref.name = "other".into();
    assert_eq!(decided(&request, issuer, Some(&order)), [Action::DeleteOrder("web-1-x".into())]);
    earlier.metadata.name = Some("other".into());
    order.metadata.owner_references = controller(&earlier).map(|owner| vec![owner]);
    let (_, _, message) = ready(&decided(&request, issuer, Some(&order))).expect("a condition");
    assert!(message.contains("delete it"), "{message}");
}

/// The account's key was deleted, for example: the new account can't complete what the old one has begun.
#[test]
fn order_of_another_account_is_replaced() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let with = |account| IssuerView::Acme { acme: &acme, account: Some(account), ready: true, message: None };
    let request = request(|_| {});
    let actions = decided(&request, with("https://ca.example.test/acct/1"), None);
    let [_, Action::CreateOrder(order)] = actions.as_slice() else { panic!("{actions:?}") };
    let mut order = (**order).clone();
    let of_other = decided(&request, with("https://ca.example.test/acct/2"), Some(&order));
    assert_eq!(of_other, [Action::DeleteOrder(order.name_any())]);
    let waits = |actions: &[Action]| matches!(actions, [Action::WriteStatus(_)]);
    assert!(waits(&decided(&request, with("https://ca.example.test/acct/1"), Some(&order))));
    order.annotations_mut().clear();
    assert!(
        waits(&decided(&request, with("https://ca.example.test/acct/2"), Some(&order))),
        "it may be of any account"
    );
}

#[test]
fn problem_is_reported_instead_of_what_is_waited_for() {
    let request = request(|_| {});
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let issuer = IssuerView::Acme { acme: &acme, account: None, ready: true, message: None };
    let problem = Some("failed to create Order a/web-1-x: exceeded quota");
    let csr = csr(&request);
    let view = View {
        request: &request,
        csr: csr.as_ref(),
        is_orphan: false,
        issuer,
        order: None,
        pace: None,
        problem,
        auto_approve: true,
        now: Timestamp::UNIX_EPOCH,
    };
    let actions = decide(&view);
    assert_eq!(ready(&actions).map(|(_, _, message)| message).as_deref(), problem);
    assert!(actions.iter().any(|action| matches!(action, Action::CreateOrder(_))), "it is tried again");
}

#[test]
fn issuers_that_cannot_sign_are_named() {
    for (issuer, words) in [
        (IssuerView::UnknownKind, "must be Issuer or ClusterIssuer"),
        (IssuerView::Missing, "Referenced \"Issuer\" not found: issuer.cert-manager.io \"issuer\" not found"),
    ] {
        let (_, _, message) = ready(&decided(&request(|_| {}), issuer, None)).expect("a condition");
        assert!(message.contains(words), "{message}");
    }
    let advised =
        with_advice("Referenced \"Issuer\" not found: issuer.cert-manager.io \"web\" not found".to_owned());
    assert!(
        advised.ends_with(
            "not found. Create it, or correct the annotation that names it, or else spec.issuerRef"
        )
    );
    assert_eq!(with_advice(UNCHECKED.to_owned()), UNCHECKED);
}

/// An approver sees the fields of a request, and the CA its CSR.
#[test]
fn csr_that_contradicts_its_request_is_invalid() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let issuer = IssuerView::Acme { acme: &acme, account: None, ready: true, message: None };
    let usages = |usages: &[KeyUsage]| usages.to_vec();
    let of = |csr: &[KeyUsage], spec: &[KeyUsage], in_csr: bool, is_ca: bool| {
        let mut request = request(|it| (it.usages, it.is_ca) = (usages(csr), in_csr));
        (request.spec.usages, request.spec.is_ca) = (Some(usages(spec)), Some(is_ca));
        decided(&request, issuer, None)
    };
    let defaults = [KeyUsage::DigitalSignature, KeyUsage::KeyEncipherment];
    let mail = [KeyUsage::Signing, KeyUsage::SMime];
    let sign = [defaults[0], defaults[1], KeyUsage::CertSign];
    for (csr, spec, in_csr, is_ca) in [
        (&defaults[..], &[][..], false, false),
        (&[], &mail, false, true),
        (&mail, &[KeyUsage::DigitalSignature, KeyUsage::EmailProtection], false, false),
        (&sign, &defaults, true, true),
    ] {
        let actions = of(csr, spec, in_csr, is_ca);
        assert!(matches!(actions.last(), Some(Action::CreateOrder(_))), "{csr:?} {spec:?}: {actions:?}");
    }
    for (csr, spec, in_csr, words) in [
        (&mail[..], &[][..], false, "key usages in the CSR differ from spec.usages"),
        (&defaults, &mail, false, "key usages in the CSR differ from spec.usages"),
        (&defaults, &[], true, "basic constraints in the CSR differ from spec.isCA, which is false"),
    ] {
        let actions = of(csr, spec, in_csr, false);
        let Some(Action::WriteStatus(status)) = actions.first() else { panic!("{actions:?}") };
        let invalid = condition::find(&status.conditions, condition::INVALID_REQUEST).expect("a condition");
        assert_eq!(
            (invalid.status, invalid.reason.as_deref()),
            (ConditionStatus::True, Some("InvalidRequest"))
        );
        assert!(ready(&actions).is_some_and(|(_, reason, it)| reason == "Failed" && it.contains(words)));
        assert!(status.failure_time.is_some());
    }
}

/// Each Order that is deleted would be another one for the CA.
#[test]
fn order_that_is_deleted_again_and_again_waits() {
    let acme = fixtures::issuer("issuer", |_| {}).spec.acme.expect("an ACME issuer");
    let request = request(|_| {});
    let (mut pace, mut now, mut orders) = (None, Timestamp::UNIX_EPOCH, 0);
    let csr = csr(&request);
    for _ in 0..3600 {
        let view = View {
            request: &request,
            csr: csr.as_ref(),
            is_orphan: false,
            issuer: IssuerView::Acme { acme: &acme, account: None, ready: true, message: None },
            order: None,
            pace,
            problem: None,
            auto_approve: true,
            now,
        };
        let actions = decide(&view);
        if matches!(actions.last(), Some(Action::CreateOrder(_))) {
            (pace, orders) = (Some(Pace::after(pace, 0, Cause::Other, now)), orders + 1);
        } else {
            let (.., message) = ready(&actions).expect("a condition");
            assert!(message.contains("times in a row, so the next one waits"), "{message}");
        }
        now = now.checked_add(SignedDuration::from_secs(1)).expect("a time");
    }
    assert!((3..10).contains(&orders), "{orders} orders in an hour");
}
