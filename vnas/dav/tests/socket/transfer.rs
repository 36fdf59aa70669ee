//! COPY, MOVE, DELETE: one step each.

use crate::common::{LOCK, site};

#[tokio::test]
async fn a_move_that_fails_leaves_the_destination() {
    let (_pool, site) = site().await;
    site.put("/pool/a", b"a").await;
    site.put("/pool/b", b"b").await;
    assert_eq!(site.send("LOCK", "/pool/a", &[], LOCK.as_bytes()).await.status, 200);
    // dav-server alone deletes the destination first and then finds that it cannot move.
    let answer = site.send("MOVE", "/pool/a", &[("Destination", "/pool/b")], b"").await;
    assert_eq!(answer.status, 423);
    assert_eq!(site.get("/pool/b").await.body, b"b");
}

#[tokio::test]
async fn folders_go_whole_and_replace_what_was_there() {
    let (_pool, site) = site().await;
    site.make_folder("/pool/a").await;
    site.make_folder("/pool/a/s").await;
    site.put("/pool/a/s/f", b"f").await;
    site.make_folder("/pool/b").await;
    site.put("/pool/b/old", b"old").await;
    assert_eq!(site.send("COPY", "/pool/a/", &[("Destination", "/pool/b/")], b"").await.status, 204);
    assert_eq!(site.get("/pool/b/s/f").await.body, b"f");
    assert_eq!(site.get("/pool/b/old").await.status, 404);
    assert_eq!(site.send("COPY", "/pool/a", &[("Destination", "/pool/c"), ("Depth", "0")], b"").await.status, 201);
    assert_eq!(site.get("/pool/c/s/f").await.status, 404);
    assert_eq!(site.send("MOVE", "/pool/a", &[("Destination", "/pool/c")], b"").await.status, 204);
    assert_eq!(site.get("/pool/c/s/f").await.body, b"f");
    assert_eq!(site.get("/pool/a").await.status, 404);
    assert_eq!(site.send("MOVE", "/pool/c", &[("Destination", "/pool/c/s/in")], b"").await.status, 403);
    assert_eq!(site.send("DELETE", "/pool/c", &[("Depth", "0")], b"").await.status, 400);
    assert_eq!(site.send("DELETE", "/pool/c", &[], b"").await.status, 204);
}

#[tokio::test]
async fn destinations_are_ours_or_refused() {
    let (_pool, site) = site().await;
    site.put("/pool/a", b"a").await;
    let host = site.address.ip();
    for (destination, status) in [
        (format!("https://{host}/pool/b"), 201),
        ("/pool/%C3%A9".to_owned(), 201),
        ("/pool/ö".to_owned(), 201),
        ("http://other.example:9/x".to_owned(), 502),
        ("::junk::".to_owned(), 400),
        ("/pool/../../evil".to_owned(), 400),
        ("/pool/nodir/x".to_owned(), 409),
        ("/pool".to_owned(), 403),
        ("/other".to_owned(), 403),
        ("/pool/a".to_owned(), 403),
    ] {
        let answer = site.send("COPY", "/pool/a", &[("Destination", &destination)], b"").await;
        assert_eq!(answer.status, status, "{destination}");
    }
    assert_eq!(site.get("/pool/%C3%B6").await.body, b"a");
}
