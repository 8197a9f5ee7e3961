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

/// Whether controllers say that all parents serve the route, and nothing is known that keeps these from serving the challenge. `gateway`
/// is the one of [`explanation`].
pub fn is_served<G: Deref<Target = Gateway>>(route: &HttpRoute, gateway: Option<FindGateway<'_, G>>) -> bool {
    let is_hopeless = |parent: &ParentReference| {
        let parent = normalized(parent, route.namespace_or_empty());
        parent_problem(route, &parent, gateway).is_some()
            || access(route, &parent, gateway) == Some(Access::Closed)
    };
    is_accepted(route) && !route.spec.parent_refs.iter().all(is_hopeless)
}

/// Whether controllers say that all parents take the route.
fn is_accepted(route: &HttpRoute) -> bool {
    let mut all = statuses(route).peekable();
    all.peek().is_some()
        && all.all(|status| {
            is(route, status, "Accepted", "True") && problem(route, status, "ResolvedRefs").is_none()
        })
}

/// What a user has to change, or who has not looked at the route yet; `None` if a controller accepts it everywhere. `gateway` finds a
/// Gateway by namespace and name; it is `None` if not all of them are known.
pub fn explanation<G: Deref<Target = Gateway>>(
    route: &HttpRoute,
    gateway: Option<FindGateway<'_, G>>,
) -> Option<String> {
    let parents = || route.spec.parent_refs.iter().map(|it| normalized(it, route.namespace_or_empty()));
    let problems: Vec<_> = parents().map(|parent| parent_problem(route, &parent, gateway)).collect();
    if problems.iter().all(Option::is_some) && !problems.is_empty() {
        return Some(joined(problems.into_iter().flatten().collect()));
    }
    if let Some(rejections) = rejections(route, gateway) {
        return Some(rejections);
    }
    let closed: Vec<_> = parents().map(|parent| closed(route, &parent, gateway)).collect();
    if closed.iter().all(Option::is_some) {
        return Some(joined(closed.into_iter().flatten().collect()));
    }
    let is_unseen = |parent: &ParentReference| {
        statuses(route).all(|status| normalized(&status.parent_ref, route.namespace_or_empty()) != *parent)
    };
    let unseen = parents().find(is_unseen)?;
    let advice = if unseen.kind.as_deref() == Some("ListenerSet") {
        "Check that it exists, and that its controller serves ListenerSets. If it doesn't, set the annotation \
         acme.cert-manager.io/http01-parentreffallback: \"true\" on the ListenerSet"
    } else {
        "Check that it exists, and that a controller serves its GatewayClass"
    };
    Some(format!("no controller has accepted the HTTPRoute for the {} yet. {advice}", name(&unseen)))
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
fn rejections<G: Deref<Target = Gateway>>(
    route: &HttpRoute,
    gateway: Option<FindGateway<'_, G>>,
) -> Option<String> {
    let mut problems = BTreeSet::new();
    for status in statuses(route) {
        let problem = ["Accepted", "ResolvedRefs"].iter().find_map(|type_| problem(route, status, type_));
        let Some((reason, message)) = problem else { continue };
        let parent = normalized(&status.parent_ref, route.namespace_or_empty());
        let message = one_line(message, LONGEST_MESSAGE);
        let message = if message.is_empty() { message } else { format!(": {message}") };
        let advice = advice(reason, &parent, access(route, &parent, gateway));
        problems.insert(format!("the {} rejects the HTTPRoute ({reason}{message}){advice}", name(&parent)));
    }
    (!problems.is_empty()).then(|| joined(problems))
}

fn joined(problems: BTreeSet<String>) -> String {
    problems.into_iter().take(MOST_EXPLAINED).collect::<Vec<_>>().join("; ")
}

/// Why a parent can't serve a challenge, whatever its controller says.
fn parent_problem<G: Deref<Target = Gateway>>(
    route: &HttpRoute,
    parent: &ParentReference,
    gateway: Option<FindGateway<'_, G>>,
) -> Option<String> {
    let kind = parent.kind.as_deref().unwrap_or_default();
    if parent.group.as_deref() != Some(gateway::GROUP) {
        return None;
    }
    if kind == "ListenerSet" {
        return None;
    }
    if kind != Gateway::kind(&()) {
        return Some(format!(
            "the parent of the HTTPRoute is of the unknown kind {kind:?}. Write \"Gateway\" or \"ListenerSet\""
        ));
    }
    let found = gateway?(parent.namespace.as_deref().unwrap_or_default(), &parent.name);
    let Some(found) = found else {
        return Some(format!(
            "the {} does not exist. Create it, or correct the parentRefs of the issuer's solver or the annotations of the Certificate",
            name(parent)
        ));
    };
    let is_none_named = !found.spec.listeners.iter().any(|listener| is_named(listener, parent));
    if is_none_named && (parent.section_name.is_some() || parent.port.is_some()) {
        return Some(format!(
            "there is no {}. Correct sectionName or port in the issuer's parentRefs",
            name(parent)
        ));
    }
    listeners_for_http(route, parent, &found).next().is_none().then(|| {
        format!(
            "the {} has no listener for HTTP that accepts the name, and the CA connects to port 80. Add a listener with protocol HTTP \
             and port 80, and with this hostname or none",
            name(parent)
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

/// Whether a Gateway's listeners for HTTP take a route; `None` if this is not known. Another listener may take it, usually the one for
/// HTTPS with the same name, and then the route counts as accepted.
fn access<G: Deref<Target = Gateway>>(
    route: &HttpRoute,
    parent: &ParentReference,
    gateway: Option<FindGateway<'_, G>>,
) -> Option<Access> {
    let namespace = parent.namespace.as_deref().unwrap_or_default();
    let found = gateway?(namespace, &parent.name)?;
    let of_listener = |listener: &Listener| {
        let namespaces = listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        match namespaces.and_then(|namespaces| namespaces.from.as_deref()).unwrap_or("Same") {
            "Same" if namespace != route.namespace_or_empty() => Access::Closed,
            "None" => Access::Closed,
            "Selector" => Access::Selected,
            _ => Access::Open,
        }
    };
    listeners_for_http(route, parent, &found).map(of_listener).max()
}

/// What to change so that a Gateway's listeners for HTTP take a route.
fn closed<G: Deref<Target = Gateway>>(
    route: &HttpRoute,
    parent: &ParentReference,
    gateway: Option<FindGateway<'_, G>>,
) -> Option<String> {
    match access(route, parent, gateway)? {
        Access::Open => None,
        Access::Selected => Some(format!(
            "the {} accepts HTTPRoutes on its listener for HTTP only from some namespaces. Check that the selector in its allowedRoutes \
             matches the labels of this namespace",
            name(parent)
        )),
        Access::Closed => Some(format!(
            "the {} accepts no HTTPRoutes of this namespace on its listener for HTTP. Allow them in its allowedRoutes",
            name(parent)
        )),
    }
}

fn is_named(listener: &Listener, parent: &ParentReference) -> bool {
    parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
        && parent.port.is_none_or(|port| port == listener.port)
}

/// The listeners of a Gateway that could serve a challenge. Their port may be mapped from the port 80 to which the CA connects.
fn listeners_for_http<'a>(
    route: &'a HttpRoute,
    parent: &'a ParentReference,
    gateway: &'a Gateway,
) -> impl Iterator<Item = &'a Listener> {
    let hosts = route.spec.hostnames.as_deref().unwrap_or_default();
    let covers_all =
        move |listener: &Listener| hosts.iter().all(|host| covers(listener.hostname.as_deref(), host));
    let listeners = gateway.spec.listeners.iter().filter(|listener| is_named(listener, parent));
    listeners.filter(move |listener| listener.protocol == "HTTP" && covers_all(listener))
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
            ". Add a listener for HTTP on port 80 with exactly this hostname: some controllers serve a name that a listener for HTTPS \
             has on no listener with a wildcard or without a hostname"
        }
        // The listener that has the name doesn't count, because it takes no routes of this namespace.
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
        let restricted = |from: &str, namespace: &str| {
            let mut listener = http(None);
            listener["allowedRoutes"] = json!({ "namespaces": { "from": from } });
            let mut route = route.clone();
            route.spec.parent_refs[0].namespace = Some(namespace.to_owned());
            route.status.as_mut().expect("a status").parents[0].parent_ref.namespace =
                Some(namespace.to_owned());
            (route, gateway(json!([https, listener])))
        };
        let served = |from: &str, namespace: &str| {
            let (route, gateway) = restricted(from, namespace);
            is_served(&route, Some(&|_: &str, _: &str| Some(&gateway)))
        };
        for (from, namespace, expected, is_possible) in [
            ("All", "infra", "", true),
            ("Same", "a", "", true),
            (
                "Selector",
                "a",
                "the Gateway \"a/web\" accepts HTTPRoutes on its listener for HTTP only from some",
                true,
            ),
            ("Same", "infra", "the Gateway \"infra/web\" accepts no HTTPRoutes of this namespace", false),
            ("None", "a", "the Gateway \"a/web\" accepts no HTTPRoutes of this namespace", false),
        ] {
            let (route, gateway) = restricted(from, namespace);
            let text = explained(&route, Some(&gateway));
            assert_eq!(text.get(..expected.len()), Some(expected), "{from}: {text}");
            assert_eq!(
                (text.is_empty(), served(from, namespace)),
                (expected.is_empty(), is_possible),
                "{from}"
            );
        }
        assert!(explained(&route, None).starts_with("the Gateway \"a/web\" does not exist"));
        // As Contour does it.
        let rejected = json!([condition("Accepted", "False", "NoMatchingListenerHostname", 2)]);
        route.status = from_value(json!({ "parents": [
            { "parentRef": { "name": "web" }, "conditions": rejected },
        ] }))
        .expect("a status");
        let text = explained(&route, Some(&gateway(json!([http(None), https]))));
        assert!(text.contains("with exactly this hostname: some"), "{text}");
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
