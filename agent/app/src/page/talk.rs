//! The pages where people talk and draw together: what does not change of them. The scripts beside them fill them by the same calls
//! that everybody has.

use maud::{Markup, PreEscaped, html};

use super::{frame_with, navigation, scripts};

/// The style sheet of these pages, served beside them.
pub(crate) const STYLE: &str = include_str!("talk.css");
/// The script of the chat, served beside it.
pub(crate) const CHAT_SCRIPT: &str = include_str!("chat.js");

/// Which conversation the page shows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ChatPlace<'a> {
    Room(&'a str),
    With(&'a str),
}

/// The chat.
pub(crate) fn chat(pool: &str, user: &str, place: ChatPlace<'_>) -> Markup {
    let (kind, name, title) = match place {
        ChatPlace::Room(room) => ("rooms", room, format!("#{room}")),
        ChatPlace::With(other) => ("with", other, format!("with {other}")),
    };
    let hint = match place {
        ChatPlace::Room(_) => format!("Say something in {title}"),
        ChatPlace::With(other) => format!("Say something to {other}"),
    };
    let body = html! {
        (navigation("/chat", pool, user))
        main.talk.chat data-user=(user) data-kind=(kind) data-name=(name) {
            aside {
                nav aria-label="Rooms" {
                    h2 { "Rooms" }
                    ul #rooms {}
                    form #new-room {
                        input name="room" aria-label="Name of another room" placeholder="Another room" autocomplete="off"
                            maxlength="64" pattern="[a-z0-9][a-z0-9._\\-]*" title="a–z, 0-9, '.', '_' and '-'" required;
                        button.quiet { "Go" }
                    }
                }
                nav aria-label="People" {
                    h2 { "People" }
                    ul #people {}
                }
            }
            section.conversation aria-labelledby="title" {
                div.title {
                    h2 #title { (title) }
                    p #present aria-live="polite" {}
                }
                div #scroll tabindex="0" role="region" aria-label="What was said" {
                    button #older.quiet type="button" hidden { "Show earlier" }
                    p #empty hidden { "Nothing was said here yet." }
                    ol #entries role="log" aria-live="polite" {}
                }
                button #newer type="button" hidden { "New below" }
                p #stale hidden role="alert" { "This page has lost its agent. Trying again …" }
                p #fault.alert hidden role="alert" {}
                form #say {
                    label.aside for="text" { (hint) }
                    textarea #text name="text" rows="1" maxlength="8000" required autofocus autocomplete="off"
                        placeholder=(hint) {}
                    button { "Say" }
                }
                p.note { "Enter says it, Shift and Enter begin a new line. ✓ tells on how many agents it is." }
            }
        }
        noscript { p.alert { "The chat needs JavaScript. Without it: " code { "shoal chat" } } }
        (scripts("/assets/chat.js"))
    };
    frame_with(&format!("Shoal – {title}"), &["/assets/talk.css"], &body)
}

/// An icon that is drawn in the page's own ink.
pub(super) fn icon(path: &str) -> Markup {
    let svg = format!(
        "<svg viewBox=\"0 0 24 24\" width=\"20\" height=\"20\" aria-hidden=\"true\" fill=\"none\" stroke=\"currentColor\" \
         stroke-width=\"2\" stroke-linecap=\"round\" stroke-linejoin=\"round\"><path d=\"{path}\"/></svg>"
    );
    PreEscaped(svg)
}

/// The script of the whiteboard, served beside it.
pub(crate) const BOARD_SCRIPT: &str = include_str!("board.js");

/// What one draws with, by name; the last one is the board's own colour.
const COLOURS: [(&str, &str); 8] = [
    ("Black", "#1e1e1e"),
    ("Red", "#e03131"),
    ("Orange", "#e8590c"),
    ("Green", "#2f9e44"),
    ("Blue", "#1971c2"),
    ("Violet", "#9c36b5"),
    ("Brown", "#846358"),
    ("Eraser", "#ffffff"),
];
/// How wide one draws, by name.
const WIDTHS: [(&str, u16); 4] = [("Thin", 3), ("Medium", 7), ("Thick", 16), ("Very thick", 40)];

/// A whiteboard.
pub(crate) fn whiteboard(pool: &str, user: &str, board: &str) -> Markup {
    let body = html! {
        (navigation("/whiteboard", pool, user))
        main.talk.board data-user=(user) data-board=(board) {
            div.tools role="toolbar" aria-label="Drawing" {
                fieldset {
                    legend.aside { "Colour" }
                    @for (at, (name, colour)) in COLOURS.iter().enumerate() {
                        label.swatch title=(name) {
                            input type="radio" name="colour" value=(colour) checked[at == 0];
                            (swatch(colour))
                            span.aside { (name) }
                        }
                    }
                }
                fieldset {
                    legend.aside { "Width" }
                    @for (at, (name, width)) in WIDTHS.iter().enumerate() {
                        label.swatch title=(name) {
                            input type="radio" name="width" value=(width) checked[at == 1];
                            (nib(*width))
                            span.aside { (name) }
                        }
                    }
                }
                div.acts {
                    button #undo.quiet type="button" disabled title="Take back what you drew last (Ctrl+Z)" {
                        (icon("M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3")) span { "Undo" }
                    }
                    button #clear.quiet type="button" title="Clear the board, for all" {
                        (icon("M4 7h16M10 11v6M14 11v6M6 7l1 13h10l1-13M9 7V4h6v3")) span { "Clear" }
                    }
                    a.button href={ "/api/v1/boards/" (board) "/svg" } download={ (board) ".svg" } title="Save the board as a picture (SVG)" {
                        (icon("M12 4v11M7 11l5 5 5-5M4 20h16")) span { "SVG" }
                    }
                }
            }
            div.paper {
                svg #paper viewBox="0 0 1600 1000" preserveAspectRatio="xMidYMid meet" role="img" tabindex="0"
                    aria-label={ "The board " (board) } {
                    rect width="1600" height="1000" fill="#ffffff" {}
                    g #shapes fill="none" stroke-linecap="round" stroke-linejoin="round" {}
                    g #drawing fill="none" stroke-linecap="round" stroke-linejoin="round" {}
                }
            }
            div.below {
                nav aria-label="Boards" { ul #boards {} }
                form #new-board {
                    input name="board" aria-label="Name of another board" placeholder="Another board" autocomplete="off"
                        maxlength="64" pattern="[a-z0-9][a-z0-9._\\-]*" title="a–z, 0-9, '.', '_' and '-'" required;
                    button.quiet { "Go" }
                }
                p #hint.note aria-live="polite" {}
                p #stale hidden role="alert" { "This page has lost its agent. Trying again …" }
                p #fault.alert hidden role="alert" {}
            }
            dialog #sure aria-labelledby="sure-text" {
                p #sure-text { "Clear the board " b { (board) } " for everybody? You can take it back with Undo." }
                form method="dialog" { button value="clear" { "Clear" } " " button.quiet value="" autofocus { "Keep it" } }
            }
        }
        noscript { p.alert { "Drawing needs JavaScript." } }
        (scripts("/assets/board.js"))
    };
    frame_with(&format!("Shoal – {board}"), &["/assets/talk.css"], &body)
}

fn swatch(colour: &str) -> Markup {
    html! {
        svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" {
            circle cx="12" cy="12" r="9" fill=(colour) stroke="currentColor" stroke-opacity="0.35" {}
            @if colour == "#ffffff" { path d="M7 17 17 7" stroke="#868e96" stroke-width="1.5" {} }
        }
    }
}

fn nib(width: u16) -> Markup {
    // From 1.5 to 9 of 24.
    let radius = 1.5 + f32::from(width) * 0.19;
    html! {
        svg viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" { circle cx="12" cy="12" r=(radius) fill="currentColor" {} }
    }
}
