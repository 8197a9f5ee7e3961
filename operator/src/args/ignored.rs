//! Flags of cert-manager that have no use here.

use std::ffi::OsString;

/// Flags of cert-manager's controller that have no use here, and whether they take a value of their own.
const IGNORED_FLAGS: [(&str, bool); 39] = [
    ("acme-http01-solver-image", true),
    ("acme-http01-solver-resource-request-cpu", true),
    ("acme-http01-solver-resource-request-memory", true),
    ("acme-http01-solver-resource-limits-cpu", true),
    ("acme-http01-solver-resource-limits-memory", true),
    ("acme-http01-solver-run-as-non-root", false),
    ("acme-http01-solver-nameservers", true),
    ("acme-http01-solver-extra-labels", true),
    ("acme-http01-solver-runtime-class-name", true),
    ("dns01-recursive-nameservers", true),
    ("dns01-recursive-nameservers-only", false),
    ("dns01-check-retry-period", true),
    ("issuer-ambient-credentials", false),
    ("cluster-issuer-ambient-credentials", false),
    ("enable-gateway-api", false),
    ("enable-gateway-api-listenerset", false),
    ("gateway-api-extra-protocols", true),
    ("copied-annotation-prefixes", true),
    ("feature-gates", true),
    ("concurrent-workers", true),
    ("max-concurrent-challenges", true),
    ("kube-api-qps", true),
    ("kube-api-burst", true),
    ("metrics-tls-cert-file", true),
    ("metrics-tls-private-key-file", true),
    ("metrics-tls-min-version", true),
    ("metrics-tls-cipher-suites", true),
    ("metrics-dynamic-serving-ca-secret-namespace", true),
    ("metrics-dynamic-serving-ca-secret-name", true),
    ("metrics-dynamic-serving-dns-names", true),
    ("metrics-dynamic-serving-leaf-duration", true),
    ("enable-profiling", false),
    ("profiler-address", true),
    ("max-certificate-size", true),
    ("max-private-key-size", true),
    ("max-certificate-chain-length", true),
    ("max-certificate-bundle-size", true),
    ("kubeconfig", true),
    ("master", true),
];

/// Flags without those that are taken for nothing.
pub(super) fn drop_ignored(flags: Vec<OsString>, warnings: &mut Vec<String>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut flags = flags.into_iter().peekable();
    while let Some(flag) = flags.next() {
        let text = flag.to_string_lossy();
        let name = text.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
        let ignored = text
            .starts_with("--")
            .then(|| IGNORED_FLAGS.iter().find(|(ignored, _)| *ignored == name))
            .flatten();
        match ignored {
            Some((_, takes_value)) => {
                warnings.push(format!("--{name} is one of cert-manager's flags that has no use here"));
                if *takes_value && !text.contains('=') {
                    flags.next_if(|value| !value.to_string_lossy().starts_with("--"));
                }
            }
            None => kept.push(flag),
        }
    }
    kept
}
