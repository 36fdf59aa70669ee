//! A file appears wholly or not at all.

use crate::common::{answer, read_all, site};
use shoal_dav::DoorConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Waits until a path's answer is what it must become; the server notices a closed connection in its own time.
async fn uploads_ended(site: &crate::common::Site) {
    let waiting = async {
        while site.door.stats().connections_open() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::common::DEADLINE, waiting).await.expect("the upload's connection ends");
}

#[tokio::test]
async fn an_upload_broken_off_leaves_the_old_file_and_makes_no_new_one() {
    let (_pool, site) = site().await;
    site.put("/pool/old", b"old").await;
    let framings = [(Some(100_000), b"x".repeat(5000)), (None, [b"1388\r\n", &*b"x".repeat(5000), b"\r\n"].concat())];
    for (length, part) in framings {
        for path in ["/pool/old", "/pool/new"] {
            let chunked: &[(&str, &str)] = if length.is_none() { &[("Transfer-Encoding", "chunked")] } else { &[] };
            let mut stream = site.connect().await;
            let head = site.head("PUT", path, chunked, length);
            stream.write_all(&[head.as_bytes(), &part].concat()).await.expect("sending");
            drop(stream);
            uploads_ended(&site).await;
        }
    }
    assert_eq!(site.get("/pool/old").await.body, b"old");
    assert_eq!(site.get("/pool/new").await.status, 404);
}

#[tokio::test]
async fn a_body_shorter_than_finder_announced_is_refused() {
    let (_pool, site) = site().await;
    let put = async |announced: &str| {
        let headers = [("Transfer-Encoding", "chunked"), ("X-Expected-Entity-Length", announced)];
        let head = site.head("PUT", "/pool/f", &headers, None);
        answer(&site.raw(&[head.as_bytes(), b"5\r\nhello\r\n0\r\n\r\n"].concat()).await)
    };
    assert_eq!(put("6").await.status, 400);
    assert_eq!(site.get("/pool/f").await.status, 404);
    assert_eq!(put("5").await.status, 201);
    assert_eq!(site.get("/pool/f").await.body, b"hello");
}

#[tokio::test]
async fn a_part_of_a_file_is_refused_and_replaces_nothing() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"0123456789").await;
    let answer = site.send("PUT", "/pool/f", &[("Content-Range", "bytes 5-7/10")], b"abc").await;
    assert_eq!(answer.status, 400);
    assert_eq!(site.get("/pool/f").await.body, b"0123456789");
}

#[tokio::test]
async fn times_and_checksums_of_ownclouds_clients_are_kept_and_offered() {
    let (_pool, site) = site().await;
    let sha1 = "SHA1:aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    let headers = [("X-OC-Mtime", "1500000000"), ("OC-Checksum", sha1)];
    let put = site.send("PUT", "/pool/f", &headers, b"hello").await;
    assert_eq!((put.status, put.header("x-oc-mtime")), (201, Some("accepted")));
    assert_eq!(site.get("/pool/f").await.header("last-modified"), Some("Fri, 14 Jul 2017 02:40:00 GMT"));
    let listed = site.properties("/pool/f", "0", "<oc:checksums/>").await.text();
    assert!(listed.contains(&format!("<oc:checksums><oc:checksum>{sha1}</oc:checksum></oc:checksums>")), "{listed}");
    let wrong = site.send("PUT", "/pool/f", &headers, b"other").await;
    assert_eq!(wrong.status, 400);
    assert_eq!(site.get("/pool/f").await.body, b"hello");
}

#[tokio::test]
async fn the_body_is_asked_for_only_when_it_is_wanted() {
    let (_pool, site) = site().await;
    let mut stream = site.connect().await;
    let head = site.head("PUT", "/pool/f", &[("Expect", "100-continue")], Some(5));
    stream.write_all(head.as_bytes()).await.expect("sending");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.expect("an interim answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.expect("sending");
    assert_eq!(answer(&read_all(&mut stream).await).status, 201);

    let stranger = [("Expect", "100-continue"), ("Authorization", "Basic eDp5")];
    let refused = site.raw(site.head("PUT", "/pool/f", &stranger, Some(5)).as_bytes()).await;
    assert_eq!(answer(&refused).status, 401);
}

#[tokio::test]
async fn a_refusal_is_heard_by_a_client_that_is_still_sending() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"old").await;
    let refused = site.send("PUT", "/pool/f", &[("If-None-Match", "*")], &vec![0; 3_000_000]).await;
    assert_eq!(refused.status, 412);
    assert_eq!(site.get("/pool/f").await.body, b"old");
}

#[tokio::test]
async fn a_full_pool_is_507_and_nothing_is_half_written() {
    let pool = crate::common::Pool::new(1024 * 1024);
    let site = pool.door(DoorConfig::default(), None).await;
    // Bytes that no compression makes fit.
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(12_000_000)
    .collect();
    let answer = site.send("PUT", "/pool/big", &[], &noise).await;
    assert_eq!(answer.status, 507, "{answer:?}");
    assert_eq!(site.get("/pool/big").await.status, 404);
}

#[tokio::test]
async fn names_that_mislead_are_refused() {
    let (_pool, site) = site().await;
    for path in ["/pool/..%2fevil", "/pool/../evil", "/pool/%2e%2e/evil", "/pool/a%00b", "/pool/bad%zz", "/pool/%ff"] {
        let answer = site.send("PUT", path, &[], b"x").await;
        assert_eq!(answer.status, 400, "{path}");
    }
    assert_eq!(site.send("PUT", &format!("/pool/{}", "n".repeat(800)), &[], b"x").await.status, 414);
    assert_eq!(site.send("PUT", "/new-volume", &[], b"x").await.status, 403);
}
