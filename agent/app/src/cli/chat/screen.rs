//! Chat as lines of text. Pure: what is to be printed is answered.

use std::collections::{BTreeSet, VecDeque};

use dci_proto::MessageId;

use super::super::print::time;
use crate::api::chat::types::{ConversationView, PersonView, SaidView, TickView, Where};

/// Entries that are known to be shown, at most.
const SHOWN_LIMIT: usize = 2_000;
/// Characters shown of what was said elsewhere.
const ELSEWHERE_CHARS: usize = 60;

/// What was shown.
pub(super) struct Screen {
    user: String,
    shown: BTreeSet<MessageId>,
    order: VecDeque<MessageId>,
    day: String,
    here: BTreeSet<String>,
}

impl Screen {
    pub(super) fn new(user: String) -> Self {
        Self { user, shown: BTreeSet::new(), order: VecDeque::new(), day: String::new(), here: BTreeSet::new() }
    }

    /// Another conversation is shown from now on.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::new(std::mem::take(&mut self.user));
    }

    /// The first line of a conversation.
    pub(super) fn title(&self, place: &Where) -> String {
        let here: Vec<&str> = self.here.iter().map(String::as_str).collect();
        let here =
            if here.is_empty() { "nobody else is here".to_owned() } else { format!("here: {}", here.join(", ")) };
        format!("── {} ── you are {} ── {here} ── times are UTC, /help helps", name(place), self.user)
    }

    /// What was said, once; the day before what is of another one.
    pub(super) fn said(&mut self, entry: &SaidView) -> Vec<String> {
        if !self.shown.insert(entry.id) {
            return Vec::new();
        }
        self.order.push_back(entry.id);
        if self.order.len() > SHOWN_LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.shown.remove(&oldest);
        }
        let when = time(entry.sent_ms);
        let (day, clock) = when.split_once(' ').unwrap_or(("?", "?"));
        let clock = clock.split(' ').next().unwrap_or(clock);
        let mut lines = Vec::new();
        if day != self.day {
            day.clone_into(&mut self.day);
            lines.push(format!("── {day} ──"));
        }
        let text = entry.text.replace('\t', "    ");
        let mut parts = text.split('\n');
        lines.push(format!("{clock} {}: {}", entry.user, parts.next().unwrap_or_default()));
        lines.extend(parts.map(|part| format!("      {part}")));
        lines
    }

    /// Who is there now; answers who came and went.
    pub(super) fn people(&mut self, people: Vec<PersonView>, place: &Where) -> Vec<String> {
        let is_here = |person: &PersonView| match place {
            Where::Room(room) => person.rooms.contains(room),
            Where::With(other) => person.user == *other,
        };
        let now: BTreeSet<String> = people
            .into_iter()
            .filter(|person| is_here(person) && person.user != self.user)
            .map(|person| person.user)
            .collect();
        let came = now.difference(&self.here).map(|user| format!("{user} is here"));
        let went = self.here.difference(&now).map(|user| format!("{user} has gone"));
        let lines = came.chain(went).collect();
        self.here = now;
        lines
    }
}

/// A conversation's name.
pub(super) fn name(place: &Where) -> String {
    match place {
        Where::Room(room) => room.clone(),
        Where::With(user) => format!("with {user}"),
    }
}

/// Something that was said in another conversation, in short.
pub(super) fn elsewhere(place: &Where, entry: &SaidView) -> String {
    let first = entry.text.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(ELSEWHERE_CHARS).collect();
    if short.len() < entry.text.len() {
        short.push('…');
    }
    match place {
        Where::Room(room) => format!("[{room}] {}: {short}", entry.user),
        Where::With(_) => format!("[only to you] {}: {short}", entry.user),
    }
}

/// On how many agents something is.
pub(super) fn tick(tick: TickView) -> String {
    format!("      ✓ on {} of {} agents", tick.got, tick.of)
}

/// Who is there, a line each.
pub(super) fn who(people: &[PersonView]) -> Vec<String> {
    if people.is_empty() {
        return vec!["nobody is here".to_owned()];
    }
    let one = |person: &PersonView| {
        let away = if person.state == "away" { ", away" } else { "" };
        let rooms = if person.rooms.is_empty() { "no room".to_owned() } else { person.rooms.join(", ") };
        format!("{}{away} ({rooms})", person.user)
    };
    people.iter().map(one).collect()
}

/// Conversations, a line each.
pub(super) fn rooms(conversations: &[ConversationView], at: &Where) -> Vec<String> {
    let one = |conversation: &ConversationView| {
        let mark = if conversation.place == *at { " ← you are here" } else { "" };
        let new = match conversation.unread {
            0 => String::new(),
            unread => format!(", {unread} new"),
        };
        format!("{}{new}{mark}", name(&conversation.place))
    };
    conversations.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8, sent_ms: u64, user: &str, text: &str) -> SaidView {
        SaidView {
            id: MessageId([number; 16]),
            sent_ms,
            user: user.into(),
            agent: "pc".into(),
            text: text.into(),
            own: user == "ana",
            tick: None,
        }
    }

    fn person(user: &str, rooms: &[&str]) -> PersonView {
        PersonView { user: user.into(), state: "here".into(), rooms: rooms.iter().map(|&room| room.into()).collect() }
    }

    #[test]
    fn entries_are_shown_once_with_the_day_before_them() {
        let mut screen = Screen::new("ana".into());
        let day_ms = 24 * 60 * 60 * 1_000;
        let first = entry(1, 20_000 * day_ms + 60_000, "bob", "one\n\ttwo");
        assert_eq!(screen.said(&first), ["── 2024-10-04 ──", "00:01 bob: one", "          two"]);
        assert!(screen.said(&first).is_empty());
        assert_eq!(screen.said(&entry(2, 20_000 * day_ms + 120_000, "ana", "x")), ["00:02 ana: x"]);
        assert_eq!(screen.said(&entry(3, 20_001 * day_ms, "ana", "y")).len(), 2);
    }

    #[test]
    fn who_comes_and_goes_is_told_of_others_in_this_room() {
        let mut screen = Screen::new("ana".into());
        let lobby = Where::Room("lobby".into());
        let all = vec![person("ana", &["lobby"]), person("bob", &["lobby", "lab"]), person("eve", &["lab"])];
        assert_eq!(screen.people(all.clone(), &lobby), ["bob is here"]);
        assert!(screen.people(all, &lobby).is_empty());
        assert!(screen.title(&lobby).contains("here: bob"));
        assert_eq!(screen.people(vec![], &lobby), ["bob has gone"]);
    }

    #[test]
    fn what_is_said_elsewhere_is_told_in_short() {
        let long = entry(1, 0, "bob", &format!("{}\nmore", "x".repeat(100)));
        let told = elsewhere(&Where::Room("lab".into()), &long);
        assert_eq!(told, format!("[lab] bob: {}…", "x".repeat(60)));
        assert_eq!(elsewhere(&Where::With("bob".into()), &entry(2, 0, "bob", "psst")), "[only to you] bob: psst");
    }
}
