//! Which namespaces may use a ClusterIssuer, and for which names: what its annotations say. Without them, all may use it for any name.
//!
//! Whatever can't be read refuses. Must not fetch the Namespace. Next: `mod.rs` for what follows from a refusal.

use std::collections::{BTreeMap, HashSet};

use crds::annotations::issuer::{ALLOWED_DNS_ZONES, ALLOWED_NAMESPACES, RESTRICT_DNS_ZONES};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use crate::pki::Csr;

/// How often a refused request is checked again, in minutes: Namespaces are not watched.
pub const CHECKED_EVERY_MINUTES: u64 = 5;

/// The longest list of zones in a message, in bytes.
const LONGEST_LIST: usize = 512;

/// The restrictions of a ClusterIssuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// The label selector of namespaces, as JSON.
    namespaces: Option<String>,
    /// Whether each namespace is limited to the zones that its annotation lists.
    zones: bool,
}

/// Who asks for a certificate, and for which names.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// What the CSR asks for.
    pub csr: &'a Csr,
}

impl Restrictions {
    /// The restrictions that annotations set; `None` if they set none.
    pub fn of(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let namespaces = annotations.get(ALLOWED_NAMESPACES).cloned();
        let zones = annotations.get(RESTRICT_DNS_ZONES).is_some_and(|value| value != "false");
        (namespaces.is_some() || zones).then_some(Self { namespaces, zones })
    }

    /// Why the ClusterIssuer `issuer` issues no certificate, and what to do about it; `None` if it does.
    pub fn refusal(&self, issuer: &str, applicant: Applicant<'_>) -> Option<String> {
        let why = self.namespace_refusal(applicant).or_else(|| self.zone_refusal(applicant))?;
        let namespace = applicant.namespace;
        Some(format!(
            "the ClusterIssuer {issuer:?} refuses the namespace {namespace:?}: {why}. Use another issuer, or ask the \
             administrators of the cluster; this is checked every {CHECKED_EVERY_MINUTES} minutes"
        ))
    }

    fn namespace_refusal(&self, applicant: Applicant<'_>) -> Option<String> {
        let selector = match parse(self.namespaces.as_deref()?) {
            Ok(selector) => selector,
            Err(why) => return Some(format!("its annotation {ALLOWED_NAMESPACES} {why}")),
        };
        (!selector.matches(applicant.labels)).then(|| {
            format!(
                "the labels of the namespace don't match the ClusterIssuer's annotation {ALLOWED_NAMESPACES}"
            )
        })
    }

    fn zone_refusal(&self, applicant: Applicant<'_>) -> Option<String> {
        let listed = applicant.annotations.get(ALLOWED_DNS_ZONES).map(String::as_str).unwrap_or_default();
        // There may be thousands of zones, and of names.
        let zones: HashSet<_> = listed.split(',').map(normalized).filter(|zone| !zone.is_empty()).collect();
        let Csr { dns_names, ip_addresses, common_name, .. } = applicant.csr;
        let addresses = ip_addresses.iter().map(ToString::to_string);
        let names = dns_names.iter().chain([common_name]).filter(|name| !name.is_empty()).cloned();
        let is_allowed = |name: &String| is_in_zone(&normalized(name), &zones);
        let refused = self.zones.then(|| names.chain(addresses).find(|name| !is_allowed(name)))??;
        if zones.is_empty() {
            return Some(format!(
                "the namespace lacks the annotation {ALLOWED_DNS_ZONES} with the zones that it may use"
            ));
        }
        let listed: String = listed.chars().take(LONGEST_LIST).collect();
        Some(format!(
            "{refused:?} is in none of the zones that its annotation {ALLOWED_DNS_ZONES} lists: {listed}"
        ))
    }
}

/// Parses a label selector. An empty one is refused: it is likely to have a misspelled field, and would select every namespace.
fn parse(text: &str) -> Result<Selector, String> {
    let selector: LabelSelector = serde_json::from_str(text).map_err(|error| {
        format!("is not a label selector such as {{\"matchLabels\":{{\"team\":\"web\"}}}}: {error}")
    })?;
    let selector =
        Selector::try_from(selector).map_err(|error| format!("is not a label selector: {error}"))?;
    if selector.selects_all() {
        return Err("has neither matchLabels nor matchExpressions".to_owned());
    }
    Ok(selector)
}

/// A name or a zone without differences that don't matter.
fn normalized(name: &str) -> String {
    name.trim().trim_start_matches("*.").trim_matches('.').to_lowercase()
}

/// Whether a name is one of the zones, or below one.
fn is_in_zone(name: &str, zones: &HashSet<String>) -> bool {
    let above = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
    std::iter::once(name).chain(above).any(|zone| zones.contains(zone))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{CsrRequest, Curve, KeyKind, PrivateKey};

    fn map(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// The refusal of a request for names, by the annotations of the issuer and the labels and annotations of the namespace.
    fn refusal(
        issuer: &[(&str, &str)],
        labels: &[(&str, &str)],
        zones: &str,
        names: &[&str],
    ) -> Option<String> {
        let mut request = CsrRequest::default();
        for name in names {
            match name.parse() {
                Ok(address) => request.ip_addresses.push(address),
                Err(_) => request.dns_names.push((*name).to_owned()),
            }
        }
        let key = PrivateKey::generate(KeyKind::Ecdsa(Curve::P256)).expect("a key");
        let csr = Csr::from_pem(request.sign_pem(&key).expect("a CSR").as_bytes()).expect("a CSR");
        let (labels, annotations) = (map(labels), map(&[(ALLOWED_DNS_ZONES, zones)]));
        let applicant = Applicant { namespace: "a", labels: &labels, annotations: &annotations, csr: &csr };
        Restrictions::of(&map(issuer))?.refusal("prod", applicant)
    }

    #[test]
    fn issuer_without_annotations_refuses_nothing() {
        assert_eq!(Restrictions::of(&map(&[("other", "x"), (RESTRICT_DNS_ZONES, "false")])), None);
    }

    #[test]
    fn selector_decides_by_the_labels_of_the_namespace() {
        let by = |selector: &str, labels: &[(&str, &str)]| {
            refusal(&[(ALLOWED_NAMESPACES, selector)], labels, "", &["web.example.test"])
        };
        let team = r#"{"matchLabels":{"team":"web"}}"#;
        assert_eq!(by(team, &[("team", "web"), ("more", "x")]), None);
        assert!(by(team, &[("team", "api")]).expect("a refusal").contains("don't match"));
        let listed = r#"{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"In","values":["a","b"]}]}"#;
        assert_eq!(by(listed, &[("kubernetes.io/metadata.name", "a")]), None);
        assert!(by(listed, &[("kubernetes.io/metadata.name", "c")]).is_some());
    }

    /// A mistake in a restriction must not lift it.
    #[test]
    fn unreadable_restriction_refuses_everything() {
        for selector in [
            "",
            "team=web",
            "{}",
            r#"{"matchLabel":{"team":"web"}}"#,
            "null",
            r#"{"matchExpressions":[{"key":"a","operator":"is"}]}"#,
        ] {
            let labels = [("team", "web")];
            let why = refusal(&[(ALLOWED_NAMESPACES, selector)], &labels, "", &["web.example.test"]);
            assert!(why.as_ref().is_some_and(|why| why.contains(ALLOWED_NAMESPACES)), "{selector}: {why:?}");
        }
        assert!(refusal(&[(RESTRICT_DNS_ZONES, "yes")], &[], "", &["a.test"]).is_some());
    }

    #[test]
    fn names_must_be_in_a_zone_of_the_namespace() {
        let by = |zones: &str, names: &[&str]| refusal(&[(RESTRICT_DNS_ZONES, "true")], &[], zones, names);
        assert_eq!(by("a.test, .b.test,", &["a.test", "x.y.a.test", "*.B.test"]), None);
        for name in ["c.test", "xa.test", "test", "10.0.0.1"] {
            let why = by("a.test,b.test", &["a.test", name]).expect("a refusal");
            assert!(why.contains(&format!("{name:?}")) && why.contains("a.test,b.test"), "{why}");
        }
        assert!(by("", &["a.test"]).expect("a refusal").contains("lacks the annotation"));
        assert!(by(" , .", &["a.test"]).expect("a refusal").contains("lacks the annotation"));
    }
}
