//! The solvers of Challenges: each Challenge has a copy of its issuer's, up to 64 KiB, which the cache holds once.
//!
//! Knows which solvers are in use; must not know what a solver means. Next: `controllers/watched.rs`, which calls this.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Arc, Mutex, Weak},
};

use crds::acme::{Challenge, Solver};

use crate::sync::lock;

/// The solvers in use, by a hash of their JSON.
#[derive(Default)]
pub struct Solvers {
    hasher: RandomState,
    known: Mutex<HashMap<u64, Weak<Solver>>>,
}

impl Solvers {
    /// Lets a Challenge share the solver of those that have an equal one.
    pub fn share(&self, challenge: &mut Challenge) {
        let solver = &mut challenge.spec.solver;
        let Ok(json) = serde_json::to_vec(solver) else { return };
        let hash = self.hasher.hash_one(json);
        let mut known = lock(&self.known);
        if let Some(same) = known.get(&hash).and_then(Weak::upgrade)
            && same == *solver
        {
            *solver = same;
            return;
        }
        if known.len() == known.capacity() {
            known.retain(|_, solver| solver.strong_count() > 0);
        }
        known.insert(hash, Arc::downgrade(solver));
    }
}

#[cfg(test)]
mod tests {
    use crds::fixtures;

    use super::*;

    fn challenge(class: &str) -> Challenge {
        fixtures::challenge("web", |it| it.spec.solver = fixtures::ingress_solver(class).into())
    }

    #[test]
    fn equal_solvers_are_held_once() {
        let solvers = Solvers::default();
        let [mut one, mut two, mut other] = ["a", "a", "b"].map(challenge);
        for challenge in [&mut one, &mut two, &mut other] {
            solvers.share(challenge);
        }
        assert!(Arc::ptr_eq(&one.spec.solver, &two.spec.solver));
        assert_eq!(other, challenge("b"));
    }

    /// A tenant may change the solvers of an issuer again and again.
    #[test]
    fn unused_solvers_take_no_memory() {
        let solvers = Solvers::default();
        for number in 0..1000 {
            solvers.share(&mut challenge(&number.to_string()));
        }
        assert!(lock(&solvers.known).len() < 10);
    }
}
