//! What an agent offers: the body of its message of type [`DIRECTORY_TYPE`].
//!
//! ```xml
//! <offer xmlns="urn:shoal:directory:1" agent-version="0.1.0" left-out="2">
//!   <peerlet type="chat" version="1.0.0" mode="service">Rooms to talk in</peerlet>
//!   <peerlet type="run" version="1.0.0" mode="oneshot" executes="true">Runs commands</peerlet>
//! </offer>
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::message::{Body, MessageError, MessageType, is_invisible};
use crate::xml::{self, Element};

/// The type of the messages that carry offers.
pub const DIRECTORY_TYPE: &str = "shoal.directory";
/// The namespace of an offer's elements, which is also its version.
pub const DIRECTORY_NAMESPACE: &str = "urn:shoal:directory:1";
/// Bytes of an offer as XML, at most: every agent holds those of all.
pub const OFFER_LIMIT_BYTES: usize = 16 * 1024;
/// Peerlets in an offer, at most.
pub const OFFER_PEERLETS_LIMIT: usize = 128;
/// Bytes of a version, at most.
pub const VERSION_LIMIT_BYTES: usize = 64;
/// Characters of a description, at most: as in manifests.
pub const DESCRIPTION_LIMIT_CHARS: usize = 200;
/// Bytes of an offer's own tags, at most.
const HEAD_BYTES: usize = 256;

/// Which messages share a process of a peerlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerletMode {
    /// None.
    Oneshot,
    /// Those of one session.
    Session,
    /// All.
    Service,
}

impl PeerletMode {
    /// Its name in XML, JSON and manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oneshot => "oneshot",
            Self::Session => "session",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for PeerletMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PeerletMode {
    type Err = MessageError;

    fn from_str(text: &str) -> Result<Self, MessageError> {
        let modes = [Self::Oneshot, Self::Session, Self::Service];
        modes.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| fault("a mode is none"))
    }
}

/// A peerlet of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerletOffer {
    /// The messages it is for.
    pub kind: MessageType,
    /// Which version runs there: letters, digits, `.`, `-`, `+`.
    pub version: String,
    /// Which messages share a process.
    pub mode: PeerletMode,
    /// What it does, in a line.
    pub description: String,
    /// Whether it runs what it is sent: nobody may send to it without a right given for that.
    pub executes: bool,
}

/// What an agent offers, within all limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    agent_version: String,
    /// In order of their types.
    peerlets: Vec<PeerletOffer>,
    left_out: u32,
}

impl Offer {
    /// An offer of what fits: characters that may not be there are left out, what is too long is cut, and of too many peerlets
    /// the last by type are only counted.
    #[must_use]
    pub fn new(agent_version: &str, peerlets: impl IntoIterator<Item = PeerletOffer>) -> Self {
        let sorted: BTreeMap<MessageType, PeerletOffer> =
            peerlets.into_iter().map(|peerlet| (peerlet.kind.clone(), clean(peerlet))).collect();
        let mut offer = Self { agent_version: clean_version(agent_version), peerlets: Vec::new(), left_out: 0 };
        let mut room_bytes = OFFER_LIMIT_BYTES - HEAD_BYTES;
        for peerlet in sorted.into_values() {
            let mut written = String::new();
            write(&mut written, &peerlet);
            let fits = written.len() <= room_bytes && offer.peerlets.len() < OFFER_PEERLETS_LIMIT;
            if fits && offer.left_out == 0 {
                room_bytes -= written.len();
                offer.peerlets.push(peerlet);
            } else {
                offer.left_out = offer.left_out.saturating_add(1);
            }
        }
        offer
    }

    /// The version of the agent.
    #[must_use]
    pub fn agent_version(&self) -> &str {
        &self.agent_version
    }

    /// Its peerlets, in order of their types.
    #[must_use]
    pub fn peerlets(&self) -> &[PeerletOffer] {
        &self.peerlets
    }

    /// How many more it has that did not fit.
    #[must_use]
    pub fn left_out(&self) -> u32 {
        self.left_out
    }

    /// The body of the message that carries it.
    ///
    /// # Errors
    /// If it was read from XML that was shorter than it is written here, and is too large therefore.
    pub fn to_body(&self) -> Result<Body, MessageError> {
        let mut body = format!("<offer xmlns=\"{DIRECTORY_NAMESPACE}\" agent-version=\"{}\"", self.agent_version);
        if self.left_out > 0 {
            body.push_str(&format!(" left-out=\"{}\"", self.left_out));
        }
        body.push('>');
        for peerlet in &self.peerlets {
            write(&mut body, peerlet);
        }
        body.push_str("</offer>");
        if body.len() > OFFER_LIMIT_BYTES {
            return Err(MessageError::TooLarge(body.len()));
        }
        Body::of_xml(body)
    }

    /// Reads one, strictly: what is not as [`Offer::new`] would make it is refused.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_body(body: &Body) -> Result<Self, MessageError> {
        if body.as_xml().len() > OFFER_LIMIT_BYTES {
            return Err(MessageError::TooLarge(body.as_xml().len()));
        }
        let elements = body.elements();
        let [root] = elements.as_slice() else { return Err(fault("the body is no offer")) };
        if root.namespace != DIRECTORY_NAMESPACE || root.name != "offer" {
            return Err(fault("the body is no offer"));
        }
        if !blank(&root.text) || !blank(&body.text()) {
            return Err(fault("there is text between peerlets"));
        }
        if root.children.len() > OFFER_PEERLETS_LIMIT {
            return Err(fault("there are too many peerlets"));
        }
        let [agent_version, left_out] = attributes(root, ["agent-version", "left-out"])?;
        let agent_version = must(agent_version)?;
        if clean_version(agent_version) != agent_version {
            return Err(fault("the agent's version is none"));
        }
        let left_out = left_out.map(str::parse).transpose().map_err(|_| fault("`left-out` is no number"))?;
        let peerlets = root.children.iter().map(peerlet_of).collect::<Result<Vec<_>, _>>()?;
        if !peerlets.is_sorted_by(|one, next| one.kind < next.kind) {
            return Err(fault("the peerlets are not in order of their types, each once"));
        }
        Ok(Self { agent_version: agent_version.to_owned(), peerlets, left_out: left_out.unwrap_or_default() })
    }
}

fn fault(what: &str) -> MessageError {
    MessageError::Schema(format!("{what} (a message of type {DIRECTORY_TYPE})"))
}

fn blank(text: &str) -> bool {
    text.trim_matches([' ', '\t', '\r', '\n']).is_empty()
}

fn must(attribute: Option<&str>) -> Result<&str, MessageError> {
    attribute.ok_or_else(|| fault("an attribute is missing"))
}

/// The values of these attributes of an element that may have no others.
fn attributes<'a, const COUNT: usize>(
    element: &'a Element,
    names: [&str; COUNT],
) -> Result<[Option<&'a str>; COUNT], MessageError> {
    let mut values = [None; COUNT];
    for (name, value) in &element.attributes {
        let place = names.iter().position(|wanted| wanted == name).and_then(|at| values.get_mut(at));
        *place.ok_or_else(|| fault("an attribute is not known"))? = Some(value.as_str());
    }
    Ok(values)
}

fn peerlet_of(element: &Element) -> Result<PeerletOffer, MessageError> {
    if element.namespace != DIRECTORY_NAMESPACE || element.name != "peerlet" || !element.children.is_empty() {
        return Err(fault("there is an element that is no peerlet"));
    }
    let [kind, version, mode, executes] = attributes(element, ["type", "version", "mode", "executes"])?;
    let peerlet = PeerletOffer {
        kind: must(kind)?.parse().map_err(|_| fault("a type is none"))?,
        version: must(version)?.to_owned(),
        mode: must(mode)?.parse()?,
        description: element.text.clone(),
        executes: match executes {
            None => false,
            Some("true") => true,
            Some(_) => return Err(fault("`executes` is `true` or not there")),
        },
    };
    if clean(peerlet.clone()) == peerlet { Ok(peerlet) } else { Err(fault("a version or description is none")) }
}

fn write(xml: &mut String, peerlet: &PeerletOffer) {
    let PeerletOffer { kind, version, mode, description, executes } = peerlet;
    let executes = if *executes { " executes=\"true\"" } else { "" };
    xml.push_str(&format!("<peerlet type=\"{kind}\" version=\"{version}\" mode=\"{mode}\"{executes}>"));
    xml::escape(xml, description);
    xml.push_str("</peerlet>");
}

fn clean(peerlet: PeerletOffer) -> PeerletOffer {
    let shown = |character: &char| !character.is_control() && !is_invisible(*character);
    let description: String = peerlet.description.chars().filter(shown).take(DESCRIPTION_LIMIT_CHARS).collect();
    PeerletOffer { version: clean_version(&peerlet.version), description: description.trim().to_owned(), ..peerlet }
}

fn clean_version(version: &str) -> String {
    let plain = |character: &char| character.is_ascii_alphanumeric() || ".-+".contains(*character);
    version.chars().filter(plain).take(VERSION_LIMIT_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peerlet(kind: &str, description: &str) -> PeerletOffer {
        PeerletOffer {
            kind: kind.parse().expect("a type"),
            version: "1.2.3-rc.1+b".into(),
            mode: PeerletMode::Session,
            description: description.into(),
            executes: kind == "run",
        }
    }

    fn read(xml: &str) -> Result<Offer, MessageError> {
        Offer::of_body(&Body::of_xml(xml.into()).expect("a body"))
    }

    #[test]
    fn an_offer_is_read_as_it_was_written() {
        for peerlets in [vec![], vec![peerlet("run", "Runs <commands> & \"more\""), peerlet("chat", "Räume, 室")]] {
            let offer = Offer::new("0.1.0", peerlets.clone());
            assert_eq!(offer.peerlets().len(), peerlets.len());
            assert_eq!(Offer::of_body(&offer.to_body().expect("a body")), Ok(offer));
        }
        let offer = Offer::new("0.1.0", [peerlet("run", "b"), peerlet("chat", "a")]);
        let expected = "<offer xmlns=\"urn:shoal:directory:1\" agent-version=\"0.1.0\">\
             <peerlet type=\"chat\" version=\"1.2.3-rc.1+b\" mode=\"session\">a</peerlet>\
             <peerlet type=\"run\" version=\"1.2.3-rc.1+b\" mode=\"session\" executes=\"true\">b</peerlet></offer>";
        assert_eq!(offer.to_body().expect("a body").as_xml(), expected);
    }

    #[test]
    fn what_does_not_fit_is_cut_or_counted() {
        let offer =
            Offer::new("0.1.0 \u{1b}[31m", [peerlet("chat", &format!(" \u{202e}a\n\u{1b}{}", "é".repeat(999)))]);
        assert_eq!(offer.agent_version(), "0.1.031m");
        assert_eq!(offer.peerlets()[0].description.chars().count(), DESCRIPTION_LIMIT_CHARS - 1, "a space was cut off");
        for (count, description, most) in [(1_000, "x", OFFER_PEERLETS_LIMIT), (100, &"&".repeat(200) as &str, 20)] {
            let offer = Offer::new("0.1.0", (0..count).map(|one| peerlet(&format!("kind-{one:04}"), description)));
            assert!(!offer.peerlets().is_empty() && offer.peerlets().len() <= most, "{}", offer.peerlets().len());
            assert_eq!(offer.peerlets().len() + offer.left_out() as usize, count);
            assert_eq!(offer.peerlets()[0].kind.as_str(), "kind-0000");
            assert_eq!(Offer::of_body(&offer.to_body().expect("within limits")), Ok(offer));
        }
        let long = PeerletOffer { version: "9".repeat(99), ..peerlet(&"k".repeat(64), &"\"".repeat(200)) };
        let offer = Offer::new(&"v".repeat(99), [long]);
        assert_eq!(Offer::of_body(&offer.to_body().expect("within limits")), Ok(offer));
    }

    #[test]
    fn another_body_is_no_offer() {
        let good = "<offer xmlns='urn:shoal:directory:1' agent-version='0.1.0'> \
            <peerlet type='a' version='1.0.0' mode='service'>A</peerlet>\n\
            <peerlet type='b' version='1.0.0' mode='oneshot' executes='true'/></offer>";
        assert_eq!(read(good).map(|offer| offer.peerlets().len()), Ok(2));
        for (from, to) in [
            ("directory:1", "directory:2"),
            ("<offer", "<offer x='1'"),
            ("agent-version='0.1.0'", ""),
            ("agent-version='0.1.0'", "agent-version='0 1'"),
            ("agent-version='0.1.0'", "agent-version='0.1.0' left-out='-1'"),
            ("> <peerlet", ">text<peerlet"),
            ("<offer", "text<offer"),
            ("</offer>", "</offer><offer/>"),
            ("type='b'", "type='a'"),
            ("type='a'", "type='c'"),
            ("type='a'", "type='../a'"),
            ("type='a'", "type='a' path='/'"),
            ("mode='service'", "mode='always'"),
            ("mode='service'", ""),
            ("version='1.0.0' mode='service'", "version='1&lt;0' mode='service'"),
            ("executes='true'", "executes='false'"),
            (">A<", ">A <"),
            (">A<", ">&#27;<"),
            (">A<", ">\u{202e}<"),
            (">A<", "><b/><"),
            ("<peerlet type='a'", "<peerlet xmlns='urn:x' type='a'"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            // What is no XML that bodies hold is no offer either.
            assert!(Body::of_xml(bad.clone()).is_err() || read(&bad).is_err(), "{bad}");
        }
        for bad in ["", "text", "<offer/>", &format!("{good}{}", " ".repeat(OFFER_LIMIT_BYTES))] {
            assert!(read(bad).is_err(), "{}", &bad[..bad.len().min(60)]);
        }
    }
}
