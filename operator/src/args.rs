//! Flags and the configuration file, under the names that cert-manager's users know. What cert-manager has and this operator
//! has no use for is taken with a warning, so that values can be brought along.

use std::{ffi::OsString, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{ArgAction, Parser, ValueEnum};
use crds::{annotations::source, duration::GoDuration, meta::IssuerRef};
use serde_json::Value;

use crate::{
    context::Settings,
    decision::{backoff::IssuanceBackoff, shim::ShimSettings},
    k8s::LeaseSettings,
};

/// Name of the Lease: cert-manager's, so that both never act at once.
const LEASE: &str = "cert-manager-controller";

/// Controller of cert-manager that approves requests; `--controllers=*,-<this>` switches that off.
const APPROVER: &str = "-certificaterequests-approver";

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Gets certificates from ACME servers (Let's Encrypt and others) into TLS Secrets, and keeps them valid.
///
/// Reconciles Ingresses annotated with cert-manager.io/cluster-issuer or cert-manager.io/issuer, Certificates, and what
/// is made for them. All flags of cert-manager's controller are taken; those without use here give a warning.
#[derive(Clone, Debug, Parser)]
#[command(version, args_override_self = true, verbatim_doc_comment)]
pub struct Arguments {
    /// A YAML file of kind ControllerConfiguration (controller.config.cert-manager.io/v1alpha1); flags come first.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Where the Secrets are that ClusterIssuers name.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kube-system")]
    pub cluster_resource_namespace: String,
    /// Whether to act only as the holder of the Lease.
    #[arg(long, default_value = "true", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// Where the Lease is.
    #[arg(long, default_value = "kube-system")]
    pub leader_election_namespace: String,
    /// How long a holder counts that is not seen to renew.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_election_lease_duration: Duration,
    /// How long a holder tries to renew before it gives up.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_election_renew_deadline: Duration,
    /// How long between two tries.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_election_retry_period: Duration,
    /// The issuer of Ingresses that are annotated without naming one, such as by kubernetes.io/tls-acme: "true".
    #[arg(long, default_value = "")]
    pub default_issuer_name: String,
    /// Its kind.
    #[arg(long, default_value = "Issuer")]
    pub default_issuer_kind: String,
    /// Its group.
    #[arg(long, default_value = crds::GROUP)]
    pub default_issuer_group: String,
    /// Annotations that ask for the default issuer where they are "true".
    #[arg(long, value_delimiter = ',', default_value = source::TLS_ACME)]
    pub auto_certificate_annotations: Vec<String>,
    /// Annotations that go from an Ingress to its Certificates.
    #[arg(long, value_delimiter = ',')]
    pub extra_certificate_annotations: Vec<String>,
    /// Whether a Secret is deleted with its Certificate.
    #[arg(long, default_value = "false", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_certificate_owner_ref: bool,
    /// How long an issuance waits after its first failure; twice as long after each further one.
    #[arg(long, default_value = "1h", value_parser = duration)]
    pub certificate_request_minimum_backoff_duration: Duration,
    /// How long an issuance waits at most after a failure.
    #[arg(long, default_value = "32h", value_parser = duration)]
    pub certificate_request_maximum_backoff_duration: Duration,
    /// Which controllers run, as cert-manager names them; only whether requests are approved is looked at.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    /// Where the http01-solver runs.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kube-system")]
    pub solver_namespace: String,
    /// Name of the http01-solver's Service.
    #[arg(long, default_value = "http01-solver")]
    pub solver_service: String,
    /// Address of /metrics.
    #[arg(long, default_value = "0.0.0.0:9402", value_parser = address)]
    pub metrics_listen_address: SocketAddr,
    /// Address of /livez and /readyz.
    #[arg(long, default_value = "0.0.0.0:9403", value_parser = address)]
    pub healthz_listen_address: SocketAddr,
    /// How logs are written.
    #[arg(long, default_value = "json")]
    pub logging_format: LogFormat,
    /// How much is logged: 0 to 3 as usual, 4 decisions, 5 and more everything.
    #[arg(long = "v", short = 'v', default_value_t = 2)]
    pub verbosity: u8,
    /// What to log in place of --v, such as "operator=debug,kube=warn".
    #[arg(long, env = "RUST_LOG", default_value = "")]
    pub log_filter: String,
    /// In place of running: asks each `host:port/path=status`, and fails if one answers otherwise. For `helm test`.
    #[arg(long)]
    pub check_ready: Vec<String>,
    /// Who this process is among others.
    #[arg(long, env = "POD_NAME", default_value = "acme-operator")]
    pub instance: String,
}

/// Flags of cert-manager's controller that have no use here, and whether they take a value of their own.
const IGNORED: [(&str, bool); 39] = [
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

/// Members of the configuration file that are flags under another name; others become theirs by their spelling.
const RENAMED: [(&str, &str); 13] = [
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

impl Arguments {
    /// Reads flags, and the file that they name. Returns also what to warn of.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(flags: impl IntoIterator<Item = OsString>) -> Result<(Self, Vec<String>)> {
        let mut warnings = Vec::new();
        let flags = known(flags.into_iter().collect(), &mut warnings);
        let first = Self::parse_from(&flags);
        let Some(path) = &first.config else { return Ok((first, warnings)) };
        let text = fs::read_to_string(path)
            .with_context(|| format!("failed to read --config {}", path.display()))?;
        let mut all: Vec<OsString> = flags.iter().take(1).cloned().collect();
        all.extend(of_file(&text).with_context(|| format!("failed to read --config {}", path.display()))?);
        all.extend(flags.into_iter().skip(1));
        let all = known(all, &mut warnings);
        Ok((Self::parse_from(all), warnings))
    }

    /// What controllers need to know.
    pub fn settings(&self) -> Settings {
        let default_issuer = (!self.default_issuer_name.is_empty()).then(|| IssuerRef {
            group: Some(self.default_issuer_group.clone()),
            kind: Some(self.default_issuer_kind.clone()),
            name: self.default_issuer_name.clone(),
        });
        Settings {
            cluster_resource_namespace: self.cluster_resource_namespace.clone(),
            solver_namespace: self.solver_namespace.clone(),
            solver_service: self.solver_service.clone(),
            backoff: IssuanceBackoff {
                minimum: self.certificate_request_minimum_backoff_duration,
                maximum: self.certificate_request_maximum_backoff_duration,
            },
            ingress: ShimSettings {
                default_issuer,
                auto_annotations: self.auto_certificate_annotations.clone(),
                extra_annotations: self.extra_certificate_annotations.clone(),
            },
            approves: !self.controllers.iter().any(|name| name == APPROVER),
            owns_secrets: self.enable_certificate_owner_ref,
            instance: self.instance.clone(),
        }
    }

    /// How leadership is held. `unique` tells this process from others of the same name.
    pub fn lease(&self, unique: &str) -> LeaseSettings {
        LeaseSettings {
            namespace: self.leader_election_namespace.clone(),
            name: LEASE.to_owned(),
            identity: format!("{}-{unique}-external-cert-manager-controller", self.instance),
            lease_duration: self.leader_election_lease_duration,
            renew_deadline: self.leader_election_renew_deadline,
            retry_period: self.leader_election_retry_period,
        }
    }

    /// What to log.
    pub fn log_filter(&self) -> String {
        match (self.log_filter.as_str(), self.verbosity) {
            // What kube says of its own is said by ours: its span, and requests that it makes again by itself.
            ("", 0..=3) => "info,kube_runtime::controller=warn,kube_client::client::builder=off".to_owned(),
            ("", 4) => "info,operator=debug,kube_runtime::controller=warn".to_owned(),
            ("", _) => "debug,operator=trace".to_owned(),
            (filter, _) => filter.to_owned(),
        }
    }
}

/// Flags without those that are taken for nothing.
fn known(flags: Vec<OsString>, warnings: &mut Vec<String>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut flags = flags.into_iter().peekable();
    while let Some(flag) = flags.next() {
        let text = flag.to_string_lossy();
        let name = text.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
        let ignored =
            text.starts_with("--").then(|| IGNORED.iter().find(|(ignored, _)| *ignored == name)).flatten();
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

/// The members of a configuration file, as flags.
fn of_file(text: &str) -> Result<Vec<OsString>> {
    let file: Value = serde_saphyr::from_str(text)?;
    let Value::Object(members) = file else { bail!("it is no YAML object") };
    let mut flags = Vec::new();
    for (name, value) in members {
        match value {
            _ if name == "apiVersion" || name == "kind" => {}
            Value::Object(inner) if name != "featureGates" => {
                for (inner_name, value) in inner {
                    flags.push(flag(&format!("{name}.{inner_name}"), &value));
                }
            }
            value => flags.push(flag(&name, &value)),
        }
    }
    Ok(flags)
}

fn flag(name: &str, value: &Value) -> OsString {
    let renamed = RENAMED.iter().find(|(member, _)| *member == name).map(|(_, flag)| (*flag).to_owned());
    let flag = renamed.unwrap_or_else(|| kebab(name));
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

/// `fooBarBaz` as `foo-bar-baz`.
fn kebab(name: &str) -> String {
    let mut text = String::new();
    let mut before = '-';
    for letter in name.chars() {
        if letter == '.' {
            text.push('-');
        } else {
            if letter.is_uppercase() && !before.is_uppercase() && before != '-' && before != '.' {
                text.push('-');
            }
            text.extend(letter.to_lowercase());
        }
        before = letter;
    }
    text
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: GoDuration =
        text.parse().map_err(|error: crds::duration::ParseDuration| error.to_string())?;
    parsed.to_std().ok_or_else(|| format!("{text:?} is negative"))
}

/// An address as Go has it: `:9402` is every address.
fn address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is no address such as \"0.0.0.0:9402\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> (Arguments, Vec<String>) {
        Arguments::read(std::iter::once("operator").chain(flags.iter().copied()).map(OsString::from))
            .expect("good flags")
    }

    #[test]
    fn what_a_chart_of_cert_manager_passes_is_taken() {
        let (arguments, warnings) = read(&[
            "--v=2",
            "--cluster-resource-namespace=cert-manager",
            "--leader-election-namespace=kube-system",
            "--acme-http01-solver-image=quay.io/jetstack/cert-manager-acmesolver:v1.21.1",
            "--max-concurrent-challenges",
            "60",
            "--enable-certificate-owner-ref",
            "--leader-elect=false",
            "--metrics-listen-address=:9402",
            "--controllers=*,-certificaterequests-approver",
        ]);
        assert_eq!(arguments.cluster_resource_namespace, "cert-manager");
        assert!(arguments.enable_certificate_owner_ref && !arguments.leader_elect);
        assert!(!arguments.settings().approves);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn a_file_says_the_same_and_flags_come_first() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("config.yaml");
        fs::write(
            &path,
            "apiVersion: controller.config.cert-manager.io/v1alpha1\nkind: ControllerConfiguration\n\
             clusterResourceNamespace: here\nmaxConcurrentChallenges: 20\nfeatureGates: { ACMEUseARI: true }\n\
             ingressShimConfig: { defaultIssuerName: prod, defaultIssuerKind: ClusterIssuer }\n\
             leaderElectionConfig: { leaseDuration: 30s }\nlogging: { format: text }\n",
        )?;
        let config = format!("--config={}", path.display());
        let (arguments, warnings) = read(&[&config, "--leader-election-lease-duration=20s"]);
        assert_eq!(arguments.cluster_resource_namespace, "here");
        assert_eq!(arguments.default_issuer_name, "prod");
        assert_eq!(arguments.leader_election_lease_duration, Duration::from_secs(20));
        assert_eq!(arguments.logging_format, LogFormat::Text);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        Ok(())
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
