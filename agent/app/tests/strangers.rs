//! Whoever is no member gets nothing past the handshake: every port of a real agent, spoken to by strangers.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_net::{Handler, JoinHandler, Lane, Net, NetConfig, Network, Peer, Request, Response, join_call};
use shoal_testkit::{DemoOptions, DemoPool, HttpClient, RandomBytes, free_port_base};

/// How long a stranger waits to be turned away.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

fn start(directory: &Path) -> Result<DemoPool> {
    DemoPool::start(DemoOptions {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_shoal")),
        agents: 1,
        directory: directory.to_path_buf(),
        dav_port: free_port_base(100)?,
    })
}

/// Drive, API, control network, data channel.
fn ports(pool: &DemoPool) -> Result<[SocketAddr; 4]> {
    let dav = pool.agent(0).dav_address()?;
    let at = |offset: u16| SocketAddr::new(dav.ip(), dav.port() + offset);
    Ok([dav, pool.agent(0).api_address()?, at(2), at(3)])
}

/// A stranger's end of the network: asks, is never asked anything.
struct Stranger;

#[async_trait]
impl Handler for Stranger {
    async fn handle(&self, _from: AgentId, _lane: Lane, _request: Request) -> Response {
        Response::default()
    }
}

#[async_trait]
impl JoinHandler for Stranger {
    async fn join(&self, _from: AgentId, _remote: IpAddr, _body: Bytes) -> Bytes {
        Bytes::new()
    }
}

/// What comes back for some bytes until the other end hangs up or the deadline passes.
fn speak(address: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    // The other end may have hung up already; what it said counts.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => bail!("{address} neither answers nor hangs up: {error}"),
        }
    }
    Ok(answer)
}

#[test]
fn garbage_at_any_port_is_hung_up_on_and_the_agent_goes_on() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let secrets = [pool.info().password.clone(), pool.agent(0).id.clone()];
    for port in ports(&pool)? {
        for bytes in
            [RandomBytes::new(1).take(5000), b"GET / HTTP/1.0\r\n\r\n".to_vec(), vec![0x16, 3, 1, 0xff, 0xff], vec![]]
        {
            let answer = speak(port, &bytes)?;
            let text = String::from_utf8_lossy(&answer);
            ensure!(!secrets.iter().any(|secret| text.contains(secret.as_str())), "{port} tells: {text}");
        }
    }
    ensure!(pool.status(0)?["quorum"] == true, "the agent goes on");
    Ok(())
}

#[test]
fn an_agent_of_no_pool_is_answered_nothing_on_any_lane() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let [_, _, control, data] = ports(&pool)?;
    let member: AgentId = pool.agent(0).id.parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = NetConfig { key_seed: [9; 32].into(), control_listen: any, data_listen: any };
        let net = Net::start(config, Arc::new(Stranger), Arc::new(Stranger)).await?;
        net.set_peers(vec![Peer { agent: member, control_addresses: vec![control], data_addresses: vec![data] }]);
        for lane in [Lane::Control, Lane::Foreground, Lane::Background] {
            for method in 0..16 {
                let request = Request { method, head: Bytes::from_static(&[1]), body: Bytes::new() };
                let answer = net.call(member, lane, request, ANSWER_DEADLINE).await;
                ensure!(answer.is_err(), "{lane:?} method {method} was answered: {answer:?}");
            }
        }
        net.shutdown().await;
        Ok(())
    })
}

#[test]
fn a_wrong_word_at_the_door_of_newcomers_leaks_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let [_, _, _, data] = ports(&pool)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let mut answers = Vec::new();
        for body in [Bytes::new(), Bytes::from(RandomBytes::new(2).take(3000)), Bytes::from(vec![0; 60_000])] {
            if let Ok((_, answer)) = join_call(&[9; 32], &[data], None, body, ANSWER_DEADLINE).await {
                ensure!(answer.len() < 200, "a refusal of {} bytes", answer.len());
                answers.push(answer);
            }
        }
        let wrong_agent = join_call(&[9; 32], &[data], Some(AgentId([1; 32])), Bytes::new(), ANSWER_DEADLINE).await;
        ensure!(wrong_agent.is_err(), "an agent that is not the one named on the ticket is not spoken to");
        Ok(())
    })
}

#[test]
fn without_a_password_drive_api_and_page_show_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let [dav, api, ..] = ports(&pool)?;
    let mut insider = pool.client(0, ANSWER_DEADLINE)?;
    insider.request("PUT", "/pool/secret-name", &[], b"secret content")?.expect(&[201])?;
    for (user, password) in [("admin", "wrong"), ("nobody", "wrong"), ("", ""), ("admin", "")] {
        let mut client = HttpClient::new(dav, user, password, ANSWER_DEADLINE);
        for (method, path) in [
            ("GET", "/pool/secret-name"),
            ("PROPFIND", "/pool/"),
            ("PUT", "/pool/x"),
            ("OPTIONS", "/pool/"),
            ("PROPFIND", "/"),
        ] {
            let response = client.request(method, path, &[], b"").context(method)?;
            ensure!([401, 429, 503].contains(&response.status), "{method} {path} as {user:?}: {}", response.status);
            ensure!(!String::from_utf8_lossy(&response.body).contains("secret"), "{method} {path} leaks");
        }
        let mut client = HttpClient::new(api, user, password, ANSWER_DEADLINE);
        for path in ["/api/v1/status", "/api/v1/nodes", "/api/v1/users", "/api/v1/events", "/metrics"] {
            let response = client.request("GET", path, &[], b"")?;
            ensure!([401, 429].contains(&response.status), "{path} as {user:?}: {}", response.status);
        }
        let invite =
            client.request("POST", "/api/v1/invite", &[("Content-Type", "application/json")], b"{\"expires_s\":60}")?;
        ensure!([401, 429].contains(&invite.status), "invite as {user:?}: {}", invite.status);
    }
    Ok(())
}

#[test]
fn who_opens_hundreds_of_connections_to_the_api_and_sends_little_keeps_nobody_out() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let pool = start(directory.path())?;
    let [_, api, ..] = ports(&pool)?;
    let mut held = Vec::new();
    for _ in 0..400 {
        // Those that wait in the system's queue connect too.
        let mut stream = TcpStream::connect_timeout(&api, ANSWER_DEADLINE)?;
        // Some had to make room already.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ");
        held.push(stream);
    }
    // Well before the held ones are given up by themselves.
    let mut client = HttpClient::new(api, &pool.info().user, &pool.info().password, Duration::from_secs(5));
    client.request("GET", "/api/v1/status", &[], b"")?.expect(&[200])?;
    Ok(())
}
