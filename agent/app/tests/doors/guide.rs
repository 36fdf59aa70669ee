//! The guide, `docs/doors.md`: every program on the page is run as it stands there, and prints what it says there.
//!
//! A block in backquotes whose paragraph begins or ends with a file's name in them is that file; `sh` and `python` blocks are run one after the
//! other in one folder; the `text` block that follows is what is printed, where `…` stands for anything.

use std::path::Path;
use std::process::Command;

use shoal_testkit::AgentProcess;

use crate::common::{Pool, printed, project, python_with_zeep};
use crate::plain::api_address;

/// A block of the guide.
struct Block {
    /// What it is written in.
    language: String,
    /// The file it is, if it is one.
    file: Option<String>,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = guide.lines();
    let mut before = String::new();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inner: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let file = before
                .strip_suffix(':')
                .and_then(|sentence| sentence.rsplit("`").find(|part| part.starts_with("greeter/")));
            let text = inner.iter().map(|line| format!("{line}\n")).collect();
            blocks.push(Block { language: language.to_owned(), file: file.map(str::to_owned), text });
            before.clear();
        } else if !line.is_empty() {
            line.clone_into(&mut before);
        }
    }
    blocks
}

/// Whether a text is as the guide shows it; `…` is anything, and how much white space there is does not matter.
fn is_as_shown(text: &str, shown: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (text, shown) = (plain(text), plain(shown));
    let mut parts = shown.split('…').map(str::trim);
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut open = false;
    for part in parts {
        open = true;
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open &= part.is_empty();
    }
    open || rest.is_empty()
}

struct Reader<'a> {
    pool: &'a Pool,
    folder: &'a Path,
}

impl Reader<'_> {
    /// As somebody would who has one of the agents on their computer.
    fn command(&self, program: &Path) -> Command {
        let agent = &self.pool.agents[0];
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = Path::new(env!("CARGO_BIN_EXE_shoal")).parent().expect("a folder");
        command.current_dir(self.folder).env("PATH", format!("{}:{path}", tools.display()));
        command.env("SHOAL_DATA", agent.data()).env("PASSWORD", AgentProcess::credentials().1);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    fn run(&self, block: &Block) -> String {
        let api = api_address(&self.pool.agents[0]).to_string();
        let text = block.text.replace("127.0.0.1:4919", &api);
        match block.language.as_str() {
            "sh" => printed(self.command(Path::new("sh")).args(["-e", "-c", &text])),
            _ if text.contains("zeep") => printed(self.command(&python_with_zeep()).args(["-c", &text])),
            _ => printed(self.command(Path::new("python3")).args(["-c", &text])),
        }
    }
}

#[test]
fn everything_on_the_page_does_what_it_says_there() {
    let guide = std::fs::read_to_string(project("docs/doors.md")).expect("the guide");
    let pool = Pool::start(&["office-pc", "lab-2"], &["word-count"]);
    let folder = pool.folder.path().join("reader");
    std::fs::create_dir_all(folder.join("greeter")).expect("a folder");
    let reader = Reader { pool: &pool, folder: &folder };
    let (mut ran, mut last) = (0, None);
    for block in blocks(&guide) {
        match (block.language.as_str(), &block.file) {
            (_, Some(file)) => std::fs::write(folder.join(file), &block.text).expect("a file"),
            ("sh" | "python", None) => {
                last = Some(reader.run(&block));
                ran += 1;
            }
            ("text", None) => {
                let said = last.take().expect("a program before it");
                assert!(is_as_shown(&said, &block.text), "the guide shows\n{}\nbut it is\n{said}", block.text);
            }
            ("rust", None) => {
                let example = std::fs::read_to_string(project("peerlets/client/examples/ask.rs")).expect("the example");
                let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                let loops = block.text.split_once('\n').expect("two lines").1;
                assert!(plain(&example).contains(&plain(loops)), "the example is another one:\n{}", block.text);
            }
            (language, None) => panic!("nobody knows how to try {language}"),
        }
    }
    assert_eq!(ran, 11, "programs on the page");
}

#[test]
fn what_is_shown_may_leave_out_anything_but_not_what_it_shows() {
    for (text, shown, expected) in [
        ("a b\n", "a  b", true),
        ("a b c", "a … c", true),
        ("a b c", "a…", true),
        ("x b c", "…b c", true),
        ("a b c d", "a … c", false),
        ("a b", "a c", false),
        ("a c b", "a … b … c", false),
    ] {
        assert_eq!(is_as_shown(text, shown), expected, "{text} {shown}");
    }
}
