//! What is said, as the body of a message: written, and read strictly.

use dci_proto::message::{Body, MessageError, UserName};
use dci_proto::xml::{self, Element};
use shoal_peerlet_program::body;

use super::{Conversation, RoomName};

/// The XML namespace of what is said, which is also its version.
pub const NAMESPACE: &str = "urn:shoal:chat:1";
/// Bytes of a text, at most. What is longer goes as a file.
pub const TEXT_LIMIT_BYTES: usize = 8_000;
/// Rooms somebody is told to be in, at most.
const ROOMS_LIMIT: usize = 32;

/// Why a body is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It is not as this version writes it.
    #[error("the message says nothing of {NAMESPACE}: {0}")]
    Schema(&'static str),
    /// A name in it is none.
    #[error("{0}")]
    Name(String),
    /// A text that is not taken.
    #[error("{0}")]
    Text(String),
    /// The envelope does not take it.
    #[error(transparent)]
    Body(#[from] MessageError),
}

/// Whether somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Not any more.
    Gone,
    /// With the window open, and doing something else.
    Away,
    /// Looking.
    Here,
}

impl State {
    /// The state in a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Away => "away",
            Self::Gone => "gone",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Here, Self::Away, Self::Gone].into_iter().find(|state| state.as_str() == word)
    }
}

/// Whether and where the user of a message is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Whether.
    pub state: State,
    /// In which rooms.
    pub rooms: Vec<RoomName>,
}

/// What a message of type chat says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Utterance {
    /// Something in a room.
    Say {
        /// The room.
        room: RoomName,
        /// The text.
        text: String,
    },
    /// Something for one other user.
    Direct {
        /// The other one.
        to: UserName,
        /// The text.
        text: String,
    },
    /// That its user is there, or is not.
    Presence(Presence),
}

impl Utterance {
    /// As the body of a message.
    ///
    /// # Errors
    /// If the text is not one that is taken.
    pub fn to_body(&self) -> Result<Body, CodecError> {
        let mut out = String::new();
        match self {
            Self::Say { room, text } => write_text(&mut out, "say", ("room", room.as_str()), text)?,
            Self::Direct { to, text } => write_text(&mut out, "direct", ("to-user", to.as_str()), text)?,
            Self::Presence(presence) => {
                out.push_str(&format!("<presence xmlns=\"{NAMESPACE}\" state=\"{}\">", presence.state.as_str()));
                for room in presence.rooms.iter().take(ROOMS_LIMIT) {
                    out.push_str(&format!("<room>{room}</room>"));
                }
                out.push_str("</presence>");
            }
        }
        Ok(Body::of_xml(out)?)
    }

    /// Reads a body; plain text is said in the lobby.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_body(body: &Body) -> Result<Self, CodecError> {
        if body.elements().is_empty() {
            let text = checked(&body.text())?;
            return Ok(Self::Say { room: RoomName::lobby(), text });
        }
        Self::of_element(&body::only(body, NAMESPACE).map_err(CodecError::Schema)?)
    }

    fn of_element(element: &Element) -> Result<Self, CodecError> {
        match element.name.as_str() {
            "say" => {
                let [room] = body::attributes(element, ["room"]).map_err(CodecError::Schema)?;
                Ok(Self::Say { room: room_named(&room)?, text: text_of(element)? })
            }
            "direct" => {
                let [to] = body::attributes(element, ["to-user"]).map_err(CodecError::Schema)?;
                let to = to.parse().map_err(|error| CodecError::Name(format!("{error}")))?;
                Ok(Self::Direct { to, text: text_of(element)? })
            }
            "presence" => {
                let [state] = body::attributes(element, ["state"]).map_err(CodecError::Schema)?;
                let state = State::of(&state).ok_or(CodecError::Schema("`state` is here, away or gone"))?;
                if element.children.len() > ROOMS_LIMIT {
                    return Err(CodecError::Schema("somebody is in too many rooms"));
                }
                let rooms = element.children.iter().map(room_element).collect::<Result<_, _>>()?;
                Ok(Self::Presence(Presence { state, rooms }))
            }
            _ => Err(CodecError::Schema("it has another element")),
        }
    }

    /// Where it is said by a user; `None`: it is no text.
    #[must_use]
    pub fn conversation(&self, from: &UserName) -> Option<Conversation> {
        match self {
            Self::Say { room, .. } => Some(Conversation::Room(room.clone())),
            Self::Direct { to, .. } => Some(Conversation::between(from.clone(), to.clone())),
            Self::Presence(_) => None,
        }
    }
}

pub(super) fn room_named(name: &str) -> Result<RoomName, CodecError> {
    name.parse().map_err(|error: super::NameError| CodecError::Name(error.to_string()))
}

fn room_element(element: &Element) -> Result<RoomName, CodecError> {
    let plain = element.name == "room" && element.namespace == NAMESPACE && element.children.is_empty();
    if !plain || !element.attributes.is_empty() {
        return Err(CodecError::Schema("a presence holds rooms"));
    }
    room_named(&element.text)
}

fn text_of(element: &Element) -> Result<String, CodecError> {
    if element.children.is_empty() { checked(&element.text) } else { Err(CodecError::Schema("a text has no elements")) }
}

/// A text as it is taken: not empty, not too long, nothing that plays tricks on terminals.
fn checked(text: &str) -> Result<String, CodecError> {
    let text = text.trim_end();
    if text.trim_start().is_empty() {
        return Err(CodecError::Text("there is no text".into()));
    }
    if text.len() > TEXT_LIMIT_BYTES {
        let bytes = text.len();
        return Err(CodecError::Text(format!("a text has at most {TEXT_LIMIT_BYTES} bytes, this one has {bytes}")));
    }
    let is_fit = |character: char| matches!(character, '\n' | '\t') || !character.is_control();
    // What XML cannot hold would come out as something else.
    if !text.chars().all(|character| is_fit(character) && !matches!(character, '\u{fffe}' | '\u{ffff}')) {
        return Err(CodecError::Text("a text has no control characters but line feeds and tabs".into()));
    }
    Ok(text.to_owned())
}

fn write_text(out: &mut String, name: &str, (key, value): (&str, &str), text: &str) -> Result<(), CodecError> {
    let text = checked(text)?;
    out.push_str(&format!("<{name} xmlns=\"{NAMESPACE}\" {key}=\""));
    xml::escape(out, value);
    out.push_str("\">");
    xml::escape(out, &text);
    out.push_str(&format!("</{name}>"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn say(room: &str, text: &str) -> Utterance {
        Utterance::Say { room: room.parse().expect("a room"), text: text.into() }
    }

    fn read(xml: &str) -> Result<Utterance, CodecError> {
        Utterance::of_body(&Body::of_xml(xml.into()).expect("a body"))
    }

    #[test]
    fn what_is_said_is_read_as_it_was_written() {
        let rooms = vec![RoomName::lobby(), "lab".parse().expect("a room")];
        for utterance in [
            say("lobby", "Tea & <biscuits>?\n\tat \"4\""),
            Utterance::Direct { to: "Ana María".parse().expect("a user"), text: "李 \u{1f375}".into() },
            Utterance::Presence(Presence { state: State::Here, rooms }),
            Utterance::Presence(Presence { state: State::Gone, rooms: vec![] }),
        ] {
            assert_eq!(Utterance::of_body(&utterance.to_body().expect("a body")), Ok(utterance));
        }
    }

    #[test]
    fn plain_text_is_said_in_the_lobby() {
        assert_eq!(read("tea &amp; more"), Ok(say("lobby", "tea & more")));
    }

    #[test]
    fn what_is_not_as_it_is_written_is_refused() {
        for bad in [
            "",
            " \n ",
            "<say room='lobby'>a</say>",
            "<say xmlns='urn:shoal:chat:2' room='lobby'>a</say>",
            "<say xmlns='urn:shoal:chat:1'>a</say>",
            "<say xmlns='urn:shoal:chat:1' room='Lobby'>a</say>",
            "<say xmlns='urn:shoal:chat:1' room='lobby' loud='yes'>a</say>",
            "<say xmlns='urn:shoal:chat:1' room='lobby'><b>a</b></say>",
            "<say xmlns='urn:shoal:chat:1' room='lobby'> </say>",
            "<say xmlns='urn:shoal:chat:1' room='lobby'>a&#x9b;31m</say>",
            "<say xmlns='urn:shoal:chat:1' room='lobby'>a</say>b",
            "<direct xmlns='urn:shoal:chat:1' to-user=' '>a</direct>",
            "<presence xmlns='urn:shoal:chat:1' state='asleep'/>",
            "<presence xmlns='urn:shoal:chat:1' state='here'><hall>a</hall></presence>",
            "<shout xmlns='urn:shoal:chat:1'/>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(say("lobby", &"a".repeat(TEXT_LIMIT_BYTES)).to_body().is_ok());
        assert!(say("lobby", &"a".repeat(TEXT_LIMIT_BYTES + 1)).to_body().is_err());
        let rooms = "<room>a</room>".repeat(ROOMS_LIMIT + 1);
        assert!(read(&format!("<presence xmlns='{NAMESPACE}' state='here'>{rooms}</presence>")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back(text in "\\PC{0,40}", more in any::<String>()) {
            for text in [text, more] {
                let Ok(body) = say("lobby", &text).to_body() else { continue };
                prop_assert_eq!(Utterance::of_body(&body), Ok(say("lobby", text.trim_end())));
            }
        }

        #[test]
        fn whatever_is_read_is_written_and_read_the_same(xml in "(<(say|direct|presence) xmlns='urn:shoal:chat:1' (room|to-user|state)='[a-z]{0,5}'>)?[a-z&;<>/]{0,12}(</(say|direct|presence)>)?") {
            let Ok(body) = Body::of_xml(xml) else { return Ok(()) };
            let Ok(utterance) = Utterance::of_body(&body) else { return Ok(()) };
            prop_assert_eq!(Utterance::of_body(&utterance.to_body().expect("written")), Ok(utterance));
        }
    }
}
