//! The configuration file of the cert-manager controller, converted to flags. Next: `mod.rs` for the flags.

use std::ffi::OsString;

use anyhow::{Result, bail};
use serde_json::Value;

/// Members whose flag has another name. For all others, the name is converted to kebab case.
const RENAMED_MEMBERS: [(&str, &str); 13] = [
    ("leaderElectionConfig.enabled", "leader-elect"),
    ("leaderElectionConfig.namespace", "leader-election-namespace"),
    ("leaderElectionConfig.leaseDuration", "leader-election-lease-duration"),
    ("leaderElectionConfig.renewDeadline", "leader-election-renew-deadline"),
    ("leaderElectionConfig.retryPeriod", "leader-election-retry-period"),
    ("ingressShimConfig.defaultIssuerName", "default-issuer-name"),
    ("ingressShimConfig.defaultIssuerKind", "default-issuer-kind"),
    ("ingressShimConfig.defaultIssuerGroup", "default-issuer-group"),
    ("ingressShimConfig.defaultAutoCertificateAnnotations", "auto-certificate-annotations"),
    ("ingressShimConfig.extraCertificateAnnotations", "extra-certificate-annotations"),
    ("logging.format", "logging-format"),
    ("logging.verbosity", "v"),
    ("kubernetesAPIQPS", "kube-api-qps"),
];

/// Converts the members of a configuration file to flags.
pub(super) fn flags_of_file(text: &str) -> Result<Vec<OsString>> {
    let file: Value = serde_saphyr::from_str(text)?;
    let Value::Object(members) = file else { bail!("it is not a YAML object") };
    let mut flags = Vec::new();
    for (name, value) in members {
        match value {
            _ if name == "apiVersion" || name == "kind" => {}
            Value::Object(inner) if name != "featureGates" => {
                for (inner_name, value) in inner {
                    flags.push(member_flag(&format!("{name}.{inner_name}"), &value));
                }
            }
            value => flags.push(member_flag(&name, &value)),
        }
    }
    Ok(flags)
}

fn member_flag(name: &str, value: &Value) -> OsString {
    let renamed =
        RENAMED_MEMBERS.iter().find(|(member, _)| *member == name).map(|(_, flag)| (*flag).to_owned());
    let flag = renamed.unwrap_or_else(|| kebab_case(name));
    let value = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned))
                .collect();
            items.join(",")
        }
        other => other.to_string(),
    };
    format!("--{flag}={value}").into()
}

/// Converts `fooBarBaz` to `foo-bar-baz`.
fn kebab_case(name: &str) -> String {
    let mut text = String::new();
    let mut previous = '-';
    for letter in name.chars() {
        if letter == '.' {
            text.push('-');
        } else {
            if letter.is_uppercase() && !previous.is_uppercase() && previous != '-' && previous != '.' {
                text.push('-');
            }
            text.extend(letter.to_lowercase());
        }
        previous = letter;
    }
    text
}
