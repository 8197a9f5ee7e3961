//! Which objects of a Challenge's route have to be written.

use crds::{acme::Challenge, gateway::HttpRoute};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice, networking::v1::Ingress};
use kube::{Resource, ResourceExt};

use crate::objects::{
    metadata::{controller, controller_of_kind, includes},
    route,
};

/// What to do about the Ingress or HTTPRoute of a Challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteWrite {
    /// It exists and routes the challenge, or it was created and the watch does not show it yet.
    Nothing,
    /// Create it.
    Create,
    /// Take back the fields that something else has changed.
    Restore,
    /// Make it this Challenge's: it is of an earlier one of the same name, and an object can't have two controllers.
    TakeOver,
}

/// Whether a route is of an earlier Challenge of the same name.
fn is_of_earlier<K: Resource>(existing: &K, desired: &K) -> bool {
    let controller = |it: &K| controller_of_kind::<Challenge>(it.meta()).cloned();
    let both = controller(existing).zip(controller(desired));
    both.is_some_and(|(before, now)| before.name == now.name && before.uid != now.uid)
}

/// Compares the Ingress of a Challenge, if the watch shows one, with the desired one. `create` is whether one that the watch does
/// not show is created. Labels and annotations that others have added stay.
pub fn route_write(existing: Option<&Ingress>, desired: &Ingress, create: bool) -> RouteWrite {
    // The type of the path is one that the cluster accepts.
    let routes = |ingress: &Ingress| {
        let mut ingress = ingress.clone();
        route::relax_path_type(&mut ingress);
        ingress.spec.and_then(|spec| spec.rules)
    };
    // The API server sets the default class where a solver names none.
    let class = |ingress: &Ingress| ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.clone());
    let desired_class = class(desired);
    match existing {
        None if create => RouteWrite::Create,
        None => RouteWrite::Nothing,
        Some(existing) if is_of_earlier(existing, desired) => RouteWrite::TakeOver,
        Some(existing)
            if routes(existing) == routes(desired)
                && (desired_class.is_none() || class(existing) == desired_class)
                && includes(existing.labels(), desired.labels())
                && includes(existing.annotations(), desired.annotations()) =>
        {
            RouteWrite::Nothing
        }
        Some(_) => RouteWrite::Restore,
    }
}

/// The same for an HTTPRoute. A user may have added filters or timeouts, which stay.
pub fn http_route_write(existing: Option<&HttpRoute>, desired: &HttpRoute, create: bool) -> RouteWrite {
    match existing {
        None if create => RouteWrite::Create,
        None => RouteWrite::Nothing,
        Some(existing) if is_of_earlier(existing, desired) => RouteWrite::TakeOver,
        Some(existing) if existing.spec == desired.spec && includes(existing.labels(), desired.labels()) => {
            RouteWrite::Nothing
        }
        Some(_) => RouteWrite::Restore,
    }
}

/// Whether an EndpointSlice of the namespace's Service has to be written. `existing` is what the watch shows, and `written` what
/// was written last, which the watch may not show yet.
pub fn must_write_slice(
    desired: &EndpointSlice,
    existing: Option<&EndpointSlice>,
    written: Option<&EndpointSlice>,
) -> bool {
    match existing {
        Some(existing) => {
            existing.endpoints != desired.endpoints
                || existing.ports != desired.ports
                || existing.metadata.owner_references != desired.metadata.owner_references
        }
        None => !desired.endpoints.is_empty() && written != Some(desired),
    }
}

/// Whether an EndpointSlice of a Service to the solver has to be emptied: it is not one of `desired`, because http01-solver's own
/// Service, or its EndpointSlice, is another one than when it was written. EndpointSlices that users have written are left alone.
pub fn must_empty_slice(existing: &EndpointSlice, service: &Service, desired: &[EndpointSlice]) -> bool {
    let owners = existing.metadata.owner_references.as_deref().unwrap_or_default();
    let is_ours = route::is_endpoint_slice_name(&existing.name_any())
        && existing.labels().get(route::SERVICE_NAME) == service.metadata.name.as_ref()
        && owners == controller(service).as_slice();
    is_ours
        && !existing.endpoints.is_empty()
        && desired.iter().all(|slice| slice.metadata.name != existing.metadata.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crds::{
        acme::{GatewaySolver, ParentReference},
        fixtures,
    };
    use k8s_openapi::api::discovery::v1::Endpoint;

    use super::*;

    #[test]
    fn route_write_restores_what_others_changed() {
        let challenge = fixtures::challenge("web", |it| it.metadata.uid = Some("now".to_owned()));
        let http01 = challenge.spec.solver.http01.as_ref().expect("an HTTP-01 solver");
        let mut desired =
            route::ingress(&challenge, http01.ingress.as_ref().expect("an Ingress solver"), &BTreeMap::new());
        assert_eq!(route_write(None, &desired, true), RouteWrite::Create);
        assert_eq!(route_write(None, &desired, false), RouteWrite::Nothing);
        let mut existing = desired.clone();
        existing.labels_mut().insert("added".into(), "by others".into());
        assert_eq!(route_write(Some(&existing), &desired, true), RouteWrite::Nothing);
        let classless = desired.clone();
        desired.spec.get_or_insert_default().ingress_class_name = Some("nginx".into());
        assert_eq!(route_write(Some(&desired), &classless, false), RouteWrite::Nothing, "a default class");
        for change in [
            (|it: &mut Ingress| it.labels_mut().clear()) as fn(&mut Ingress),
            |it| it.annotations_mut().clear(),
            |it| it.spec.get_or_insert_default().rules = None,
            |it| it.spec.get_or_insert_default().ingress_class_name = Some("other".into()),
        ] {
            let mut existing = desired.clone();
            change(&mut existing);
            assert_eq!(route_write(Some(&existing), &desired, false), RouteWrite::Restore, "{existing:?}");
        }
        let mut of_earlier = desired.clone();
        of_earlier.metadata.owner_references.as_mut().expect("an owner")[0].uid = "earlier".to_owned();
        assert_eq!(route_write(Some(&of_earlier), &desired, false), RouteWrite::TakeOver);
    }

    #[test]
    fn http_route_is_restored_if_it_leads_elsewhere() {
        let challenge = fixtures::challenge("web", |it| {
            (it.metadata.namespace, it.metadata.uid) = (Some("a".into()), Some("now".into()));
        });
        let parent = |namespace: Option<&str>| ParentReference {
            name: "web".to_owned(),
            namespace: namespace.map(ToOwned::to_owned),
            ..ParentReference::default()
        };
        // The same parent twice.
        let parents = vec![parent(None), parent(Some("a"))];
        let solver = GatewaySolver { parent_refs: Some(parents), ..GatewaySolver::default() };
        let desired = route::http_route(&challenge, &solver, &BTreeMap::new());
        assert_eq!(desired.spec.parent_refs.len(), 1, "{:?}", desired.spec.parent_refs);
        assert_eq!(http_route_write(None, &desired, true), RouteWrite::Create);
        assert_eq!(http_route_write(None, &desired, false), RouteWrite::Nothing);
        // What the API server stores has fields that are not read, and those of others.
        let mut stored = serde_json::to_value(&desired).expect("an HTTPRoute");
        stored["metadata"]["labels"]["added"] = "by others".into();
        stored["spec"]["rules"][0]["timeouts"] = serde_json::json!({ "request": "10s" });
        stored["status"] = serde_json::json!({ "parents": [] });
        let stored: HttpRoute = serde_json::from_value(stored).expect("an HTTPRoute");
        assert_eq!(http_route_write(Some(&stored), &desired, true), RouteWrite::Nothing);
        for change in [
            (|it: &mut HttpRoute| it.labels_mut().clear()) as fn(&mut HttpRoute),
            |it| it.spec.hostnames = None,
            |it| it.spec.parent_refs.clear(),
            |it| it.spec.rules[0].backend_refs[0].name = "web".into(),
        ] {
            let mut changed = stored.clone();
            change(&mut changed);
            assert_eq!(http_route_write(Some(&changed), &desired, false), RouteWrite::Restore, "{changed:?}");
        }
        let mut of_earlier = stored.clone();
        of_earlier.metadata.owner_references.as_mut().expect("an owner")[0].uid = "earlier".to_owned();
        assert_eq!(http_route_write(Some(&of_earlier), &desired, false), RouteWrite::TakeOver);
    }

    /// The solver's Service was created again, so its EndpointSlices have other names.
    #[test]
    fn slices_that_the_solver_no_longer_has_are_emptied() {
        let mut service = route::service("a", false, &BTreeMap::new());
        service.metadata.uid = Some("1".to_owned());
        let slices = |name: &str| {
            let mut of = EndpointSlice { endpoints: vec![Endpoint::default()], ..EndpointSlice::default() };
            of.metadata.name = Some(name.to_owned());
            route::endpoint_slices(&service, &[of], &BTreeMap::new())
        };
        let (before, after) = (slices("http01-solver-abc12"), slices("http01-solver-def34"));
        let emptied = route::emptied_endpoint_slice(&service, &before[0], &BTreeMap::new());
        assert!(must_empty_slice(&before[0], &service, &after));
        assert!(must_empty_slice(&before[0], &service, &[]), "the solver has none");
        assert!(!must_empty_slice(&after[0], &service, &after), "it is up to date");
        assert!(!must_empty_slice(&emptied, &service, &after), "it is emptied once");
        assert_eq!(
            emptied,
            EndpointSlice { endpoints: Vec::new(), ..before[0].clone() },
            "everything else is kept"
        );
        for change in [
            (|it: &mut EndpointSlice| it.metadata.name = Some("web".into())) as fn(&mut EndpointSlice),
            |it| drop(it.labels_mut().insert(route::SERVICE_NAME.into(), "web".into())),
            |it| it.metadata.owner_references = None,
        ] {
            let mut of_others = before[0].clone();
            change(&mut of_others);
            assert!(!must_empty_slice(&of_others, &service, &after), "{of_others:?}");
        }
    }

    #[test]
    fn slices_are_written_once_and_when_pods_change() {
        let empty = EndpointSlice::default();
        let desired = EndpointSlice { endpoints: vec![Endpoint::default()], ..empty.clone() };
        assert!(must_write_slice(&desired, None, None));
        assert!(must_write_slice(&desired, None, Some(&empty)));
        assert!(!must_write_slice(&desired, None, Some(&desired)), "the watch is behind");
        assert!(!must_write_slice(&empty, None, None), "there is nothing to route to");
        assert!(must_write_slice(&empty, Some(&desired), None));
        assert!(!must_write_slice(&desired, Some(&desired), None));
    }
}
