//! The program when it may open fewer files than there are clients. Must not need an API server. Next: `router.rs` for
//! responses without a network.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

/// The time that a process has used the processor for, from `/proc/<pid>/stat`, in ticks of 10 ms.
fn processor_ticks(process: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok(fields.get(11).context("no user time")?.parse::<u64>()?
        + fields.get(12).context("no system time")?.parse::<u64>()?)
}

/// Idle clients use up all open files: the program neither spins nor fills its log, and still answers.
#[tokio::test]
async fn shortage_of_files_is_survived() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("config");
    std::fs::write(
        &kubeconfig,
        "apiVersion: v1\nkind: Config\ncurrent-context: none\nusers: [{ name: none, user: {} }]\n\
         contexts: [{ name: none, context: { cluster: none, user: none } }]\n\
         clusters: [{ name: none, cluster: { server: 'http://127.0.0.1:9' } }]\n",
    )?;
    let free_port = async || -> Result<SocketAddr> {
        Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?)
    };
    let (address, health) = (free_port().await?, free_port().await?);
    let log = folder.path().join("log");
    let mut process = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_http01-solver")])
        .arg(format!("--listen-address={address}"))
        .arg(format!("--healthz-listen-address={health}"))
        .env("KUBECONFIG", &kubeconfig)
        .stdout(std::fs::File::create(&log)?)
        .stderr(Stdio::null())
        .spawn()?;
    let outcome = async {
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(20), "the program does not listen");
            sleep(Duration::from_millis(20)).await;
        }
        let mut idle = Vec::new();
        for _ in 0..60 {
            idle.push(TcpStream::connect(address).await?);
        }
        let before = processor_ticks(process.id())?;
        sleep(Duration::from_secs(1)).await;
        let ticks = processor_ticks(process.id())? - before;
        ensure!(ticks < 50, "it used the processor for {ticks}0 ms of a second");
        let mut request = TcpStream::connect(address).await?;
        request.write_all(b"GET /other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut response = String::new();
        timeout(Duration::from_secs(20), request.read_to_string(&mut response))
            .await
            .context("no answer")??;
        ensure!(response.starts_with("HTTP/1.1 404"), "{response:?}");
        let log = std::fs::read_to_string(&log)?;
        let lines = log.lines().filter(|line| line.contains("failed to accept connections")).count();
        ensure!(lines == 1, "the log has {lines} lines about it: {log}");
        Ok(())
    }
    .await;
    process.kill()?;
    process.wait()?;
    outcome
}
