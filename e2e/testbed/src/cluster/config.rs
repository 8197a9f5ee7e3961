//! The configuration files of a cluster's programs, as plain values. All paths are those inside the cluster.
//! Pure: must not write anything. Next: [`crate::bring_up`], which writes them.

use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::{
    layout::{API_PORT, DNS_SERVICE_ADDRESS, Layout, NODE_ADDRESS, TEST_DNS, TEST_ZONE},
    supervisor::cgroups,
};
use crate::pki::Identity;

/// The image of every Pod's sandbox: agnhost, with the subcommand `pause`.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:testbed";

/// A kubeconfig with a client certificate. On the host, `relay` is the SOCKS relay to connect through.
pub(crate) fn kubeconfig(authority: &str, identity: &Identity, relay: Option<&str>) -> Result<String> {
    let mut cluster = json!({
        "server": format!("https://{NODE_ADDRESS}:{API_PORT}"),
        "certificate-authority-data": base64(authority),
    });
    if let Some(relay) = relay {
        cluster["proxy-url"] = format!("socks5://{relay}").into();
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "testbed",
        "clusters": [{ "name": "testbed", "cluster": cluster }],
        "users": [{ "name": "testbed", "user": {
            "client-certificate-data": base64(&identity.certificate),
            "client-key-data": base64(&identity.key),
        }}],
        "contexts": [{ "name": "testbed", "context": { "cluster": "testbed", "user": "testbed" } }],
    });
    Ok(serde_saphyr::to_string(&config)?)
}

/// An audit policy that logs every request once, with its user: enough for `audit`, and cheap for the server.
pub(crate) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{ "level": "Metadata" }],
    })
}

/// The configuration of CoreDNS: cluster names from the API server, names in the test zone from challtestsrv.
pub(crate) fn corefile(layout: &Layout) -> String {
    format!(
        "{TEST_ZONE}:53 {{\n    bind {NODE_ADDRESS}\n    errors\n    forward . {TEST_DNS}\n}}\n\
         cluster.local:53 {{\n    bind {NODE_ADDRESS}\n    errors\n    kubernetes cluster.local {{\n        \
         kubeconfig {}\n        ttl 1\n    }}\n}}\n",
        layout.kubeconfig("coredns").display()
    )
}

/// The configuration of containerd, with the folder of its CNI plugins. It shares no path with another containerd that may run
/// on this machine.
pub(crate) fn containerd(layout: &Layout, plugins: &str) -> String {
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE, runc can't lower a score and fails with a bare "EOF".
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{plugins}"
  conf_dir = "{cni}"
"#,
        root = layout.text("containerd"),
        state = "/run/containerd-testbed",
        socket = CONTAINERD_SOCKET,
        cni = layout.text("cni"),
    )
}

/// The socket of containerd, inside the cluster.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd.sock";

/// The configuration of the kubelet: no quotas, no eviction for the machine's disk, and control groups of version 1 or 2.
///
/// When the disk is short, the kubelet would remove the images that no Pod uses at that moment, such as that of every
/// sandbox, and nothing imports these again: no Pod could start until the cluster ends. "0%" turns a threshold off.
pub(crate) fn kubelet(cluster: &str, layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": layout.path("pki/ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": layout.path("pki/kubelet.crt"),
        "tlsPrivateKeyFile": layout.path("pki/kubelet.key"),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "resolvConf": layout.path("resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroups::path(cluster),
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        // The defaults are for thousands of nodes, and tests would wait for them.
        "syncFrequency": "5s",
        "fileCheckFrequency": "5s",
        "nodeStatusUpdateFrequency": "5s",
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "maxPods": 200,
    })
}

/// The configuration of kube-proxy. It leaves the kernel's limits unchanged.
pub(crate) fn kube_proxy(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": { "kubeconfig": layout.kubeconfig("kube-proxy") },
        "clusterCIDR": super::layout::POD_RANGE,
        "hostnameOverride": super::layout::NODE_NAME,
        "conntrack": { "maxPerCore": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s" },
        "nftables": { "minSyncPeriod": "100ms", "syncPeriod": "30s" },
    })
}

fn base64(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
