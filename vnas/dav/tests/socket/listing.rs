//! Listings and properties.

use crate::common::site;
use shoal_dav::DoorConfig;

const ALLPROP: &[u8] = b"<D:propfind xmlns:D='DAV:'><D:allprop/></D:propfind>";

#[tokio::test]
async fn a_tree_is_listed_whole_up_to_the_limit_and_refused_as_the_rfc_says_beyond() {
    let (pool, _) = site().await;
    let site = pool.door(DoorConfig { infinity_limit_nodes: 5, ..DoorConfig::default() }, None).await;
    site.make_folder("/pool/a").await;
    site.make_folder("/pool/a/b").await;
    site.put("/pool/a/b/c", b"1").await;
    let answer = site.send("PROPFIND", "/pool/a", &[("Depth", "infinity")], b"").await;
    assert_eq!((answer.status, answer.text().matches("<D:response>").count()), (207, 3));
    for name in 0..5 {
        site.put(&format!("/pool/a/{name}"), b"1").await;
    }
    let answer = site.send("PROPFIND", "/pool/a", &[], b"").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("<D:propfind-finite-depth>"), "{}", answer.text());
}

#[tokio::test]
async fn a_folder_of_many_pages_is_listed_once_each() {
    let (pool, site) = site().await;
    let drive = shoal_volume::DriveConfig::new(pool.peers.agents()[0], 2, [7; 32]);
    let drive = shoal_volume::Drive::new(pool.ledger.clone(), pool.peers.clone(), drive);
    let volume = drive.volumes().expect("volumes")[0].id;
    for name in 0..1100 {
        let path = shoal_ledger::NodePath::root(volume).child(&format!("{name:04}"));
        drive.make_folder(&path, shoal_ledger::Guard::default()).await.expect("a folder");
    }
    let answer = site.send("PROPFIND", "/pool/", &[("Depth", "1")], ALLPROP).await;
    assert!(answer.whole);
    let text = answer.text();
    let names: Vec<&str> = text.split("<D:href>/pool/").skip(2).filter_map(|part| part.split('/').next()).collect();
    assert_eq!(names, (0..1100).map(|name| format!("{name:04}")).collect::<Vec<_>>());
    assert!(text.ends_with("</D:multistatus>\n"));
}

#[tokio::test]
async fn the_root_lists_the_volumes_and_is_read_only() {
    let (_pool, site) = site().await;
    let answer = site.send("PROPFIND", "/", &[("Depth", "1")], b"").await;
    let text = answer.text();
    assert_eq!(answer.status, 207);
    assert!(text.contains("<D:href>/</D:href>") && text.contains("<D:href>/pool/</D:href>"), "{text}");
    for (method, path) in [("MKCOL", "/new"), ("DELETE", "/pool"), ("DELETE", "/"), ("PROPPATCH", "/")] {
        assert_eq!(site.send(method, path, &[], b"").await.status, 403, "{method} {path}");
    }
    assert_eq!(site.send("MKCOL", "/pool", &[], b"").await.status, 405);
    assert_eq!(site.send("PROPFIND", "/nowhere", &[("Depth", "0")], b"").await.status, 404);
}

#[tokio::test]
async fn options_say_everything_the_door_can_do() {
    let (_pool, site) = site().await;
    for path in ["/", "/pool", "/pool/not-there", "*"] {
        let answer = site.send("OPTIONS", path, &[], b"").await;
        assert_eq!(answer.status, 200, "{path}");
        let allowed: Vec<&str> = answer.header("allow").expect("Allow").split(", ").collect();
        for method in
            ["OPTIONS", "GET", "HEAD", "PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPFIND", "PROPPATCH", "LOCK"]
        {
            assert!(allowed.contains(&method), "{method} at {path}");
        }
        assert_eq!((answer.header("dav"), answer.header("ms-author-via")), (Some("1, 2, 3"), Some("DAV")));
    }
    let patch = site.send("PATCH", "/pool/f", &[], b"x").await;
    assert!(patch.status == 405 && patch.header("allow").is_some());
}

#[tokio::test]
async fn quotas_are_told_but_to_the_macs_that_hang_on_them() {
    let (_pool, site) = site().await;
    let props = "<D:quota-available-bytes/><D:quota-used-bytes/>";
    let told = site.properties("/pool", "0", props).await.text();
    assert!(told.contains("<D:quota-used-bytes>0<") && told.contains("<D:quota-available-bytes>"), "{told}");
    let body = format!("<D:propfind xmlns:D='DAV:'><D:prop>{props}</D:prop></D:propfind>");
    let mac = [("Depth", "0"), ("User-Agent", "WebDAVFS/3.0.0 (03008000) Darwin/24.4.0 (arm64)")];
    let kept = site.send("PROPFIND", "/pool", &mac, body.as_bytes()).await.text();
    assert!(kept.contains("<D:quota-used-bytes/>") && kept.contains("404 Not Found"), "{kept}");
}

#[tokio::test]
async fn names_are_looked_up_normalised_and_listed_as_given() {
    let (_pool, site) = site().await;
    site.put("/pool/caf%C3%A9", b"1").await;
    assert_eq!(site.get("/pool/cafe%CC%81").await.body, b"1");
    let listed = site.send("PROPFIND", "/pool", &[("Depth", "1")], b"").await.text();
    assert!(listed.contains("<D:href>/pool/caf%C3%A9</D:href>"), "{listed}");
}

#[tokio::test]
async fn a_name_that_xml_cannot_hold_does_not_break_the_listing() {
    let (_pool, site) = site().await;
    site.put("/pool/ctl%01.txt", b"1").await;
    let listed = site.send("PROPFIND", "/pool", &[("Depth", "1")], b"").await.text();
    assert!(listed.contains("/pool/ctl%01.txt") && !listed.contains('\u{1}'), "{listed}");
}

#[tokio::test]
async fn dead_properties_are_kept_as_sent_and_go_along() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"1").await;
    let set = "<D:propertyupdate xmlns:D='DAV:' xmlns:q='urn:q' xml:lang='de'><D:set><D:prop><q:p a='1'>x <q:b/>&amp;\
               </q:p></D:prop></D:set></D:propertyupdate>";
    assert_eq!(site.send("PROPPATCH", "/pool/f", &[], set.as_bytes()).await.status, 207);
    assert_eq!(site.send("COPY", "/pool/f", &[("Destination", "/pool/g")], b"").await.status, 201);
    assert_eq!(site.send("MOVE", "/pool/f", &[("Destination", "/pool/h")], b"").await.status, 201);
    for path in ["/pool/g", "/pool/h"] {
        let listed = site.send("PROPFIND", path, &[("Depth", "0")], b"").await.text();
        assert!(
            listed.contains("<q:p xml:lang=\"de\" xmlns:q=\"urn:q\"") && listed.contains(" a='1'>x <q:b/>&amp;</q:p>"),
            "{listed}"
        );
    }
}

#[tokio::test]
async fn properties_are_changed_all_or_none() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"1").await;
    let set = "<D:propertyupdate xmlns:D='DAV:'><D:set><D:prop><D:getetag>1</D:getetag><n xmlns='urn:q'>1</n></D:prop>\
               </D:set></D:propertyupdate>";
    let answer = site.send("PROPPATCH", "/pool/f", &[], set.as_bytes()).await.text();
    assert!(answer.contains("<D:getetag/></D:prop><D:status>HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("<n:n xmlns:n=\"urn:q\"/></D:prop><D:status>HTTP/1.1 424"), "{answer}");
    let listed = site.properties("/pool/f", "0", "<n xmlns='urn:q'/>").await.text();
    assert!(listed.contains("404 Not Found"), "{listed}");
}

#[tokio::test]
async fn windows_sets_times_and_attributes() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"1").await;
    let set = "<D:propertyupdate xmlns:D='DAV:' xmlns:Z='urn:schemas-microsoft-com:'><D:set><D:prop>\
               <Z:Win32CreationTime>Sat, 21 Nov 2020 06:00:00 GMT</Z:Win32CreationTime>\
               <Z:Win32LastModifiedTime>Sat, 21 Nov 2020 07:00:00 GMT</Z:Win32LastModifiedTime>\
               <Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>";
    let answer = site.send("PROPPATCH", "/pool/f", &[], set.as_bytes()).await;
    assert!(answer.status == 207 && !answer.text().contains("HTTP/1.1 4"), "{answer:?}");
    assert_eq!(site.get("/pool/f").await.header("last-modified"), Some("Sat, 21 Nov 2020 07:00:00 GMT"));
    let props = "<D:creationdate/><Z:Win32CreationTime/><Z:Win32LastModifiedTime/><Z:Win32FileAttributes/>";
    let listed = site.properties("/pool/f", "0", props).await.text();
    for wanted in
        ["2020-11-21T06:00:00Z", "Sat, 21 Nov 2020 06:00:00 GMT", "07:00:00 GMT", ">00000020</Z:Win32FileAttributes>"]
    {
        assert!(listed.contains(wanted), "{wanted} in {listed}");
    }
}

#[tokio::test]
async fn hostile_xml_is_refused_fast() {
    let (_pool, site) = site().await;
    site.put("/pool/f", b"1").await;
    let laughs = "<!DOCTYPE a [<!ENTITY l 'lol'>]><D:propfind xmlns:D='DAV:'><D:prop><x xmlns='urn:x'>&l;</x></D:prop></D:propfind>";
    let deep = format!("<D:propfind xmlns:D='DAV:'>{}{}</D:propfind>", "<a>".repeat(30_000), "</a>".repeat(30_000));
    let long = format!("<D:propfind xmlns:D='DAV:'>{}</D:propfind>", " ".repeat(300_000));
    for method in ["PROPFIND", "PROPPATCH", "LOCK"] {
        for (body, status) in [(laughs, 400), (deep.as_str(), 400), ("garbage<<<", 400), (long.as_str(), 413)] {
            let answer = site.send(method, "/pool/f", &[("Depth", "0")], body.as_bytes()).await;
            assert_eq!(answer.status, status, "{method} {}", &body[..40.min(body.len())]);
        }
    }
}
