//! Which of an issuer's solvers proves control of an identifier.
//!
//! Knows selectors and challenge types; must not know how a solver works. Next: `order.rs`, which asks for a solver per authorization.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

use crds::acme::{ChallengeType, Solver};

/// The identifier whose control has to be proved.
#[derive(Clone, Copy, Debug)]
pub struct Authorization<'a> {
    /// The DNS name without `*.`, or the IP address.
    pub identifier: &'a str,
    /// Whether the authorization is for `*.` and the identifier.
    pub wildcard: bool,
    /// The challenge types that the ACME server offers.
    pub offered: &'a [ChallengeType],
}

/// The solvers of an issuer whose selectors match an Order's labels, prepared for many identifiers: an Order has up to a thousand, and an
/// issuer as many solvers, each with long lists. The work for an identifier therefore does not grow with the lists.
pub struct Solvers<'a> {
    candidates: Vec<Candidate<'a>>,
    /// Which candidates list a DNS name, and how often.
    by_name: HashMap<&'a str, Vec<(usize, usize)>>,
    /// Which candidates list a zone.
    by_zone: HashMap<&'a str, Vec<usize>>,
}

struct Candidate<'a> {
    solver: &'a Solver,
    has_names: bool,
    has_zones: bool,
    labels: usize,
}

impl<'a> Solvers<'a> {
    /// Prepares solvers. `labels` are the Order's labels, which are copied from its Certificate.
    pub fn new(solvers: &'a [Solver], labels: &BTreeMap<String, String>) -> Self {
        let mut prepared = Self { candidates: Vec::new(), by_name: HashMap::new(), by_zone: HashMap::new() };
        for solver in solvers {
            prepared.add(solver, labels);
        }
        prepared
    }

    /// Adds a solver if the labels match.
    fn add(&mut self, solver: &'a Solver, labels: &BTreeMap<String, String>) {
        let selector = solver.selector.as_ref();
        let required = selector.and_then(|selector| selector.match_labels.as_ref());
        if required.into_iter().flatten().any(|(key, value)| labels.get(key) != Some(value)) {
            return;
        }
        let position = self.candidates.len();
        let names = selector.and_then(|selector| selector.dns_names.as_deref()).unwrap_or_default();
        for name in names {
            let listed = self.by_name.entry(name).or_default();
            match listed.last_mut() {
                Some((last, times)) if *last == position => *times += 1,
                _ => listed.push((position, 1)),
            }
        }
        let zones = selector.and_then(|selector| selector.dns_zones.as_deref()).unwrap_or_default();
        for zone in zones {
            let listed = self.by_zone.entry(zone).or_default();
            if listed.last() != Some(&position) {
                listed.push(position);
            }
        }
        let labels = required.map_or(0, BTreeMap::len);
        let (has_names, has_zones) = (!names.is_empty(), !zones.is_empty());
        self.candidates.push(Candidate { solver, has_names, has_zones, labels });
    }

    /// The best matching solver, among those of an offered type whose selector matches or is absent. More exact DNS names win, then
    /// the longer zone, then more labels, then the first in the list: cert-manager's order.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    ///
    /// use crds::{acme::ChallengeType, fixtures::ingress_solver};
    /// use operator::decision::solver_select::{Authorization, Solvers};
    ///
    /// let solvers = [ingress_solver("nginx")];
    /// let web = Authorization { identifier: "web.example.test", wildcard: false, offered: &[ChallengeType::Http01] };
    /// let selected = Solvers::new(&solvers, &BTreeMap::new()).select(web);
    /// assert_eq!(selected, Some((&solvers[0], ChallengeType::Http01)));
    /// ```
    pub fn select(&self, authorization: Authorization<'_>) -> Option<(&'a Solver, ChallengeType)> {
        let star = if authorization.wildcard { "*." } else { "" };
        let name = format!("{star}{}", authorization.identifier);
        let listed = self.by_name.get(&*name).into_iter().flatten().copied();
        let exact: HashMap<_, _> = listed.collect();
        let zones = self.longest_zones(authorization.identifier);
        let candidates = self.candidates.iter().enumerate().filter_map(|(position, candidate)| {
            let challenge_type = type_of(candidate.solver, authorization)?;
            let rank = candidate.rank(exact.get(&position).copied(), zones.get(&position).copied())?;
            Some((rank, Reverse(position), candidate.solver, challenge_type))
        });
        candidates
            .max_by_key(|(rank, position, ..)| (*rank, *position))
            .map(|(_, _, solver, challenge_type)| (solver, challenge_type))
    }

    /// The length of the longest zone that each candidate lists and the identifier is in, by the candidate's position.
    fn longest_zones(&self, identifier: &str) -> HashMap<usize, usize> {
        let mut longest = HashMap::new();
        if self.by_zone.is_empty() {
            return longest;
        }
        let above = identifier.match_indices('.').filter_map(|(dot, _)| identifier.get(dot + 1..));
        for zone in std::iter::once(identifier).chain(above) {
            for position in self.by_zone.get(zone).into_iter().flatten() {
                longest.entry(*position).or_insert(zone.len());
            }
        }
        longest
    }
}

/// The challenge type of a solver, if the server offers it. HTTP-01 is not possible for wildcards
/// ([RFC 8555 section 8.3](https://www.rfc-editor.org/rfc/rfc8555#section-8.3)).
fn type_of(solver: &Solver, authorization: Authorization<'_>) -> Option<ChallengeType> {
    let challenge_type = match (&solver.http01, &solver.dns01) {
        (Some(_), _) => ChallengeType::Http01,
        (None, Some(_)) => ChallengeType::Dns01,
        (None, None) => return None,
    };
    let possible = challenge_type == ChallengeType::Dns01 || !authorization.wildcard;
    (possible && authorization.offered.contains(&challenge_type)).then_some(challenge_type)
}

impl Candidate<'_> {
    /// How well the selector matches: number of exact names, length of the zone, number of labels. `None` if a part does not match.
    fn rank(&self, exact: Option<usize>, zone: Option<usize>) -> Option<(usize, usize, usize)> {
        let lacks = self.has_names && exact.is_none() || self.has_zones && zone.is_none();
        (!lacks).then_some((exact.unwrap_or(0), zone.unwrap_or(0), self.labels))
    }
}

#[cfg(test)]
mod tests {
    use crds::{Preserved, acme::Selector, fixtures::ingress_solver};

    use super::*;

    const BOTH: &[ChallengeType] = &[ChallengeType::Http01, ChallengeType::Dns01];

    /// An HTTP-01 solver with a selector. Its Ingress class is `name`.
    fn solver(name: &str, dns_names: &[&str], dns_zones: &[&str], labels: &[(&str, &str)]) -> Solver {
        let list = |of: &[&str]| (!of.is_empty()).then(|| of.iter().map(ToString::to_string).collect());
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let selector =
            Selector { dns_names: list(dns_names), dns_zones: list(dns_zones), match_labels: Some(labels) };
        Solver { selector: Some(selector), ..ingress_solver(name) }
    }

    fn dns() -> Solver {
        Solver { dns01: Some(Preserved::default()), ..Solver::default() }
    }

    /// The Ingress class of the solver that is selected for a DNS name; "dns" for the DNS-01 solver.
    fn chosen(solvers: &[Solver], labels: &[(&str, &str)], name: &str) -> Option<String> {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let bare = name.strip_prefix("*.").unwrap_or(name);
        let authorization = Authorization { identifier: bare, wildcard: bare != name, offered: BOTH };
        let (solver, challenge_type) = Solvers::new(solvers, &labels).select(authorization)?;
        match challenge_type {
            ChallengeType::Dns01 => Some("dns".to_owned()),
            ChallengeType::Http01 => solver.http01.as_ref()?.ingress.as_ref()?.class.clone(),
        }
    }

    #[test]
    fn most_specific_selector_wins_then_the_first() {
        let solvers = [
            ingress_solver("default"),
            ingress_solver("second"),
            solver("zone", &[], &["example.test"], &[]),
            solver("longer", &[], &["a.example.test", "test"], &[]),
            solver("exact", &["x.a.example.test"], &[], &[]),
            solver("labelled", &[], &[], &[("team", "web")]),
        ];
        for (name, labels, class) in [
            ("other.test.invalid", &[][..], "default"),
            ("b.example.test", &[], "zone"),
            ("example.test", &[], "zone"),
            ("b.a.example.test", &[], "longer"),
            ("x.a.example.test", &[], "exact"),
            ("notexample.test", &[], "longer"),
            ("other.invalid", &[("team", "web")], "labelled"),
            ("b.example.test", &[("team", "web")], "zone"),
            ("other.invalid", &[("team", "other")], "default"),
        ] {
            assert_eq!(chosen(&solvers, labels, name).as_deref(), Some(class), "{name} {labels:?}");
        }
    }

    #[test]
    fn every_part_of_a_selector_must_match() {
        let solvers =
            [solver("all", &["a.example.test"], &["example.test"], &[("team", "web"), ("tier", "1")])];
        let labels = [("team", "web"), ("tier", "1"), ("more", "x")];
        assert!(chosen(&solvers, &labels, "a.example.test").is_some());
        assert!(chosen(&solvers, &labels[..1], "a.example.test").is_none());
        assert!(chosen(&solvers, &labels, "b.example.test").is_none());
    }

    #[test]
    fn wildcard_is_solved_by_dns01_only() {
        assert_eq!(chosen(&[ingress_solver("default")], &[], "*.example.test"), None);
        assert_eq!(
            chosen(&[ingress_solver("default"), dns()], &[], "*.example.test").as_deref(),
            Some("dns")
        );
        let exact = Solver { selector: solver("", &["*.example.test"], &[], &[]).selector, ..dns() };
        assert_eq!(chosen(std::slice::from_ref(&exact), &[], "*.example.test").as_deref(), Some("dns"));
        assert_eq!(chosen(&[exact], &[], "example.test"), None);
    }

    #[test]
    fn type_that_is_not_offered_is_not_selected() {
        let solvers = [ingress_solver("default"), dns()];
        let of = |offered: &[ChallengeType]| {
            let authorization = Authorization { identifier: "a.example.test", wildcard: false, offered };
            Solvers::new(&solvers, &BTreeMap::new())
                .select(authorization)
                .map(|(_, challenge_type)| challenge_type)
        };
        assert_eq!(of(&[ChallengeType::Dns01]), Some(ChallengeType::Dns01));
        assert_eq!(of(BOTH), Some(ChallengeType::Http01));
        assert_eq!(of(&[]), None);
        assert!(
            Solvers::new(&[], &BTreeMap::new())
                .select(Authorization { identifier: "a", wildcard: false, offered: BOTH })
                .is_none()
        );
    }
}
