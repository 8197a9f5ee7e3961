//! Which programs the testbed is made of, and where each comes from. Data only; [`super`] builds them.

/// A program that the testbed builds or fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// cert-manager's answerer of one challenge, for its Pods.
    AcmeSolver,
    /// Kubernetes' test image: serves pages, dials names; also the pause container.
    Agnhost,
    /// cert-manager's controllers.
    CertManager,
    /// pebble-challtestsrv: the DNS server that Pebble's validation asks.
    Challtestsrv,
    /// DNS of the cluster.
    Coredns,
    /// Reads and pushes images.
    Crane,
    /// The store.
    Etcd,
    /// Installs charts.
    Helm,
    /// The API.
    KubeApiserver,
    /// The built-in controllers.
    KubeControllerManager,
    /// `ClusterIP`s.
    KubeProxy,
    /// Places Pods.
    KubeScheduler,
    /// The command line.
    Kubectl,
    /// Runs Pods.
    Kubelet,
    /// The ACME server.
    Pebble,
    /// The same, taking accounts with Ed25519 keys besides, which its authors leave out.
    PebbleEd25519,
    /// Our own: reads keys, CSRs and key stores as users' programs do.
    PkiReader,
    /// The ingress controller.
    Traefik,
}

/// The tools that a cluster without a node runs, and kubectl.
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

/// The tools that a node adds to those.
pub const NODE: &[Tool] = &[Tool::Kubelet, Tool::KubeProxy, Tool::Agnhost];

/// The tools of a Pebble on the host, and what tests of the Pebble level read keys with.
pub const PEBBLE: &[Tool] = &[Tool::Pebble, Tool::PebbleEd25519, Tool::Challtestsrv, Tool::PkiReader];

/// The tools of a cert-manager: for comparisons with it and for takeovers from it.
pub const CERT_MANAGER: &[Tool] = &[Tool::CertManager, Tool::AcmeSolver];

/// Every tool but cert-manager's, which few need.
pub fn testbed() -> Vec<Tool> {
    all().filter(|tool| !CERT_MANAGER.contains(tool)).collect()
}

/// Every tool, in the order in which [`super::Tools::ensure`] gets them.
pub(super) fn all() -> impl Iterator<Item = Tool> {
    let programs = GO_MODULES.iter().flat_map(|module| module.programs);
    programs.map(|program| program.tool).chain([Tool::Traefik])
}

/// Programs of one `go.mod`, built one by one with the same flags.
#[derive(Debug)]
pub(super) struct GoModule {
    /// Folder under `e2e/testbed/tools`, and the start of the cache folder's name.
    pub(super) name: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    /// The program itself, where it is our own.
    pub(super) main: Option<&'static str>,
    /// Import path of the Go variables that hold a version, and the module whose version it is.
    pub(super) version_stamp: Option<(&'static str, &'static str)>,
    pub(super) edits: Option<&'static Edits>,
    pub(super) programs: &'static [GoProgram],
}

impl GoModule {
    /// The version that go.mod requires of a module.
    pub(super) fn version_of(&self, module: &str) -> Option<&'static str> {
        self.go_mod.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word == "require");
            (words.next()? == module).then(|| words.next())?
        })
    }
}

/// What is changed in one file of a module that others publish, for this build alone.
#[derive(Debug)]
pub(super) struct Edits {
    pub(super) module: &'static str,
    /// The file, seen from the module's folder.
    pub(super) file: &'static str,
    /// Texts that the file has once each, and what stands in their place.
    pub(super) replaced: &'static [(&'static str, &'static str)],
}

/// One `main` package.
#[derive(Debug)]
pub(super) struct GoProgram {
    pub(super) tool: Tool,
    pub(super) binary: &'static str,
    pub(super) package: &'static str,
    /// Seconds of a cold build on two cores, after those before it.
    pub(super) usual_seconds: u64,
}

/// Name of the wheel's program, and what pins it.
pub(super) const TRAEFIK_BINARY: &str = "traefik";
pub(super) const TRAEFIK_REQUIREMENTS: &str = include_str!("../../tools/traefik/requirements.txt");

macro_rules! module {
    ($name:literal, $stamp:expr, [$(($tool:ident, $binary:literal, $package:literal, $seconds:literal)),+ $(,)?]) => {
        GoModule {
            name: $name,
            go_mod: include_str!(concat!("../../tools/", $name, "/go.mod")),
            go_sum: include_str!(concat!("../../tools/", $name, "/go.sum")),
            main: None,
            version_stamp: $stamp,
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

/// All Go modules, in the order in which they are built: Kubernetes first, which takes longest.
pub(super) const GO_MODULES: &[GoModule] = &[
    module!(
        "kubernetes",
        // Without it the server calls itself v0.0.0-master, and Helm's kubeVersion checks break.
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
            (Kubectl, "kubectl", "k8s.io/kubernetes/cmd/kubectl", 35),
            (Agnhost, "agnhost", "k8s.io/kubernetes/test/images/agnhost", 10),
        ]
    ),
    module!("etcd", None, [(Etcd, "etcd", "go.etcd.io/etcd/server/v3", 40)]),
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
        // The library that verifies its requests knows EdDSA (RFC 8037); Pebble's own lists don't have it.
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
    module!("helm", None, [(Helm, "helm", "helm.sh/helm/v4/cmd/helm", 130)]),
    GoModule {
        main: Some(include_str!("../../tools/pkireader/main.go")),
        ..module!("pkireader", None, [(PkiReader, "pkireader", ".", 2)])
    },
    module!("coredns", None, [(Coredns, "coredns", "github.com/coredns/coredns", 115)]),
    GoModule {
        main: Some(include_str!("../../tools/certmanager/main.go")),
        ..module!("certmanager", None, [(CertManager, "cert-manager", ".", 90)])
    },
    GoModule {
        main: Some(include_str!("../../tools/acmesolver/main.go")),
        ..module!("acmesolver", None, [(AcmeSolver, "acmesolver", ".", 10)])
    },
];

/// Where cert-manager's code is published.
pub(super) const CERT_MANAGER_MODULE: &str = "github.com/cert-manager/cert-manager";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_is_a_tool_directive_of_its_module() {
        for module in GO_MODULES.iter().filter(|module| module.main.is_none()) {
            for program in module.programs {
                assert!(
                    module
                        .go_mod
                        .lines()
                        .any(|line| line.trim().trim_start_matches("tool ") == program.package),
                    "{} is no tool of e2e/testbed/tools/{}/go.mod",
                    program.package,
                    module.name
                );
            }
        }
    }
}
