//! Laws of what WebDAV clients send, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from their seeds,
//! by every test run.

use crate::href::UrlPath;
use crate::ranges::Wanted;
use crate::{XML_ELEMENTS_LIMIT, if_header, ranges, times};
use dci_proto::xml::{self, Element};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("dav_xml", body, body_seeds), ("dav_headers", headers, header_seeds)];

/// What is kept of a body stands alone: it reads as the same elements.
fn body(bytes: &[u8]) {
    let Ok(root) = xml::parse(bytes, XML_ELEMENTS_LIMIT) else { return };
    for element in root.children.iter().chain([&root]) {
        let alone = element.standalone(bytes);
        match xml::parse(&alone, XML_ELEMENTS_LIMIT) {
            Ok(again) => assert!(same(element, &again), "{}", String::from_utf8_lossy(&alone)),
            Err(error) => panic!("{error:?}: {}", String::from_utf8_lossy(&alone)),
        }
    }
}

fn same(one: &Element, other: &Element) -> bool {
    (&one.namespace, &one.name, &one.text) == (&other.namespace, &other.name, &other.text)
        && one.children.len() == other.children.len()
        && one.children.iter().zip(&other.children).all(|(one, other)| same(one, other))
}

/// Headers and paths: ranges lie within the file and apart, a path that is taken is the same after it is sent out.
fn headers(bytes: &[u8]) {
    const SIZE_BYTES: u64 = 1000;
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Wanted::Parts(parts) = ranges::parse(text, SIZE_BYTES) {
        assert!(!parts.is_empty() && parts.windows(2).all(|pair| pair[0].end <= pair[1].start));
        assert!(parts.iter().all(|part| part.start < part.end && part.end <= SIZE_BYTES));
    }
    // Encoded it is up to three times as long, which may be over the limit.
    if let Ok(path) = UrlPath::parse(text)
        && text.len() < 5000
    {
        let sent = path.encode(path.slash);
        assert!(UrlPath::parse(&sent).is_ok_and(|again| again.names == path.names), "{sent}");
    }
    if let Some(lists) = if_header::parse(text) {
        assert!(!lists.is_empty() && lists.iter().all(|list| !list.conditions.is_empty()));
    }
    let _ = (times::parse_http_date(text), times::parse_rfc3339(text), times::parse_oc_mtime(text));
}

fn body_seeds() -> Vec<Vec<u8>> {
    [
        r#"<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><x:a xmlns:x="urn:x">t</x:a></D:prop></D:propfind>"#,
        r#"<propertyupdate xmlns="DAV:"><set><prop><a xmlns="urn:a" xml:lang="en">&lt;&#65;<![CDATA[<b>]]></a></prop></set></propertyupdate>"#,
        r#"<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:owner><D:href>a</D:href></D:owner></D:lockinfo>"#,
        r#"<a><!-- comment --><b c="1"/>text</a>"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn header_seeds() -> Vec<Vec<u8>> {
    [
        r#"</a> (Not <urn:uuid:1> ["etag"]) (<urn:uuid:2>)"#,
        r#"(<urn:a> [W/"w]x"])"#,
        "bytes=0-9,20-,-5",
        "/folder/%C3%A4%20name/",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "1985-04-12T23:20:50.52Z",
        "1700000000.25",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
