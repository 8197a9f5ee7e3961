//! Fixed places and numbers of a cluster. Inside its namespaces every cluster looks the same, so nothing here
//! depends on a cluster's name.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// Address of the node, and so of the API server, Traefik, Pebble and DNS.
pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Name of the node.
pub const NODE_NAME: &str = "node0";
/// Port of the API server.
pub const API_PORT: u16 = 6443;
/// Addresses of Services.
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The first of them: `kubernetes.default`.
pub const API_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// `kube-dns.kube-system`, where Pods ask for names.
pub const DNS_SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Addresses of Pods.
pub const POD_RANGE: &str = "10.244.0.0/16";
/// Addresses of the one node's Pods.
pub const NODE_POD_RANGE: &str = "10.244.0.0/24";
/// Every name under it resolves to [`NODE_ADDRESS`], in Pods too.
pub const TEST_ZONE: &str = "example.test";
/// Where challtestsrv answers DNS: what Pebble asks.
pub const TEST_DNS: &str = "127.0.0.1:8053";
/// Where challtestsrv's management API listens.
pub const TEST_DNS_MANAGEMENT_PORT: u16 = 8055;
/// Name of the ingress controller's process, its namespace and its `IngressClass`.
pub const TRAEFIK: &str = "traefik";
/// The first port that is handed out to tests; the fixed ones lie below.
pub const FIRST_FREE_PORT: u16 = 20_000;

/// Where a cluster's files are mounted inside it. `/run` is its own, so this is short and always there.
const INSIDE: &str = "/run/testbed";

/// A cluster's folder, from outside or inside.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// As the host sees it.
    pub fn outside(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// As programs inside the cluster see it.
    pub fn inside() -> Self {
        Self { root: Path::new(INSIDE).join("state") }
    }

    /// Where the tool cache is seen inside.
    pub fn cache_inside() -> PathBuf {
        Path::new(INSIDE).join("cache")
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The same as text, for arguments.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// The supervisor's socket.
    pub fn control_socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// The supervisor's log. Its lock is held exactly as long as any process of the supervisor lives.
    pub fn supervisor_log(&self) -> PathBuf {
        self.path("log/supervisor.log")
    }

    /// A program's log.
    pub fn log(&self, process: &str) -> PathBuf {
        self.path("log").join(format!("{process}.log"))
    }

    /// The API server's audit log.
    pub fn audit_log(&self) -> PathBuf {
        self.path("log/audit.json")
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.path("kubeconfig").join(format!("{user}.yaml"))
    }
}

/// Arguments of challtestsrv as a DNS server that answers every name with one address, and nothing else.
pub(crate) fn challtestsrv_arguments(dns: &str, management: &str, address: IpAddr) -> Vec<String> {
    let mut arguments = vec![
        format!("-dnsserver={dns}"),
        format!("-management={management}"),
        format!("-defaultIPv4={address}"),
    ];
    arguments.extend(["-defaultIPv6=", "-http01=", "-https01=", "-tlsalpn01=", "-doh="].map(Into::into));
    arguments
}
