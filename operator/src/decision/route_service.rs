//! How long a namespace keeps its Services to http01-solver.

use std::time::Duration;

use crds::acme::Challenge;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

use crate::objects::route;

/// How long the Service stays after the last Challenge: often the next one comes soon.
const IDLE_FOR: Duration = Duration::from_secs(2);

/// What to do about a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is not ours, or it is being deleted.
    Nothing,
    /// Keep it, and its EndpointSlices up to date.
    Keep,
    /// Check again, because no Challenge has needed it since a time.
    Linger {
        /// UTC.
        since: Timestamp,
        /// From now.
        left: Duration,
    },
    /// Delete it.
    Delete,
}

/// Decides about a Service. `owner` is the Challenge that owns it, if one does that exists, and `idle_since` is when its namespace was
/// first seen without a Challenge.
pub fn decide(
    service: &Service,
    owner: Option<&Challenge>,
    has_challenge: bool,
    idle_since: Option<Timestamp>,
    now: Timestamp,
) -> Step {
    let name = service.name_any();
    // It is deleted with its owner. Users can write the labels and owners of their Services.
    let is_owned = owner.is_some_and(|owner| name == route::route_name(&owner.name_any()));
    if !(name == route::SERVICE || is_owned) || service.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    if has_challenge || is_owned {
        return Step::Keep;
    }
    let since = idle_since.unwrap_or(now);
    let idle = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    match IDLE_FOR.checked_sub(idle).filter(|left| !left.is_zero()) {
        Some(left) => Step::Linger { since, left },
        None => Step::Delete,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn service_is_deleted_two_seconds_after_the_last_challenge() {
        let service = route::service("a", false, &BTreeMap::new());
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| start + Duration::from_secs(seconds);
        let linger = |left| Step::Linger { since: start, left: Duration::from_secs(left) };
        for (has_challenge, idle_since, now, expected) in [
            (true, Some(start), at(9), Step::Keep),
            (false, None, start, linger(2)),
            (false, Some(start), at(1), linger(1)),
            (false, Some(start), at(2), Step::Delete),
        ] {
            assert_eq!(decide(&service, None, has_challenge, idle_since, now), expected);
        }
    }

    #[test]
    fn service_of_a_challenge_is_kept() {
        let challenge = crds::fixtures::challenge("web", |_| {});
        let mut service = route::challenge_service(&challenge, &BTreeMap::new());
        let decided = |service: &Service, owner| {
            decide(service, owner, false, Some(Timestamp::UNIX_EPOCH), Timestamp::MAX)
        };
        assert_eq!(decided(&service, Some(&challenge)), Step::Keep);
        assert_eq!(decided(&service, None), Step::Nothing, "its Challenge is gone");
        service.metadata.name = Some("web".to_owned());
        assert_eq!(decided(&service, Some(&challenge)), Step::Nothing, "a user has written it");
    }

    #[test]
    fn services_of_others_are_left_alone() {
        let mut service = route::service("a", false, &BTreeMap::new());
        service.metadata.name = Some("web".into());
        let decided = decide(&service, None, false, Some(Timestamp::UNIX_EPOCH), Timestamp::MAX);
        assert_eq!(decided, Step::Nothing);
    }
}
