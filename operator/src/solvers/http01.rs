//! What all HTTP-01 solvers have in common: requests for the answer.

use crds::acme::Challenge;
use futures::future::join_all;

use crate::{
    context::Context,
    decision::challenge::{Probe, ProbeResult, REPLICA_CONNECTIONS, pods_result, replicas_result},
    objects::metadata::Identity,
};

/// Requests the answer from the Pods that give it, or the way that the CA does.
pub(super) async fn probe(challenge: &Challenge, probe: Probe, context: &Context) -> ProbeResult {
    let (check, namespace, spec) = (&context.self_check, challenge.namespace_or_empty(), &challenge.spec);
    match probe {
        Probe::Solver => {
            let pods = context.cache.solver_addresses();
            let probes = pods.iter().map(|pod| check.probe_solver(namespace, spec, *pod));
            pods_result(join_all(probes).await)
        }
        Probe::Route => check.probe_route(namespace, spec).await,
        Probe::Replicas => replicas_result(check.probe_replicas(namespace, spec, REPLICA_CONNECTIONS).await),
    }
}
