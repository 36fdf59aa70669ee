//! All steps in one view on standard error: redrawn on a terminal, a line for each change elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use shoal_flow::{Flow, FlowView, StepPhase};

/// Where nobody redraws, time between two words about steps that run.
const WORD_INTERVAL: Duration = Duration::from_secs(10);
/// Lines and columns where the terminal does not tell.
const SIZE_USUAL: (usize, usize) = (80, 24);

/// Shows a flow.
pub(super) enum Show {
    /// Written over again and again; so many lines so far.
    Terminal { lines: usize },
    /// The phases told last.
    Plain { told: Vec<StepPhase>, last_word: Instant },
}

impl Show {
    pub(super) fn new() -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::Terminal { lines: 0 },
            false => Self::Plain { told: Vec::new(), last_word: Instant::now() },
        }
    }

    pub(super) fn show(&mut self, flow: &Flow, now_ms: u64) {
        let view = flow.view(now_ms);
        match self {
            Self::Terminal { lines } => {
                let (columns, rows) = size();
                redraw(lines, &view.lines(columns, rows));
            }
            Self::Plain { told, last_word } => {
                changes(told, &view).iter().for_each(|line| eprintln!("{line}"));
                if last_word.elapsed() >= WORD_INTERVAL {
                    *last_word = Instant::now();
                    running(&view).iter().for_each(|line| eprintln!("{line}"));
                }
            }
        }
    }

    /// The last view, which stays.
    pub(super) fn end(&mut self, flow: &Flow, now_ms: u64) {
        self.show(flow, now_ms);
        if let Self::Plain { .. } = self {
            let head = flow.view(now_ms).lines(usize::MAX, usize::MAX).into_iter().next();
            eprintln!("{}", head.unwrap_or_default());
        }
    }
}

fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or(SIZE_USUAL, |(width, height)| (width.0.into(), height.0.into()))
}

fn redraw(drawn: &mut usize, lines: &[String]) {
    let mut text = String::new();
    if *drawn > 0 {
        text.push_str(&format!("\x1b[{drawn}A"));
    }
    lines.iter().for_each(|line| text.push_str(&format!("\r\x1b[K{line}\n")));
    // What was drawn before and is not any more.
    text.push_str("\x1b[J");
    *drawn = lines.len();
    // A terminal that is gone sees nothing.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A line for each step that is in another phase than it was told last.
fn changes(told: &mut Vec<StepPhase>, view: &FlowView) -> Vec<String> {
    told.resize(view.steps.len(), StepPhase::Waiting);
    let mut lines = Vec::new();
    for (told, step) in told.iter_mut().zip(&view.steps) {
        if *told != step.phase {
            *told = step.phase;
            lines.push(step.line(0).split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

fn running(view: &FlowView) -> Vec<String> {
    let steps = view.steps.iter().filter(|step| step.phase == StepPhase::Running);
    steps.map(|step| step.line(0).split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use shoal_flow::{Agent, Directory, Event, Spec};

    use super::*;

    #[test]
    fn where_nobody_redraws_each_change_is_told_once() {
        let text = "[[step]]\nname = \"a\"\nrun = [\"x\"]\non = \"pc\"\n[[step]]\nname = \"b\"\nrun = [\"x\"]\nneeds = [\"a\"]";
        let agent = Agent { id: "1".into(), name: "pc".into(), online: true, ..Agent::default() };
        let directory = Directory { agents: vec![agent], ..Directory::default() };
        let mut flow = Flow::new(Spec::parse("f", text).expect("a flow"), directory).expect("it begins");
        let mut told = Vec::new();
        assert_eq!(changes(&mut told, &flow.view(0)), Vec::<String>::new());
        flow.handle(0, Event::Woken);
        assert_eq!(changes(&mut told, &flow.view(0)), ["▶ a running on pc 0 s"]);
        assert_eq!(changes(&mut told, &flow.view(0)), Vec::<String>::new());
        flow.handle(2000, Event::Stop);
        assert_eq!(changes(&mut told, &flow.view(2000)), ["– a stopped on pc 2 s", "– b stopped"]);
    }
}
