//! A flow that makes sense: every step names what exists, and none waits for itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::file::{File, FileEach, FileError, FileItem, FileOn, FileStep};
use crate::limits::{
    ARGUMENTS_LIMIT, BODY_LIMIT_BYTES, ITEM_LIMIT_BYTES, NAME_LIMIT_BYTES, PARALLEL_DEFAULT, PARALLEL_LIMIT,
    PER_AGENT_DEFAULT, RETRIES_LIMIT, RUNS_LIMIT, STEPS_LIMIT, TIMEOUT_DEFAULT_S, TIMEOUT_LIMIT_S,
};
use crate::template::{Template, TemplateError, lines_of};

/// The peerlet that runs commands.
pub(crate) const RUN_TYPE: &str = "run";

/// A flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Runs under way at once, all steps together.
    pub parallel: usize,
    /// Runs under way at once on one agent.
    pub per_agent: usize,
    /// In the order of the file.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is called; no other step is.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Where.
    pub on: On,
    /// For which items; `None`: once.
    pub each: Option<Each>,
    /// Indexes of the steps that must be done before, also those whose output it uses.
    pub needs: BTreeSet<usize>,
    /// How often a run that failed is tried again.
    pub retries: u32,
    /// How long one run may take.
    pub timeout_ms: u64,
    /// Runs of this step under way at once.
    pub parallel: usize,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a command.
    Run {
        /// The program and its arguments.
        command: Vec<Template>,
        /// Its standard input.
        input: Template,
    },
    /// Sends a message to a peerlet.
    Peerlet {
        /// Its type.
        type_name: String,
        /// What it is given.
        input: Template,
        /// Whether that is XML; what is put into it is then written as text of XML.
        xml: bool,
    },
}

/// Where a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    /// On any agent that is there and offers the type.
    Idle,
    /// On any of these.
    AnyOf(Vec<String>),
    /// On each of these.
    Each(Vec<String>),
    /// On each agent of the pool.
    All,
    /// On each agent of a group.
    Group(String),
}

/// What a step is repeated for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Each {
    /// Each of these.
    Items(Vec<String>),
    /// Each line that a step gave; its index.
    LinesOf(usize),
}

/// Why a file is no flow that can be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not even a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing to do.
    #[error("it has no [[step]]")]
    NoStep,
    /// Over a limit that is not of one step.
    #[error("it has {found} {what}, the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A number that is not in its range.
    #[error("{place}: {key} is {found}; it must be from {least} to {most}")]
    Range {
        /// Where.
        place: String,
        /// Of what.
        key: &'static str,
        /// What it is.
        found: u64,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A name that is none.
    #[error("{0:?} is no name of a step: use letters, digits, - and _, and not \"item\"")]
    Name(String),
    /// The same name twice.
    #[error("two steps are called {0:?}")]
    Twice(String),
    /// Something wrong with one step.
    #[error("step {step}: {what}")]
    Step {
        /// Which.
        step: String,
        /// What.
        what: String,
    },
    /// Steps that wait for each other.
    #[error("these steps wait for each other: {0}")]
    Cycle(String),
}

impl Spec {
    /// Reads and checks a flow's file. `name` is what it is called if it does not say.
    ///
    /// # Errors
    /// If it is no flow, with a sentence that names the step and what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        let file = File::parse(text)?;
        if file.step.is_empty() {
            return Err(SpecError::NoStep);
        }
        at_most("steps", file.step.len(), STEPS_LIMIT)?;
        let mut names = BTreeMap::new();
        for (index, step) in file.step.iter().enumerate() {
            check_name(&step.name)?;
            if names.insert(step.name.clone(), index).is_some() {
                return Err(SpecError::Twice(step.name.clone()));
            }
        }
        let whole = "the flow";
        let parallel = in_range(whole, "parallel", file.parallel.unwrap_or(PARALLEL_DEFAULT), PARALLEL_LIMIT)?;
        let per_agent = in_range(whole, "per_agent", file.per_agent.unwrap_or(PER_AGENT_DEFAULT), PARALLEL_LIMIT)?;
        let steps = file.step.into_iter().map(|step| Reading { names: &names, step: &step }.read());
        let steps = steps.collect::<Result<Vec<Step>, SpecError>>()?;
        let counted = |step: &Step| match &step.each {
            Some(Each::Items(items)) => items.len(),
            Some(Each::LinesOf(_)) | None => 1,
        };
        at_most("runs", steps.iter().map(counted).sum(), RUNS_LIMIT)?;
        let name = file.name.as_deref().unwrap_or(name);
        let name: String = name.chars().filter(|char| !char.is_control()).take(NAME_LIMIT_BYTES).collect();
        let spec = Self { name, description: file.description, parallel, per_agent, steps };
        match spec.cycle() {
            Some(cycle) => Err(SpecError::Cycle(cycle)),
            None => Ok(spec),
        }
    }

    /// Steps that wait for each other, as a person follows them.
    fn cycle(&self) -> Option<String> {
        // Steps without open needs go one after the other; what is left waits for each other, or for who does.
        let mut left: BTreeSet<usize> = (0..self.steps.len()).collect();
        let open = |left: &BTreeSet<usize>, index: usize| {
            self.steps.get(index).and_then(|step| step.needs.iter().find(|needed| left.contains(needed)).copied())
        };
        while let Some(free) = left.iter().copied().find(|index| open(&left, *index).is_none()) {
            left.remove(&free);
        }
        let mut way = vec![*left.first()?];
        while let Some(next) = way.last().and_then(|last| open(&left, *last)) {
            let round = way.iter().position(|passed| *passed == next);
            way.push(next);
            if let Some(begin) = round {
                let named = way.iter().skip(begin).filter_map(|index| self.steps.get(*index));
                return Some(named.map(|step| step.name.as_str()).collect::<Vec<_>>().join(" needs "));
            }
        }
        None
    }
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), SpecError> {
    if found > limit { Err(SpecError::TooMany { what, found, limit }) } else { Ok(()) }
}

fn in_range(place: &str, key: &'static str, found: usize, most: usize) -> Result<usize, SpecError> {
    if (1..=most).contains(&found) {
        return Ok(found);
    }
    Err(SpecError::Range { place: place.to_owned(), key, found: found as u64, least: 1, most: most as u64 })
}

fn check_name(name: &str) -> Result<(), SpecError> {
    let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
    if name.is_empty() || name.len() > NAME_LIMIT_BYTES || name == "item" || !name.chars().all(fits) {
        return Err(SpecError::Name(name.chars().take(NAME_LIMIT_BYTES).collect()));
    }
    Ok(())
}

/// A step on its way from the file.
struct Reading<'a> {
    names: &'a BTreeMap<String, usize>,
    step: &'a FileStep,
}

impl Reading<'_> {
    fn wrong<T>(&self, what: impl Into<String>) -> Result<T, SpecError> {
        Err(SpecError::Step { step: self.step.name.clone(), what: what.into() })
    }

    fn read(&self) -> Result<Step, SpecError> {
        let step = self.step;
        let action = self.action()?;
        let each = self.each()?;
        if each.is_none() && action.templates().any(Template::has_item) {
            return self.wrong("it uses {{ item }} but has no for_each");
        }
        let mut needs = BTreeSet::new();
        let used = action.templates().flat_map(|template| template.steps()).map(|name| (name, "uses the output of"));
        for (name, how) in step.needs.iter().map(|name| (name.as_str(), "needs")).chain(used) {
            needs.insert(self.other(name, how)?);
        }
        if let Some(Each::LinesOf(index)) = each {
            needs.insert(index);
        }
        let place = format!("step {}", step.name);
        let range = |key, found, least, most| match found {
            found if (least..=most).contains(&found) => Ok(found),
            found => Err(SpecError::Range { place: place.clone(), key, found, least, most }),
        };
        let retries = range("retries", u64::from(step.retries.unwrap_or(0)), 0, u64::from(RETRIES_LIMIT))?;
        let timeout_s = range("timeout_s", step.timeout_s.unwrap_or(TIMEOUT_DEFAULT_S), 1, TIMEOUT_LIMIT_S)?;
        Ok(Step {
            name: step.name.clone(),
            action,
            on: self.on()?,
            each,
            needs,
            retries: u32::try_from(retries).unwrap_or(RETRIES_LIMIT),
            timeout_ms: timeout_s * 1000,
            parallel: in_range(&place, "parallel", step.parallel.unwrap_or(PARALLEL_LIMIT), PARALLEL_LIMIT)?,
        })
    }

    fn other(&self, name: &str, how: &str) -> Result<usize, SpecError> {
        match self.names.get(name) {
            Some(index) if name != self.step.name => Ok(*index),
            Some(_) => self.wrong(format!("it {how} itself")),
            None => {
                let known: Vec<&str> = self.names.keys().map(String::as_str).take(20).collect();
                self.wrong(format!("it {how} {name:?}, which is no step; there are {}", known.join(", ")))
            }
        }
    }

    fn template(&self, key: &str, text: &str) -> Result<Template, SpecError> {
        if text.len() > BODY_LIMIT_BYTES {
            return self.wrong(format!("{key} has {} bytes, the limit is {BODY_LIMIT_BYTES}", text.len()));
        }
        let wrong =
            |error: TemplateError| SpecError::Step { step: self.step.name.clone(), what: format!("{key}: {error}") };
        Template::parse(text).map_err(wrong)
    }

    fn action(&self) -> Result<Action, SpecError> {
        let step = self.step;
        let input = self.template("input", step.input.as_deref().unwrap_or_default())?;
        match (&step.type_name, &step.run) {
            (None, None) => self.wrong("it has neither run, a command, nor type, a peerlet"),
            (Some(_), Some(_)) => self.wrong("it has both run and type; a command is run or a peerlet is asked"),
            (None, Some(_)) if step.xml.is_some() => self.wrong("it has run and xml; a command takes input"),
            (None, Some(command)) if command.len() > ARGUMENTS_LIMIT => {
                self.wrong(format!("its command has {} arguments, the limit is {ARGUMENTS_LIMIT}", command.len()))
            }
            (None, Some(command)) => {
                let command = command.iter().map(|word| self.template("run", word)).collect::<Result<Vec<_>, _>>()?;
                if command.first().is_none_or(|program| *program == Template::default()) {
                    return self.wrong("run names no program");
                }
                Ok(Action::Run { command, input })
            }
            (Some(type_name), None) => {
                if type_name.is_empty() || type_name.len() > NAME_LIMIT_BYTES || type_name.starts_with("shoal.") {
                    return self.wrong(format!("{type_name:?} is no type of a peerlet"));
                }
                let (input, xml) = match (&step.input, &step.xml) {
                    (Some(_), Some(_)) => return self.wrong("it has both input and xml"),
                    (None, Some(xml)) => (self.template("xml", xml)?, true),
                    _ => (input, false),
                };
                Ok(Action::Peerlet { type_name: type_name.clone(), input, xml })
            }
        }
    }

    fn on(&self) -> Result<On, SpecError> {
        let named = |names: &[String]| match names {
            [] => self.wrong("on names no agent"),
            names if names.iter().any(|name| name.is_empty() || name.len() > NAME_LIMIT_BYTES) => {
                self.wrong("on has a name that is none")
            }
            names => Ok(names.to_vec()),
        };
        Ok(match &self.step.on {
            None => On::Idle,
            Some(FileOn::Word(word)) => match word.as_str() {
                "idle" => On::Idle,
                "all" => On::All,
                name => On::Each(named(&[name.to_owned()])?),
            },
            Some(FileOn::Names(names)) => On::Each(named(names)?),
            Some(FileOn::Any(any)) => On::AnyOf(named(&any.any)?),
            Some(FileOn::Group(group)) => On::Group(named(std::slice::from_ref(&group.group))?.concat()),
        })
    }

    fn each(&self) -> Result<Option<Each>, SpecError> {
        let items = match &self.step.for_each {
            None => return Ok(None),
            Some(FileEach::Lines(text)) => match lines_of(text) {
                Some(step) => return self.other(step, "uses the lines of").map(|index| Some(Each::LinesOf(index))),
                None => return self.wrong("for_each is a text that is not {{ STEP.lines }}"),
            },
            Some(FileEach::Numbers(numbers)) => {
                let count = i128::from(numbers.to) - i128::from(numbers.from) + 1;
                if !(1..=RUNS_LIMIT as i128).contains(&count) {
                    return self
                        .wrong(format!("for_each counts {} numbers; it must be 1 to {RUNS_LIMIT}", count.max(0)));
                }
                (numbers.from..=numbers.to).map(|number| number.to_string()).collect()
            }
            Some(FileEach::Items(items)) if items.is_empty() => return self.wrong("for_each is empty"),
            Some(FileEach::Items(items)) => items.iter().map(item).collect::<Vec<String>>(),
        };
        if let Some(long) = items.iter().find(|item| item.len() > ITEM_LIMIT_BYTES) {
            return self
                .wrong(format!("for_each has an item of {} bytes, the limit is {ITEM_LIMIT_BYTES}", long.len()));
        }
        Ok(Some(Each::Items(items)))
    }
}

fn item(item: &FileItem) -> String {
    match item {
        FileItem::Text(text) => text.clone(),
        FileItem::Whole(number) => number.to_string(),
        FileItem::Number(number) => number.to_string(),
    }
}

impl Action {
    /// All texts that something is put into.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let (command, input) = match self {
            Self::Run { command, input } => (command.as_slice(), input),
            Self::Peerlet { input, .. } => (&[] as &[Template], input),
        };
        command.iter().chain(std::iter::once(input))
    }

    /// The type of the peerlet that does it.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Run { .. } => RUN_TYPE,
            Self::Peerlet { type_name, .. } => type_name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Spec, String> {
        Spec::parse("test", text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_flow_is_read_in_the_order_of_its_file() {
        let spec = read(
            r#"
            name = "weather"
            parallel = 5
            [[step]]
            name = "fetch"
            run = ["curl", "-s", "https://example.org/{{ item }}"]
            for_each = { from = 1, to = 3 }
            retries = 2
            timeout_s = 30
            on = ["b", "c"]
            [[step]]
            name = "add-up"
            type = "sum"
            input = "{{ fetch.output }}"
            on = "a"
            "#,
        )
        .expect("a flow");
        assert_eq!((spec.name.as_str(), spec.parallel, spec.per_agent), ("weather", 5, PER_AGENT_DEFAULT));
        let [fetch, add_up] = &spec.steps[..] else { panic!("two steps") };
        assert_eq!(fetch.each, Some(Each::Items(vec!["1".into(), "2".into(), "3".into()])));
        assert_eq!((fetch.retries, fetch.timeout_ms, &fetch.on), (2, 30_000, &On::Each(vec!["b".into(), "c".into()])));
        assert_eq!((add_up.needs.clone(), add_up.action.type_name()), (BTreeSet::from([0]), "sum"));
    }

    #[test]
    fn where_a_step_runs_can_be_said_in_six_ways() {
        let check = |on: &str, expected: On| {
            let text = format!("[[step]]\nname = \"a\"\nrun = [\"true\"]\n{on}");
            assert_eq!(read(&text).map(|spec| spec.steps[0].on.clone()), Ok(expected), "{on}");
        };
        check("", On::Idle);
        check("on = \"idle\"", On::Idle);
        check("on = \"all\"", On::All);
        check("on = \"office\"", On::Each(vec!["office".into()]));
        check("on = [\"all\"]", On::Each(vec!["all".into()]));
        check("on = { group = \"lab\" }", On::Group("lab".into()));
        check("on = { any = [\"a\", \"b\"] }", On::AnyOf(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence_that_names_the_step() {
        let check = |text: &str, said: &str| {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        };
        let step = |rest: &str| format!("[[step]]\nname = \"a\"\n{rest}\n[[step]]\nname = \"b\"\nrun = [\"true\"]");
        check("", "it has no [[step]]");
        check("[[step]]\nname = \"a\"\nrnu = []", "unknown field `rnu`");
        check(&step(""), "step a: it has neither run, a command, nor type");
        check(&step("run = [\"x\"]\ntype = \"y\""), "step a: it has both run and type");
        check(&step("run = []"), "step a: run names no program");
        check(&step("run = [\"\"]"), "step a: run names no program");
        check(&step("run = [\"x\"]\nxml = \"<a/>\""), "step a: it has run and xml");
        check(&step("type = \"x\"\nxml = \"<a/>\"\ninput = \"a\""), "step a: it has both input and xml");
        check(&step("type = \"shoal.receipt\""), "is no type of a peerlet");
        check(&step("run = [\"x\"]\nneeds = [\"c\"]"), "step a: it needs \"c\", which is no step; there are a, b");
        check(&step("run = [\"x\"]\nneeds = [\"a\"]"), "step a: it needs itself");
        check(&step("run = [\"x\"]\ninput = \"{{ c.output }}\""), "it uses the output of \"c\", which is no step");
        check(&step("run = [\"x\", \"{{ item }}\"]"), "step a: it uses {{ item }} but has no for_each");
        check(&step("run = [\"x\"]\ninput = \"{{ b }}\""), "step a: input: {{ b }} is none of");
        check(&step("run = [\"x\"]\nfor_each = []"), "step a: for_each is empty");
        check(&step("run = [\"x\"]\nfor_each = \"b\""), "for_each is a text that is not {{ STEP.lines }}");
        check(&step("run = [\"x\"]\nfor_each = { from = 2, to = 1 }"), "for_each counts 0 numbers");
        check(&step("run = [\"x\"]\nfor_each = { from = 1, to = 10001 }"), "for_each counts 10001 numbers");
        check(&step("run = [\"x\"]\nretries = 11"), "step a: retries is 11; it must be from 0 to 10");
        check(&step("run = [\"x\"]\ntimeout_s = 0"), "step a: timeout_s is 0; it must be from 1");
        check(&step("run = [\"x\"]\nparallel = 0"), "step a: parallel is 0; it must be from 1 to 64");
        check(&step("run = [\"x\"]\non = []"), "step a: on names no agent");
        check(&step("run = [\"x\"]\non = 7"), "\"on\" is \"idle\", \"all\", a name");
        check("[[step]]\nname = \"a b\"\nrun = [\"x\"]", "\"a b\" is no name of a step");
        check("[[step]]\nname = \"item\"\nrun = [\"x\"]", "is no name of a step");
        check(&step("run = [\"x\"]\n[[step]]\nname = \"b\"\nrun = [\"x\"]"), "two steps are called \"b\"");
        let twice = "run = [\"x\"]\nfor_each = { from = 1, to = 6000 }";
        let many = format!("[[step]]\nname = \"a\"\n{twice}\n[[step]]\nname = \"b\"\n{twice}");
        check(&many, "it has 12000 runs, the limit is 10000");
        check(&"[[step]]\nname = \"a\"\nrun = [\"x\"]\n".repeat(201), "it has 201 steps, the limit is 200");
        check(&" ".repeat(FILE_LIMIT + 1), "the limit is 1048576");
    }

    const FILE_LIMIT: usize = crate::limits::FILE_LIMIT_BYTES;

    #[test]
    fn steps_that_wait_for_each_other_are_named() {
        let text = "[[step]]\nname = \"z\"\nrun = [\"x\"]\nneeds = [\"a\"]\n[[step]]\nname = \"a\"\nrun = [\"x\"]\nneeds = [\"b\"]\n\
                    [[step]]\nname = \"b\"\nrun = [\"x\"]\ninput = \"{{ c.output }}\"\n[[step]]\nname = \"c\"\nrun = [\"x\"]\n\
                    for_each = \"{{ a.lines }}\"";
        assert_eq!(read(text), Err("these steps wait for each other: a needs b needs c needs a".to_owned()));
    }
}
