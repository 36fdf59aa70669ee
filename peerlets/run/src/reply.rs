//! What comes back of a command: pieces of output as they come, then how it ended. XML in the bodies of replies.
//!
//! ```xml
//! <output xmlns="urn:shoal:run:1" stream="out">Filesystem      Size  Used …</output>
//! <ended xmlns="urn:shoal:run:1" status="0" time-ms="12"/>
//! ```

use dci_proto::message::Body;
use dci_proto::xml::escape;
use shoal_peerlet_program::body;

use crate::{CodecError, NAMESPACE};

/// Where a command printed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The command printed this.
    Output {
        /// Where.
        stream: Stream,
        /// What, readable: see `gather`.
        text: String,
    },
    /// The command has ended, or was not run. The last reply.
    Ended {
        /// Its exit status, 128 + N where signal N ended it, or one of the `STATUS_…`.
        status: i32,
        /// How long it took, in ms.
        time_ms: u64,
        /// What else there is to say, for people; empty where nothing is.
        why: String,
    },
}

impl Reply {
    /// The body of the message that says it.
    ///
    /// # Errors
    /// If it is too large.
    pub fn to_body(&self) -> Result<Body, CodecError> {
        let (mut xml, name, text) = match self {
            Self::Output { stream, text } => {
                (format!("<output xmlns=\"{NAMESPACE}\" stream=\"{}\">", stream.as_str()), "output", text)
            }
            Self::Ended { status, time_ms, why } => {
                (format!("<ended xmlns=\"{NAMESPACE}\" status=\"{status}\" time-ms=\"{time_ms}\">"), "ended", why)
            }
        };
        escape(&mut xml, text);
        xml.push_str(&format!("</{name}>"));
        Ok(Body::of_xml(xml)?)
    }

    /// Reads one.
    ///
    /// # Errors
    /// If the body is none.
    pub fn of_body(body: &Body) -> Result<Self, CodecError> {
        let element = body::only(body, NAMESPACE).map_err(wrong)?;
        if !element.children.is_empty() {
            return Err(wrong("it has to be an element of text"));
        }
        let text = element.text.clone();
        match element.name.as_str() {
            "output" => {
                let [stream] = body::attributes(&element, ["stream"]).map_err(wrong)?;
                let known = [Stream::Out, Stream::Err].into_iter().find(|known| known.as_str() == stream);
                Ok(Self::Output { stream: known.ok_or_else(|| wrong("there is no such stream"))?, text })
            }
            "ended" => {
                let [status, time_ms] = body::attributes(&element, ["status", "time-ms"]).map_err(wrong)?;
                let (status, time_ms) = (status.parse().ok(), time_ms.parse().ok());
                let (status, time_ms) = status.zip(time_ms).ok_or_else(|| wrong("an attribute is no number"))?;
                Ok(Self::Ended { status, time_ms, why: text })
            }
            _ => Err(wrong("the element is another one")),
        }
    }
}

fn wrong(why: &str) -> CodecError {
    CodecError::Schema { what: "reply", why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_as_it_was_written() {
        for reply in [
            Reply::Output { stream: Stream::Out, text: " a<b>&\r\n\té李 ".into() },
            Reply::Output { stream: Stream::Err, text: String::new() },
            Reply::Ended { status: 0, time_ms: 0, why: String::new() },
            Reply::Ended { status: -7, time_ms: u64::MAX, why: "it <took> too long".into() },
        ] {
            assert_eq!(Reply::of_body(&reply.to_body().expect("a body")), Ok(reply));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let ours = "xmlns='urn:shoal:run:1'";
        for bad in [
            String::new(),
            "text".into(),
            "<output stream='out'>a</output>".into(),
            format!("<output {ours}>a</output>"),
            format!("<output {ours} stream='both'>a</output>"),
            format!("<output {ours} stream='out' more='1'>a</output>"),
            format!("<output {ours} stream='out'>a<b/></output>"),
            format!("<output {ours} stream='out'/><output {ours} stream='out'/>"),
            format!("<ended {ours} status='0'/>"),
            format!("<ended {ours} status='x' time-ms='1'/>"),
            format!("<ended {ours} status='0' time-ms='-1'/>"),
            format!("<begun {ours}/>"),
        ] {
            assert!(Reply::of_body(&Body::of_xml(bad.clone()).expect("a body")).is_err(), "{bad}");
        }
    }
}
