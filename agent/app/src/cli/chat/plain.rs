//! Text as it is said: without what is for a terminal only, such as the colours of a program in a pipe. Pure.

/// Takes out the escape sequences of terminals (ECMA-48) and all other control characters but tabs.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => match chars.next() {
                // A control sequence: parameters, then one letter or the like.
                Some('[') => drop(chars.find(|char| ('@'..='~').contains(char))),
                // A string, such as a title or a link: up to a bell or the end of strings.
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    while let Some(char) = chars.next() {
                        if char == '\u{7}' || char == '\u{1b}' && chars.next_if_eq(&'\\').is_some() {
                            break;
                        }
                    }
                }
                // Two or three characters, such as the choice of a character set.
                Some(' '..='/') => drop(chars.next()),
                _ => {}
            },
            '\u{9b}' => drop(chars.find(|char| ('@'..='~').contains(char))),
            '\t' => plain.push(char),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_is_for_a_terminal_only_is_left_out() {
        for (text, expected) in [
            ("tea at 4", "tea at 4"),
            ("\u{1b}[1;32mok\u{1b}[0m: built", "ok: built"),
            ("\u{1b}[38;2;1;2;3mblue\u{1b}[m\u{1b}[K", "blue"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]8;;https://example.org\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}(Bplain\u{f}", "plain"),
            ("a\tb\u{8}\r", "a\tb"),
            ("\u{9b}31mred", "red"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
            ("\u{1b}]never ends", ""),
            ("größer 🐟", "größer 🐟"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }
}
