//! Flags and the configuration file, with the names that cert-manager uses. Flags of cert-manager that have no effect
//! here are accepted with a warning, so that existing values keep working. Must not use clients. Next:
//! `config_file.rs`, `ignored.rs`.

mod config_file;
mod ignored;

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::{ArgAction, CommandFactory as _, Parser, ValueEnum};
use crds::{annotations::source, duration::GoDuration, meta::IssuerRef};

use self::{config_file::flags_of_file, ignored::drop_ignored};
use crate::{
    context::Settings,
    decision::{backoff::IssuanceBackoff, shim::ShimSettings},
    k8s::LeaseSettings,
};

/// The name of the Lease: the same as in cert-manager, so that the two never act concurrently.
const LEASE_NAME: &str = "cert-manager-controller";

/// How long before another process may become the leader a leader has stopped, at least.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// The entry of `--controllers` that turns off automatic approval, as in
/// `--controllers=*,-certificaterequests-approver`.
const APPROVER_DISABLED: &str = "-certificaterequests-approver";

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable lines.
    Text,
}

/// Obtains certificates from ACME servers such as Let's Encrypt, stores them in TLS Secrets, and renews them.
///
/// Reconciles Certificates, and Ingresses annotated with cert-manager.io/cluster-issuer or cert-manager.io/issuer.
/// Accepts all flags of the cert-manager controller; flags that have no effect here are ignored with a warning.
#[derive(Clone, Debug, Parser)]
#[command(version, args_override_self = true, verbatim_doc_comment)]
pub struct Arguments {
    /// A YAML file of kind ControllerConfiguration (controller.config.cert-manager.io/v1alpha1). Flags override its
    /// values.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Namespace of the Secrets that ClusterIssuers refer to.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kube-system")]
    pub cluster_resource_namespace: String,
    /// Namespaces to serve, comma-separated; all if empty. With it, ClusterIssuers can't be used.
    #[arg(long, value_delimiter = ',', default_value = "")]
    pub namespace: Vec<String>,
    /// Whether to act only while holding the leader election Lease.
    #[arg(long, default_value = "true", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,
    /// Namespace of the leader election Lease.
    #[arg(long, default_value = "kube-system")]
    pub leader_election_namespace: String,
    /// How long a standby waits after the last renewal that it observed before it takes over leadership.
    #[arg(long, default_value = "15s", value_parser = parse_duration)]
    pub leader_election_lease_duration: Duration,
    /// How long the leader tries to renew the Lease before it gives up leadership.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub leader_election_renew_deadline: Duration,
    /// How long to wait between attempts to acquire or renew the Lease.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub leader_election_retry_period: Duration,
    /// Name of the issuer for Ingresses whose annotations don't name one, such as kubernetes.io/tls-acme: "true".
    #[arg(long, default_value = "")]
    pub default_issuer_name: String,
    /// Kind of the default issuer.
    #[arg(long, default_value = "Issuer")]
    pub default_issuer_kind: String,
    /// API group of the default issuer.
    #[arg(long, default_value = crds::GROUP)]
    pub default_issuer_group: String,
    /// Annotations that select the default issuer if their value is "true".
    #[arg(long, value_delimiter = ',', default_value = source::TLS_ACME)]
    pub auto_certificate_annotations: Vec<String>,
    /// Annotations that are copied from an Ingress to its Certificates.
    #[arg(long, value_delimiter = ',')]
    pub extra_certificate_annotations: Vec<String>,
    /// Whether a Certificate owns its Secret, which is then deleted with it.
    #[arg(long, default_value = "false", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_certificate_owner_ref: bool,
    /// How long to wait after the first failed issuance. The delay doubles with each further failure.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub certificate_request_minimum_backoff_duration: Duration,
    /// The longest delay after a failed issuance.
    #[arg(long, default_value = "32h", value_parser = parse_duration)]
    pub certificate_request_maximum_backoff_duration: Duration,
    /// Controllers to run, by their cert-manager names. Only "-certificaterequests-approver" has an effect: it turns
    /// off automatic approval.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
    /// Namespace of the http01-solver.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kube-system")]
    pub solver_namespace: String,
    /// Name of the Service of the http01-solver.
    #[arg(long, default_value = "http01-solver")]
    pub solver_service: String,
    /// Labels of the Services, EndpointSlices, and Ingresses that route challenges, for clusters whose policies require
    /// them, such as team=web,cost-center=7.
    #[arg(long, value_delimiter = ',', value_parser = parse_label)]
    pub acme_http01_solver_extra_labels: Vec<(String, String)>,
    /// Listen address of /metrics. "0" turns it off.
    #[arg(long, default_value = "0.0.0.0:9402", value_parser = parse_address)]
    pub metrics_listen_address: SocketAddr,
    /// Whether /metrics has series for each Certificate and Challenge: seven for a Certificate, eight for a Challenge.
    #[arg(long, default_value = "true", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_certificate_metrics: bool,
    /// Listen address of /livez, /healthz, and /readyz. "0" turns them off.
    #[arg(long, default_value = "0.0.0.0:9403", value_parser = parse_address)]
    pub healthz_listen_address: SocketAddr,
    /// The format of log lines.
    #[arg(long, default_value = "json")]
    pub logging_format: LogFormat,
    /// Log verbosity: 0 to 3 for info, 4 adds decisions, 5 and above log everything.
    #[arg(long = "v", short = 'v', default_value_t = 2)]
    pub verbosity: u8,
    /// A log filter that replaces --v, such as "operator=debug,kube=warn".
    #[arg(long, env = "RUST_LOG", default_value = "")]
    pub log_filter: String,
    /// Instead of running, polls each `host:port/path=status` and fails if one does not return that status. For `helm
    /// test`.
    #[arg(long)]
    pub check_ready: Vec<String>,
    /// Name of this process in the leader election Lease and in events.
    #[arg(long, env = "POD_NAME", default_value = "acme-operator")]
    pub instance: String,
    /// UID of this Pod, which no other Pod ever has. With it, a container that restarts in the same Pod resumes its leadership
    /// immediately: its former process has ended.
    #[arg(long, env = "POD_UID", default_value = "")]
    pub pod_uid: String,
}

impl Arguments {
    /// Parses the flags and the configuration file that they name. Also returns the names of ignored flags, without
    /// dashes.
    ///
    /// # Errors
    /// The file can't be read or parsed.
    pub fn read(flags: impl IntoIterator<Item = OsString>) -> Result<(Self, Vec<String>)> {
        let mut ignored = Vec::new();
        let flags = drop_ignored(flags.into_iter().collect(), &mut ignored);
        let first = Self::parse_from(&flags);
        let Some(path) = &first.config else { return Ok((first, ignored)) };
        let text = fs::read_to_string(path)
            .with_context(|| format!("failed to read --config {}", path.display()))?;
        let mut all: Vec<OsString> = flags.iter().take(1).cloned().collect();
        let of_file =
            flags_of_file(&text).with_context(|| format!("failed to read --config {}", path.display()))?;
        all.extend(drop_unknown(drop_ignored(of_file, &mut ignored), &mut ignored));
        all.extend(flags.into_iter().skip(1));
        Ok((Self::parse_from(all), ignored))
    }

    /// Returns the settings of the controllers.
    pub fn settings(&self) -> Settings {
        let default_issuer = (!self.default_issuer_name.is_empty()).then(|| IssuerRef {
            group: Some(self.default_issuer_group.clone()),
            kind: Some(self.default_issuer_kind.clone()),
            name: self.default_issuer_name.clone(),
        });
        let namespaces = self.namespace.iter().map(|it| it.trim()).filter(|it| !it.is_empty());
        Settings {
            namespaces: namespaces.map(ToOwned::to_owned).collect(),
            cluster_resource_namespace: self.cluster_resource_namespace.clone(),
            solver_namespace: self.solver_namespace.clone(),
            solver_service: self.solver_service.clone(),
            solver_labels: self.acme_http01_solver_extra_labels.iter().cloned().collect(),
            backoff: IssuanceBackoff {
                minimum: self.certificate_request_minimum_backoff_duration,
                maximum: self.certificate_request_maximum_backoff_duration,
            },
            ingress: ShimSettings {
                default_issuer,
                auto_annotations: self.auto_certificate_annotations.clone(),
                extra_annotations: self.extra_certificate_annotations.clone(),
            },
            auto_approve: !self.controllers.iter().any(|name| name == APPROVER_DISABLED),
            set_secret_owner_ref: self.enable_certificate_owner_ref,
            instance: self.instance.clone(),
        }
    }

    /// Returns the settings of leader election. Without the UID of a Pod, `unique` distinguishes this process from others
    /// with the same `--instance`.
    ///
    /// # Errors
    /// A leader would not stop before another one may begin, or not renew in time.
    pub fn lease(&self, unique: &str) -> Result<LeaseSettings> {
        let (lease_duration, renew_deadline, retry_period) = (
            self.leader_election_lease_duration,
            self.leader_election_renew_deadline,
            self.leader_election_retry_period,
        );
        ensure!(
            renew_deadline + LEASE_MARGIN <= lease_duration,
            "--leader-election-renew-deadline is {renew_deadline:?}, but has to be at least {LEASE_MARGIN:?} shorter than \
             --leader-election-lease-duration, which is {lease_duration:?}"
        );
        ensure!(
            !retry_period.is_zero() && retry_period < renew_deadline,
            "--leader-election-retry-period is {retry_period:?}, but has to be more than 0 and shorter than \
             --leader-election-renew-deadline, which is {renew_deadline:?}"
        );
        let process = match self.pod_uid.as_str() {
            "" => format!("{}-{unique}", self.instance),
            uid => format!("{}_{uid}", self.instance),
        };
        Ok(LeaseSettings {
            namespace: self.leader_election_namespace.clone(),
            name: LEASE_NAME.to_owned(),
            identity: format!("{process}-external-cert-manager-controller"),
            lease_duration,
            renew_deadline,
            retry_period,
        })
    }

    /// Returns the filter for log lines, in the syntax of tracing-subscriber.
    pub fn log_filter(&self) -> String {
        match (self.log_filter.as_str(), self.verbosity) {
            // kube logs reconciles and its own retries too; our log lines cover both.
            ("", 0..=3) => "info,kube_runtime::controller=warn,kube_client::client::builder=off".to_owned(),
            ("", 4) => "info,operator=debug,kube_runtime::controller=warn".to_owned(),
            ("", _) => "debug,operator=trace".to_owned(),
            (filter, _) => filter.to_owned(),
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: GoDuration =
        text.parse().map_err(|error: crds::duration::ParseDuration| error.to_string())?;
    parsed.to_std().ok_or_else(|| format!("{text:?} is negative"))
}

/// Parses a label, such as `team=web`.
fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not a label such as \"team=web\""))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Removes the flags `--name=value` of a file's members that have no effect here, and adds their names to `ignored`.
fn drop_unknown(mut flags: Vec<OsString>, ignored: &mut Vec<String>) -> Vec<OsString> {
    let command = Arguments::command();
    flags.retain(|flag| {
        let text = flag.to_string_lossy();
        let name = text.trim_start_matches('-').split('=').next().unwrap_or_default();
        let is_known = command.get_arguments().any(|it| it.get_long() == Some(name));
        if !is_known {
            ignored.push(name.to_owned());
        }
        is_known
    });
    flags
}

/// Parses an address like Go does: `:9402` means all addresses. `0` is port 0 of all addresses, where nothing listens.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if text == "0" {
        return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    }
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("{text:?} is not an address such as \"0.0.0.0:9402\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[&str]) -> (Arguments, Vec<String>) {
        Arguments::read(std::iter::once("operator").chain(flags.iter().copied()).map(OsString::from))
            .expect("valid flags")
    }

    #[test]
    fn flags_of_the_cert_manager_chart_are_accepted() {
        let (arguments, ignored) = read(&[
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
        assert!(arguments.enable_certificate_metrics);
        assert_eq!(arguments.cluster_resource_namespace, "cert-manager");
        assert!(arguments.enable_certificate_owner_ref && !arguments.leader_elect);
        assert!(!arguments.settings().auto_approve);
        assert_eq!(ignored, ["acme-http01-solver-image", "max-concurrent-challenges"]);
    }

    #[test]
    fn flags_override_the_config_file() -> Result<()> {
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
        let (arguments, ignored) = read(&[&config, "--leader-election-lease-duration=20s"]);
        assert_eq!(arguments.cluster_resource_namespace, "here");
        assert_eq!(arguments.default_issuer_name, "prod");
        assert_eq!(arguments.leader_election_lease_duration, Duration::from_secs(20));
        assert_eq!(arguments.logging_format, LogFormat::Text);
        assert_eq!(ignored, ["feature-gates", "max-concurrent-challenges"]);
        Ok(())
    }

    /// Flags of klog and of cert-manager that only concern its own internals.
    #[test]
    fn logging_and_internal_flags_are_ignored() {
        let (arguments, ignored) = read(&[
            "--vmodule=controller=5",
            "--log-flush-frequency",
            "5s",
            "--log-json-split-stream",
            "--internal-healthz-listen-address=:9403",
            "--logging-format=text",
            "--log-filter=debug",
        ]);
        assert_eq!((arguments.logging_format, &*arguments.log_filter), (LogFormat::Text, "debug"));
        let expected =
            ["vmodule", "log-flush-frequency", "log-json-split-stream", "internal-healthz-listen-address"];
        assert_eq!(ignored, expected);
    }

    #[test]
    fn namespaces_are_a_list_without_duplicates() {
        let namespaces =
            |flags: &[&str]| read(flags).0.settings().namespaces.into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(namespaces(&[]), "");
        assert_eq!(namespaces(&["--namespace="]), "");
        assert_eq!(namespaces(&["--namespace=b, a,,b"]), "a b");
    }

    #[test]
    fn zero_turns_a_listener_off() {
        let (arguments, _) = read(&["--metrics-listen-address=0", "--healthz-listen-address", "0"]);
        assert_eq!(
            (arguments.metrics_listen_address.port(), arguments.healthz_listen_address.port()),
            (0, 0)
        );
        assert!(Arguments::try_parse_from(["operator", "--metrics-listen-address=nowhere"]).is_err());
    }

    /// Every member of cert-manager's file that has no effect here.
    #[test]
    fn members_without_effect_are_ignored() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("config.yaml");
        fs::write(
            &path,
            "kubernetesAPIBurst: 50\nnumberOfConcurrentWorkers: 3\nenablePprof: true\npprofAddress: localhost:6060\n\
             gatewayAPI: { enabled: true }\nmetricsTLSConfig: { filesystem: { certFile: a } }\n\
             pemSizeLimitsConfig: { maxChainLength: 9 }\nacmeHTTP01Config: { solverImage: a }\n\
             acmeDNS01Config: { recursiveNameservers: [a, b] }\nleaderElectionConfig: { healthzTimeout: 20s }\n\
             logging: { verbosity: 4, flushFrequency: 5s, vmodule: [], options: { json: { infoBufferSize: '0' } } }\n",
        )?;
        let (arguments, ignored) = read(&[&format!("--config={}", path.display())]);
        assert_eq!(arguments.verbosity, 4);
        assert_eq!(ignored.len(), 13, "{ignored:?}");
        Ok(())
    }

    #[test]
    fn identity_is_that_of_the_pod() -> Result<()> {
        let flags = ["--instance=operator-1", "--pod-uid=3f9c"];
        let (first, second) = (read(&flags).0.lease("1")?, read(&flags).0.lease("2")?);
        assert_eq!(first.identity, "operator-1_3f9c-external-cert-manager-controller");
        assert_eq!(first.identity, second.identity, "the former process of a Pod has ended");
        let (first, second) = (read(&["--pod-uid="]).0.lease("1")?, read(&["--pod-uid="]).0.lease("2")?);
        assert_ne!(first.identity, second.identity, "without a Pod, each process is another one");
        Ok(())
    }

    #[test]
    fn leader_stops_before_another_may_begin() {
        let lease = |flags: &[&str]| read(flags).0.lease("1");
        assert!(lease(&[]).is_ok(), "the defaults are valid");
        // The defaults of cert-manager.
        let minute = ["--leader-election-lease-duration=60s", "--leader-election-renew-deadline=40s"];
        assert!(lease(&[&minute[..], &["--leader-election-retry-period=15s"]].concat()).is_ok());
        let error = lease(&["--leader-election-renew-deadline=15s"]).expect_err("no margin").to_string();
        assert!(error.contains("at least 1s shorter than --leader-election-lease-duration"), "{error}");
        assert!(lease(&["--leader-election-retry-period=10s"]).is_err());
        assert!(lease(&["--leader-election-retry-period=0s"]).is_err());
    }

    #[test]
    fn command_line_definition_is_valid() {
        Arguments::command().debug_assert();
    }
}
