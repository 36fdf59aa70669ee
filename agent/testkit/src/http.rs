//! A small blocking HTTP/1.1 client over one kept connection: what is sent is what the test wrote.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;

/// A response whose body has been read to its end.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Headers as sent, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, unless it was handed on piece by piece.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The first header of a name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Fails unless the status is one of these.
    ///
    /// # Errors
    /// With status and the body's beginning.
    pub fn expect(self, statuses: &[u16]) -> Result<Self> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        bail!(
            "status {} instead of {statuses:?}: {}",
            self.status,
            String::from_utf8_lossy(&self.body[..self.body.len().min(300)])
        )
    }
}

/// Makes a connection within a time; for servers that are reached in a way of their own.
pub type Connector = Arc<dyn Fn(SocketAddr, Duration) -> std::io::Result<TcpStream> + Send + Sync>;

/// No connection came about, so that nothing of a request was sent.
#[derive(Debug, Clone, Copy)]
pub struct NotConnected(SocketAddr);

impl std::fmt::Display for NotConnected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connecting to {}", self.0)
    }
}

/// One connection to one server, made anew when it broke between requests.
pub struct HttpClient {
    address: SocketAddr,
    authorization: String,
    timeout: Duration,
    connector: Connector,
    connection: Option<BufReader<TcpStream>>,
}

impl HttpClient {
    /// A client of a server, not connected yet. `timeout` bounds each read and write.
    #[must_use]
    pub fn new(address: SocketAddr, user: &str, password: &str, timeout: Duration) -> Self {
        let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let connector: Connector = Arc::new(|address, timeout| TcpStream::connect_timeout(&address, timeout));
        Self { address, authorization: format!("Basic {credentials}"), timeout, connector, connection: None }
    }

    /// The same, its connections made another way.
    #[must_use]
    pub fn with_connector(self, connector: Connector) -> Self {
        Self { connector, ..self }
    }

    /// Sends a request with a whole body and reads the whole answer.
    ///
    /// # Errors
    /// If the connection fails ([`NotConnected`] if none came about) or the answer is no HTTP.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<HttpResponse> {
        let mut answer = Vec::new();
        let mut source = body;
        let mut response =
            self.transfer(method, path, headers, Some(body.len() as u64), &mut source, &mut |piece| {
                answer.extend(piece)
            })?;
        response.body = answer;
        Ok(response)
    }

    /// Uploads `length_bytes` bytes from a source.
    ///
    /// # Errors
    /// If the connection fails or the answer is no HTTP.
    pub fn put(&mut self, path: &str, length_bytes: u64, source: &mut dyn Read) -> Result<HttpResponse> {
        let mut answer = Vec::new();
        // The source may have more than is to be sent.
        let mut source = source.take(length_bytes);
        let mut response =
            self.transfer("PUT", path, &[], Some(length_bytes), &mut source, &mut |piece| answer.extend(piece))?;
        response.body = answer;
        Ok(response)
    }

    /// Downloads, handing the body on piece by piece.
    ///
    /// # Errors
    /// If the connection fails or breaks before the announced end, or the answer is no HTTP.
    pub fn get(&mut self, path: &str, sink: &mut dyn FnMut(&[u8])) -> Result<HttpResponse> {
        self.transfer("GET", path, &[], None, &mut std::io::empty(), sink)
    }

    fn transfer(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length_bytes: Option<u64>,
        source: &mut dyn Read,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<HttpResponse> {
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => self.connect()?,
        };
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n", self.address, self.authorization);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(length) = length_bytes {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        if let Err(error) = send(connection.get_mut(), head.into_bytes(), source) {
            // A server that refuses a body midway says why before it closes.
            let said = receive(&mut connection, method, &mut |_| ()).map(|(response, _)| response.status);
            return Err(error).with_context(|| format!("sending {method} {path}; the server answered {said:?}"));
        }
        let (response, keep) =
            receive(&mut connection, method, sink).with_context(|| format!("the answer to {method} {path}"))?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = (self.connector)(self.address, self.timeout).context(NotConnected(self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::with_capacity(256 * 1024, stream))
    }
}

/// Head and a small body leave together; a large body follows in pieces of 256 KiB.
fn send(stream: &mut TcpStream, mut head: Vec<u8>, source: &mut dyn Read) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        if head.is_empty() {
            stream.write_all(&buffer[..length])?;
        } else {
            head.extend_from_slice(&buffer[..length]);
            stream.write_all(&head)?;
            head.clear();
        }
    }
    stream.write_all(&head)?;
    Ok(())
}

fn receive(
    connection: &mut BufReader<TcpStream>,
    method: &str,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(HttpResponse, bool)> {
    let status_line = line(connection)?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.with_context(|| format!("no status in {status_line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let text = line(connection)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').with_context(|| format!("no header in {text:?}"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let response = HttpResponse { status, headers, body: Vec::new() };
    let mut keep = response.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
    if method == "HEAD" || status == 204 || status == 304 || status / 100 == 1 {
        return Ok((response, keep));
    }
    if response.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let size = line(connection)?;
            let size =
                u64::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16).context("a chunk's size")?;
            copy(connection, size, sink)?;
            line(connection)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = response.header("content-length") {
        copy(connection, length.parse().context("the length")?, sink)?;
    } else {
        keep = false;
        copy(connection, u64::MAX, sink).or_else(|error| if error.is::<Ended>() { Ok(()) } else { Err(error) })?;
    }
    Ok((response, keep))
}

#[derive(Debug)]
struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection ended before the body did")
    }
}

impl std::error::Error for Ended {}

fn copy(connection: &mut BufReader<TcpStream>, mut length: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
    while length > 0 {
        let piece = connection.fill_buf()?;
        if piece.is_empty() {
            return Err(Ended.into());
        }
        let take = usize::try_from(length).unwrap_or(usize::MAX).min(piece.len());
        sink(&piece[..take]);
        connection.consume(take);
        length -= take as u64;
    }
    Ok(())
}

fn line(connection: &mut BufReader<TcpStream>) -> Result<String> {
    let mut bytes = Vec::new();
    connection.by_ref().take(64 * 1024).read_until(b'\n', &mut bytes)?;
    if bytes.pop() != Some(b'\n') {
        return Err(Ended.into());
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
