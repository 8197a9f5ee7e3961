//! What controllers say about the HTTPRoute of a Challenge, for people. A challenge is never kept from being submitted by it: not all
//! controllers write it, and some write it late.

use std::{collections::BTreeSet, ops::Deref};

use crds::{
    acme::ParentReference,
    condition::one_line,
    gateway::{self, Gateway, HttpRoute, Listener, RouteParentStatus},
};
use kube::Resource;

use crate::objects::{challenge::normalized, metadata::Identity};

/// The longest message of a controller that is shown, bytes.
const LONGEST_MESSAGE: usize = 300;

/// How many parents are explained.
const MOST_EXPLAINED: usize = 3;

/// Finds a Gateway by namespace and name.
type FindGateway<'a, G> = &'a dyn Fn(&str, &str) -> Option<G>;

/// Whether controllers say that all parents serve the route.
pub fn is_accepted(route: &HttpRoute) -> bool {
    let mut all = statuses(route).peekable();
    all.peek().is_some()
        && all.all(|status| {
            is(route, status, "Accepted", "True") && problem(route, status, "ResolvedRefs").is_none()
        })
}

/// A parent of a route, with what is known about it.
struct Parent<G> {
    /// Normalized.
    reference: ParentReference,
    gateway: Lookup<G>,
}

/// What is known about the Gateway of a parent.
enum Lookup<G> {
    /// Nothing, or the parent is something else.
    Unknown,
    Missing,
    Found(G),
}

/// What a user has to change, or who has not looked at the route yet; `None` if a controller accepts it everywhere. `gateway` finds a
/// Gateway by namespace and name; it is `None` if not all of them are known.
pub fn explanation<G: Deref<Target = Gateway>>(
    route: &HttpRoute,
    gateway: Option<FindGateway<'_, G>>,
) -> Option<String> {
    let parents: Vec<_> = route
        .spec
        .parent_refs
        .iter()
        .map(|it| {
            let reference = normalized(it, route.namespace_or_empty());
            let namespace = reference.namespace.as_deref().unwrap_or_default();
            let gateway = match gateway.filter(|_| is_gateway(&reference)) {
                None => Lookup::Unknown,
                Some(find) => find(namespace, &reference.name).map_or(Lookup::Missing, Lookup::Found),
            };
            Parent { reference, gateway }
        })
        .collect();
    let all = |problem: &dyn Fn(&Parent<G>) -> Option<String>| {
        let problems: Vec<_> = parents.iter().map(problem).collect();
        let all = problems.into_iter().collect::<Option<BTreeSet<_>>>()?;
        (!all.is_empty()).then(|| joined(all))
    };
    let of_parent = |parent: &Parent<G>| parent_problem(route, parent);
    all(&of_parent)
        .or_else(|| rejections(route, &parents))
        .or_else(|| unseen(route, &parents))
        .or_else(|| all(&|parent: &Parent<G>| of_parent(parent).or_else(|| closed(route, parent))))
}

/// The first parent that no controller has looked at.
fn unseen<G>(route: &HttpRoute, parents: &[Parent<G>]) -> Option<String> {
    let is_unseen = |parent: &&Parent<G>| {
        statuses(route)
            .all(|status| normalized(&status.parent_ref, route.namespace_or_empty()) != parent.reference)
    };
    let unseen = &parents.iter().find(is_unseen)?.reference;
    let advice = if unseen.kind.as_deref() == Some("ListenerSet") {
        "Check that it exists, and that its controller serves ListenerSets. If it doesn't, set the annotation \
         acme.cert-manager.io/http01-parentreffallback: \"true\" on the ListenerSet"
    } else {
        "Check that it exists, and that a controller serves its GatewayClass"
    };
    Some(format!("no controller has accepted the HTTPRoute for the {} yet. {advice}", name(unseen)))
}

/// What controllers say about this version of the route, to notice that it is something else than before.
pub fn verdicts(route: &HttpRoute) -> BTreeSet<String> {
    let of_parent = |status: &RouteParentStatus| {
        let parent = name(&normalized(&status.parent_ref, route.namespace_or_empty()));
        let verdict = |type_: &&str| ["True", "False"].into_iter().find(|it| is(route, status, type_, it));
        let verdicts: Vec<_> = ["Accepted", "ResolvedRefs"].iter().map(verdict).collect();
        let reasons: Vec<_> = status.conditions.iter().map(|condition| &condition.reason).collect();
        format!("{} {parent} {verdicts:?} {reasons:?}", status.controller_name)
    };
    statuses(route).map(of_parent).collect()
}

/// What controllers say is wrong with the route.
fn rejections<G: Deref<Target = Gateway>>(route: &HttpRoute, parents: &[Parent<G>]) -> Option<String> {
    let mut problems = BTreeSet::new();
    for status in statuses(route) {
        let problem = ["Accepted", "ResolvedRefs"].iter().find_map(|type_| problem(route, status, type_));
        let Some((reason, message)) = problem else { continue };
        let reference = normalized(&status.parent_ref, route.namespace_or_empty());
        let message = one_line(message, LONGEST_MESSAGE);
        let message = if message.is_empty() { message } else { format!(": {message}") };
        let parent = parents.iter().find(|parent| parent.reference == reference);
        let advice = advice(reason, &reference, parent.and_then(|parent| access(route, parent)));
        problems
            .insert(format!("the {} rejects the HTTPRoute ({reason}{message}){advice}", name(&reference)));
    }
    (!problems.is_empty()).then(|| joined(problems))
}

fn joined(problems: BTreeSet<String>) -> String {
    problems.into_iter().take(MOST_EXPLAINED).collect::<Vec<_>>().join("; ")
}

fn is_gateway(parent: &ParentReference) -> bool {
    parent.group.as_deref() == Some(gateway::GROUP) && parent.kind.as_deref() == Some(&*Gateway::kind(&()))
}

/// Why a parent can't serve a challenge, whatever its controller says.
fn parent_problem<G: Deref<Target = Gateway>>(route: &HttpRoute, parent: &Parent<G>) -> Option<String> {
    let Parent { reference, gateway } = parent;
    let kind = reference.kind.as_deref().unwrap_or_default();
    if reference.group.as_deref() != Some(gateway::GROUP) || kind == "ListenerSet" {
        return None;
    }
    if !is_gateway(reference) {
        return Some(format!(
            "the parent of the HTTPRoute is of the unknown kind {kind:?}. Write \"Gateway\" or \"ListenerSet\""
        ));
    }
    let found = match gateway {
        Lookup::Unknown => return None,
        Lookup::Found(found) => found,
        Lookup::Missing => {
            return Some(format!(
                "the {} does not exist. Create it, or correct the parentRefs of the issuer's solver or the annotations of the \
                 Certificate",
                name(reference)
            ));
        }
    };
    let is_none_named = !found.spec.listeners.iter().any(|listener| is_named(listener, reference));
    if is_none_named && (reference.section_name.is_some() || reference.port.is_some()) {
        return Some(format!(
            "there is no {}. Correct sectionName or port in the issuer's parentRefs",
            name(reference)
        ));
    }
    listeners(route, parent).all(|listener| listener.protocol != HTTP).then(|| {
        format!(
            "the {} has no listener for HTTP that accepts the name, and the CA connects to port 80. Add a listener with protocol HTTP \
             and port 80, and with this hostname or none",
            name(reference)
        )
    })
}

/// Whether listeners of a Gateway take a route, as far as their allowedRoutes say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Closed,
    /// The labels of its namespace decide, and these are not known.
    Selected,
    Open,
}

impl Access {
    fn of(listener: &Listener, gateway: &ParentReference, route: &HttpRoute) -> Self {
        let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        match namespaces.and_then(|namespaces| namespaces.from.as_deref()).unwrap_or("Same") {
            "Same" if gateway.namespace.as_deref() != Some(route.namespace_or_empty()) => Self::Closed,
            "Selector" => Self::Selected,
            _ => Self::Open,
        }
    }
}

/// Whether a Gateway's listeners for HTTP take a route; `None` if this is not known.
fn access<G: Deref<Target = Gateway>>(route: &HttpRoute, parent: &Parent<G>) -> Option<Access> {
    let for_http = listeners(route, parent).filter(|listener| listener.protocol == HTTP);
    for_http.map(|listener| Access::of(listener, &parent.reference, route)).max()
}

/// What to change if a Gateway's listeners for HTTP take no route of this namespace, but others do: usually the one for HTTPS with the same
/// name. The route then counts as accepted.
fn closed<G: Deref<Target = Gateway>>(route: &HttpRoute, parent: &Parent<G>) -> Option<String> {
    let for_http = access(route, parent)?;
    let is_more_open = |listener: &Listener| Access::of(listener, &parent.reference, route) > for_http;
    if !listeners(route, parent).any(is_more_open) {
        return None;
    }
    let name = name(&parent.reference);
    Some(if for_http == Access::Closed {
        format!(
            "the {name} accepts no HTTPRoutes of this namespace on its listener for HTTP. Allow them in its allowedRoutes"
        )
    } else {
        format!(
            "the {name} accepts HTTPRoutes on its listener for HTTP only from some namespaces. Check that the selector in its \
             allowedRoutes matches the labels of this namespace"
        )
    })
}

/// The protocol of the listeners that the CA connects to. Their port may be mapped from the port 80.
const HTTP: &str = "HTTP";

fn is_named(listener: &Listener, parent: &ParentReference) -> bool {
    parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
        && parent.port.is_none_or(|port| port == listener.port)
}

/// The listeners of a Gateway that a route may attach to, and that accept its names.
fn listeners<'a, G: Deref<Target = Gateway>>(
    route: &'a HttpRoute,
    parent: &'a Parent<G>,
) -> impl Iterator<Item = &'a Listener> {
    let hosts = route.spec.hostnames.as_deref().unwrap_or_default();
    let covers_all =
        move |listener: &Listener| hosts.iter().all(|host| covers(listener.hostname.as_deref(), host));
    let all = match &parent.gateway {
        Lookup::Found(gateway) => &gateway.spec.listeners[..],
        Lookup::Unknown | Lookup::Missing => &[],
    };
    all.iter().filter(move |listener| is_named(listener, &parent.reference) && covers_all(listener))
}

/// Whether a listener with a hostname accepts a name.
fn covers(hostname: Option<&str>, name: &str) -> bool {
    match hostname.filter(|hostname| !hostname.is_empty()) {
        None => true,
        Some(hostname) => match hostname.strip_prefix('*') {
            Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
            None => name == hostname,
        },
    }
}

fn statuses(route: &HttpRoute) -> impl Iterator<Item = &RouteParentStatus> {
    route.status.iter().flat_map(|status| &status.parents)
}

/// Whether a condition about this version of the route has a status.
fn is(route: &HttpRoute, of: &RouteParentStatus, type_: &str, status: &str) -> bool {
    let is_current = |observed: Option<i64>| {
        observed.zip(route.metadata.generation).is_none_or(|(observed, current)| observed >= current)
    };
    let mut conditions = of.conditions.iter();
    conditions.any(|it| it.type_ == type_ && it.status == status && is_current(it.observed_generation))
}

/// The reason and the message of a condition that says what is wrong with this version of the route.
fn problem<'a>(route: &HttpRoute, of: &'a RouteParentStatus, type_: &str) -> Option<(&'a str, &'a str)> {
    let condition = of.conditions.iter().find(|it| it.type_ == type_)?;
    // Until a controller has looked at the route, its condition is unknown and pending.
    let is_problem = is(route, of, type_, "False") && condition.reason != "Pending";
    is_problem.then_some((&condition.reason, &condition.message))
}

/// What to do about a reason of the Gateway API.
fn advice(reason: &str, parent: &ParentReference, access: Option<Access>) -> &'static str {
    match (reason, access) {
        ("NoMatchingListenerHostname", Some(Access::Open)) => {
            ". The listener for HTTPS with this name may have to start first: set the annotation \
             cert-manager.io/issue-temporary-certificate: \"true\" on the Gateway, or add a listener for HTTP on port 80 with exactly \
             this hostname"
        }
        // The listener that has the name may not count, because it takes no routes of this namespace.
        ("NoMatchingListenerHostname", Some(_)) | ("NotAllowedByListeners", _) => {
            ". Allow routes of this namespace in allowedRoutes of the listener for HTTP on port 80, and check in the status of the \
             Gateway that this listener is accepted"
        }
        ("NoMatchingListenerHostname", None) => {
            ". Add a listener for HTTP on port 80 with this hostname, or without one"
        }
        ("NoMatchingParent", _) if parent.section_name.is_some() || parent.port.is_some() => {
            ". Correct sectionName or port in the issuer's parentRefs"
        }
        ("NoMatchingParent", _) => ". Add a listener for HTTP on port 80",
        ("NoReadyListeners", _) => {
            ". Attach the HTTPRoute to a listener for HTTP that is ready, or let the listeners start with the annotation \
             cert-manager.io/issue-temporary-certificate: \"true\""
        }
        _ => "",
    }
}

/// A normalized parent, for people.
fn name(parent: &ParentReference) -> String {
    let kind = parent.kind.as_deref().unwrap_or_default();
    let namespace = parent.namespace.as_deref().unwrap_or_default();
    let part = match (&parent.section_name, parent.port) {
        (None, None) => String::new(),
        (Some(section), None) => format!(" (section {section:?})"),
        (None, Some(port)) => format!(" (port {port})"),
        (Some(section), Some(port)) => format!(" (section {section:?}, port {port})"),
    };
    format!("{kind} \"{namespace}/{}\"{part}", parent.name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::{explanation as explanation_with, *};

    /// Without knowledge of Gateways.
    fn explanation(route: &HttpRoute) -> Option<String> {
        explanation_with::<&Gateway>(route, None)
    }

    fn route(conditions: &[(&str, &Value)]) -> HttpRoute {
        let parents: Vec<_> = conditions
            .iter()
            .map(|(parent, conditions)| json!({ "parentRef": { "name": parent }, "conditions": conditions }))
            .collect();
        from_value(json!({
            "metadata": { "name": "route", "namespace": "a", "generation": 2 },
            "spec": { "parentRefs": [{ "name": "web", "namespace": "a", "kind": "Gateway" }] },
            "status": { "parents": parents },
        }))
        .expect("an HTTPRoute")
    }

    fn condition(type_: &str, status: &str, reason: &str, generation: i64) -> Value {
        json!({ "type": type_, "status": status, "reason": reason, "message": "why", "observedGeneration": generation })
    }

    #[test]
    fn rejection_is_explained() {
        let rejected = json!([condition("Accepted", "False", "NotAllowedByListeners", 2)]);
        let rejected = route(&[("web", &rejected)]);
        let text = explanation(&rejected).expect("an explanation");
        assert!(
            text.starts_with(
                "the Gateway \"a/web\" rejects the HTTPRoute (NotAllowedByListeners: why). Allow routes"
            ),
            "{text}"
        );
        assert!(!is_accepted(&rejected));
        let accepted = condition("Accepted", "True", "Accepted", 2);
        let unresolved = json!([accepted, condition("ResolvedRefs", "False", "BackendNotFound", 2)]);
        let unresolved = route(&[("web", &unresolved)]);
        assert!(explanation(&unresolved).is_some_and(|text| text.contains("BackendNotFound")));
        assert!(!is_accepted(&unresolved));
    }

    #[test]
    fn accepted_route_needs_no_explanation() {
        let accepted = route(&[("web", &json!([condition("Accepted", "True", "Accepted", 2)]))]);
        assert_eq!((explanation(&accepted), is_accepted(&accepted)), (None, true));
    }

    /// Controllers say less, or nothing, or attach the route to a listener for HTTPS.
    #[test]
    fn gateway_that_cannot_serve_a_challenge_is_explained() {
        let gateway = |listeners: Value| -> Gateway {
            from_value(json!({ "metadata": { "name": "web" }, "spec": { "listeners": listeners } }))
                .expect("a Gateway")
        };
        let accepted = json!([condition("Accepted", "True", "Accepted", 2)]);
        let mut route = route(&[("web", &accepted)]);
        route.spec.hostnames = Some(vec!["www.example.test".to_owned()]);
        let explained = |route: &HttpRoute, gateway: Option<&Gateway>| {
            explanation_with(route, Some(&|_: &str, _: &str| gateway)).unwrap_or_default()
        };
        let http = |hostname: Option<&str>| json!({ "name": "http", "port": 80, "protocol": "HTTP", "hostname": hostname });
        let https =
            json!({ "name": "https", "port": 443, "protocol": "HTTPS", "hostname": "www.example.test" });
        for (listeners, expected) in [
            (json!([http(None)]), ""),
            (json!([http(Some("*.example.test"))]), ""),
            (json!([http(Some("www.example.test"))]), ""),
            (json!([https]), "the Gateway \"a/web\" has no listener for HTTP"),
            (
                json!([https, http(Some("other.example.test"))]),
                "the Gateway \"a/web\" has no listener for HTTP",
            ),
            (json!([http(Some("*.www.example.test"))]), "the Gateway \"a/web\" has no listener for HTTP"),
        ] {
            let text = explained(&route, Some(&gateway(listeners.clone())));
            assert_eq!(text.get(..expected.len()), Some(expected), "{listeners}: {text}");
            assert_eq!(text.is_empty(), expected.is_empty(), "{listeners}: {text}");
        }
        let restricted = |from: &str, namespace: &str, others: Value| {
            let mut listener = http(None);
            listener["allowedRoutes"] = json!({ "namespaces": { "from": from } });
            let mut https = https.clone();
            https["allowedRoutes"] = json!({ "namespaces": { "from": others } });
            let mut route = route.clone();
            route.spec.parent_refs[0].namespace = Some(namespace.to_owned());
            route.status.as_mut().expect("a status").parents[0].parent_ref.namespace =
                Some(namespace.to_owned());
            explained(&route, Some(&gateway(json!([https, listener]))))
        };
        for (from, others, namespace, expected) in [
            ("All", "All", "infra", ""),
            ("Same", "Same", "a", ""),
            // Both listeners have taken it, or none.
            ("Selector", "Selector", "a", ""),
            (
                "Selector",
                "Same",
                "a",
                "the Gateway \"a/web\" accepts HTTPRoutes on its listener for HTTP only",
            ),
            ("Same", "All", "infra", "the Gateway \"infra/web\" accepts no HTTPRoutes of this namespace"),
        ] {
            let text = restricted(from, namespace, others.into());
            assert_eq!(text.get(..expected.len()), Some(expected), "{from}: {text}");
            assert_eq!(text.is_empty(), expected.is_empty(), "{from}: {text}");
        }
        // A Gateway of the same name as a ListenerSet says nothing about that.
        let mut of_set = route.clone();
        of_set.spec.parent_refs[0].kind = Some("ListenerSet".to_owned());
        let mut closed = http(None);
        closed["allowedRoutes"] = json!({ "namespaces": { "from": "Selector" } });
        let text = explained(&of_set, Some(&gateway(json!([https, closed]))));
        assert!(text.starts_with("no controller has accepted the HTTPRoute for the ListenerSet"), "{text}");
        assert!(explained(&route, None).starts_with("the Gateway \"a/web\" does not exist"));
        // As Contour does it.
        let rejected = json!([condition("Accepted", "False", "NoMatchingListenerHostname", 2)]);
        route.status = from_value(json!({ "parents": [
            { "parentRef": { "name": "web" }, "conditions": rejected },
        ] }))
        .expect("a status");
        let text = explained(&route, Some(&gateway(json!([http(None), https]))));
        assert!(
            text.contains("on the Gateway, or add a listener for HTTP on port 80 with exactly"),
            "{text}"
        );
        let mut selecting = http(None);
        selecting["allowedRoutes"] = json!({ "namespaces": { "from": "Selector" } });
        let text = explained(&route, Some(&gateway(json!([selecting, https]))));
        assert!(text.contains("Allow routes of this namespace in allowedRoutes"), "{text}");
        route.spec.parent_refs[0].section_name = Some("htttp".to_owned());
        let text = explained(&route, Some(&gateway(json!([http(None)]))));
        assert!(
            text.starts_with("there is no Gateway \"a/web\" (section \"htttp\"). Correct sectionName"),
            "{text}"
        );
        route.spec.parent_refs[0].kind = Some("gateway".to_owned());
        assert!(explained(&route, None).contains("unknown kind \"gateway\""));
    }

    /// The name may resolve to the one that rejects it.
    #[test]
    fn route_is_served_if_all_parents_accept_it() {
        let accepted = json!([condition("Accepted", "True", "Accepted", 2)]);
        let rejected = json!([condition("Accepted", "False", "NotAllowedByListeners", 2)]);
        assert!(is_accepted(&route(&[("web", &accepted), ("other", &accepted)])));
        assert!(!is_accepted(&route(&[("web", &accepted), ("other", &rejected)])));
        assert!(!is_accepted(&route(&[])));
    }

    /// What was said about an earlier version, or was not said at all, is no rejection.
    #[test]
    fn silence_is_explained_as_such() {
        let old = route(&[("web", &json!([condition("Accepted", "False", "NotAllowedByListeners", 1)]))]);
        assert_eq!((explanation(&old), is_accepted(&old)), (None, false));
        let pending = route(&[("web", &json!([condition("Accepted", "False", "Pending", 2)]))]);
        assert_eq!(explanation(&pending), None);
        let unseen = explanation(&route(&[])).expect("an explanation");
        assert!(
            unseen.starts_with("no controller has accepted the HTTPRoute for the Gateway \"a/web\" yet"),
            "{unseen}"
        );
    }

    /// Controllers write what they like.
    #[test]
    fn long_messages_are_truncated() {
        let mut condition = condition("Accepted", "False", "NotAllowedByListeners", 2);
        condition["message"] = "x\n".repeat(100_000).into();
        let conditions = json!([condition]);
        let parents: Vec<_> = (0..32).map(|number| format!("web-{number}")).collect();
        let parents: Vec<_> = parents.iter().map(|name| (&**name, &conditions)).collect();
        let text = explanation(&route(&parents)).expect("an explanation");
        assert!(text.len() < 2000 && !text.contains('\n'), "{}", text.len());
    }
}
