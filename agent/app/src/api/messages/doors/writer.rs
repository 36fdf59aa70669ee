//! XML as it is written: every value is escaped, every element closed.

use dci_proto::xml::escape;

/// A document on its way.
pub(super) struct Writer {
    out: String,
    open: Vec<&'static str>,
    /// The start tag of the innermost element can still take attributes.
    in_tag: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { out: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(), open: Vec::new(), in_tag: false }
    }

    /// Begins an element.
    pub(super) fn open(&mut self, name: &'static str) -> &mut Self {
        self.end_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(name);
        self.in_tag = true;
        self
    }

    /// Gives the element that has just begun an attribute.
    pub(super) fn with(&mut self, name: &str, value: &str) -> &mut Self {
        debug_assert!(self.in_tag, "an attribute {name} outside a start tag");
        if self.in_tag {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            for character in value.chars() {
                // As such they would come back as spaces.
                match character {
                    '\n' => self.out.push_str("&#10;"),
                    '\t' => self.out.push_str("&#9;"),
                    other => escape(&mut self.out, other.encode_utf8(&mut [0; 4])),
                }
            }
            self.out.push('"');
        }
        self
    }

    /// The same, if there is a value.
    pub(super) fn with_some(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.end_tag();
        escape(&mut self.out, text);
        self
    }

    /// XML that is well-formed and declares what it names, such as the body of a message.
    pub(super) fn raw(&mut self, xml: &str) -> &mut Self {
        self.end_tag();
        self.out.push_str(xml);
        self
    }

    /// Ends the innermost element.
    pub(super) fn close(&mut self) -> &mut Self {
        let name = self.open.pop();
        match name {
            Some(_) if self.in_tag => self.out.push_str("/>"),
            Some(name) => {
                self.out.push_str("</");
                self.out.push_str(name);
                self.out.push('>');
            }
            None => {}
        }
        self.in_tag = false;
        self
    }

    /// An element that has only text.
    pub(super) fn leaf(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.open(name).text(text).close()
    }

    /// The same, if there is a text.
    pub(super) fn leaf_some(&mut self, name: &'static str, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.leaf(name, text),
            None => self,
        }
    }

    /// The whole document.
    pub(super) fn end(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn end_tag(&mut self) {
        if self.in_tag {
            self.out.push('>');
            self.in_tag = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Writer;

    #[test]
    fn what_is_written_is_read_again_whatever_it_says() {
        let nasty = "<a b=\"c\">&amp;'\u{1}\r\n\t]]>";
        let mut writer = Writer::new();
        writer.open("a").with("b", nasty).with_some("c", None).leaf("d", nasty).open("e").close().raw("<f/>").text("g");
        let document = writer.end();
        let root = dci_proto::xml::parse(document.as_bytes(), 10).expect("a document");
        let said = "<a b=\"c\">&amp;'\u{fffd}\r\n\t]]>";
        assert_eq!(root.attributes, [("b".to_owned(), said.to_owned())]);
        let names: Vec<&str> = root.children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!((names.as_slice(), root.children[0].text.as_str()), (["d", "e", "f"].as_slice(), said));
    }
}
