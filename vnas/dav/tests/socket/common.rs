//! A pool in memory with a door on a real socket, and a client that sends exactly what it is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use shoal_dav::{AuthFailure, Authenticator, Door, DoorConfig, Principal, Throttle, serve};
use shoal_ledger::LocalLedger;
use shoal_volume::testing::MemoryPeers;
use shoal_volume::{Drive, DriveConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// `user:secret`, `viewer:secret`.
pub(crate) const USER: &str = "Basic dXNlcjpzZWNyZXQ=";
pub(crate) const VIEWER: &str = "Basic dmlld2VyOnNlY3JldA==";

pub(crate) struct Users(Throttle);

#[async_trait]
impl Authenticator for Users {
    async fn authenticate(&self, user: &str, password: &str, remote: IpAddr) -> Result<Principal, AuthFailure> {
        let now = Instant::now();
        self.0.check(remote, user, now).map_err(AuthFailure::SlowDown)?;
        if password == "secret" && ["user", "viewer"].contains(&user) {
            return Ok(Principal { name: user.to_owned(), may_write: user == "user" });
        }
        self.0.failed(remote, user, now);
        Err(AuthFailure::Wrong)
    }
}

/// What every door of a test's pool stands on.
pub(crate) struct Pool {
    pub(crate) ledger: Arc<LocalLedger>,
    pub(crate) peers: Arc<MemoryPeers>,
}

impl Pool {
    /// Six agents with this much room each, one volume `pool`.
    pub(crate) fn new(free_bytes: u64) -> Self {
        let peers = Arc::new(MemoryPeers::new(6, free_bytes));
        let ledger = LocalLedger::with_pool(&peers.agents(), "pool").expect("a pool");
        Self { ledger: Arc::new(ledger), peers }
    }

    /// A door of one of the agents.
    pub(crate) async fn door(&self, config: DoorConfig, tls: Option<Arc<rustls::ServerConfig>>) -> Site {
        let drive_config = DriveConfig::new(self.peers.agents()[0], 1, [7; 32]);
        let drive = Drive::new(Arc::clone(&self.ledger) as _, Arc::clone(&self.peers) as _, drive_config);
        let door = Arc::new(Door::new(drive, Arc::new(Users(Throttle::new())), config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, tls, Arc::clone(&door), shutdown.clone()));
        Site { address, door, shutdown, serving }
    }
}

/// A door that is open.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) door: Arc<Door>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

/// A pool with room and one door with the usual bounds.
pub(crate) async fn site() -> (Pool, Site) {
    let pool = Pool::new(1 << 30);
    let site = pool.door(DoorConfig::default(), None).await;
    (pool, site)
}

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as announced.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn parse(raw: &[u8]) -> Self {
        let end = raw.windows(4).position(|four| four == b"\r\n\r\n").expect("the head of an answer");
        let head = String::from_utf8_lossy(&raw[..end]);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer =
            Self { status: status.expect("a status"), headers, body: raw[end + 4..].to_vec(), whole: true };
        if answer.header("transfer-encoding") == Some("chunked") {
            (answer.body, answer.whole) = unchunk(&answer.body);
        } else if let Some(length) = answer.header("content-length") {
            answer.whole = length == answer.body.len().to_string();
        }
        answer
    }
}

fn unchunk(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = raw.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&raw[..line]), 16).unwrap_or(0);
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = raw.get(line + 2..line + 2 + size) else { break };
        body.extend_from_slice(chunk);
        raw = raw.get(line + 4 + size..).unwrap_or_default();
    }
    (body, false)
}

impl Site {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends these very bytes and takes all that comes until the connection closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.expect("sending");
        read_all(&mut stream).await
    }

    /// One request as `user`.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let head = self.head(method, path, headers, Some(body.len()));
        Answer::parse(&self.raw(&[head.as_bytes(), body].concat()).await)
    }

    /// The head of a request, `Connection: close` included.
    pub(crate) fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            head.push_str(&format!("Authorization: {USER}\r\n"));
        }
        if let Some(length) = length {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        head.push_str("\r\n");
        head
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    /// Puts a file that must be taken.
    pub(crate) async fn put(&self, path: &str, body: &[u8]) -> Answer {
        let answer = self.send("PUT", path, &[], body).await;
        assert!([201, 204].contains(&answer.status), "PUT {path}: {answer:?}");
        answer
    }

    pub(crate) async fn make_folder(&self, path: &str) {
        let answer = self.send("MKCOL", path, &[], b"").await;
        assert_eq!(answer.status, 201, "MKCOL {path}: {answer:?}");
    }

    /// Properties asked for by name, declarations included.
    pub(crate) async fn properties(&self, path: &str, depth: &str, prop: &str) -> Answer {
        let body = format!(
            "<D:propfind xmlns:D=\"DAV:\" xmlns:Z=\"urn:schemas-microsoft-com:\" xmlns:oc=\"http://owncloud.org/ns\">\
             <D:prop>{prop}</D:prop></D:propfind>"
        );
        self.send("PROPFIND", path, &[("Depth", depth)], body.as_bytes()).await
    }

    /// Takes a lock and gives its token.
    pub(crate) async fn lock(&self, path: &str, headers: &[(&str, &str)]) -> String {
        let answer = self.send("LOCK", path, headers, LOCK.as_bytes()).await;
        assert!([200, 201].contains(&answer.status), "LOCK {path}: {answer:?}");
        answer.header("lock-token").expect("a token").trim_matches(['<', '>']).to_owned()
    }
}

pub(crate) const LOCK: &str = "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/>\
                        </D:locktype><D:owner>me</D:owner></D:lockinfo>";

/// All that comes until the connection closes.
pub(crate) async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        // A connection that is reset has ended too.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            all.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.expect("the connection closes within the deadline");
    all
}

pub(crate) fn answer(raw: &[u8]) -> Answer {
    Answer::parse(raw)
}
