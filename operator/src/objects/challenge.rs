//! The Challenges of an Order.

use crds::{
    acme::{
        Authorization, Challenge, ChallengeSpec, ChallengeType, GatewaySolver, Http01Solver,
        OfferedChallenge, Order, ParentReference, Solver,
    },
    annotations::{challenge::FINALIZER, request},
    gateway::{self, Gateway},
};
use kube::{Resource, ResourceExt};

use super::{metadata::owned, names};

/// Builds the Challenge of an Order for one of its authorizations: `offered` is the challenge of it that is solved.
pub fn build(
    of: &Order,
    authorization: &Authorization,
    offered: &OfferedChallenge,
    type_: ChallengeType,
    solver: &Solver,
    key_authorization: String,
) -> Challenge {
    let name = names::challenge(&of.name_any(), &authorization.url);
    let solver = overridden(solver, of);
    let finalizers = needs_finalizer(&solver).then(|| vec![FINALIZER.to_owned()]);
    let spec = ChallengeSpec {
        authorization_url: authorization.url.clone(),
        dns_name: authorization.identifier.clone().unwrap_or_default(),
        issuer_ref: of.spec.issuer_ref.clone(),
        key: key_authorization,
        solver: solver.into(),
        token: offered.token.clone(),
        type_,
        url: offered.url.clone(),
        wildcard: authorization.wildcard.filter(|wildcard| *wildcard),
    };
    let mut challenge = Challenge::new(&name, spec);
    challenge.metadata = owned(&name, of);
    challenge.metadata.finalizers = finalizers;
    challenge
}

/// Whether a Challenge with this solver must outlive its deletion until it has been cleaned up. The garbage collector deletes objects
/// that the Challenge owns; a path in a user's Ingress is the only thing that it can't.
pub fn needs_finalizer(solver: &Solver) -> bool {
    edited_ingress(solver).is_some()
}

/// The user's Ingress that a solver adds a path to, if it does not create its own.
pub fn edited_ingress(solver: &Solver) -> Option<&str> {
    let ingress = solver.http01.as_ref()?.ingress.as_ref()?;
    ingress.name.as_deref().filter(|name| !name.is_empty())
}

/// An issuer's solver, with the Ingress, class, or parent of the HTTPRoute that annotations of the Certificate set instead: the Order has
/// them too.
pub fn overridden(solver: &Solver, order: &Order) -> Solver {
    let mut solver = solver.clone();
    let Some(http01) = solver.http01.as_mut() else { return solver };
    if let Some(ingress) = http01.ingress.as_mut() {
        let name = annotation(order, request::OVERRIDE_INGRESS_NAME);
        let class = annotation(order, request::OVERRIDE_INGRESS_CLASS);
        let class_name = annotation(order, request::OVERRIDE_INGRESS_CLASS_NAME);
        if name.is_some() || class.is_some() || class_name.is_some() {
            (ingress.name, ingress.class, ingress.ingress_class_name) = (name, class, class_name);
        }
    }
    if let Some(gateway) = http01.gateway_http_route.as_mut() {
        add_parent(&mut gateway.parent_refs, order);
    }
    solver
}

fn annotation(order: &Order, name: &str) -> Option<String> {
    order.annotations().get(name).filter(|value| !value.is_empty()).cloned()
}

/// Adds the parent that annotations name. If the issuer names sections or ports of it, these are kept, because they say more; otherwise
/// the annotations replace what the issuer says, as in cert-manager.
fn add_parent(parents: &mut Option<Vec<ParentReference>>, order: &Order) {
    let Some(added) = added_parent(order) else { return };
    let own = order.namespace().unwrap_or_default();
    let is_same = |parent: &ParentReference| without_section(parent, &own) == without_section(&added, &own);
    let parents = parents.get_or_insert_default();
    parents.retain(|parent| !is_same(parent) || parent.section_name.is_some() || parent.port.is_some());
    if !parents.iter().any(is_same) {
        parents.push(added);
    }
}

/// The parent that annotations name.
fn added_parent(order: &Order) -> Option<ParentReference> {
    let kind = annotation(order, request::PARENT_REF_KIND)?;
    let name = annotation(order, request::PARENT_REF_NAME)?;
    let own = || order.namespace().unwrap_or_default();
    let namespace = annotation(order, request::PARENT_REF_NAMESPACE).unwrap_or_else(own);
    Some(ParentReference { kind: Some(kind), name, namespace: Some(namespace), ..ParentReference::default() })
}

/// Why no HTTPRoute can be created with an issuer's solver, for people; `None` also for a solver of another kind.
pub fn parents_problem(solver: &Solver, order: &Order) -> Option<String> {
    const MOST: usize = 32;
    let mut parents = gateway_solver(solver)?.parent_refs.clone();
    let (kind, name) = (request::PARENT_REF_KIND, request::PARENT_REF_NAME);
    let is_set = |of: &str| annotation(order, of).is_some();
    if is_set(kind) != is_set(name) {
        return Some(format!(
            "cannot specify only one of parentRefName, parentRefKind override annotations. Set both {name} and {kind} on the \
             Certificate, or neither"
        ));
    }
    add_parent(&mut parents, order);
    match parents.map_or(0, |parents| parents.len()) {
        0 => Some(format!(
            "must specify parentRefs either through annotations or solver config. Add the Gateway to the issuer's \
             http01.gatewayHTTPRoute.parentRefs, or set {name} and {kind} on the Certificate"
        )),
        1..=MOST => None,
        more => Some(format!(
            "the solver and the annotations name {more} parents, but an HTTPRoute can have {MOST}. Remove some of the issuer's \
             http01.gatewayHTTPRoute.parentRefs"
        )),
    }
}

/// A parent with the group, kind, and namespace that it has by default in an HTTPRoute of a namespace.
pub fn normalized(parent: &ParentReference, namespace: &str) -> ParentReference {
    let or = |value: &Option<String>, default: &str| Some(value.as_deref().unwrap_or(default).to_owned());
    ParentReference {
        group: or(&parent.group, gateway::GROUP),
        kind: or(&parent.kind, &Gateway::kind(&())),
        namespace: or(&parent.namespace, namespace),
        ..parent.clone()
    }
}

fn without_section(parent: &ParentReference, namespace: &str) -> ParentReference {
    ParentReference { section_name: None, port: None, ..normalized(parent, namespace) }
}

/// A solver that the Challenges of an Order may have.
pub struct ExpectedSolver {
    solver: Solver,
    /// The parents of its HTTPRoutes, as this operator and as cert-manager write them. They mean the same.
    parents: [Vec<ParentReference>; 2],
}

impl ExpectedSolver {
    /// What an issuer's solver is for an Order.
    pub fn of(solver: &Solver, order: &Order) -> Self {
        let namespace = order.namespace().unwrap_or_default();
        let theirs = gateway_solver(solver).map(|gateway| their_parents(gateway, order)).unwrap_or_default();
        let solver = overridden(solver, order);
        let ours = parents_of(&solver, &namespace);
        Self { solver, parents: [ours, normalized_set(&theirs, &namespace)] }
    }

    /// Whether a Challenge in a namespace has it.
    pub fn is(&self, of_challenge: &Solver, namespace: &str) -> bool {
        let Solver { dns01, http01, selector, wait_instead_of_self_check } = of_challenge;
        let ours = &self.solver;
        if (dns01, selector, wait_instead_of_self_check)
            != (&ours.dns01, &ours.selector, &ours.wait_instead_of_self_check)
        {
            return false;
        }
        let (Some(http01), Some(ours)) = (http01, &ours.http01) else { return *http01 == ours.http01 };
        let Http01Solver { ingress, gateway_http_route } = http01;
        if *ingress != ours.ingress {
            return false;
        }
        let (Some(gateway), Some(ours)) = (gateway_http_route, &ours.gateway_http_route) else {
            return *gateway_http_route == ours.gateway_http_route;
        };
        let GatewaySolver { labels, parent_refs: _, pod_template, service_type } = gateway;
        (labels, pod_template, service_type) == (&ours.labels, &ours.pod_template, &ours.service_type)
            && self.parents.contains(&parents_of(of_challenge, namespace))
    }
}

/// The parents that cert-manager writes: what annotations name replaces every entry of the issuer for the same object, also one with a
/// section, if that names the namespace.
fn their_parents(solver: &GatewaySolver, order: &Order) -> Vec<ParentReference> {
    let mut parents = solver.parent_refs.clone().unwrap_or_default();
    let Some(added) = added_parent(order) else { return parents };
    parents.retain(|parent| {
        parent.namespace != added.namespace
            || parent.name != added.name
            || parent.kind.is_some() && parent.kind != added.kind
    });
    parents.push(added);
    parents
}

/// The parents of a solver, normalized and in a fixed order, each once.
fn parents_of(solver: &Solver, namespace: &str) -> Vec<ParentReference> {
    let parents = gateway_solver(solver).and_then(|gateway| gateway.parent_refs.as_deref());
    normalized_set(parents.unwrap_or_default(), namespace)
}

fn normalized_set(parents: &[ParentReference], namespace: &str) -> Vec<ParentReference> {
    let mut parents: Vec<_> = parents.iter().map(|parent| normalized(parent, namespace)).collect();
    let key = |of: &ParentReference| {
        (of.namespace.clone(), of.name.clone(), of.kind.clone(), of.section_name.clone(), of.port)
    };
    parents.sort_by_key(key);
    parents.dedup();
    parents
}

fn gateway_solver(solver: &Solver) -> Option<&GatewaySolver> {
    solver.http01.as_ref()?.gateway_http_route.as_ref()
}

#[cfg(test)]
mod tests {
    use crds::{acme::IngressSolver, fixtures};

    use super::*;

    fn parent(text: &str) -> ParentReference {
        // [namespace/]name[#section], of a Gateway, or of the kind before a colon.
        let (kind, rest) = text.split_once(':').map_or((None, text), |(kind, rest)| (Some(kind), rest));
        let (rest, section) =
            rest.split_once('#').map_or((rest, None), |(rest, section)| (rest, Some(section)));
        let (namespace, name) =
            rest.split_once('/').map_or((None, rest), |(namespace, name)| (Some(namespace), name));
        let owned = |text: Option<&str>| text.map(ToOwned::to_owned);
        ParentReference {
            kind: owned(kind),
            name: name.to_owned(),
            namespace: owned(namespace),
            section_name: owned(section),
            ..ParentReference::default()
        }
    }

    fn solver(parents: &[&str]) -> Solver {
        let parents = (!parents.is_empty()).then(|| parents.iter().map(|it| parent(it)).collect());
        let gateway = GatewaySolver { parent_refs: parents, ..GatewaySolver::default() };
        let http01 = Http01Solver { gateway_http_route: Some(gateway), ingress: None };
        Solver { http01: Some(http01), ..Solver::default() }
    }

    fn order(annotations: &[(&str, &str)]) -> Order {
        fixtures::order("web", |it| {
            it.metadata.namespace = Some("a".to_owned());
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            it.metadata.annotations = Some(annotations.iter().map(pair).collect());
        })
    }

    /// What the issuer names, what the annotations name, and what the HTTPRoute attaches to.
    #[test]
    fn annotations_add_a_parent() {
        let cases: [(&[&str], &[&str; 3], &[&str]); 7] = [
            (&["b/web"], &["", "", ""], &["b/web"]),
            (&[], &["Gateway", "web", ""], &["Gateway:a/web"]),
            (&["b/other"], &["ListenerSet", "web", "c"], &["b/other", "ListenerSet:c/web"]),
            (&["web"], &["Gateway", "web", ""], &["Gateway:a/web"]),
            (&["a/web", "b/web"], &["Gateway", "web", ""], &["b/web", "Gateway:a/web"]),
            (&["web#http"], &["Gateway", "web", ""], &["web#http"]),
            (&["web#http", "web"], &["Gateway", "web", "a"], &["web#http"]),
        ];
        for (configured, [kind, name, namespace], expected) in cases {
            let order = order(&[
                (request::PARENT_REF_KIND, kind),
                (request::PARENT_REF_NAME, name),
                (request::PARENT_REF_NAMESPACE, namespace),
            ]);
            let overridden = overridden(&solver(configured), &order);
            assert_eq!(overridden, solver(expected), "{configured:?} {kind} {name} {namespace}");
            assert_eq!(parents_problem(&solver(configured), &order), None);
        }
    }

    #[test]
    fn parents_that_no_route_can_have_are_reported() {
        let problem = |solver: Solver, annotations: &[(&str, &str)]| {
            parents_problem(&solver, &order(annotations)).unwrap_or_default()
        };
        let none = problem(solver(&[]), &[]);
        assert!(
            none.starts_with("must specify parentRefs either through annotations or solver config"),
            "{none}"
        );
        let half = problem(solver(&["web"]), &[(request::PARENT_REF_NAME, "web")]);
        assert!(half.starts_with("cannot specify only one of parentRefName, parentRefKind"), "{half}");
        let names: Vec<_> = (0..32).map(|number| format!("web-{number}")).collect();
        let names: Vec<_> = names.iter().map(|name| &**name).collect();
        assert_eq!(problem(solver(&names), &[]), "");
        let both = [(request::PARENT_REF_NAME, "more"), (request::PARENT_REF_KIND, "Gateway")];
        assert!(problem(solver(&names), &both).contains("33 parents"));
    }

    /// The Challenge was created by cert-manager, or by us before the takeover. A correction of the issuer must reach it.
    #[test]
    fn challenge_has_the_solver_that_the_issuer_and_the_annotations_say() {
        let annotations = [(request::PARENT_REF_KIND, "Gateway"), (request::PARENT_REF_NAME, "web")];
        let order = order(&annotations);
        let configured = solver(&["a/web#http", "b/other"]);
        let expected = ExpectedSolver::of(&configured, &order);
        for (same, parents) in [
            (true, &["web#http", "b/other"][..]),
            (true, &["b/other", "Gateway:a/web"]),
            (false, &["web#https", "b/other"]),
            (false, &["b/other"]),
            (false, &["web#http", "b/other", "c/more"]),
        ] {
            assert_eq!(expected.is(&solver(parents), "a"), same, "{parents:?}");
        }
        let mut both = configured;
        both.http01.get_or_insert_default().ingress = Some(IngressSolver::default());
        assert!(!expected.is(&both, "a"), "a user has added an Ingress");
        assert!(!expected.is(&fixtures::ingress_solver("nginx"), "a"));
        let ingress = ExpectedSolver::of(&fixtures::ingress_solver("nginx"), &order);
        assert!(ingress.is(&fixtures::ingress_solver("nginx"), "a"));
        assert!(!ingress.is(&fixtures::ingress_solver("other"), "a"));
    }
}
