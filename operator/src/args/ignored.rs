//! Flags of the cert-manager controller that have no effect here. Next: `mod.rs` for those that do.

use std::ffi::OsString;

/// The ignored flags, and whether each takes a value that may be the next argument.
const IGNORED_FLAGS: [(&str, bool); 46] = [
    ("acme-http01-solver-image", true),
    ("acme-http01-solver-resource-request-cpu", true),
    ("acme-http01-solver-resource-request-memory", true),
    ("acme-http01-solver-resource-limits-cpu", true),
    ("acme-http01-solver-resource-limits-memory", true),
    ("acme-http01-solver-run-as-non-root", false),
    ("acme-http01-solver-nameservers", true),
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
    ("log-flush-frequency", true),
    ("log-json-info-buffer-size", true),
    ("log-json-split-stream", false),
    ("log-text-info-buffer-size", true),
    ("log-text-split-stream", false),
    ("vmodule", true),
    ("internal-healthz-listen-address", true),
    ("internal-healthz-leader-election-timeout", true),
    ("kubeconfig", true),
    ("master", true),
];

/// Removes ignored flags with their values, and adds their names to `ignored`.
pub(super) fn drop_ignored(flags: Vec<OsString>, ignored: &mut Vec<String>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut flags = flags.into_iter().peekable();
    while let Some(flag) = flags.next() {
        let text = flag.to_string_lossy();
        let name = text.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
        let found =
            text.starts_with("--").then(|| IGNORED_FLAGS.iter().find(|(flag, _)| *flag == name)).flatten();
        match found {
            Some((_, takes_value)) => {
                ignored.push(name);
                if *takes_value && !text.contains('=') {
                    flags.next_if(|value| !value.to_string_lossy().starts_with("--"));
                }
            }
            None => kept.push(flag),
        }
    }
    kept
}
