//! Agents as one pool: founding, joining, going on without some.

mod harness;

use std::time::Duration;

use harness::{Folder, cut_off, invite, noise, read, remove_for_good, same_place, wait_for, write};
use shoal::AgentError;
use shoal::context::TICKET_LIFE_DEFAULT;
use shoal::copies::Opener;
use shoal::run::Agent;
use shoal::start::{Entry, start};
use shoal::status::NodeState;
use shoal::ticket::Ticket;
use shoal_ledger::{AgentRoles, CarePolicy, Command};

const MEBIBYTE: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_agent_keeps_files_over_a_restart() {
    let folder = Folder::new();
    let (agent, first) = folder.found("one").await;
    assert_eq!((first.user.as_str(), first.volume.as_str()), ("admin", "pool"));
    let small = noise(1, 1000);
    let large = noise(2, 5 * MEBIBYTE);
    write(agent.context(), "small", &small).await.expect("written");
    write(agent.context(), "large", &large).await.expect("written");
    let status = agent.context().status().await.expect("a status");
    assert!(status.quorum && status.survives == 0, "{status:?}");
    assert!(status.verdict.starts_with("Working, on one agent only."), "{}", status.verdict);
    let config = same_place(agent.context());
    agent.stop().await;

    let again = start(config, Entry::Usual).await.expect("starts again");
    assert!(again.first.is_none(), "the password is told once");
    let context = again.agent.context();
    assert_eq!(read(context, "small").await.expect("read"), small);
    assert_eq!(read(context, "large").await.expect("read"), large);
    let remote = "127.0.0.1".parse().expect("an address");
    context.credentials.sign_in("admin", &first.password, remote).await.expect("the password holds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_through_one_agent_is_there_through_all() {
    let folder = Folder::new();
    let agents = folder.pool(3).await;
    let bytes = noise(3, 3 * MEBIBYTE);
    write(agents[1].context(), "file", &bytes).await.expect("written");
    for agent in &agents {
        assert_eq!(read(agent.context(), "file").await.expect("read"), bytes);
        let status = agent.context().status().await.expect("a status");
        assert_eq!((status.survives, status.survives_writing, status.quorum), (2, 1, true), "{}", status.verdict);
        assert!(status.verdict.starts_with("Healthy. Files survive the loss of any 2 agents"), "{}", status.verdict);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_is_missed_and_the_others_go_on() {
    let folder = Folder::new();
    let mut agents = folder.pool(3).await;
    let before = noise(4, MEBIBYTE);
    write(agents[0].context(), "before", &before).await.expect("written");
    let dead = cut_off(agents.pop().expect("a third agent")).await;
    let after = noise(5, MEBIBYTE);
    write(agents[0].context(), "after", &after).await.expect("written without the third");
    for agent in &agents {
        assert_eq!(read(agent.context(), "before").await.expect("read"), before);
        assert_eq!(read(agent.context(), "after").await.expect("read"), after);
    }
    let context = agents[0].context();
    wait_for("the dead agent to be missed", async || {
        context.status().await.is_ok_and(|status| status.verdict.contains("does not answer (agent-2)"))
    })
    .await;
    let status = context.status().await.expect("a status");
    assert!(status.verdict.starts_with("Degraded:") && status.quorum, "{status:?}");

    let back = start(dead, Entry::Usual).await.expect("comes back");
    assert_eq!(read(back.agent.context(), "after").await.expect("read"), after);
    wait_for("the agent to be heard again", async || {
        context.status().await.is_ok_and(|status| status.nodes.iter().all(|node| node.state.answers()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pools_patience_is_followed_when_it_changes() {
    let folder = Folder::new();
    let mut agents = folder.pool(3).await;
    cut_off(agents.pop().expect("a third agent")).await;
    let context = agents[0].context();
    let state_of_third = async || {
        let status = context.status().await.expect("a status");
        status.nodes.iter().find(|node| node.name == "agent-2").expect("a member").state
    };
    wait_for("the agent to be suspect", async || state_of_third().await == NodeState::Suspect).await;
    let set = async |absent_after_s| {
        let policy = CarePolicy { absent_after_s, ..CarePolicy::default() };
        context.ledger.submit(Command::SetCarePolicy { policy }).await.expect("taken");
    };
    set(1).await;
    wait_for("its absence to count", async || state_of_third().await == NodeState::Absent).await;
    set(3600).await;
    wait_for("it to be given more time", async || state_of_third().await == NodeState::Suspect).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_serves_once_for_its_pool_and_its_time() {
    let folder = Folder::new();
    let (agent, _) = folder.found("one").await;
    let context = agent.context();
    let ticket = invite(context).await;
    let second = folder.join("two", ticket.clone()).await.expect("joins");
    let refused = |error: AgentError| {
        assert!(matches!(error, AgentError::JoinRefused(_)), "{error}");
        (error.to_string(), error.exit_code())
    };
    let used = refused(folder.join("three", ticket).await.err().expect("a used ticket"));

    let life = Duration::from_millis(1);
    let expired = context.invite("admin", AgentRoles::default(), life).await.expect("an invitation");
    let expired = refused(folder.join("four", expired).await.err().expect("an expired ticket"));
    assert_eq!(used, expired, "which of the two it was is not told");
    assert_eq!(used.1, 9);
    let late = std::fs::exists(folder.config("three").data.join("pool.key")).expect("looks");
    assert!(!late, "who is refused gets no key");

    let elsewhere = Folder::new();
    let (other, _) = elsewhere.found("other").await;
    let foreign: Ticket = invite(other.context()).await;
    second.stop().await;
    let error = folder.join("two", foreign).await.err().expect("a ticket for another pool");
    assert!(matches!(error, AgentError::OtherPool { .. }), "{error}");
    assert_eq!(error.exit_code(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_a_ticket_waits_for_an_admin() {
    let folder = Folder::new();
    let (agent, _) = folder.found("one").await;
    let context = agent.context();
    let ask = |name: &str| {
        let entry = Entry::Ask { addresses: context.data_addresses.clone(), expected: Some(context.agent) };
        tokio::spawn(start(folder.config(name), entry))
    };
    let (welcome, unwelcome) = (ask("welcome"), ask("unwelcome"));
    wait_for("both to ask", async || context.join_requests().is_ok_and(|requests| requests.len() == 2)).await;
    assert_eq!(context.members().expect("members").len(), 1, "asking makes nobody a member");
    context.reject_join("unwelcome").await.expect("turned away");
    context.approve_join("welcome").await.expect("let in");
    let started = welcome.await.expect("ran").expect("joined");
    let bytes = noise(6, MEBIBYTE);
    write(started.agent.context(), "file", &bytes).await.expect("written");
    assert_eq!(read(context, "file").await.expect("read"), bytes);
    let error = unwelcome.await.expect("ran").err().expect("refused");
    assert!(matches!(error, AgentError::JoinRefused(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_leaves_the_disks_and_nothing_else_does() {
    let folder = Folder::new();
    let agents = folder.pool(3).await;
    let kept = noise(7, MEBIBYTE);
    write(agents[0].context(), "kept", &kept).await.expect("written");
    let shards = || agents.iter().map(|agent| agent.context().store.space().shards).sum::<u64>();
    let before = shards();
    write(agents[1].context(), "gone", &noise(8, 9 * MEBIBYTE)).await.expect("written");
    assert!(shards() > before);
    remove_for_good(agents[2].context(), "gone").await;
    wait_for("the shards to be dropped", async || shards() == before).await;
    assert_eq!(read(agents[1].context(), "kept").await.expect("read"), kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_agent_to_a_directory_and_none_to_a_port_in_use() {
    let folder = Folder::new();
    let (agent, _) = folder.found("one").await;
    let error = start(folder.config("one"), Entry::Usual).await.err().expect("in use");
    assert!(matches!(error, AgentError::DirectoryInUse(_)), "{error}");
    let mut config = folder.config("two");
    config.api = agent.context().config.api;
    let error = start(config, Entry::Usual).await.err().expect("port in use");
    assert!(matches!(error, AgentError::Listen { .. }), "{error}");
    assert_eq!(error.exit_code(), 7);
    assert!(!folder.config("two").data.join("membership.json").exists(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_only_stores_holds_shards_and_neither_key_nor_ledger() {
    let folder = Folder::new();
    let (first, _) = folder.found("one").await;
    let roles = AgentRoles { store: true, mount: false, vote: false };
    let ticket = first.context().invite("admin", roles, TICKET_LIFE_DEFAULT).await.expect("an invitation");
    let storing = folder.join("storing", ticket).await.expect("joins");
    let (context, data) = (first.context(), storing.context().data().to_owned());
    wait_for("both to be up", async || {
        context.status().await.is_ok_and(|status| status.nodes.iter().filter(|node| node.state.answers()).count() == 2)
    })
    .await;
    let bytes = noise(9, MEBIBYTE);
    write(context, "file", &bytes).await.expect("written");
    assert_eq!(read(context, "file").await.expect("read"), bytes);
    assert_eq!(storing.context().store.space().shards, 1, "each of the two has a copy");
    assert!(!data.join("pool.key").exists() && !data.join("ledger").exists());
    assert!(storing.context().drive.is_none() && storing.context().dav_address.is_none());
    assert!(storing.context().members().is_err(), "it says that it holds no ledger");

    remove_for_good(context, "file").await;
    wait_for("it to drop its shard on proof", async || storing.context().store.space().shards == 0).await;
    let config = same_place(storing.context());
    storing.stop().await;
    let again = start(config, Entry::Usual).await.expect("comes back");
    wait_for("it to be heard again", async || {
        context.status().await.is_ok_and(|status| status.nodes.iter().all(|node| node.state.answers()))
    })
    .await;
    assert!(again.agent.context().drive.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_store_keeps_a_copy_of_the_ledger_that_only_the_pool_can_read() {
    let folder = Folder::new();
    let copying = |name: &str| {
        let mut config = folder.config(name);
        config.timing.copy_interval = Duration::from_millis(300);
        config
    };
    let founder = start(copying("one"), Entry::Usual).await.expect("starts").agent;
    let ticket = invite(founder.context()).await;
    let joiner = start(copying("two"), Entry::Ticket(ticket)).await.expect("joins").agent;
    write(founder.context(), "recognisable-name", &noise(1, 100)).await.expect("written");
    let newest = |agent: &Agent| {
        let copies = std::fs::read_dir(agent.context().data().join("ledger-copies")).into_iter().flatten();
        let mut copies: Vec<_> = copies.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        copies.retain(|path| path.extension().is_some_and(|extension| extension == "copy"));
        copies.sort();
        copies.pop().and_then(|path| std::fs::read(path).ok()).unwrap_or_default()
    };
    let key: [u8; 32] =
        std::fs::read(founder.context().data().join("pool.key")).expect("a key").try_into().expect("32");
    let pool = founder.context().pool().expect("a pool").id;
    let holds_name = |bytes: &[u8]| bytes.windows(17).any(|window| window == b"recognisable-name");
    for agent in [&founder, &joiner] {
        let mut copy = Vec::new();
        wait_for("a copy with the file's name in it", async || {
            copy = newest(agent);
            let Ok(mut opener) = Opener::new(&key, pool, &copy) else { return false };
            let mut plain = Vec::new();
            while let Ok(Some(piece)) = opener.next_piece() {
                plain.extend(piece);
            }
            holds_name(&plain)
        })
        .await;
        assert!(!holds_name(&copy), "the name is readable without the key");
        assert!(Opener::new(&[0; 32], pool, &copy).is_ok_and(|mut opener| opener.next_piece().is_err()));
    }
}
