//! Asks given name servers for the addresses of a name, where the system's resolver would use those of the Pod.
//!
//! Knows name servers; must not know which addresses are allowed. Next: `address.rs`, which filters them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
};
use tokio::{net::lookup_host, time::timeout};

/// How long name servers may take to answer. They are asked twice.
const DEADLINE: Duration = Duration::from_secs(1);

/// Name servers as "host:port", each of which knows all names.
#[derive(Clone, Debug, Default)]
pub struct NameServers(Arc<[String]>);

impl NameServers {
    /// Name servers. Empty ones are left out.
    pub fn new(servers: &[String]) -> Self {
        Self(servers.iter().filter(|server| !server.is_empty()).cloned().collect())
    }

    /// Whether there are none, so that the system's are asked.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses of a name, from the first server that answers. They are not cached: a user who corrects a name sees the effect.
    pub(super) async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut servers = Vec::with_capacity(self.0.len());
        for server in &*self.0 {
            let address = timeout(DEADLINE, lookup_host(server)).await.map_err(io::Error::from).flatten();
            let failed = |error: io::Error| {
                let text = format!("failed to look up the name server {server}: {error}");
                io::Error::new(error.kind(), text)
            };
            servers.extend(address.map_err(failed)?.next().map(configured));
        }
        let options = options(servers.len());
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *resolver.options_mut() = options;
        // Without a dot at its end, names of the search path would be tried.
        let absolute = format!("{}.", name.trim_end_matches('.'));
        let failed =
            |error| io::Error::other(format!("failed to look up {name} at {}: {error}", self.0.join(", ")));
        let found = resolver.build().map_err(failed)?.lookup_ip(absolute).await.map_err(failed)?;
        Ok(found.iter().collect())
    }
}

fn options(servers: usize) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    (options.timeout, options.attempts, options.cache_size) = (DEADLINE, 2, 0);
    // All at the same time: one that does not answer takes the time of the others.
    options.num_concurrent_reqs = servers;
    options.use_hosts_file = ResolveHosts::Never;
    options
}

fn configured(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, UdpSocket},
    };

    use super::*;

    /// The flags of a response, and of one that is longer than a datagram (RFC 1035 section 4.1.1).
    const RESPONSE: u16 = 0x8180;
    const TRUNCATED: u16 = RESPONSE | 0x0200;

    /// An answer with an alias, and the address of its target, to a question for it.
    fn answer(question: &[u8], flags: u16) -> Vec<u8> {
        // The header, the name, its type and class, and nothing that follows.
        let name = question[12..].iter().position(|&byte| byte == 0).expect("the name ends");
        let mut message = question[..12 + name + 5].to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        (message[7], message[11]) = (2, 0);
        let pointer = [0xc0, 12];
        for (kind, data) in [(5, &pointer[..]), (1, &[192, 0, 2, 1])] {
            let length = u16::try_from(data.len()).expect("it is short");
            message.extend(pointer);
            message.extend([kind, 1, 0, 60, length].map(u16::to_be_bytes).concat());
            message.extend(data);
        }
        message
    }

    /// Answers every question, with these flags over UDP.
    async fn name_server(ip: Ipv4Addr, flags: u16) -> io::Result<String> {
        let listener = TcpListener::bind((ip, 0)).await?;
        let address = listener.local_addr()?;
        let socket = UdpSocket::bind(address).await?;
        tokio::spawn(async move {
            let mut asked = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut asked).await {
                _ = socket.send_to(&answer(&asked[..length], flags), client).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Ok(length) = stream.read_u16().await {
                    let mut asked = vec![0; usize::from(length)];
                    _ = stream.read_exact(&mut asked).await;
                    let answer = answer(&asked, RESPONSE);
                    let length = u16::try_from(answer.len()).expect("it is short").to_be_bytes();
                    _ = stream.write_all(&[&length[..], &answer].concat()).await;
                }
            }
        });
        Ok(address.to_string())
    }

    #[tokio::test]
    async fn any_server_may_answer_and_long_answers_are_read() -> io::Result<()> {
        let silent = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).await?;
        let silent_address = silent.local_addr()?.to_string();
        let good = name_server(Ipv4Addr::LOCALHOST, RESPONSE).await?;
        let long = name_server(Ipv4Addr::LOCALHOST, TRUNCATED).await?;
        for servers in [vec![silent_address.clone(), good], vec![long]] {
            let found = NameServers::new(&servers).lookup("web.example.test").await?;
            assert_eq!(found[0], IpAddr::from([192, 0, 2, 1]));
        }
        let error = NameServers::new(std::slice::from_ref(&silent_address)).lookup("web.example.test").await;
        let error = error.expect_err("no name server responds").to_string();
        let expected = format!("failed to look up web.example.test at {silent_address}: ");
        assert!(error.starts_with(&expected), "{error}");
        Ok(())
    }
}
