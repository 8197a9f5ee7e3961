//! The programs of a cluster, with their arguments. All paths are those inside the cluster.
//! Pure: must not read or start anything. Next: `config.rs` for their files, [`crate::bring_up`] for the order.

use super::{
    config::CONTAINERD_SOCKET,
    control::Process,
    layout::{
        API_PORT, Layout, NODE_ADDRESS, NODE_NAME, POD_RANGE, SERVICE_RANGE, TEST_DNS,
        TEST_DNS_MANAGEMENT_PORT, challtestsrv_arguments,
    },
};
use crate::tools::{Tool, Tools};

/// The tools and paths that the programs are started with.
pub(crate) struct Plan<'a> {
    pub(crate) tools: &'a Tools,
    pub(crate) layout: &'a Layout,
}

impl Plan<'_> {
    pub(crate) fn etcd(&self) -> Process {
        let peer = "http://127.0.0.1:2380";
        Process::new(
            "etcd",
            self.tools.path(Tool::Etcd),
            [
                format!("--data-dir={}", self.layout.text("etcd")),
                "--listen-client-urls=http://127.0.0.1:2379".into(),
                "--advertise-client-urls=http://127.0.0.1:2379".into(),
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--initial-cluster=default={peer}"),
                // The data doesn't have to survive a crash of the machine.
                "--unsafe-no-fsync".into(),
            ],
        )
    }

    pub(crate) fn kube_apiserver(&self, flags: &[String]) -> Process {
        let pki = |name: &str| self.layout.text(&format!("pki/{name}"));
        Process::new(
            "kube-apiserver",
            self.tools.path(Tool::KubeApiserver),
            [
                "--etcd-servers=http://127.0.0.1:2379".to_owned(),
                format!("--advertise-address={NODE_ADDRESS}"),
                format!("--secure-port={API_PORT}"),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
                "--authorization-mode=Node,RBAC".into(),
                "--enable-admission-plugins=NodeRestriction".into(),
                "--allow-privileged".into(),
                format!("--client-ca-file={}", pki("ca.crt")),
                format!("--tls-cert-file={}", pki("kube-apiserver.crt")),
                format!("--tls-private-key-file={}", pki("kube-apiserver.key")),
                format!("--kubelet-client-certificate={}", pki("kube-apiserver.crt")),
                format!("--kubelet-client-key={}", pki("kube-apiserver.key")),
                // Otherwise `kubectl logs` and `kubectl exec` try to resolve the node's name.
                "--kubelet-preferred-address-types=InternalIP".into(),
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
                format!("--service-account-key-file={}", pki("service-account.crt")),
                format!("--service-account-signing-key-file={}", pki("service-account.key")),
                format!("--audit-policy-file={}", self.layout.text("audit-policy.json")),
                format!("--audit-log-path={}", self.layout.audit_log().display()),
                // An event is in the file before the answer is sent, so that counts are exact.
                "--audit-log-mode=blocking-strict".into(),
                // Practically never rotated, because a count may begin anywhere in the file.
                "--audit-log-maxsize=100000".into(),
            ]
            .into_iter()
            .chain(flags.iter().cloned()),
        )
    }

    pub(crate) fn kube_controller_manager(&self) -> Process {
        let kubeconfig = self.layout.kubeconfig("kube-controller-manager").display().to_string();
        let pki = |name: &str| self.layout.text(&format!("pki/{name}"));
        Process::new(
            "kube-controller-manager",
            self.tools.path(Tool::KubeControllerManager),
            [
                format!("--kubeconfig={kubeconfig}"),
                format!("--authentication-kubeconfig={kubeconfig}"),
                format!("--authorization-kubeconfig={kubeconfig}"),
                "--bind-address=127.0.0.1".into(),
                "--use-service-account-credentials".into(),
                format!("--service-account-private-key-file={}", pki("service-account.key")),
                format!("--root-ca-file={}", pki("ca.crt")),
                "--allocate-node-cidrs".into(),
                format!("--cluster-cidr={POD_RANGE}"),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
                "--leader-elect=false".into(),
            ],
        )
    }

    pub(crate) fn kube_scheduler(&self) -> Process {
        let kubeconfig = self.layout.kubeconfig("kube-scheduler").display().to_string();
        Process::new(
            "kube-scheduler",
            self.tools.path(Tool::KubeScheduler),
            [
                format!("--kubeconfig={kubeconfig}"),
                format!("--authentication-kubeconfig={kubeconfig}"),
                format!("--authorization-kubeconfig={kubeconfig}"),
                "--bind-address=127.0.0.1".into(),
                "--leader-elect=false".into(),
            ],
        )
    }

    pub(crate) fn coredns(&self) -> Process {
        Process::new(
            "coredns",
            self.tools.path(Tool::Coredns),
            ["-conf".to_owned(), self.layout.text("Corefile")],
        )
    }

    pub(crate) fn challtestsrv(&self) -> Process {
        Process::new(
            "challtestsrv",
            self.tools.path(Tool::Challtestsrv),
            challtestsrv_arguments(
                TEST_DNS,
                &format!("127.0.0.1:{TEST_DNS_MANAGEMENT_PORT}"),
                NODE_ADDRESS.into(),
            ),
        )
    }

    pub(crate) fn containerd(&self) -> Process {
        Process::new(
            "containerd",
            crate::tools::host::find("containerd").unwrap_or_else(|| "containerd".into()),
            ["--config".to_owned(), self.layout.text("containerd.toml")],
        )
    }

    pub(crate) fn import(archive: &str) -> Process {
        Process::new(
            "ctr",
            crate::tools::host::find("ctr").unwrap_or_else(|| "ctr".into()),
            ["--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "import", archive],
        )
    }

    pub(crate) fn kubelet(&self) -> Process {
        Process::new(
            "kubelet",
            self.tools.path(Tool::Kubelet),
            [
                format!("--config={}", self.layout.text("kubelet.json")),
                format!("--kubeconfig={}", self.layout.kubeconfig("kubelet").display()),
                format!("--root-dir={}", self.layout.text("kubelet")),
                format!("--hostname-override={NODE_NAME}"),
                format!("--node-ip={NODE_ADDRESS}"),
            ],
        )
    }

    pub(crate) fn kube_proxy(&self) -> Process {
        Process::new(
            "kube-proxy",
            self.tools.path(Tool::KubeProxy),
            [format!("--config={}", self.layout.text("kube-proxy.json"))],
        )
    }
}
