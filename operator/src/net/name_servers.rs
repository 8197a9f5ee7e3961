//! Asks given name servers for the addresses of a name (RFC 1035), where the system's resolver would use those of the Pod.
//!
//! Knows messages with one question; must not know which addresses are allowed. Next: `address.rs`, which filters them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket, lookup_host},
    time::timeout,
};

/// How long a name server may take to answer. Each is asked twice.
const DEADLINE: Duration = Duration::from_secs(1);

/// The longest answer over UDP, bytes: what a message without extensions may have.
const LONGEST_DATAGRAM: usize = 512;

const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// The flag that the answer is a response.
const RESPONSE: u16 = 0x8000;
/// The flag that the answer is longer than a datagram.
const TRUNCATED: u16 = 0x0200;
/// The flag that the server asks other servers.
const RECURSION_DESIRED: u16 = 0x0100;
/// The bits with the result, and two of its values.
const RESULT: u16 = 0x000f;
const NO_ERROR: u16 = 0;
const NO_SUCH_NAME: u16 = 3;

/// Name servers as "host:port", each of which knows all names.
#[derive(Clone, Debug, Default)]
pub struct NameServers(Arc<[String]>);

impl NameServers {
    /// Name servers in the order in which they are asked. Empty ones are left out.
    pub fn new(servers: &[String]) -> Self {
        Self(servers.iter().filter(|server| !server.is_empty()).cloned().collect())
    }

    /// Whether there are none, so that the system's are asked.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses of a name, from the first server that answers.
    pub(super) async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for server in self.0.iter().chain(self.0.iter()) {
            match addresses(server, name).await {
                Ok(addresses) if addresses.is_empty() => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        format!("{server} knows no address of {name}"),
                    ));
                }
                Ok(addresses) => return Ok(addresses),
                Err(error) => {
                    failure = io::Error::new(
                        error.kind(),
                        format!("failed to ask the name server {server}: {error}"),
                    );
                }
            }
        }
        Err(failure)
    }
}

/// All addresses that a server knows; none if the name does not exist.
async fn addresses(server: &str, name: &str) -> io::Result<Vec<IpAddr>> {
    let server = timeout(DEADLINE, lookup_host(server)).await??.next();
    let server = server.ok_or_else(|| io::Error::other("its own name does not resolve"))?;
    let (v4, v6) = tokio::try_join!(ask(server, name, A), ask(server, name, AAAA))?;
    Ok([v4, v6].concat())
}

/// Asks over UDP, and over TCP if the answer is too long for that.
async fn ask(server: SocketAddr, name: &str, kind: u16) -> io::Result<Vec<IpAddr>> {
    let mut id = [0; 2];
    rand::fill(&mut id).map_err(|_| io::Error::other("no randomness is available"))?;
    let id = u16::from_be_bytes(id);
    let question = question(id, name, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is not a DNS name"))?;
    match timeout(DEADLINE, over_udp(server, id, &question)).await?? {
        Some(answer) => Ok(answer),
        None => timeout(DEADLINE, over_tcp(server, id, &question)).await?,
    }
}

/// `None` if the answer is too long.
async fn over_udp(server: SocketAddr, id: u16, question: &[u8]) -> io::Result<Option<Vec<IpAddr>>> {
    let any =
        if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Datagrams of others are dropped.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut answer = [0; LONGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut answer).await?;
        match read(answer.get(..length).unwrap_or_default(), id, question) {
            Some(Answer::Addresses(addresses)) => return Ok(Some(addresses)),
            Some(Answer::Truncated) => return Ok(None),
            Some(Answer::Refused(result)) => return Err(refused(result)),
            // It answers something else.
            None => {}
        }
    }
}

/// A message over TCP follows its length.
async fn over_tcp(server: SocketAddr, id: u16, question: &[u8]) -> io::Result<Vec<IpAddr>> {
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match read(&answer, id, question) {
        Some(Answer::Addresses(addresses)) => Ok(addresses),
        Some(Answer::Refused(result)) => Err(refused(result)),
        Some(Answer::Truncated) | None => Err(io::Error::other("its answer can't be read")),
    }
}

fn refused(result: u16) -> io::Error {
    io::Error::other(format!("it answers with the error {result} of RFC 1035 section 4.1.1"))
}

/// A message that asks for the addresses of a name. `None` if that can't be a name.
fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > 253 {
        return None;
    }
    let mut message = [id, RECURSION_DESIRED, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend([kind, INTERNET].map(u16::to_be_bytes).concat());
    Some(message)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<IpAddr>),
    Truncated,
    Refused(u16),
}

/// The answer to a question; `None` if the message is not one.
fn read(message: &[u8], id: u16, question: &[u8]) -> Option<Answer> {
    let mut rest = Bytes(message);
    let (of, flags, questions, answers) = (rest.number()?, rest.number()?, rest.number()?, rest.number()?);
    rest.take(4)?;
    let asked = question.get(12..)?;
    let is_answer = of == id && flags & RESPONSE != 0 && questions == 1;
    if !is_answer || !rest.take(asked.len())?.eq_ignore_ascii_case(asked) {
        return None;
    }
    match flags & RESULT {
        NO_ERROR => {}
        NO_SUCH_NAME => return Some(Answer::Addresses(Vec::new())),
        result => return Some(Answer::Refused(result)),
    }
    if flags & TRUNCATED != 0 {
        return Some(Answer::Truncated);
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        rest.skip_name()?;
        let (kind, class) = (rest.number()?, rest.number()?);
        // How long it may be cached.
        rest.take(4)?;
        let length = rest.number()?;
        let data = rest.take(length.into())?;
        // The server has followed aliases, so the addresses are those of the name.
        match (class, kind) {
            (INTERNET, A) => addresses.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            (INTERNET, AAAA) => addresses.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
    }
    Some(Answer::Addresses(addresses))
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// A name ends with an empty label, or with a pointer to the rest of it elsewhere.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            match *self.take(1)?.first()? {
                0 => return Some(()),
                length if length >= 0xc0 => return self.take(1).map(drop),
                length => self.take(length.into())?,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with an alias, and the address of its target, to a question for it.
    fn answer(question: &[u8], flags: u16) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&(RESPONSE | flags).to_be_bytes());
        message[7] = 2;
        let pointer = [0xc0, 12];
        for (kind, data) in [(5, &pointer[..]), (A, &[192, 0, 2, 1])] {
            let length = u16::try_from(data.len()).expect("it is short");
            message.extend(pointer);
            message.extend([kind, INTERNET, 0, 60, length].map(u16::to_be_bytes).concat());
            message.extend(data);
        }
        message
    }

    #[test]
    fn addresses_are_read_from_an_answer() {
        let question = question(7, "web.example.test", A).expect("a name");
        let read = |message: &[u8]| read(message, 7, &question);
        let address = vec![IpAddr::from([192, 0, 2, 1])];
        let good = answer(&question, 0);
        assert_eq!(read(&good), Some(Answer::Addresses(address)));
        assert_eq!(read(&answer(&question, NO_SUCH_NAME)), Some(Answer::Addresses(Vec::new())));
        assert_eq!(read(&answer(&question, 2)), Some(Answer::Refused(2)));
        assert_eq!(read(&answer(&question, TRUNCATED)), Some(Answer::Truncated));
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), None, "the first {length} bytes are read");
        }
    }

    /// Otherwise, anyone who guesses when a name is looked up could answer.
    #[test]
    fn answer_to_another_question_is_ignored() {
        let mine = question(7, "web.example.test", A).expect("a name");
        for other in [question(8, "web.example.test", A), question(7, "www.example.test", A)] {
            assert_eq!(read(&answer(&other.expect("a name"), 0), 7, &mine), None);
        }
        assert_eq!(read(&mine, 7, &mine), None, "it is a question");
    }

    #[test]
    fn only_names_are_asked_for() {
        let long = "a".repeat(64);
        for name in ["", "a..b", &long, &[&long[..60]; 5].join(".")] {
            assert_eq!(question(1, name, A), None, "{name}");
        }
        assert_eq!(question(1, "a.test.", A), question(1, "a.test", A));
    }

    /// The first server does not listen, and the second one has more than fits into a datagram.
    #[tokio::test]
    async fn next_server_is_asked_and_long_answers_are_read() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let socket = UdpSocket::bind(address).await?;
        let unused = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        tokio::spawn(async move {
            let mut asked = [0; LONGEST_DATAGRAM];
            while let Ok((length, client)) = socket.recv_from(&mut asked).await {
                _ = socket.send_to(&answer(&asked[..length], TRUNCATED), client).await;
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = vec![0; usize::from(stream.read_u16().await.unwrap_or_default())];
                _ = stream.read_exact(&mut asked).await;
                let answer = answer(&asked, 0);
                let length = u16::try_from(answer.len()).expect("it is short").to_be_bytes();
                _ = stream.write_all(&[&length[..], &answer].concat()).await;
            }
        });
        let servers = NameServers::new(&[unused.to_string(), address.to_string()]);
        let found = servers.lookup("web.example.test").await?;
        assert_eq!(found[0], IpAddr::from([192, 0, 2, 1]));
        Ok(())
    }
}
