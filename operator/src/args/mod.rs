//! Flags and the configuration file, with the names that cert-manager uses. Settings of cert-manager that have no effect
//! here are accepted with a warning, so that existing values keep working, unless ignoring them would be dangerous. Must not
//! use clients. Next: `catalog.rs`, which lists all settings of cert-manager.

pub mod catalog;
mod config_file;
mod controllers;
mod sift;

use std::{
    ffi::OsString,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::{ArgAction, Parser, ValueEnum};
use crds::{annotations::source, duration::GoDuration, meta::IssuerRef};

pub use self::sift::IgnoredSetting;
use self::{controllers::Controllers, sift::Sifted};
use crate::{
    context::Settings,
    decision::{backoff::IssuanceBackoff, shim::ShimSettings},
    k8s::LeaseSettings,
    net::{NameServers, Proxy},
};

/// The name of the Lease: the same as in cert-manager, so that the two never act concurrently.
const LEASE_NAME: &str = "cert-manager-controller";

/// How long before another process may become the leader a leader has stopped, at least.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

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
/// Accepts all flags of the cert-manager controller. Flags that have no effect here are ignored with a warning that says what
/// happens instead; those that would be dangerous to ignore are rejected (docs/FLAGS.md).
#[derive(Clone, Debug, Parser)]
#[command(version, args_override_self = true, verbatim_doc_comment)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of cert-manager")]
pub struct Arguments {
    /// A YAML file of kind ControllerConfiguration (controller.config.cert-manager.io/v1alpha1). Flags override its
    /// values.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// A kubeconfig file for the connection to the API server. Defaults to the file that $KUBECONFIG names, or else to the
    /// Pod's ServiceAccount.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// URL of the API server, instead of the one that the kubeconfig file or the Pod's environment names.
    #[arg(long, default_value = "")]
    pub master: String,
    /// Namespace of the Secrets that ClusterIssuers refer to.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kube-system")]
    pub cluster_resource_namespace: String,
    /// Namespaces to serve, comma-separated; all if empty. With it, ClusterIssuers can't be used.
    #[arg(long, value_delimiter = ',', default_value = "")]
    pub namespace: Vec<String>,
    /// Whether to act only while holding the leader election Lease.
    #[arg(long, default_value = "true", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
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
    /// Annotations that are copied from an Ingress, Gateway, or ListenerSet to its Certificates.
    #[arg(long, value_delimiter = ',')]
    pub extra_certificate_annotations: Vec<String>,
    /// Whether a Certificate owns its Secret, which is then deleted with it.
    #[arg(long, default_value = "false", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub enable_certificate_owner_ref: bool,
    /// Whether to serve Gateways, ListenerSets, and HTTP-01 solvers with gatewayHTTPRoute while the CRDs of the Gateway API are
    /// installed.
    #[arg(long, default_value = "true", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub enable_gateway_api: bool,
    /// Whether annotated ListenerSets get Certificates, too.
    #[arg(long, default_value = "true", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
    pub enable_gateway_api_listenerset: bool,
    /// Protocols of listeners that serve TLS, besides HTTPS and TLS, such as example.com/tls.
    #[arg(long, value_delimiter = ',')]
    pub gateway_api_extra_protocols: Vec<String>,
    /// How long to wait after the first failed issuance. The delay doubles with each further failure.
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    pub certificate_request_minimum_backoff_duration: Duration,
    /// The longest delay after a failed issuance.
    #[arg(long, default_value = "32h", value_parser = parse_duration)]
    pub certificate_request_maximum_backoff_duration: Duration,
    /// Controllers to run, by their cert-manager names; "*" means all, and "-name" turns one off. Here,
    /// certificaterequests-approver (automatic approval), ingress-shim (Certificates for Ingresses), gateway-shim
    /// (Certificates for Gateways and ListenerSets), and certificates-metrics can be turned off.
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
    /// Name servers of the self-check, instead of those of the Pod, comma-separated, as host:port. For names with another
    /// address inside, such as 8.8.8.8:53,1.1.1.1:53.
    #[arg(long, value_delimiter = ',', value_parser = parse_name_server)]
    pub acme_http01_solver_nameservers: Vec<String>,
    /// Listen address of /metrics. "0" turns it off.
    #[arg(long, default_value = "0.0.0.0:9402", value_parser = parse_address)]
    pub metrics_listen_address: SocketAddr,
    /// Whether /metrics has series for each Certificate and Challenge: seven for a Certificate, eight for a Challenge.
    #[arg(long, default_value = "true", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool)]
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
    /// What `controllers` turns on and off.
    #[arg(skip)]
    switches: Controllers,
}

impl Arguments {
    /// Parses the flags and the configuration file that they name. Also returns the settings that have no effect here.
    ///
    /// # Errors
    /// A flag is unknown or invalid (then the error is clap's), the file can't be read or is invalid, or a setting must not be
    /// ignored.
    pub fn read(flags: impl IntoIterator<Item = OsString>) -> Result<(Self, Vec<IgnoredSetting>)> {
        let mut sifted = Sifted::flags(flags)?;
        let mut arguments = Self::try_parse_from(&sifted.kept)?;
        if let Some(path) = &arguments.config {
            let failed = || format!("failed to read --config {}", path.display());
            let text = fs::read_to_string(path).with_context(failed)?;
            config_file::members(&text).and_then(|members| sifted.add_file(members)).with_context(failed)?;
            // An error of clap would end with usage of the command line.
            arguments = Self::try_parse_from(&sifted.kept)
                .map_err(|error| anyhow!("{}", error.render()))
                .with_context(failed)?;
        }
        let is_namespaced = arguments.namespaces().next().is_some();
        arguments.switches =
            Controllers::of(arguments.controllers.iter().map(String::as_str), is_namespaced)?;
        arguments.enable_certificate_metrics &= arguments.switches.metrics;
        if let Some(effect) = arguments.switches.unserved {
            sifted.note("controllers", "--controllers", effect);
        }
        Ok((arguments, sifted.ignored))
    }

    /// The namespaces to serve; all if there are none.
    fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespace.iter().map(|it| it.trim()).filter(|it| !it.is_empty())
    }

    /// Returns the settings of the controllers, without what the environment adds.
    pub fn settings(&self) -> Settings {
        let default_issuer = (!self.default_issuer_name.is_empty()).then(|| IssuerRef {
            group: Some(self.default_issuer_group.clone()),
            kind: Some(self.default_issuer_kind.clone()),
            name: self.default_issuer_name.clone(),
        });
        // Auto annotations and the default issuer are for Ingresses only, as in cert-manager.
        let gateway = ShimSettings {
            extra_annotations: self.extra_certificate_annotations.clone(),
            extra_protocols: self.gateway_api_extra_protocols.clone(),
            is_off: !self.switches.gateway_shim || !self.enable_gateway_api,
            ..ShimSettings::default()
        };
        let listener_set = ShimSettings {
            is_off: gateway.is_off || !self.enable_gateway_api_listenerset,
            ..gateway.clone()
        };
        Settings {
            namespaces: self.namespaces().map(ToOwned::to_owned).collect(),
            cluster_resource_namespace: self.cluster_resource_namespace.clone(),
            solver_namespace: self.solver_namespace.clone(),
            solver_service: self.solver_service.clone(),
            solver_labels: self.acme_http01_solver_extra_labels.iter().cloned().collect(),
            proxy: Proxy::default(),
            name_servers: NameServers::new(&self.acme_http01_solver_nameservers),
            backoff: IssuanceBackoff {
                minimum: self.certificate_request_minimum_backoff_duration,
                maximum: self.certificate_request_maximum_backoff_duration,
            },
            ingress: ShimSettings {
                default_issuer,
                auto_annotations: self.auto_certificate_annotations.clone(),
                extra_annotations: self.extra_certificate_annotations.clone(),
                is_off: !self.switches.ingress_shim,
                ..ShimSettings::default()
            },
            gateway,
            listener_set,
            gateway_api: self.enable_gateway_api,
            auto_approve: self.switches.approver,
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

/// Parses a boolean like Go does.
fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither \"true\" nor \"false\"")),
    }
}

/// Parses a label, such as `team=web`.
fn parse_label(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not a label such as \"team=web\""))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Parses the host and the port of a name server. Nothing stands for no name server, as in an empty list.
fn parse_name_server(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_address = text.parse::<SocketAddr>().is_ok();
    let is_name = text
        .split_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_address || is_name || text.is_empty() {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a name server such as \"8.8.8.8:53\""))
    }
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
mod tests;
