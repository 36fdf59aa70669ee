//! Text with places for what other steps gave: `{{ step.output }}`, and `{{ item }}` in a step that has items.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// A text in which something is put in before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// What a step gave.
    Output(String),
    Item,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Two braces that never end.
    #[error("\"{{{{\" has no \"}}}}\" after it; for the two braces themselves write \"{{{{{{{{\"")]
    Open,
    /// Between the braces stands something else than a reference.
    #[error(
        "{{{{ {0} }}}} is none of {{{{ STEP.output }}}} and {{{{ item }}}}; for the two braces themselves write \"{{{{{{{{\""
    )]
    Unknown(String),
}

/// Values for a template.
pub(crate) trait Values {
    /// What the step of that name gave.
    fn output(&self, step: &str) -> Cow<'_, str>;
    /// The item of this run; empty where there is none.
    fn item(&self) -> Cow<'_, str>;
}

impl Template {
    /// Reads a text. `{{{{` stands for two braces; `}}` alone for itself.
    ///
    /// # Errors
    /// If two braces are not followed by a reference.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix("{{") {
                plain.push_str("{{");
                rest = after;
                continue;
            }
            let (inside, after) = after.split_once("}}").ok_or(TemplateError::Open)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(reference(inside.trim())?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The steps whose output is put in.
    pub(crate) fn steps(&self) -> BTreeSet<&str> {
        self.parts.iter().filter_map(Part::step).collect()
    }

    /// Whether the item is put in.
    pub(crate) fn has_item(&self) -> bool {
        self.parts.contains(&Part::Item)
    }

    /// The text with everything put in; `None` if that has more than `limit_bytes`.
    pub(crate) fn filled(&self, values: &impl Values, limit_bytes: usize) -> Option<String> {
        let mut filled = String::new();
        for part in &self.parts {
            let text = match part {
                Part::Text(text) => Cow::Borrowed(text.as_str()),
                Part::Output(step) => values.output(step),
                Part::Item => values.item(),
            };
            if filled.len() + text.len() > limit_bytes {
                return None;
            }
            filled.push_str(&text);
        }
        Some(filled)
    }
}

impl Part {
    fn step(&self) -> Option<&str> {
        match self {
            Self::Output(step) => Some(step),
            Self::Text(_) | Self::Item => None,
        }
    }
}

fn reference(inside: &str) -> Result<Part, TemplateError> {
    match inside.rsplit_once('.') {
        _ if inside == "item" => Ok(Part::Item),
        Some((step, "output")) if !step.is_empty() => Ok(Part::Output(step.to_owned())),
        _ => Err(TemplateError::Unknown(inside.to_owned())),
    }
}

/// The step of `{{ STEP.lines }}`, if the text is that and nothing else.
pub(crate) fn lines_of(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    inside.trim().strip_suffix(".lines").filter(|step| !step.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Values for Fixed {
        fn output(&self, step: &str) -> Cow<'_, str> {
            if step == "a" { "<A>".into() } else { "<?>".into() }
        }

        fn item(&self) -> Cow<'_, str> {
            "7".into()
        }
    }

    #[test]
    fn what_stands_between_braces_is_put_in() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Template::parse(text).expect(text).filled(&Fixed, 100).as_deref(), Some(expected), "{text}");
        };
        check("", "");
        check("plain } text }}", "plain } text }}");
        check("{{ a.output }}", "<A>");
        check("{{a.output}}-{{ item }}.", "<A>-7.");
        check("docker ps --format {{{{.Names}}", "docker ps --format {{.Names}}");
        check("{{{{{{ item }}", "{{7");
    }

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        struct Sly;
        impl Values for Sly {
            fn output(&self, _step: &str) -> Cow<'_, str> {
                "{{ item }}".into()
            }
            fn item(&self) -> Cow<'_, str> {
                "secret".into()
            }
        }
        let template = Template::parse("{{ a.output }}").expect("a template");
        assert_eq!(template.filled(&Sly, 100).as_deref(), Some("{{ item }}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let check = |text: &str, said: &str| {
            let error = Template::parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
        };
        check("{{ a.output", "has no \"}}\"");
        check("{{ a }}", "{{ a }} is none of {{ STEP.output }}");
        check("{{ a.lines }}", "is none of");
        check("{{ .output }}", "is none of");
        check("{{}}", "write \"{{{{\"");
    }

    #[test]
    fn a_text_that_grows_too_large_is_none() {
        let template = Template::parse("{{ a.output }}{{ a.output }}").expect("a template");
        assert_eq!(template.filled(&Fixed, 6).as_deref(), Some("<A><A>"));
        assert_eq!(template.filled(&Fixed, 5), None);
    }

    #[test]
    fn lines_stand_alone() {
        let check = |text: &str, expected| assert_eq!(lines_of(text), expected, "{text}");
        check("{{ a.lines }}", Some("a"));
        check(" {{a.lines}} ", Some("a"));
        check("x{{ a.lines }}", None);
        check("{{ a.output }}", None);
        check("{{ .lines }}", None);
    }
}
