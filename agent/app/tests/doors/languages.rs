//! Callers and peerlets in different languages: none of them knows what the other is written in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use shoal_client::{Client, ClientError, Event, Filter, Happening, Message, To};
use shoal_testkit::AgentProcess;

use crate::common::{Pool, add, printed, project};
use crate::plain::api_address;

/// A peerlet's folder.
fn peerlet(folder: &Path, name: &str, manifest: &str) -> PathBuf {
    let folder = folder.join(format!("peerlet-{name}"));
    std::fs::create_dir(&folder).expect("a folder");
    let head = format!("type = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"For a test\"\n");
    std::fs::write(folder.join("peerlet.toml"), head + manifest).expect("a manifest");
    folder
}

fn python(script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("python3");
    printed(command.args(["-B", "-c", script]).args(arguments).env("PYTHONPATH", project("peerlets/python")))
}

#[test]
fn a_python_caller_uses_a_rust_peerlet_over_the_socket_and_over_http() {
    let pool = Pool::start(&["office-pc", "lab-2"], &[]);
    let folder = peerlet(pool.folder.path(), "reverse", "command = [\"./reverse\"]\nmode = \"service\"\n");
    let source = project("peerlets/client/examples/reverse.rs");
    printed(Command::new("rustc").args(["--edition", "2024", "-o"]).arg(folder.join("reverse")).arg(source));
    for agent in &pool.agents {
        add(agent, &folder);
    }
    let agent = &pool.agents[0];
    let calls = r#"
import sys, shoal

def use(agent):
    replies = agent.ask("reverse", "drawer é <>&", all=True)
    assert sorted(reply["name"] for reply in replies) == ["lab-2", "office-pc"], replies
    assert {reply["text"] for reply in replies} == {"&>< é reward"}, replies
    events = [event["event"] for event in agent.request("reverse", "x", on="lab-2")]
    assert events[0] == "sent" and events[-1] == "done" and "reply" in events, events
    sent = agent.send("reverse", "later", on=["lab-2", "office-pc"], ttl=4)
    assert len(sent) == 2, sent
    assert len(agent.states(sent[0]["id"])) == 1
    assert agent.log(type="reverse", limit=1)["entries"][0]["type"] == "reverse"
    for wrong, status in ((dict(on="nobody"), 404), (dict(group="nobodies"), 404)):
        try:
            agent.send("reverse", "x", **wrong)
        except shoal.ShoalError as error:
            assert error.status == status, error.status
        else:
            raise AssertionError("no error for %r" % wrong)
    try:
        agent.ask("nothing-like-it", all=True)
    except shoal.NotHandled as error:
        assert len(error.states) == 2 and "lab-2" in str(error), error
    else:
        raise AssertionError("nobody refused")
    follow = agent.follow(type="reverse")
    agent.send("reverse", "followed", on="lab-2")
    for event in follow:
        if event["event"] == "entry" and event["text"] == "followed":
            break
    follow.close()

data, api, user, password = sys.argv[1:]
use(shoal.Agent(data))
use(shoal.Agent(api=api, user=user, password=password))
for nobody in (shoal.Agent(data + "/nowhere"), shoal.Agent(api=api, user=user, password="wrong")):
    try:
        nobody.send("reverse", "x", all=True)
    except shoal.ShoalError:
        pass
    else:
        raise AssertionError("somebody")
print("ok")
"#;
    let (user, password) = AgentProcess::credentials();
    let api = format!("http://{}", api_address(agent));
    assert_eq!(python(calls, &[agent.data().to_str().unwrap(), &api, user, password]).trim(), "ok");
}

#[test]
fn a_rust_caller_uses_a_python_peerlet() {
    let pool = Pool::start(&["office-pc", "lab-2"], &[]);
    let manifest = "command = [\"python3\", \"-B\", \"{folder}/count.py\"]\nmode = \"service\"\ninput = \"json\"\noutput = \"json\"\n\
                    ready = { line = \"ready\" }\n";
    let folder = peerlet(pool.folder.path(), "count", manifest);
    let program = r#"
import shoal

def handle(message):
    print("this goes nowhere near the answers")
    wanted = message["text"]
    if wanted == "xml":
        return shoal.Xml("<from user='%s'/>" % message["from"]["user"])
    if wanted == "fail":
        raise shoal.Failed("not today", status=7)
    return (str(number) for number in range(1, int(wanted) + 1))

shoal.serve(handle, ready="ready")
"#;
    std::fs::write(folder.join("count.py"), program).expect("a program");
    std::fs::copy(project("peerlets/python/shoal.py"), folder.join("shoal.py")).expect("the helper");
    for agent in &pool.agents {
        add(agent, &folder);
    }
    let client = Client::new(pool.agents[0].data());
    let happenings = client.follow(&Filter { kind: Some("count".into()), ..Filter::default() }).expect("it follows");
    // Says the replies, the exit statuses, and whether all is done.
    let ask = |text: &str, to: To| {
        let (mut replies, mut statuses, mut done) = (Vec::new(), Vec::new(), None);
        let message = Message::text("count", to, text);
        for event in client.request(&message, Duration::from_secs(60)).expect("an agent") {
            match event.expect("an event") {
                Event::Reply(reply) => replies.push(format!("{}: {}", reply.name, reply.says())),
                Event::State(state) => statuses.extend(state.exit_status),
                Event::Done { finished } => done = Some(finished),
                Event::Sent(sent) => assert_eq!(sent.len(), 1),
            }
        }
        (replies, statuses, done)
    };
    let (mut replies, statuses, done) = ask("3", To::All);
    replies.sort_unstable();
    let expected = ["lab-2: 1", "lab-2: 2", "lab-2: 3", "office-pc: 1", "office-pc: 2", "office-pc: 3"];
    assert_eq!((replies, statuses, done), (expected.map(str::to_owned).to_vec(), vec![0, 0], Some(true)));
    let (replies, ..) = ask("xml", To::agent("lab-2"));
    assert_eq!(replies, ["lab-2: <from user='admin'/>"]);
    let (replies, statuses, _) = ask("fail", To::agent("lab-2"));
    assert_eq!((replies, statuses), (vec!["lab-2: not today".to_owned()], vec![7]));
    // What is no number fails with what Python says of it, and the next message is answered.
    let (replies, statuses, _) = ask("many", To::agent("lab-2"));
    assert!(statuses == [1] && replies.first().is_some_and(|reply| reply.contains("ValueError")), "{replies:?}");
    assert_eq!(ask("1", To::agent("lab-2")).0, ["lab-2: 1"]);
    // The log told all of it meanwhile.
    let said = happenings.map(|one| one.expect("a happening")).find_map(|one| match one {
        Happening::Entry(entry) if entry.text.as_deref() == Some("not today") => Some(entry.direction),
        _ => None,
    });
    assert_eq!(said.as_deref(), Some("received"));
    let sent = client.send(&Message::text("count", To::agent("lab-2"), "1")).expect("sent");
    assert_eq!(client.states(&sent[0].id).expect("states").len(), 1);
    let page = client.log(&Filter { limit: Some(3), ..Filter::default() }).expect("a page");
    assert_eq!((page.entries.len(), page.next.is_some()), (3, true));
    let refused = client.send(&Message::text("count", To::agent("nobody"), "1"));
    assert!(matches!(refused, Err(ClientError::Refused { status: 404, .. })), "{refused:?}");
    let nowhere = Client::new(pool.folder.path()).send(&Message::text("count", To::All, "1"));
    assert!(matches!(nowhere, Err(ClientError::NoAgent { .. })), "{nowhere:?}");
}
