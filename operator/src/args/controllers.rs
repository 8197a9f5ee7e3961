//! The setting `--controllers`: which of cert-manager's controllers run. Here, four of them can be turned off.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

/// The controllers that can be turned off: approval, Certificates for Ingresses and for Gateways, and the metrics of Certificates.
const APPROVER: &str = "certificaterequests-approver";
const INGRESS_SHIM: &str = "ingress-shim";
const GATEWAY_SHIM: &str = "gateway-shim";
const METRICS: &str = "certificates-metrics";

/// The controller that is needed unless only some namespaces are served.
const CLUSTER_ISSUERS: &str = "clusterissuers";

/// The controllers that are always needed: what they do in cert-manager is one piece of work here.
const NEEDED: [&str; 11] = [
    "issuers",
    CLUSTER_ISSUERS,
    "orders",
    "challenges",
    "certificaterequests-issuer-acme",
    "certificates-trigger",
    "certificates-issuing",
    "certificates-key-manager",
    "certificates-request-manager",
    "certificates-readiness",
    "certificates-revision-manager",
];

/// The other controllers of cert-manager, whose work is not done here.
const NOT_SERVED: [&str; 9] = [
    "certificaterequests-issuer-ca",
    "certificaterequests-issuer-selfsigned",
    "certificaterequests-issuer-vault",
    "certificaterequests-issuer-venafi",
    "certificatesigningrequests-issuer-acme",
    "certificatesigningrequests-issuer-ca",
    "certificatesigningrequests-issuer-selfsigned",
    "certificatesigningrequests-issuer-vault",
    "certificatesigningrequests-issuer-venafi",
];

/// What happens if a controller of [`NOT_SERVED`] is turned on.
const UNSERVED: &str =
    "CertificateSigningRequests and issuers other than ACME are not served, so their controllers don't run";

/// What `--controllers` turns on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a controller of cert-manager")]
pub(super) struct Controllers {
    /// Whether CertificateRequests are approved automatically.
    pub(super) approver: bool,
    /// Whether annotated Ingresses get Certificates.
    pub(super) ingress_shim: bool,
    /// Whether annotated Gateways and ListenerSets get Certificates.
    pub(super) gateway_shim: bool,
    /// Whether there are metrics of each Certificate.
    pub(super) metrics: bool,
    /// What happens here, if a controller was turned on whose work is not done.
    pub(super) unserved: Option<&'static str>,
}

impl Default for Controllers {
    fn default() -> Self {
        Self { approver: true, ingress_shim: true, gateway_shim: true, metrics: true, unserved: None }
    }
}

impl Controllers {
    /// Reads the entries of the list. As in cert-manager, `*` means all, `-name` turns one off, and a list that only turns off
    /// begins with all.
    ///
    /// # Errors
    /// A name is unknown, or a controller is turned off without which certificates can't be issued.
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = &'a str>, is_namespaced: bool) -> Result<Self> {
        let (mut on, mut off, mut names_unserved) = (BTreeSet::new(), BTreeSet::new(), false);
        let all = || NEEDED.into_iter().chain([APPROVER, INGRESS_SHIM, GATEWAY_SHIM, METRICS]);
        for entry in entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()) {
            if entry == "*" {
                on.extend(all());
                continue;
            }
            let name = entry.strip_prefix('-').unwrap_or(entry);
            let is_unserved = NOT_SERVED.contains(&name);
            ensure!(
                is_unserved || all().any(|known| known == name),
                "--controllers names {name:?}, which cert-manager doesn't have"
            );
            names_unserved |= is_unserved && !entry.starts_with('-');
            _ = if entry.starts_with('-') { off.insert(name) } else { on.insert(name) };
        }
        if on.is_empty() {
            on.extend(all());
        }
        on.retain(|name| !off.contains(name));
        let needed = |name: &&&str| !is_namespaced || **name != CLUSTER_ISSUERS;
        let missing: Vec<_> =
            NEEDED.iter().filter(needed).filter(|name| !on.contains(*name)).copied().collect();
        ensure!(
            missing.is_empty(),
            "--controllers leaves out {}, but here only {APPROVER}, {INGRESS_SHIM}, {GATEWAY_SHIM}, and {METRICS} can be turned \
             off: to stop all of the others, stop the operator",
            missing.join(", ")
        );
        Ok(Self {
            approver: on.contains(APPROVER),
            ingress_shim: on.contains(INGRESS_SHIM),
            gateway_shim: on.contains(GATEWAY_SHIM),
            metrics: on.contains(METRICS),
            unserved: names_unserved.then_some(UNSERVED),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str) -> Result<Controllers> {
        Controllers::of(list.split(','), false)
    }

    fn on(list: &str) -> (bool, bool, bool) {
        let Controllers { approver, ingress_shim, metrics, .. } = read(list).expect("a valid list");
        (approver, ingress_shim, metrics)
    }

    #[test]
    fn gateways_are_served_unless_their_controller_is_left_out() {
        for (list, expected) in [("*", true), ("*,-gateway-shim", false), (&NEEDED.join(","), false)] {
            assert_eq!(read(list).expect("a valid list").gateway_shim, expected, "{list}");
        }
    }

    #[test]
    fn lists_mean_the_same_as_in_cert_manager() {
        assert_eq!(on("*"), (true, true, true));
        assert_eq!(on(""), (true, true, true));
        assert_eq!(on("-certificaterequests-approver"), (false, true, true), "all others are on");
        assert_eq!(on("*,-ingress-shim"), (true, false, true));
        assert_eq!(on("-ingress-shim,*, -certificates-metrics"), (true, false, false));
        assert_eq!(on(&NEEDED.join(",")), (false, false, false));
    }

    #[test]
    fn needed_controllers_cannot_be_left_out() {
        for list in ["*,-orders", "issuers,clusterissuers", "-clusterissuers", "ingress-shim"] {
            let error = read(list).expect_err("a needed controller is off").to_string();
            assert!(error.contains("can be turned off"), "{error}");
        }
        assert!(Controllers::of(["-clusterissuers"], true).is_ok(), "namespaces have no ClusterIssuers");
        let error = read("*,-ingres-shim").expect_err("a typo").to_string();
        assert_eq!(error, "--controllers names \"ingres-shim\", which cert-manager doesn't have");
    }

    #[test]
    fn unserved_controllers_are_noted_if_turned_on() {
        assert!(read("*,certificaterequests-issuer-vault").expect("known").unserved.is_some());
        assert!(read("*,-certificaterequests-issuer-vault").expect("known").unserved.is_none());
    }
}
