//! Who is let in, and how the door behaves when the pool or the agent cannot.

use std::sync::Arc;

use crate::common::{Pool, VIEWER, answer, read_all, site};
use shoal_dav::DoorConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn strangers_get_nothing() {
    let (_pool, site) = site().await;
    for authorization in ["", "Basic", "Basic !!!!", "Basic dXNlcjp3cm9uZw==", "Bearer x"] {
        for method in ["GET", "PUT", "PROPFIND", "OPTIONS", "FROB"] {
            let refused = site.send(method, "/pool/", &[("Authorization", authorization)], b"").await;
            let challenge = refused.header("www-authenticate");
            assert_eq!(
                (refused.status, challenge),
                (401, Some("Basic realm=\"Shoal\", charset=\"UTF-8\"")),
                "{method}"
            );
        }
    }
    assert_eq!(site.get("/pool/").await.status, 200);
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let (_pool, site) = site().await;
    let wrong = [("Authorization", "Basic dXNlcjp3cm9uZw==")];
    // Each refusal beyond the fifth makes the next wait longer; one of these comes too early on any machine.
    let mut answers = Vec::new();
    for _ in 0..16 {
        answers.push(site.send("GET", "/pool/", &wrong, b"").await);
    }
    assert!(answers[..6].iter().all(|answer| answer.status == 401));
    let slowed = answers.iter().find(|answer| answer.status == 429).expect("a guess that comes too early");
    assert!(slowed.header("retry-after").is_some());
    let other = [("Authorization", VIEWER)];
    assert_eq!(site.send("GET", "/pool/", &other, b"").await.status, 200);
}

#[tokio::test]
async fn who_may_only_read_changes_nothing() {
    let (_pool, site) = site().await;
    let viewer = [("Authorization", VIEWER)];
    for method in ["PUT", "MKCOL", "DELETE", "LOCK", "PROPPATCH"] {
        assert_eq!(site.send(method, "/pool/x", &viewer, b"").await.status, 403, "{method}");
    }
    assert_eq!(site.send("PROPFIND", "/pool", &[("Depth", "0"), ("Authorization", VIEWER)], b"").await.status, 207);
}

#[tokio::test]
async fn without_a_quorum_reading_goes_on_and_says_so_and_writing_is_503() {
    let (pool, site) = site().await;
    site.put("/pool/f", b"1").await;
    assert_eq!(site.get("/pool/f").await.header("x-shoal-stale"), None);
    pool.ledger.set_quorum(false);
    let read = site.get("/pool/f").await;
    assert_eq!((read.status, read.header("x-shoal-stale")), (200, Some("1")));
    let nothing = site.get("/pool/not-there").await;
    assert_eq!((nothing.status, nothing.header("x-shoal-stale")), (404, Some("1")), "it may have come meanwhile");
    assert_eq!(read.header("warning"), Some("110 - \"Response is Stale\""));
    let written = site.send("PUT", "/pool/f", &[], b"2").await;
    assert_eq!((written.status, written.header("retry-after")), (503, Some("2")));
}

#[tokio::test]
async fn every_answer_has_its_own_request_id_and_is_counted() {
    let (_pool, site) = site().await;
    let (one, other) = (site.get("/pool/").await, site.get("/pool/nothing").await);
    let id = |answer: &crate::common::Answer| answer.header("x-request-id").expect("an id").to_owned();
    assert_ne!(id(&one), id(&other));
    assert_eq!(site.door.stats().requests(), [("GET", 200, 1), ("GET", 404, 1)]);
    assert_eq!(site.door.stats().latencies().iter().sum::<u64>(), 2);
    assert!(site.door.stats().sent_bytes() > 0);
}

#[tokio::test]
async fn heads_that_are_too_large_or_ambiguous_are_refused() {
    let (_pool, site) = site().await;
    let long = site.head("GET", "/pool/", &[("X-Big", &"a".repeat(64 * 1024))], None);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: 1\r\n".repeat(200));
    let no_host =
        "GET /pool/ HTTP/1.1\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\nConnection: close\r\n\r\n".to_owned();
    let lengths = site.head("PUT", "/pool/f", &[("Content-Length", "6")], Some(5)) + "hello!";
    for (head, status) in [(long, 431), (many, 431), (no_host, 400), (lengths, 400)] {
        assert_eq!(answer(&site.raw(head.as_bytes()).await).status, status, "{}", &head[..60.min(head.len())]);
    }
    // What follows the end of a chunked body is not taken for more of it, nor the other way round.
    let both = [("Transfer-Encoding", "chunked")];
    let smuggled = site.head("PUT", "/pool/f", &both, Some(4)) + "0\r\n\r\nGET /pool/f HTTP/1.1\r\n\r\n";
    let raw = site.raw(smuggled.as_bytes()).await;
    assert_eq!(String::from_utf8_lossy(&raw).matches("HTTP/1.1 ").count(), 1);
}

#[tokio::test]
async fn connections_that_send_nothing_are_closed() {
    let pool = Pool::new(1 << 20);
    let head_timeout = std::time::Duration::from_millis(20);
    let site = pool.door(DoorConfig { head_timeout, ..DoorConfig::default() }, None).await;
    let mut stream = site.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.expect("sending");
    read_all(&mut stream).await;
}

#[tokio::test]
async fn no_more_connections_are_served_than_configured() {
    let pool = Pool::new(1 << 20);
    let site = pool.door(DoorConfig { connections_limit: 1, ..DoorConfig::default() }, None).await;
    let mut first = site.connect().await;
    let request = site.head("GET", "/", &[], None).replace("Connection: close\r\n", "");
    first.write_all(request.as_bytes()).await.expect("sending");
    first.read_u8().await.expect("an answer");
    let mut second = site.connect().await;
    second.write_all(site.head("GET", "/", &[], None).as_bytes()).await.expect("sending");
    assert_eq!(site.door.stats().connections(), 1);
    drop(first);
    assert_eq!(answer(&read_all(&mut second).await).status, 200);
    assert_eq!(site.door.stats().connections(), 2);
}

#[tokio::test]
async fn who_opens_all_connections_and_sends_nothing_keeps_nobody_out() {
    let pool = Pool::new(1 << 20);
    let site = pool.door(DoorConfig { connections_limit: 2, ..DoorConfig::default() }, None).await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        let mut stream = site.connect().await;
        stream.write_all(b"PUT /pool/f HTTP/1.1\r\n").await.expect("sending");
        silent.push(stream);
    }
    let mut signed_in = site.connect().await;
    signed_in.write_all(site.head("GET", "/", &[], None).as_bytes()).await.expect("sending");
    assert_eq!(answer(&read_all(&mut signed_in).await).status, 200);
}

#[tokio::test]
async fn shutting_down_lets_an_upload_end() {
    let (_pool, site) = site().await;
    let mut stream = site.connect().await;
    let head = site.head("PUT", "/pool/f", &[("Expect", "100-continue")], Some(5));
    stream.write_all(head.as_bytes()).await.expect("sending");
    stream.read_exact(&mut [0; 25]).await.expect("to be told to go on");
    site.shutdown.cancel();
    stream.write_all(b"hello").await.expect("sending");
    assert_eq!(answer(&read_all(&mut stream).await).status, 201);
    tokio::time::timeout(crate::common::DEADLINE, site.serving)
        .await
        .expect("the door closes")
        .expect("without a panic");
}

#[tokio::test]
async fn the_door_speaks_tls_where_it_has_a_certificate() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let server =
        rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server = server.expect("versions").with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    let pool = Pool::new(1 << 20);
    let site = pool.door(DoorConfig::default(), Some(Arc::new(server.expect("a key")))).await;

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let name = "localhost".try_into().expect("a name");
    let mut stream = connector.connect(name, site.connect().await).await.expect("a handshake");
    stream.write_all(site.head("GET", "/pool/", &[], None).as_bytes()).await.expect("sending");
    assert_eq!(answer(&read_all(&mut stream).await).status, 200);
}
