//! Flags and the configuration file, under the names that cert-manager's users know. What cert-manager has and this operator
//! has no use for is taken with a warning, so that values can be brought along.

mod config_file;
mod ignored;

use std::{ffi::OsString, fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::{ArgAction, Parser, ValueEnum};
use crds::{annotations::source, duration::GoDuration, meta::IssuerRef};

use self::{config_file::flags_of_file, ignored::drop_ignored};
use crate::{
    context::Settings,
    decision::{backoff::IssuanceBackoff, ingress},
    k8s::LeaseSettings,
};

/// Name of the Lease: cert-manager's, so that both never act at once.
const LEASE_NAME: &str = "cert-manager-controller";

/// Controller of cert-manager that approves requests; `--controllers=*,-<this>` switches that off.
const APPROVER_DISABLED: &str = "-certificaterequests-approver";

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
    #[arg(long, default_value = "15s", value_parser = parse_duration)]
    pub leader_election_lease_duration: Duration,
    /// How long a holder tries to renew before it gives up.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub leader_election_renew_deadline: Duration,
    /// How long between two tries.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
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
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub certificate_request_minimum_backoff_duration: Duration,
    /// How long an issuance waits at most after a failure.
    #[arg(long, default_value = "32h", value_parser = parse_duration)]
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
    #[arg(long, default_value = "0.0.0.0:9402", value_parser = parse_address)]
    pub metrics_listen_address: SocketAddr,
    /// Address of /livez and /readyz.
    #[arg(long, default_value = "0.0.0.0:9403", value_parser = parse_address)]
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

impl Arguments {
    /// Reads flags, and the file that they name. Returns also what to warn of.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(flags: impl IntoIterator<Item = OsString>) -> Result<(Self, Vec<String>)> {
        let mut warnings = Vec::new();
        let flags = drop_ignored(flags.into_iter().collect(), &mut warnings);
        let first = Self::parse_from(&flags);
        let Some(path) = &first.config else { return Ok((first, warnings)) };
        let text = fs::read_to_string(path)
            .with_context(|| format!("failed to read --config {}", path.display()))?;
        let mut all: Vec<OsString> = flags.iter().take(1).cloned().collect();
        all.extend(
            flags_of_file(&text).with_context(|| format!("failed to read --config {}", path.display()))?,
        );
        all.extend(flags.into_iter().skip(1));
        let all = drop_ignored(all, &mut warnings);
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
            ingress: ingress::Settings {
                default_issuer,
                auto_annotations: self.auto_certificate_annotations.clone(),
                extra_annotations: self.extra_certificate_annotations.clone(),
            },
            approves: !self.controllers.iter().any(|name| name == APPROVER_DISABLED),
            owns_secrets: self.enable_certificate_owner_ref,
            instance: self.instance.clone(),
        }
    }

    /// How leadership is held. `unique` tells this process from others of the same name.
    pub fn lease(&self, unique: &str) -> LeaseSettings {
        LeaseSettings {
            namespace: self.leader_election_namespace.clone(),
            name: LEASE_NAME.to_owned(),
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

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: GoDuration =
        text.parse().map_err(|error: crds::duration::ParseDuration| error.to_string())?;
    parsed.to_std().ok_or_else(|| format!("{text:?} is negative"))
}

/// An address as Go has it: `:9402` is every address.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
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
