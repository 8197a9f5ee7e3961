//! Every setting of cert-manager's controller: its flag, its members in the configuration file, and what it does here.
//! Next: `sift.rs`, which applies it.

use self::{
    Kind::{Duration, Switch, Text},
    Treatment::{Ignored, Rejected, Supported},
};

/// The version of cert-manager whose settings are listed.
pub const VERSION: &str = "v1.21";

/// A setting of cert-manager's controller.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag, without dashes.
    pub flag: &'static str,
    /// The members of a ControllerConfiguration that set the same, with dots between the names of objects.
    pub members: &'static [&'static str],
    /// What kind of value it has.
    pub kind: Kind,
    /// What it does here.
    pub treatment: Treatment,
}

/// The kind of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A boolean. The flag needs no value, and the next argument is never its value.
    Switch,
    /// A duration of Go, such as "1h30m". In the file, it can also be a number of nanoseconds.
    Duration,
    /// Anything else.
    Text,
}

/// What a setting of cert-manager does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The same as in cert-manager.
    Supported,
    /// Nothing. The text says what happens here.
    Ignored(&'static str),
    /// The operator does not start if it is set, because ignoring it would be dangerous. The text says why, and what to do.
    Rejected(&'static str),
}

const NO_PODS: Treatment = Ignored(
    "there is no Pod for each challenge; the chart's values solver.* configure the Pods that answer all challenges",
);
const NO_DNS01: Treatment = Ignored("DNS-01 challenges are not served");
const NO_PROFILER: Treatment = Ignored("there is no profiler");
const NO_LOG_BUFFER: Treatment = Ignored("log lines are written immediately, all to standard output");
const FIXED_SIZES: Treatment = Ignored(
    "the limits are fixed: 13,000 bytes for a private key, 36,500 for a certificate request, 95,000 for a chain",
);
const NO_CREDENTIALS: Treatment = Ignored("no issuer that uses credentials of the environment is served");
const NO_CLIENT_LIMIT: Treatment = Ignored(
    "requests to the API server are not limited by rate; at most 48 are in flight, and the API server's priority and fairness \
     apply",
);
const NO_METRICS_TLS: Treatment = Rejected(
    "metrics are served without TLS only, so the clients that you want to protect would get them unencrypted: remove the \
     setting, and limit who may connect with the chart's value networkPolicy.metricsFrom, or turn metrics off with \
     --metrics-listen-address=0",
);
const UNUSED_TLS_OPTION: Treatment = Ignored("metrics are served without TLS");

const fn setting(
    flag: &'static str,
    members: &'static [&'static str],
    kind: Kind,
    treatment: Treatment,
) -> Setting {
    Setting { flag, members, kind, treatment }
}

/// All settings, in the order of cert-manager's configuration file.
pub const SETTINGS: &[Setting] = &[
    setting("config", &[], Text, Supported),
    setting("kubeconfig", &["kubeConfig"], Text, Supported),
    setting("master", &["apiServerHost"], Text, Supported),
    setting("kube-api-qps", &["kubernetesAPIQPS"], Text, NO_CLIENT_LIMIT),
    setting("kube-api-burst", &["kubernetesAPIBurst"], Text, NO_CLIENT_LIMIT),
    setting("namespace", &["namespace"], Text, Supported),
    setting("cluster-resource-namespace", &["clusterResourceNamespace"], Text, Supported),
    setting("leader-elect", &["leaderElectionConfig.enabled"], Switch, Supported),
    setting("leader-election-namespace", &["leaderElectionConfig.namespace"], Text, Supported),
    setting("leader-election-lease-duration", &["leaderElectionConfig.leaseDuration"], Duration, Supported),
    setting("leader-election-renew-deadline", &["leaderElectionConfig.renewDeadline"], Duration, Supported),
    setting("leader-election-retry-period", &["leaderElectionConfig.retryPeriod"], Duration, Supported),
    setting(
        "internal-healthz-leader-election-timeout",
        &["leaderElectionConfig.healthzTimeout"],
        Duration,
        Ignored("a leader that can't renew its Lease ends before another one may begin"),
    ),
    setting("controllers", &["controllers"], Text, Supported),
    setting("issuer-ambient-credentials", &["issuerAmbientCredentials"], Switch, NO_CREDENTIALS),
    setting(
        "cluster-issuer-ambient-credentials",
        &["clusterIssuerAmbientCredentials"],
        Switch,
        NO_CREDENTIALS,
    ),
    setting("enable-certificate-owner-ref", &["enableCertificateOwnerRef"], Switch, Supported),
    setting("enable-gateway-api", &["enableGatewayAPI", "gatewayAPI.enabled"], Switch, Supported),
    setting(
        "enable-gateway-api-listenerset",
        &["enableGatewayAPIListenerSet", "gatewayAPI.enableListenerSet"],
        Switch,
        Supported,
    ),
    setting("gateway-api-extra-protocols", &["gatewayAPI.extraProtocols"], Text, Supported),
    setting(
        "copied-annotation-prefixes",
        &["copiedAnnotationPrefixes"],
        Text,
        Ignored(
            "all annotations of a Certificate are copied to its CertificateRequests and Orders, except those of kubectl, Flux, \
             and Argo CD",
        ),
    ),
    setting(
        "concurrent-workers",
        &["numberOfConcurrentWorkers"],
        Text,
        Ignored("the number of concurrent reconciles is fixed, and objects that wait take none of them"),
    ),
    setting(
        "max-concurrent-challenges",
        &["maxConcurrentChallenges"],
        Text,
        Ignored("the number of challenges is not limited, because waiting for one takes no worker"),
    ),
    setting("metrics-listen-address", &["metricsListenAddress"], Text, Supported),
    setting("metrics-tls-cipher-suites", &["metricsTLSConfig.cipherSuites"], Text, UNUSED_TLS_OPTION),
    setting("metrics-tls-min-version", &["metricsTLSConfig.minTLSVersion"], Text, UNUSED_TLS_OPTION),
    setting("metrics-tls-cert-file", &["metricsTLSConfig.filesystem.certFile"], Text, NO_METRICS_TLS),
    setting("metrics-tls-private-key-file", &["metricsTLSConfig.filesystem.keyFile"], Text, NO_METRICS_TLS),
    setting(
        "metrics-dynamic-serving-ca-secret-namespace",
        &["metricsTLSConfig.dynamic.secretNamespace"],
        Text,
        NO_METRICS_TLS,
    ),
    setting(
        "metrics-dynamic-serving-ca-secret-name",
        &["metricsTLSConfig.dynamic.secretName"],
        Text,
        NO_METRICS_TLS,
    ),
    setting(
        "metrics-dynamic-serving-dns-names",
        &["metricsTLSConfig.dynamic.dnsNames"],
        Text,
        NO_METRICS_TLS,
    ),
    setting(
        "metrics-dynamic-serving-leaf-duration",
        &["metricsTLSConfig.dynamic.leafDuration"],
        Duration,
        UNUSED_TLS_OPTION,
    ),
    setting("healthz-listen-address", &["healthzListenAddress"], Text, Supported),
    setting(
        "internal-healthz-listen-address",
        &[],
        Text,
        Ignored("the address of the health endpoints is --healthz-listen-address"),
    ),
    setting("enable-profiling", &["enablePprof"], Switch, NO_PROFILER),
    setting("profiler-address", &["pprofAddress"], Text, NO_PROFILER),
    setting("logging-format", &["logging.format"], Text, Supported),
    setting("v", &["logging.verbosity"], Text, Supported),
    setting("log-flush-frequency", &["logging.flushFrequency"], Duration, NO_LOG_BUFFER),
    setting(
        "vmodule",
        &["logging.vmodule"],
        Text,
        Ignored("the flag --log-filter sets the log level of a module, such as operator=debug,kube=warn"),
    ),
    setting("log-text-split-stream", &["logging.options.text.splitStream"], Switch, NO_LOG_BUFFER),
    setting("log-text-info-buffer-size", &["logging.options.text.infoBufferSize"], Text, NO_LOG_BUFFER),
    setting("log-json-split-stream", &["logging.options.json.splitStream"], Switch, NO_LOG_BUFFER),
    setting("log-json-info-buffer-size", &["logging.options.json.infoBufferSize"], Text, NO_LOG_BUFFER),
    setting(
        "feature-gates",
        &["featureGates"],
        Text,
        Ignored("there are no feature gates: what is served is always on, ACME renewal information included"),
    ),
    setting("default-issuer-name", &["ingressShimConfig.defaultIssuerName"], Text, Supported),
    setting("default-issuer-kind", &["ingressShimConfig.defaultIssuerKind"], Text, Supported),
    setting("default-issuer-group", &["ingressShimConfig.defaultIssuerGroup"], Text, Supported),
    setting(
        "auto-certificate-annotations",
        &["ingressShimConfig.defaultAutoCertificateAnnotations"],
        Text,
        Supported,
    ),
    setting(
        "extra-certificate-annotations",
        &["ingressShimConfig.extraCertificateAnnotations"],
        Text,
        Supported,
    ),
    setting("acme-http01-solver-image", &["acmeHTTP01Config.solverImage"], Text, NO_PODS),
    setting(
        "acme-http01-solver-resource-request-cpu",
        &["acmeHTTP01Config.solverResourceRequestCPU"],
        Text,
        NO_PODS,
    ),
    setting(
        "acme-http01-solver-resource-request-memory",
        &["acmeHTTP01Config.solverResourceRequestMemory"],
        Text,
        NO_PODS,
    ),
    setting(
        "acme-http01-solver-resource-limits-cpu",
        &["acmeHTTP01Config.solverResourceLimitsCPU"],
        Text,
        NO_PODS,
    ),
    setting(
        "acme-http01-solver-resource-limits-memory",
        &["acmeHTTP01Config.solverResourceLimitsMemory"],
        Text,
        NO_PODS,
    ),
    setting("acme-http01-solver-run-as-non-root", &["acmeHTTP01Config.solverRunAsNonRoot"], Switch, NO_PODS),
    setting(
        "acme-http01-solver-runtime-class-name",
        &["acmeHTTP01Config.solverRuntimeClassName"],
        Text,
        NO_PODS,
    ),
    setting("acme-http01-solver-nameservers", &["acmeHTTP01Config.solverNameservers"], Text, Supported),
    setting("acme-http01-solver-extra-labels", &["acmeHTTP01Config.solverExtraLabels"], Text, Supported),
    setting("dns01-recursive-nameservers", &["acmeDNS01Config.recursiveNameservers"], Text, NO_DNS01),
    setting(
        "dns01-recursive-nameservers-only",
        &["acmeDNS01Config.recursiveNameserversOnly"],
        Switch,
        NO_DNS01,
    ),
    setting(
        "dns01-check-retry-period",
        &["acmeDNS01Config.checkRetryPeriod"],
        Duration,
        Ignored("a self-check is repeated at intervals that grow from 50 ms to 10 s"),
    ),
    setting("max-certificate-size", &["pemSizeLimitsConfig.maxCertificateSize"], Text, FIXED_SIZES),
    setting("max-private-key-size", &["pemSizeLimitsConfig.maxPrivateKeySize"], Text, FIXED_SIZES),
    setting("max-certificate-chain-length", &["pemSizeLimitsConfig.maxChainLength"], Text, FIXED_SIZES),
    setting("max-certificate-bundle-size", &["pemSizeLimitsConfig.maxBundleSize"], Text, FIXED_SIZES),
    setting(
        "certificate-request-minimum-backoff-duration",
        &["certificateRequestMinimumBackoffDuration"],
        Duration,
        Supported,
    ),
    setting(
        "certificate-request-maximum-backoff-duration",
        &["certificateRequestMaximumBackoffDuration"],
        Duration,
        Supported,
    ),
];

/// The setting with a flag, without dashes.
pub fn by_flag(flag: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.flag == flag)
}

/// The setting with a member of the configuration file.
pub fn by_member(member: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.members.contains(&member))
}
