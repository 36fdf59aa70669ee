//! What is to be run: XML in the body of a message of type `run`.
//!
//! ```xml
//! <run xmlns="urn:shoal:run:1" timeout-s="60">
//!   <command>df</command><argument>-h</argument><input>text for its standard input</input>
//! </run>
//! ```

use dci_proto::message::Body;
use dci_proto::xml::{Element, escape};
use shoal_peerlet_program::body;

use crate::{CodecError, NAMESPACE};

/// Seconds a command may take unless the request says otherwise.
pub const TIMEOUT_USUAL_S: u64 = 60;
/// Seconds a command may take, at most: some minutes less than the peerlet itself, so that it ends the command and not the host it.
pub const TIMEOUT_LIMIT_S: u64 = 86_000;
/// Bytes of a command's name.
const COMMAND_LIMIT_BYTES: usize = 4_096;
/// Arguments of a command.
const ARGUMENTS_LIMIT: usize = 1_024;
/// Bytes of one argument: what Linux takes.
const ARGUMENT_LIMIT_BYTES: usize = 128 * 1024 - 1;
/// Bytes of all arguments together.
const ARGUMENTS_LIMIT_BYTES: usize = 256 * 1024;
/// Bytes of what a command is given to read: within a message even if all of it has to be escaped. Larger things are files.
const INPUT_LIMIT_BYTES: usize = 128 * 1024;

/// A command that is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The program: a name, looked for in the system's folders, or an absolute path.
    pub command: String,
    /// Its arguments. No shell reads them.
    pub arguments: Vec<String>,
    /// What it finds on its standard input; `None`: nothing.
    pub input: Option<String>,
    /// Seconds after which it is ended.
    pub timeout_s: u64,
}

impl Request {
    /// The body of the message that asks for it.
    ///
    /// # Errors
    /// What is over a limit, or cannot be said in XML.
    pub fn to_body(&self) -> Result<Body, CodecError> {
        self.check()?;
        let mut xml = format!("<run xmlns=\"{NAMESPACE}\" timeout-s=\"{}\">", self.timeout_s);
        let mut element = |name: &str, text: &str| {
            xml.push_str(&format!("<{name}>"));
            escape(&mut xml, text);
            xml.push_str(&format!("</{name}>"));
        };
        element("command", &self.command);
        self.arguments.iter().for_each(|argument| element("argument", argument));
        self.input.iter().for_each(|input| element("input", input));
        xml.push_str("</run>");
        Ok(Body::of_xml(xml)?)
    }

    /// Reads one.
    ///
    /// # Errors
    /// If the body is none.
    pub fn of_body(body: &Body) -> Result<Self, CodecError> {
        let wrong = |why: &str| CodecError::Schema { what: "request", why: why.to_owned() };
        let run = body::only(body, NAMESPACE).map_err(wrong)?;
        if run.name != "run" {
            return Err(wrong("the element is another one"));
        }
        if !run.text.trim().is_empty() {
            return Err(wrong("there is text between the elements"));
        }
        let timeout_s = match run.attributes.as_slice() {
            [] => TIMEOUT_USUAL_S,
            [(name, value)] if name == "timeout-s" => {
                let plain = value.bytes().all(|byte| byte.is_ascii_digit());
                value.parse().ok().filter(|_| plain).ok_or_else(|| wrong("timeout-s is no number"))?
            }
            _ => return Err(wrong("it has other attributes than timeout-s")),
        };
        let mut children = run.children.iter();
        let command = children.next().filter(|first| first.name == "command");
        let command = plain(command.ok_or_else(|| wrong("it has to begin with the command"))?)?;
        let (mut arguments, mut input) = (Vec::new(), None);
        for child in children {
            match (child.name.as_str(), &input) {
                ("argument", None) => arguments.push(plain(child)?),
                ("input", None) => input = Some(plain(child)?),
                _ => return Err(wrong("after the command come arguments, then perhaps one input")),
            }
        }
        let request = Self { command, arguments, input, timeout_s };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), CodecError> {
        let over = |what: String| Err(CodecError::Limit(what));
        if !(1..=TIMEOUT_LIMIT_S).contains(&self.timeout_s) {
            return over(format!("a command may take 1 to {TIMEOUT_LIMIT_S} seconds, not {}", self.timeout_s));
        }
        if self.command.is_empty() || self.command.len() > COMMAND_LIMIT_BYTES {
            return over(format!("a command has a name of 1 to {COMMAND_LIMIT_BYTES} bytes"));
        }
        let bytes = self.arguments.iter().fold(0usize, |sum, argument| sum.saturating_add(argument.len()));
        if self.arguments.len() > ARGUMENTS_LIMIT || bytes > ARGUMENTS_LIMIT_BYTES {
            return over(format!(
                "a command has at most {ARGUMENTS_LIMIT} arguments of {ARGUMENTS_LIMIT_BYTES} bytes together"
            ));
        }
        if self.arguments.iter().any(|argument| argument.len() > ARGUMENT_LIMIT_BYTES) {
            return over(format!("an argument has at most {ARGUMENT_LIMIT_BYTES} bytes"));
        }
        if self.input.as_ref().is_some_and(|input| input.len() > INPUT_LIMIT_BYTES) {
            return over(format!(
                "the input has at most {INPUT_LIMIT_BYTES} bytes; larger things are put on the drive"
            ));
        }
        let mut texts = self.arguments.iter().chain([&self.command]).chain(&self.input);
        if texts.any(|text| !text.chars().all(sayable)) {
            return over(
                "commands, arguments and input are text: XML cannot hold some of their control characters".into(),
            );
        }
        Ok(())
    }

    /// The command line for people, quoted as a shell would need it; what it reads is not in it.
    #[must_use]
    pub fn command_line(&self) -> String {
        let words = [&self.command].into_iter().chain(&self.arguments);
        words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

/// The text of an element of ours that has nothing else.
fn plain(element: &Element) -> Result<String, CodecError> {
    let only_text = element.children.is_empty() && element.attributes.is_empty() && element.namespace == NAMESPACE;
    if only_text {
        return Ok(element.text.clone());
    }
    Err(CodecError::Schema { what: "request", why: "command, argument and input hold text and nothing else".into() })
}

/// XML 1.0 §2.2.
fn sayable(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn quoted(word: &str) -> String {
    let bare = |character: char| character.is_alphanumeric() || "-_./:=,@%+^".contains(character);
    if !word.is_empty() && word.chars().all(bare) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(command: &str, arguments: &[&str]) -> Request {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Request { command: command.to_owned(), arguments, input: None, timeout_s: TIMEOUT_USUAL_S }
    }

    fn body(xml: &str) -> Body {
        Body::of_xml(xml.to_owned()).expect("a body")
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let plain = request("df", &["-h", "", " a b ", "<&>\"'\r\n\té李", "--x=1"]);
        let with_input = Request { input: Some("line\r\nline\n".into()), timeout_s: 5, ..plain.clone() };
        for request in [request("/bin/true", &[]), plain, with_input] {
            assert_eq!(Request::of_body(&request.to_body().expect("a body")), Ok(request));
        }
    }

    #[test]
    fn others_may_write_it_in_their_own_way() {
        let xml = "\n<r:run xmlns:r='urn:shoal:run:1'>\n <r:command>df</r:command>\n <r:argument><![CDATA[<]]></r:argument> </r:run>";
        assert_eq!(Request::of_body(&body(xml)), Ok(request("df", &["<"])));
    }

    #[test]
    fn what_is_not_as_the_schema_says_is_refused() {
        let run = |inner: &str| format!("<run xmlns=\"urn:shoal:run:1\">{inner}</run>");
        let of = |attributes: &str| format!("<run xmlns=\"urn:shoal:run:1\" {attributes}><command>a</command></run>");
        for bad in [
            String::new(),
            "df -h".into(),
            "<run><command>a</command></run>".into(),
            "<run xmlns='urn:shoal:run:2'><command>a</command></run>".into(),
            format!("x{}", run("<command>a</command>")),
            run("<command>a</command>").repeat(2),
            run(""),
            run("<argument>a</argument>"),
            run("<command></command>"),
            run("<command>a</command><command>b</command>"),
            run("<command>a</command>text"),
            run("<command a='1'>a</command>"),
            run("<command>a<b/></command>"),
            run("<command xmlns='urn:x'>a</command>"),
            run("<command>a</command><input>1</input><input>2</input>"),
            run("<command>a</command><input>1</input><argument>2</argument>"),
            run("<command>a</command><shell/>"),
            of("timeout-s='0'"),
            of("timeout-s='-1'"),
            of("timeout-s='+1'"),
            of("timeout-s='1.5'"),
            of("timeout-s='86001'"),
            of("timeout-s='99999999999999999999999'"),
            of("timeout-s='1' user='root'"),
        ] {
            assert!(Request::of_body(&body(&bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_cut_or_replaced_in_silence() {
        for bad in [
            request("", &[]),
            request(&"a".repeat(COMMAND_LIMIT_BYTES + 1), &[]),
            request("a", &[&"b".repeat(ARGUMENT_LIMIT_BYTES + 1)]),
            request("a", &["b"; ARGUMENTS_LIMIT + 1]),
            request("a", &["\0"]),
            request("a", &["\u{1b}[2J"]),
            Request { input: Some("\u{7}".into()), ..request("a", &[]) },
            Request { input: Some("i".repeat(INPUT_LIMIT_BYTES + 1)), ..request("a", &[]) },
            Request { timeout_s: 0, ..request("a", &[]) },
            Request { timeout_s: TIMEOUT_LIMIT_S + 1, ..request("a", &[]) },
        ] {
            assert!(bad.to_body().is_err(), "{:.80?}", bad);
        }
        let largest = "\"".repeat(INPUT_LIMIT_BYTES);
        assert!(Request { input: Some(largest), ..request("a", &[]) }.to_body().is_ok(), "fits however it is written");
    }

    #[test]
    fn a_command_line_can_be_read_and_typed_again() {
        let line = request("df", &["-h", "/a b", "it's", "", "a;b"]).command_line();
        assert_eq!(line, r"df -h '/a b' 'it'\''s' '' 'a;b'");
        let secret = Request { input: Some("secret".into()), ..request("cat", &[]) };
        assert_eq!(secret.command_line(), "cat");
    }
}
