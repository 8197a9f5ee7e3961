//! A TCP relay that simulates a distant server by delaying data in both directions. Must not know what it forwards.
//! Next: `environment.rs`.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// The number of pieces of data that may be in flight per direction.
const IN_FLIGHT: usize = 1024;

/// Forwards connections from one address to another. A request with its response takes `round_trip` longer.
///
/// # Errors
/// It can't listen. A broken connection does not affect other connections.
pub async fn relay(listen: SocketAddr, to: SocketAddr, round_trip: Duration) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (near, _) = listener.accept().await?;
        tokio::spawn(async move {
            let far = TcpStream::connect(to).await?;
            near.set_nodelay(true)?;
            far.set_nodelay(true)?;
            let (near, far) = (near.into_split(), far.into_split());
            let one_way = round_trip / 2;
            tokio::try_join!(forward(near.0, far.1, one_way), forward(far.0, near.1, one_way)).map(drop)
        });
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::channel(IN_FLIGHT);
    let read = async {
        loop {
            let mut piece = vec![0; 16 << 10];
            let length = from.read(&mut piece).await?;
            piece.truncate(length);
            // The receiver or the sender has closed the connection.
            if sender.send((Instant::now() + delay, piece)).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn response_is_complete_and_delayed() -> Result<()> {
        const DELAY: Duration = Duration::from_millis(60);
        let server = TcpListener::bind("127.0.0.1:0").await?;
        let address = server.local_addr()?;
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await?;
            let mut request = [0; 4];
            stream.read_exact(&mut request).await?;
            stream.write_all(b"pong").await
        });
        let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        tokio::spawn(relay(free, address, DELAY));
        let mut client = loop {
            match TcpStream::connect(free).await {
                Ok(client) => break client,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let began = Instant::now();
        client.write_all(b"ping").await?;
        let mut response = String::new();
        client.read_to_string(&mut response).await?;
        assert_eq!(response, "pong");
        assert!(began.elapsed() >= DELAY, "the response took only {:?}", began.elapsed());
        Ok(())
    }
}
