//! What programs ask the peerlet, and its answers.

use dci_proto::message::{Body, format_time};
use dci_proto::xml;
use shoal_peerlet_program::body;

use super::utterance::room_named;
use super::{CodecError, Conversation, NAMESPACE, RoomName, Rooms};

/// Entries of one answer, at most: with the longest texts, escaped, a message holds them.
const LAST_LIMIT: usize = 100;
/// Bytes of one answer, about: it ends before the entry that would go over.
const ANSWER_LIMIT_BYTES: usize = 512 * 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Who is in a room.
    Who(RoomName),
    /// What was said in a room, the last so many.
    History(RoomName, usize),
    /// Which rooms there are.
    Rooms,
}

impl Request {
    /// Reads a body; `None`: it asks nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_body(body: &Body) -> Result<Option<Self>, CodecError> {
        let elements = body.elements();
        let Some(name) = elements.first().map(|element| element.name.as_str()) else { return Ok(None) };
        if !["who", "history", "rooms"].contains(&name) {
            return Ok(None);
        }
        let element = body::only(body, NAMESPACE).map_err(CodecError::Schema)?;
        if !body::is_empty(&element) {
            return Err(CodecError::Schema("a request holds nothing"));
        }
        Ok(Some(match name {
            "who" => {
                let [room] = body::attributes(&element, ["room"]).map_err(CodecError::Schema)?;
                Self::Who(room_named(&room)?)
            }
            "history" => {
                let [room, last] = body::attributes(&element, ["room", "last"]).map_err(CodecError::Schema)?;
                let last = last.parse().ok().filter(|last| (1..=LAST_LIMIT).contains(last));
                Self::History(room_named(&room)?, last.ok_or(CodecError::Schema("`last` is 1 to 100"))?)
            }
            _ => {
                let [] = body::attributes(&element, []).map_err(CodecError::Schema)?;
                Self::Rooms
            }
        }))
    }

    /// The answer, as XML; `now_ms`: when it was asked.
    #[must_use]
    pub fn answer(&self, rooms: &Rooms, now_ms: u64) -> String {
        match self {
            Self::Who(room) => who(rooms, room, now_ms),
            Self::History(room, last) => history(rooms, room, *last),
            Self::Rooms => all(rooms),
        }
    }
}

fn who(rooms: &Rooms, room: &RoomName, now_ms: u64) -> String {
    let mut out = format!("<people xmlns=\"{NAMESPACE}\">");
    for person in rooms.people().now(now_ms).iter().filter(|person| person.rooms.contains(room)) {
        let state = person.state.as_str();
        element(&mut out, "person", &[("user", person.user.as_str()), ("state", state)], "");
    }
    out + "</people>"
}

fn history(rooms: &Rooms, room: &RoomName, last: usize) -> String {
    let timeline = rooms.timeline(&Conversation::Room(room.clone()));
    let mut entries = Vec::new();
    let mut bytes = 0;
    for said in timeline.into_iter().flat_map(|timeline| timeline.entries().rev()).take(last) {
        let (id, sent, agent) = (said.id.to_string(), format_time(said.sent_ms), said.agent.to_string());
        let mut entry = String::new();
        let attributes = [("id", id.as_str()), ("sent", &sent), ("user", said.user.as_str()), ("agent", &agent)];
        element(&mut entry, "entry", &attributes, &said.text);
        bytes += entry.len();
        if bytes > ANSWER_LIMIT_BYTES {
            break;
        }
        entries.push(entry);
    }
    entries.reverse();
    format!("<entries xmlns=\"{NAMESPACE}\" room=\"{room}\">{}</entries>", entries.concat())
}

fn all(rooms: &Rooms) -> String {
    let mut out = format!("<rooms xmlns=\"{NAMESPACE}\">");
    for (conversation, timeline) in rooms.all() {
        let (Conversation::Room(room), Some(last)) = (conversation, timeline.last()) else { continue };
        let (entries, last) = (timeline.entries().len().to_string(), format_time(last.sent_ms));
        element(&mut out, "room", &[("name", room.as_str()), ("entries", &entries), ("last", &last)], "");
    }
    out + "</rooms>"
}

fn element(out: &mut String, name: &str, attributes: &[(&str, &str)], text: &str) {
    out.push_str(&format!("<{name}"));
    for (key, value) in attributes {
        out.push_str(&format!(" {key}=\""));
        xml::escape(out, value);
        out.push('"');
    }
    out.push('>');
    xml::escape(out, text);
    out.push_str(&format!("</{name}>"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Result<Option<Request>, CodecError> {
        Request::of_body(&Body::of_xml(xml.into()).expect("a body"))
    }

    #[test]
    fn requests_are_told_from_what_is_said() {
        let lobby = RoomName::lobby;
        assert_eq!(read("<who xmlns='urn:shoal:chat:1' room='lobby'/>"), Ok(Some(Request::Who(lobby()))));
        let history = read("<history xmlns='urn:shoal:chat:1' room='lobby' last='20'/>");
        assert_eq!(history, Ok(Some(Request::History(lobby(), 20))));
        assert_eq!(read("<rooms xmlns='urn:shoal:chat:1'/>"), Ok(Some(Request::Rooms)));
        assert_eq!(read("hello"), Ok(None));
        assert_eq!(read("<say xmlns='urn:shoal:chat:1' room='lobby'>a</say>"), Ok(None));
        for bad in [
            "<who xmlns='urn:shoal:chat:1'/>",
            "<who room='lobby'/>",
            "<who xmlns='urn:shoal:chat:1' room='lobby'>now</who>",
            "<history xmlns='urn:shoal:chat:1' room='lobby' last='0'/>",
            "<history xmlns='urn:shoal:chat:1' room='lobby' last='101'/>",
            "<rooms xmlns='urn:shoal:chat:1' all='yes'/>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
