//! XML from outside, read with suspicion: UTF-8 only, no document types, no entities but the five and characters,
//! bounded in depth and elements; how many bytes are taken is for the caller to say before.

use std::borrow::Cow;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

/// Elements within elements, at most. Real requests nest five deep; property values of Office some more.
pub const DEPTH_LIMIT: usize = 64;
/// Attributes of an element, at most: whether one is there twice is looked for among all of them.
const ATTRIBUTES_LIMIT: usize = 256;
/// Namespaces in scope at a place, at most.
const NAMESPACES_LIMIT: usize = 64;

/// WebDAV's own namespace.
pub const DAV: &str = "DAV:";
/// The namespace every document has without saying so.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Why a body is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadXml(pub &'static str);

/// An element with everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Its namespace; empty for none.
    pub namespace: String,
    /// Its local name.
    pub name: String,
    /// The text directly in it, entities resolved.
    pub text: String,
    /// Its attributes but for declarations, as written, with values unescaped.
    pub attributes: Vec<(String, String)>,
    /// The elements directly in it, in order.
    pub children: Vec<Self>,
    /// Where it is in the document.
    pub span: Range<usize>,
    /// Where what is between its start and end tags is in the document; empty for an empty element.
    pub inner: Range<usize>,
    /// Bytes of its name as written, prefix included.
    written_name_bytes: usize,
    /// Namespace declarations (and `xml:lang`) of its own, as attributes.
    pub declared: Vec<(String, String)>,
    /// Namespace declarations (and `xml:lang`) it has from the elements around it, as attributes.
    inherited: Vec<(String, String)>,
}

impl Element {
    /// Whether it is WebDAV's element of this name.
    #[must_use]
    pub fn is_dav(&self, name: &str) -> bool {
        self.namespace == DAV && self.name == name
    }

    /// WebDAV's element of this name right in it.
    #[must_use]
    pub fn dav_child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is_dav(name))
    }

    /// The element as it stands in `body`, with the declarations it needs to stand alone.
    #[must_use]
    pub fn standalone(&self, body: &[u8]) -> Vec<u8> {
        self.standing_with(body, self.inherited.iter())
    }

    /// What is in the element, as it stands in `document`, to be put into another place whose default namespace is `home`:
    /// the elements in it have the declarations they name, and `xml:lang`, from around them. Not for elements nested deep.
    #[must_use]
    pub fn inner_for(&self, document: &[u8], home: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = self.inner.start;
        for child in &self.children {
            out.extend_from_slice(document.get(at..child.span.start).unwrap_or_default());
            let written = document.get(child.span.clone()).unwrap_or_default();
            let needed = child.inherited.iter().filter(|(name, value)| match name.strip_prefix("xmlns:") {
                Some(prefix) => names_prefix(written, prefix),
                None => name != "xmlns" || value != home,
            });
            out.extend(child.standing_with(document, needed));
            at = child.span.end;
        }
        out.extend_from_slice(document.get(at..self.inner.end).unwrap_or_default());
        out
    }

    fn standing_with<'a>(&self, body: &[u8], declared: impl Iterator<Item = &'a (String, String)>) -> Vec<u8> {
        let written = body.get(self.span.clone()).unwrap_or_default();
        let (head, tail) = written.split_at((1 + self.written_name_bytes).min(written.len()));
        let mut xml = head.to_vec();
        for (name, value) in declared {
            let mut escaped = String::new();
            escape(&mut escaped, value);
            xml.extend_from_slice(format!(" {name}=\"{escaped}\"").as_bytes());
        }
        xml.extend_from_slice(tail);
        xml
    }
}

/// Whether a prefix, followed by a colon, stands anywhere in XML: in names, or in values that are names.
fn names_prefix(written: &[u8], prefix: &str) -> bool {
    let wanted = format!("{prefix}:");
    written.windows(wanted.len()).any(|part| part == wanted.as_bytes())
}

/// A document with line ends as XML has them (XML 1.0 §2.11): `\r\n`, and `\r` alone, are `\n`.
#[must_use]
pub fn with_line_feeds(document: &[u8]) -> Cow<'_, [u8]> {
    if !document.contains(&b'\r') {
        return Cow::Borrowed(document);
    }
    let mut out = Vec::with_capacity(document.len());
    let mut bytes = document.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
            out.push(b'\n');
        } else {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

/// Appends text so that it is safe in XML text and attributes; what XML cannot hold becomes U+FFFD.
pub fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(if allowed(other) { other } else { '\u{fffd}' }),
        }
    }
}

/// XML 1.0 §2.2.
fn allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Reads a document of so many elements, at most.
///
/// # Errors
/// What is wrong with it.
pub fn parse(body: &[u8], elements_limit: usize) -> Result<Element, BadXml> {
    let text = std::str::from_utf8(body).map_err(|_| BadXml("it is not UTF-8"))?;
    if !text.chars().all(allowed) {
        return Err(BadXml("it has characters that XML cannot hold"));
    }
    // The reader would pass over it, and count from behind it.
    let marked = text.strip_prefix('\u{feff}').unwrap_or(text);
    let offset = text.len() - marked.len();
    let mut reader = Reader::from_str(marked);
    reader.config_mut().check_comments = true;
    let mut tree = Tree { elements_left: elements_limit, ..Tree::default() };
    let mut start = offset;
    loop {
        let event = reader.read_event().map_err(|_| BadXml("it is not well-formed"))?;
        let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX).saturating_add(offset);
        match event {
            Event::Start(tag) => tree.open(&tag, start..end)?,
            Event::Empty(tag) => {
                tree.open(&tag, start..end)?;
                tree.close(end..end);
            }
            Event::End(_) => tree.close(start..end),
            Event::Text(text) => tree.text(&text)?,
            Event::CData(data) => tree.text(&data)?,
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) if allowed(character) => tree.text(character.encode_utf8(&mut [0; 4]))?,
                Ok(None) => {
                    tree.text(resolve_predefined_entity(&reference).ok_or(BadXml("entities are not taken"))?)?;
                }
                _ => return Err(BadXml("a character reference is none")),
            },
            Event::DocType(_) => return Err(BadXml("document types are not taken")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => return tree.finish(),
        }
        start = end;
    }
}

#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    /// Declarations in scope, innermost last, and how many there were when each open element began.
    scope: Vec<(String, String)>,
    marks: Vec<usize>,
    elements_left: usize,
    root: Option<Element>,
}

impl Tree {
    fn open(&mut self, tag: &BytesStart<'_>, span: Range<usize>) -> Result<(), BadXml> {
        if self.root.is_some() && self.open.is_empty() {
            return Err(BadXml("there are two root elements"));
        }
        self.elements_left = self.elements_left.checked_sub(1).ok_or(BadXml("there are too many elements"))?;
        if self.open.len() >= DEPTH_LIMIT {
            return Err(BadXml("the elements nest too deep"));
        }
        let inherited_from = self.scope.len();
        self.marks.push(inherited_from);
        let written = tag.name().into_inner();
        let (mut prefixes, mut attributes) = (Vec::new(), Vec::new());
        for (number, attribute) in tag.attributes().enumerate() {
            if number >= ATTRIBUTES_LIMIT {
                return Err(BadXml("an element has too many attributes"));
            }
            let attribute = attribute.map_err(|_| BadXml("an attribute is malformed"))?;
            let name = attribute.key.into_inner();
            let value = quick_xml::escape::unescape(&attribute.value).map_err(|_| BadXml("entities are not taken"))?;
            if attribute.value.contains('<') || !value.chars().all(allowed) {
                return Err(BadXml("an attribute's value is malformed"));
            }
            if name != "xmlns" && !name.starts_with("xmlns:") {
                attributes.push((name.to_owned(), value.clone().into_owned()));
            }
            if name == "xmlns" || name == "xml:lang" {
                self.scope.push((name.to_owned(), value.into_owned()));
            } else if name.starts_with("xmlns:") {
                if value.is_empty() {
                    return Err(BadXml("a prefix stands for no namespace"));
                }
                self.scope.push((name.to_owned(), value.into_owned()));
            } else if let Some((prefix, local)) = name.split_once(':') {
                check_name(prefix)?;
                check_name(local)?;
                prefixes.push(prefix.to_owned());
            } else {
                check_name(name)?;
            }
        }
        if self.scope.len() > NAMESPACES_LIMIT {
            return Err(BadXml("there are too many namespaces"));
        }
        for prefix in prefixes {
            self.namespace(Some(&prefix))?;
        }
        let (prefix, local) = match written.split_once(':') {
            Some((prefix, local)) => (Some(prefix), local),
            None => (None, written),
        };
        check_name(local)?;
        let element = Element {
            namespace: self.namespace(prefix)?,
            name: local.to_owned(),
            written_name_bytes: written.len(),
            declared: self.scope.get(inherited_from..).unwrap_or_default().to_vec(),
            inherited: self.inherited(inherited_from),
            inner: span.end..span.end,
            span,
            attributes,
            ..Element::default()
        };
        self.open.push(element);
        Ok(())
    }

    /// What an element that begins now has from around it and does not declare anew. Only wanted near the root, where
    /// properties are.
    fn inherited(&self, from: usize) -> Vec<(String, String)> {
        if self.open.len() > 4 {
            return Vec::new();
        }
        let (around, own) = self.scope.split_at(from);
        let mut inherited: Vec<(String, String)> = Vec::new();
        for (name, value) in around.iter().rev() {
            let known = own.iter().chain(&inherited).any(|(other, _)| other == name);
            if !known {
                inherited.push((name.clone(), value.clone()));
            }
        }
        inherited
    }

    fn namespace(&self, prefix: Option<&str>) -> Result<String, BadXml> {
        let wanted = match prefix {
            Some("xml") => return Ok(XML.to_owned()),
            Some(prefix) => {
                check_name(prefix)?;
                format!("xmlns:{prefix}")
            }
            None => "xmlns".to_owned(),
        };
        match self.scope.iter().rev().find(|(name, _)| *name == wanted) {
            Some((_, uri)) => Ok(uri.clone()),
            None if prefix.is_none() => Ok(String::new()),
            None => Err(BadXml("a prefix is not declared")),
        }
    }

    fn text(&mut self, text: &str) -> Result<(), BadXml> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() => {}
            None => return Err(BadXml("there is text outside the root element")),
        }
        Ok(())
    }

    fn close(&mut self, tag: Range<usize>) {
        let Some(mut element) = self.open.pop() else { return };
        (element.inner.end, element.span.end) = (tag.start, tag.end);
        self.scope.truncate(self.marks.pop().unwrap_or_default());
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
    }

    fn finish(self) -> Result<Element, BadXml> {
        if !self.open.is_empty() {
            return Err(BadXml("it ends within an element"));
        }
        self.root.ok_or(BadXml("there is no root element"))
    }
}

/// A name without a prefix (Namespaces in XML §4), roughly: enough that it is safe to write out again.
fn check_name(name: &str) -> Result<(), BadXml> {
    let starts = |first: char| first.is_alphabetic() || first == '_' || (!first.is_ascii() && !first.is_whitespace());
    let goes_on = |other: char| {
        starts(other)
            || other.is_ascii_digit()
            || other == '-'
            || other == '.'
            || (!other.is_ascii() && !other.is_whitespace())
    };
    let mut characters = name.chars();
    if characters.next().is_some_and(starts) && characters.all(goes_on) {
        return Ok(());
    }
    Err(BadXml("a name is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_with_its_namespaces() {
        let root = parse(
            br#"<?xml version="1.0"?><a xmlns="DAV:" xmlns:z="urn:z"><z:b/><c xmlns="">x&amp;&#65;<![CDATA[<]]></c></a>"#,
            100,
        )
        .expect("a document");
        assert!(root.is_dav("a"));
        let names = root.children.iter().map(|child| (child.namespace.as_str(), child.name.as_str()));
        assert_eq!(names.collect::<Vec<_>>(), [("urn:z", "b"), ("", "c")]);
        assert_eq!(root.children[1].text, "x&A<");
    }

    #[test]
    fn an_element_stands_alone_with_the_declarations_it_had() {
        let body = br#"<a xmlns="DAV:" xmlns:z="urn:z" xml:lang="de"><z:b xmlns:y="urn:y">1<c/></z:b></a>"#;
        let root = parse(body, 100).expect("a document");
        let alone = String::from_utf8(root.children[0].standalone(body)).expect("text");
        assert_eq!(alone, r#"<z:b xml:lang="de" xmlns:z="urn:z" xmlns="DAV:" xmlns:y="urn:y">1<c/></z:b>"#);
        let again = parse(alone.as_bytes(), 100).expect("a document");
        assert_eq!((again.namespace.as_str(), again.name.as_str()), ("urn:z", "b"));
        assert!(again.children[0].is_dav("c"));
    }

    #[test]
    fn a_byte_order_mark_moves_nothing() {
        let body = "\u{feff}<a><b>1</b></a>".as_bytes();
        let root = parse(body, 100).expect("a document");
        assert_eq!(root.children[0].standalone(body), b"<b>1</b>");
        assert_eq!(body.get(root.children[0].inner.clone()), Some(b"1".as_slice()));
    }

    #[test]
    fn what_is_in_an_element_can_be_put_elsewhere_with_what_it_names() {
        let put = |document: &str| {
            let root = parse(document.as_bytes(), 100).expect("a document");
            String::from_utf8(root.inner_for(document.as_bytes(), "urn:home")).expect("text")
        };
        for (document, expected) in [
            ("<a>1 &amp; <![CDATA[2]]><!-- 3 --></a>", "1 &amp; <![CDATA[2]]><!-- 3 -->"),
            ("<a xmlns='urn:home'>x<b/>y<c>z</c></a>", "x<b/>y<c>z</c>"),
            ("<a xmlns='urn:away'><b/></a>", "<b xmlns=\"urn:away\"/>"),
            (
                "<a xmlns:u='urn:u' xmlns:v='urn:v'><u:b/>t<b c='v:d'/></a>",
                "<u:b xmlns:u=\"urn:u\"/>t<b xmlns:v=\"urn:v\" c='v:d'/>",
            ),
            (
                "<a xml:lang='de' xmlns:u='urn:u'><b xmlns:u='urn:w'><u:c/></b></a>",
                "<b xml:lang=\"de\" xmlns:u='urn:w'><u:c/></b>",
            ),
            ("<a/>", ""),
        ] {
            assert_eq!(put(document), expected, "{document}");
        }
    }

    #[test]
    fn line_ends_are_line_feeds() {
        for (bytes, expected) in [("a\r\nb\rc\n\r\n\r", "a\nb\nc\n\n\n"), ("a\n", "a\n"), ("", "")] {
            assert_eq!(&*with_line_feeds(bytes.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = format!("{}{}", "<a>".repeat(65), "</a>".repeat(65));
        let wide = format!("<a>{}</a>", "<b/>".repeat(4096));
        let many = format!("<a {}/>", (0..257).map(|number| format!("a{number}='' ")).collect::<String>());
        for bad in [
            "",
            "garbage<<<",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>text",
            "<x:a/>",
            "<a x:y='1'/>",
            "<a b='<'/>",
            "<a b='1' b='2'/>",
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
            "<a>&e;</a>",
            "<a b='&e;'/>",
            "<a>&#1;</a>",
            "<a>\u{1}</a>",
            "<a xmlns:x=''/>",
            "<a><!-- -- --></a>",
            &deep,
            &wide,
            &many,
        ] {
            assert!(parse(bad.as_bytes(), 4096).is_err(), "{}", &bad[..bad.len().min(60)]);
        }
        assert!(parse(b"\xff\xfe<\0a\0/\0>\0", 100).is_err());
    }

    #[test]
    fn text_is_escaped_and_what_xml_cannot_hold_replaced() {
        let mut out = String::new();
        escape(&mut out, "a<b>&\"\u{1}\u{fffe}é");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;\u{fffd}\u{fffd}é");
    }
}
