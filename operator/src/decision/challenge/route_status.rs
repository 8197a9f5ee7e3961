//! What controllers say about the HTTPRoute of a Challenge, for people. It never decides whether the challenge is submitted: not all
//! controllers write it, and some write it late.

use std::collections::BTreeSet;

use crds::{
    acme::ParentReference,
    condition::one_line,
    gateway::{HttpRoute, RouteParentStatus},
};

use crate::objects::{challenge::normalized, metadata::Identity};

/// The longest message of a controller that is shown, bytes.
const LONGEST_MESSAGE: usize = 300;

/// How many parents are explained.
const MOST_EXPLAINED: usize = 3;

/// Whether a controller says that a parent serves the route.
pub fn is_accepted(route: &HttpRoute) -> bool {
    statuses(route).any(|status| {
        is(route, status, "Accepted", "True") && problem(route, status, "ResolvedRefs").is_none()
    })
}

/// What a user has to change, or who has not looked at the route yet; `None` if a controller accepts it everywhere.
pub fn explanation(route: &HttpRoute) -> Option<String> {
    let mut problems = BTreeSet::new();
    for status in statuses(route) {
        let problem = ["Accepted", "ResolvedRefs"].iter().find_map(|type_| problem(route, status, type_));
        let Some((reason, message)) = problem else { continue };
        let message = one_line(message, LONGEST_MESSAGE);
        let advice = advice(reason);
        let parent = name(&status.parent_ref, route);
        problems.insert(format!("the {parent} rejects the HTTPRoute ({reason}: {message}){advice}"));
    }
    if !problems.is_empty() {
        return Some(problems.into_iter().take(MOST_EXPLAINED).collect::<Vec<_>>().join("; "));
    }
    let is_unseen = |parent: &&ParentReference| {
        let parent = normalized(parent, route.namespace_or_empty());
        statuses(route).all(|status| normalized(&status.parent_ref, route.namespace_or_empty()) != parent)
    };
    let unseen: Vec<_> = route.spec.parent_refs.iter().filter(is_unseen).map(|it| name(it, route)).collect();
    let first = unseen.first()?;
    Some(format!(
        "no controller has accepted the HTTPRoute for the {first} yet. Check that it exists, and that a controller serves its \
         GatewayClass"
    ))
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
fn advice(reason: &str) -> &'static str {
    match reason {
        "NotAllowedByListeners" => {
            ". Allow routes of this namespace in allowedRoutes of the listener for HTTP on port 80"
        }
        "NoMatchingListenerHostname" => {
            ". Add a listener for HTTP on port 80 with this hostname, or without one"
        }
        "NoMatchingParent" => ". Correct sectionName or port in the issuer's parentRefs",
        "NoReadyListeners" => {
            ". Attach the HTTPRoute to a listener for HTTP that is ready, or let the listeners start with the annotation \
             cert-manager.io/issue-temporary-certificate: \"true\""
        }
        _ => "",
    }
}

/// A parent, for people.
fn name(parent: &ParentReference, route: &HttpRoute) -> String {
    let parent = normalized(parent, route.namespace_or_empty());
    let section = parent.section_name.map(|section| format!(" (section {section:?})")).unwrap_or_default();
    format!(
        "{} \"{}/{}\"{section}",
        parent.kind.unwrap_or_default(),
        parent.namespace.unwrap_or_default(),
        parent.name
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

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
