//! A machine outside of the cluster, in a network namespace that a veth connects to the node. It also has the address of the metadata
//! services of clouds. Knows addresses; must not know policies.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use testbed::{
    cluster::{Bound, Cluster, Layout, Process},
    tools::{Tool, Tools, host},
};

/// The machine's address, of a range for documentation (RFC 5737).
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// The address of the metadata services of most clouds.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The node's address in this network.
const NODE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

const NAMESPACE: &str = "outside";

/// The machine, which listens at some ports of both addresses until it is dropped.
pub(crate) struct Outside {
    _servers: Vec<Bound>,
}

impl Outside {
    pub(crate) async fn start(cluster: &Cluster, ports: &[u16]) -> Result<Self> {
        let on_node = async |arguments: &str| {
            let program = host::find("ip").context("ip is not installed")?;
            let finished = cluster.run(Process::new("ip", program, arguments.split(' '))).await?;
            ensure!(finished.success, "`ip {arguments}` failed: {}", finished.output.trim());
            anyhow::Ok(())
        };
        on_node(&format!("netns add {NAMESPACE}")).await?;
        on_node(&format!("link add outside0 type veth peer name eth0 netns {NAMESPACE}")).await?;
        on_node(&format!("addr add {NODE}/24 dev outside0")).await?;
        on_node("link set outside0 up").await?;
        for setting in [
            "link set lo up".to_owned(),
            format!("addr add {ADDRESS}/24 dev eth0"),
            format!("addr add {METADATA}/32 dev lo"),
            "link set eth0 up".to_owned(),
            format!("route add default via {NODE}"),
        ] {
            on_node(&format!("-netns {NAMESPACE} {setting}")).await?;
        }
        on_node(&format!("route add {METADATA}/32 via {ADDRESS}")).await?;

        let nsenter = host::find("nsenter").context("nsenter is not installed")?;
        let agnhost = Tools::seen_at(Layout::cache_inside()).path(Tool::Agnhost).display().to_string();
        let servers = ports.iter().map(|port| {
            let arguments = [
                format!("--net=/run/netns/{NAMESPACE}"),
                agnhost.clone(),
                "netexec".to_owned(),
                format!("--http-port={port}"),
                "--udp-port=-1".to_owned(),
            ];
            cluster.start_bound(Process::new(&format!("outside-{port}"), &nsenter, arguments))
        });
        Ok(Self { _servers: servers.collect::<Result<_>>()? })
    }
}
