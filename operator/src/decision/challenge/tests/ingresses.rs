//! The Ingresses that route a Challenge, at an API server that may reject writes and whose watch is behind.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crds::acme::Challenge;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{Ingress, IngressSpec};

use super::super::{Presentation, RouteWrite, route_write};
use crate::{
    decision::runner::{Runner, Stop, Write},
    objects::{
        challenge::{edited_ingress, needs_finalizer},
        route,
    },
};

/// How a Challenge is routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteCourse {
    /// By an Ingress of its own, which something may delete.
    Own { deleted: Option<Duration> },
    /// By a path in a user's Ingress, which is created late or never.
    Users { created: Option<Duration> },
}

#[derive(Debug)]
pub(super) struct Ingresses {
    /// The Ingress of the Challenge, and when it was created.
    desired: Ingress,
    own: Option<Timestamp>,
    users: Option<Ingress>,
    /// What becomes of the next writes.
    writes: VecDeque<Write>,
    /// How long a watch event takes.
    lag: Duration,
}

impl Ingresses {
    pub(super) fn new(challenge: &Challenge, writes: &[Write], lag: Duration) -> Self {
        let http01 = challenge.spec.solver.http01.as_ref().expect("an HTTP-01 solver");
        let desired =
            route::ingress(challenge, http01.ingress.as_ref().expect("an Ingress solver"), &BTreeMap::new());
        Self { desired, own: None, users: None, writes: writes.iter().copied().collect(), lag }
    }

    /// The user creates an Ingress.
    pub(super) fn create_users(&mut self) {
        self.users = Some(Ingress { spec: Some(IngressSpec::default()), ..Ingress::default() });
    }

    /// Something deletes the Ingress of the Challenge.
    pub(super) fn delete_own(&mut self) {
        self.own = None;
    }

    /// Whether requests for the challenge's answer reach the solver.
    pub(super) fn routes(&self, challenge: &Challenge) -> bool {
        self.own.is_some() || self.has_path(challenge)
    }

    /// Whether the user's Ingress has the path of a Challenge.
    pub(super) fn has_path(&self, challenge: &Challenge) -> bool {
        self.users.as_ref().is_some_and(|users| route::patch_to_remove(users, challenge).is_some())
    }

    pub(super) fn present(
        &mut self,
        challenge: &Challenge,
        create_route: bool,
        runner: &mut Runner,
    ) -> Result<Presentation, Stop> {
        let Some(name) = edited_ingress(&challenge.spec.solver) else {
            let is_shown = self.own.is_some_and(|created| created + self.lag <= runner.now);
            if route_write(is_shown.then_some(&self.desired), &self.desired, create_route)
                == RouteWrite::Nothing
            {
                return Ok(Presentation::InPlace);
            }
            self.write()?;
            let existed = self.own.is_some();
            self.own.get_or_insert(runner.now);
            runner.passed()?;
            return Ok(if existed { Presentation::InPlace } else { Presentation::Written });
        };
        let Some(users) = &self.users else {
            return Ok(Presentation::Blocked(format!("the Ingress {name:?} does not exist")));
        };
        let Some(patch) = route::patch_to_add(users, challenge, route::PathType::Exact) else {
            return Ok(Presentation::InPlace);
        };
        self.patch_users(&patch, runner)?;
        Ok(Presentation::Written)
    }

    pub(super) fn clean_up(&mut self, challenge: &Challenge, runner: &mut Runner) -> Result<(), Stop> {
        if needs_finalizer(&challenge.spec.solver)
            && let Some(users) = &self.users
            && let Some(patch) = route::patch_to_remove(users, challenge)
        {
            self.patch_users(&patch, runner)?;
        }
        Ok(())
    }

    fn patch_users(&mut self, patch: &json_patch::Patch, runner: &mut Runner) -> Result<(), Stop> {
        self.write()?;
        let mut users = serde_json::to_value(&self.users).expect("an Ingress");
        json_patch::patch(&mut users, patch).expect("the patch fits");
        self.users = serde_json::from_value(users).expect("an Ingress");
        runner.passed()
    }

    fn write(&mut self) -> Result<(), Stop> {
        match self.writes.pop_front().unwrap_or(Write::Done) {
            Write::Done => Ok(()),
            Write::Conflict => Err(Stop::Conflict),
            Write::Rejected | Write::ResponseLost => Err(Stop::Error),
        }
    }
}
