//! Reading: ranges, conditions, honesty about failures, content that cannot act.

use crate::common::site;
use shoal_volume::testing::Mood;

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect()
}

#[tokio::test]
async fn overlapping_ranges_never_amplify() {
    let (_pool, site) = site().await;
    let file = noise(200_000);
    site.put("/pool/f", &file).await;
    let all: Vec<String> = (0..200).map(|from| format!("{from}-")).collect();
    let answer = site.send("GET", "/pool/f", &[("Range", &format!("bytes={}", all.join(",")))], b"").await;
    assert_eq!((answer.status, answer.header("content-range")), (206, Some("bytes 0-199999/200000")));
    assert_eq!(answer.body, file);
    let too_many: Vec<String> = (0..1300).map(|from| format!("{from}-")).collect();
    let answer = site.send("GET", "/pool/f", &[("Range", &format!("bytes={}", too_many.join(",")))], b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 200_000));
}

#[tokio::test]
async fn several_ranges_come_in_parts_with_a_boundary_nobody_can_foresee() {
    let (_pool, site) = site().await;
    let file = noise(200_000);
    site.put("/pool/f", &file).await;
    let mut boundaries = Vec::new();
    for _ in 0..2 {
        let answer = site.send("GET", "/pool/f", &[("Range", "bytes=0-9,150000-150009")], b"").await;
        assert_eq!((answer.status, answer.whole), (206, true));
        let kind = answer.header("content-type").expect("a type");
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("a boundary").to_owned();
        let part = |range: std::ops::Range<usize>| {
            let (from, to) = (range.start, range.end - 1);
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {from}-{to}/200000\r\n\r\n"
            );
            [head.as_bytes(), &file[range]].concat()
        };
        let tail = format!("\r\n--{boundary}--\r\n");
        assert_eq!(answer.body, [part(0..10), part(150_000..150_010), tail.into_bytes()].concat());
        boundaries.push(boundary);
    }
    assert_ne!(boundaries[0], boundaries[1]);
}

#[tokio::test]
async fn a_range_applies_only_to_the_version_it_was_meant_for() {
    let (_pool, site) = site().await;
    let etag = site.put("/pool/f", &noise(1000)).await.header("etag").expect("an etag").to_owned();
    let ranged = async |condition: &str| {
        let headers = [("Range", "bytes=0-9"), ("If-Range", condition)];
        site.send("GET", "/pool/f", &headers, b"").await.status
    };
    assert_eq!(ranged(&etag).await, 206);
    assert_eq!(ranged("\"other\"").await, 200);
    assert_eq!(ranged(&format!("W/{etag}")).await, 200);
}

#[tokio::test]
async fn the_etag_is_strong_quoted_the_same_everywhere_and_new_with_every_write() {
    let (_pool, site) = site().await;
    let put = site.put("/pool/f", b"one").await.header("etag").expect("an etag").to_owned();
    assert!(put.starts_with('"') && put.ends_with('"') && put.len() > 2, "{put}");
    assert_eq!(site.get("/pool/f").await.header("etag"), Some(put.as_str()));
    let listed = site.properties("/pool/f", "0", "<D:getetag/>").await.text();
    assert!(listed.contains(&format!("<D:getetag>{put}</D:getetag>")), "{listed}");
    assert_eq!(site.send("GET", "/pool/f", &[("If-None-Match", &put)], b"").await.status, 304);
    let next = site.put("/pool/f", b"two").await;
    assert_ne!(next.header("etag"), Some(put.as_str()));
    assert_eq!(site.send("PUT", "/pool/f", &[("If-Match", &put)], b"bad").await.status, 412);
    assert_eq!(site.get("/pool/f").await.body, b"two");
}

#[tokio::test]
async fn stored_html_is_inert() {
    let (_pool, site) = site().await;
    site.put("/pool/x.html", b"<script>alert(1)</script>").await;
    let answer = site.get("/pool/x.html").await;
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert_eq!(answer.header("content-security-policy"), Some("sandbox; default-src 'none'"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn a_folder_is_a_plain_page_with_every_name_escaped() {
    let (_pool, site) = site().await;
    site.put("/pool/%3Cscript%3E%22x%22", b"1").await;
    let page = site.get("/pool").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let text = page.text();
    assert!(text.contains("<a href=\"/pool/%3Cscript%3E%22x%22\">&lt;script&gt;&quot;x&quot;</a>"), "{text}");
    assert!(!text.contains("<script>"), "{text}");
    assert!(site.get("/").await.text().contains("<a href=\"/pool/\">pool/</a>"));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_503_before_and_a_broken_connection_after_the_first_byte() {
    let (pool, site) = site().await;
    let file = noise(9 * 1024 * 1024);
    site.put("/pool/f", &file).await;
    // A door that has nothing in its cache.
    let fresh = pool.door(shoal_dav::DoorConfig::default(), None).await;
    pool.peers.agents().into_iter().for_each(|agent| pool.peers.set_mood(agent, Mood::Down));
    let answer = fresh.get("/pool/f").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));

    pool.peers.agents().into_iter().for_each(|agent| pool.peers.set_mood(agent, Mood::Well));
    // The last chunk is lost on all agents: what comes before it is sent.
    let last = last_stripe(&pool);
    for agent in pool.peers.agents() {
        let of_last = pool.peers.shards(agent).into_iter().filter(|key| key.stripe == last);
        of_last.for_each(|key| pool.peers.lose(agent, key));
    }
    let answer = fresh.get("/pool/f").await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("9437184")));
    assert!(!answer.whole && answer.body.len() < file.len());
}

fn last_stripe(pool: &crate::common::Pool) -> dci_proto::StripeId {
    use shoal_ledger::query;
    let view = pool.ledger.snapshot();
    let volume = query::volumes(&*view).expect("volumes")[0].clone();
    let path = shoal_ledger::NodePath::root(volume.id).child("f");
    let node = query::node(&*view, &path).expect("a query").expect("the file");
    let Some(shoal_ledger::NodeContent::Chunks(inode)) = node.content else { panic!("{node:?}") };
    let chunks = query::chunks(&*view, inode, 0, 100).expect("a query");
    let content = chunks.last().expect("a chunk");
    query::content(&*view, content.0).expect("a query").expect("a stripe").0
}
