//! The trash as a read-only folder.

use crate::common::{LOCK, Site, VIEWER, site};

/// Encoded names of what a folder of the trash shows.
async fn listed(site: &Site, path: &str) -> Vec<String> {
    let answer = site.send("PROPFIND", path, &[("Depth", "1")], b"").await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let text = answer.text();
    let hrefs = text.split("<D:href>").skip(2).filter_map(|part| part.split("</D:href>").next());
    hrefs.filter_map(|href| href.strip_prefix(path)).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_went_is_listed_and_read_by_any_user_as_the_folders_were() {
    let (_pool, site) = site().await;
    site.make_folder("/pool/docs").await;
    site.put("/pool/docs/report.txt", b"0123456789").await;
    site.put("/pool/docs/report.txt", b"second").await;
    assert_eq!(site.send("DELETE", "/pool/docs", &[], b"").await.status, 204);
    assert_eq!(listed(&site, "/pool/.trash/").await, ["docs/"]);
    let versions = listed(&site, "/pool/.trash/docs/").await;
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert!(versions[0].starts_with("report%20%28") && versions[0].ends_with("overwritten%29.txt"), "{versions:?}");
    let first = format!("/pool/.trash/docs/{}", versions[0]);
    let answer = site.send("GET", &first, &[("Authorization", VIEWER), ("Range", "bytes=2-4")], b"").await;
    assert_eq!((answer.status, answer.text().as_str()), (206, "234"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let answer = site.send("HEAD", &first, &[], b"").await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("10")));
    let answer = site.get(&format!("/pool/.trash/docs/{}", versions[1])).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "second"));
    let page = site.get("/pool/.trash/docs/").await;
    assert!(page.text().contains(&versions[1]), "{}", page.text());
    let answer = site.send("PROPFIND", "/pool/.trash/docs/", &[("Depth", "1")], b"").await;
    assert_eq!(answer.status, 207);
    assert!(!answer.text().contains("lockentry"), "nothing is locked there: {}", answer.text());
    assert!(site.send("PROPFIND", "/pool/", &[("Depth", "0")], b"").await.text().contains("lockentry"));
    let answer = site.send("PROPFIND", "/pool/.trash", &[("Depth", "infinity")], b"").await;
    assert_eq!((answer.status, answer.text().matches("<D:response>").count()), (207, 4));
    for nothing in ["/pool/.trash/none", "/pool/.trash/docs/report.txt"] {
        assert_eq!(site.get(nothing).await.status, 404, "{nothing}");
    }
}

#[tokio::test]
async fn a_copy_out_of_the_trash_restores_a_file() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"precious").await;
    site.send("DELETE", "/pool/f", &[], b"").await;
    let version = format!("/pool/.trash/{}", listed(&site, "/pool/.trash/").await[0]);
    let copy = async |to: &str, overwrite: &str| {
        site.send("COPY", &version, &[("Destination", to), ("Overwrite", overwrite)], b"").await.status
    };
    assert_eq!(copy("/pool/none/f", "T").await, 409);
    assert_eq!(copy("/pool/f", "F").await, 201);
    assert_eq!(site.get("/pool/f").await.text(), "precious");
    assert_eq!((copy("/pool/f", "F").await, copy("/pool/f", "T").await), (412, 204));
    assert_eq!(copy("/pool/.trash/f", "T").await, 403);
    assert_eq!(site.get(&version).await.status, 200, "it stays in the trash");
}

#[tokio::test]
async fn nothing_is_changed_in_the_trash_and_the_refusal_says_what_to_do() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"text").await;
    site.send("DELETE", "/pool/f", &[], b"").await;
    site.put("/pool/g", b"text").await;
    let version = format!("/pool/.trash/{}", listed(&site, "/pool/.trash/").await[0]);
    let patch = "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><x xmlns='urn:x'>1</x></D:prop></D:set>\
                 </D:propertyupdate>";
    let to_g = [("Destination", "/pool/g")];
    let into = [("Destination", "/pool/.trash/g")];
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str);
    let cases: [Case<'_>; 11] = [
        ("PUT", &version, &[], "other"),
        ("PUT", "/pool/.trash/new", &[], "other"),
        ("PUT", "/pool/.trash", &[], "other"),
        ("MKCOL", "/pool/.trash/new", &[], ""),
        ("DELETE", &version, &[], ""),
        ("DELETE", "/pool/.trash", &[], ""),
        ("MOVE", &version, &to_g, ""),
        ("MOVE", "/pool/g", &into, ""),
        ("COPY", "/pool/.trash/", &to_g, ""),
        ("PROPPATCH", &version, &[], patch),
        ("LOCK", &version, &[], LOCK),
    ];
    for (method, path, headers, body) in cases {
        let answer = site.send(method, path, headers, body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
        assert!(answer.text().contains("trash"), "{method} {path}: {}", answer.text());
    }
    assert_eq!(site.send("MKCOL", "/pool/.trash", &[], b"").await.status, 405);
    assert_eq!((site.get("/pool/g").await.text(), site.get(&version).await.text()), ("text".into(), "text".into()));
}

#[tokio::test]
async fn the_root_does_not_list_the_trash_and_a_real_entry_of_that_name_goes_before_it() {
    let (pool, site) = site().await;
    site.put("/pool/f", b"text").await;
    site.send("DELETE", "/pool/f", &[], b"").await;
    assert_eq!(listed(&site, "/pool/").await, [""; 0]);
    let path = shoal_ledger::NodePath::new(dci_proto::VolumeId(1), vec![".trash".to_owned()]).expect("a path");
    let guard = shoal_ledger::Guard::default();
    pool.ledger
        .submit_now(shoal_ledger::Command::MakeFolder { path, guard, modified_ms: None })
        .expect("made before the name was taken");
    assert_eq!(
        (listed(&site, "/pool/").await, listed(&site, "/pool/.trash/").await.len()),
        (vec![".trash/".into()], 0)
    );
    site.put("/pool/.trash/mine", b"text").await;
    assert_eq!(site.send("DELETE", "/pool/.trash", &[], b"").await.status, 204);
    assert_eq!(listed(&site, "/pool/.trash/").await.len(), 2, "the trash again, with what was in that folder");
}
