//! Fixed addresses, ports, names, and paths. Inside, every cluster looks the same, so nothing here may depend on a
//! cluster's name. Next: `plan.rs` and `config.rs`, which use them.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// The address of the node, and thus of the API server, Traefik, Pebble, and DNS.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The name of the node, and of the bridge with its address.
pub const NODE_NAME: &str = "node0";
/// The port of the API server.
pub const API_PORT: u16 = 6443;
/// The addresses of Services.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first of them, which is the Service `kubernetes` in the namespace `default`.
pub const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The address of the Service `kube-dns` in the namespace `kube-system`, which resolves names for Pods.
pub const DNS_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The addresses of Pods.
pub const POD_RANGE: &str = "10.244.0.0/16";
/// The addresses of the Pods on the node.
pub const NODE_POD_RANGE: &str = "10.244.0.0/24";
/// The zone whose names all resolve to [`NODE_ADDRESS`], also in Pods.
pub const TEST_ZONE: &str = "example.test";
/// The DNS server of challtestsrv, which Pebble uses.
pub const TEST_DNS: &str = "127.0.0.1:8053";
/// The port of challtestsrv's management API.
pub const TEST_DNS_MANAGEMENT_PORT: u16 = 8055;
/// The name of the ingress controller's process, of its namespace, and of its default `IngressClass`.
pub const TRAEFIK: &str = "traefik";
/// The first port that clients can reserve. The fixed ports are below.
pub const FIRST_FREE_PORT: u16 = 20_000;

/// Where a cluster's files are mounted inside it. Every cluster has its own `/run`, so this path is short and always
/// free.
const INSIDE: &str = "/run/testbed";

/// The paths of a cluster's files, as seen on the host or inside the cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The paths on the host.
    pub fn outside(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The paths inside the cluster.
    pub fn inside() -> Self {
        Self { root: Path::new(INSIDE).join("state") }
    }

    /// The path of the cache of tools inside the cluster.
    pub fn cache_inside() -> PathBuf {
        Path::new(INSIDE).join("cache")
    }

    /// The cluster's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder in the cluster's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The same path as text, for arguments.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// The control socket of the supervisor.
    pub fn control_socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// The log of the supervisor. It is locked exactly as long as any process of the supervisor runs.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path("log/supervisor.log")
    }

    /// The log of a program.
    pub fn log(&self, process: &str) -> PathBuf {
        self.path("log").join(format!("{process}.log"))
    }

    /// The audit log of the API server.
    pub fn audit_log(&self) -> PathBuf {
        self.path("log/audit.json")
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.path("kubeconfig").join(format!("{user}.yaml"))
    }
}

/// The arguments of challtestsrv as a DNS server only, which resolves every name to one address.
pub(crate) fn challtestsrv_arguments(dns: &str, management: &str, address: IpAddr) -> Vec<String> {
    let mut arguments = vec![
        format!("-dnsserver={dns}"),
        format!("-management={management}"),
        format!("-defaultIPv4={address}"),
    ];
    arguments.extend(["-defaultIPv6=", "-http01=", "-https01=", "-tlsalpn01=", "-doh="].map(Into::into));
    arguments
}
