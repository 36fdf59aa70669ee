//! The log: found by what is asked for, a page at a time; followed; kept as long as is said.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::sync::Arc;

use common::{ANA, BEN, Home, ME, START_MS, came, delivered, id, message, next_received, sent, wait_until, within};
use dci_proto::SessionId;
use dci_proto::message::Body;
use shoal_mailbox::{
    Direction, Happening, Mailbox, MailboxConfig, Opened, Order, Page, Query, Retention, Settlement, State,
};

/// Ids of a page's messages, as numbers.
fn numbers(page: &Page) -> Vec<u64> {
    let number = |id: dci_proto::MessageId| u64::from_be_bytes(*id.0.first_chunk().expect("8 bytes"));
    page.entries.iter().map(|entry| number(entry.envelope.message.id)).collect()
}

async fn ask(mailbox: &Mailbox, query: Query) -> Vec<u64> {
    let page = mailbox.query(Query { order: Order::OldestFirst, ..query }).await.expect("reads");
    assert_eq!((page.next, page.damaged), (None, 0));
    numbers(&page)
}

#[tokio::test]
async fn entries_are_found_by_all_that_can_be_asked_for() {
    let home = Home::new();
    let Opened { mailbox, mut incoming, .. } = home.open();
    mailbox.post(sent(1, Some(1)), vec![ANA]).await.expect("posted");
    home.set_ms(&mailbox, 100);
    let mut other = message(2, None, ME, BEN);
    other.message.kind = "chat".parse().expect("a type");
    other.message.body = Body::of_text("Tea & Biscuits").expect("a body");
    mailbox.post(Arc::new(other), vec![BEN]).await.expect("posted");
    home.set_ms(&mailbox, 200);
    mailbox.accept(came(3, Some(2))).await.expect("accepted");
    let received = next_received(&mut incoming).await;
    mailbox.settle(received.place, Settlement::Handled { exit_status: 0 }).await.expect("settled");

    let any = Query::default;
    assert_eq!(ask(&mailbox, any()).await, [1, 2, 3, 3]);
    assert_eq!(ask(&mailbox, Query { direction: Some(Direction::Relayed), ..any() }).await, [3]);
    assert_eq!(ask(&mailbox, Query { direction: Some(Direction::Sent), ..any() }).await, [1, 2]);
    assert_eq!(ask(&mailbox, Query { kind: "chat".parse().ok(), ..any() }).await, [2]);
    assert_eq!(ask(&mailbox, Query { sender: Some(ANA), ..any() }).await, [3, 3]);
    assert_eq!(ask(&mailbox, Query { receiver: Some(ANA), ..any() }).await, [1]);
    assert_eq!(ask(&mailbox, Query { receiver: Some(ME), ..any() }).await, [3, 3]);
    assert_eq!(ask(&mailbox, Query { session: Some(SessionId([2; 16])), ..any() }).await, [3, 3]);
    let between = Query { from_ms: Some(START_MS + 100), before_ms: Some(START_MS + 200), ..any() };
    assert_eq!(ask(&mailbox, between).await, [2]);
    for text in ["tea & bis", "TEA", "&amp; biscuits"] {
        assert_eq!(ask(&mailbox, Query { text: Some(text.into()), ..any() }).await, [2], "{text}");
    }
    assert_eq!(ask(&mailbox, Query { text: Some("coffee".into()), ..any() }).await, [0; 0]);

    let entry = mailbox.entry(received.place).await.expect("reads").expect("is there");
    assert_eq!((entry.direction, entry.at_ms, entry.relay), (Direction::Received, START_MS + 200, None));
    assert_eq!((entry.states[0].agent, &entry.states[0].status.state), (ME, &State::Handled { exit_status: 0 }));
}

#[tokio::test]
async fn pages_of_any_size_together_have_everything_once_in_both_orders() {
    let home = Home::new();
    let Opened { mailbox, .. } = home.open();
    for number in 1..=25 {
        mailbox.post(sent(number, None), vec![ANA]).await.expect("posted");
    }
    for (order, expected) in
        [(Order::OldestFirst, (1..=25).collect::<Vec<u64>>()), (Order::NewestFirst, (1..=25).rev().collect())]
    {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = mailbox.query(Query { order, after, limit: 4, ..Query::default() }).await.expect("reads");
            assert!(page.entries.len() <= 4);
            found.extend(numbers(&page));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn followers_hear_of_entries_and_states_and_slow_ones_how_much_they_missed() {
    let home = Home::new();
    let Opened { mailbox, .. } = home.open();
    let (mut follower, mut slow) = (mailbox.follow(), mailbox.follow());
    mailbox.post(sent(1, None), vec![ANA]).await.expect("posted");
    mailbox.receipt(ANA, delivered(1)).await.expect("taken");
    let logged = within("the entry", follower.next()).await.expect("is open");
    let Happening::Logged(entry) = &*logged else { panic!("{logged:?}") };
    assert_eq!((entry.direction, entry.envelope.message.id, entry.states.len()), (Direction::Sent, id(1), 1));
    let changed = within("the state", follower.next()).await.expect("is open");
    let Happening::Changed { id: of, recipient, .. } = &*changed else { panic!("{changed:?}") };
    assert_eq!((*of, recipient.agent, &recipient.status.state), (id(1), ANA, &State::Delivered));
    let mailbox = Arc::new(mailbox);
    let post = |number| {
        let mailbox = Arc::clone(&mailbox);
        // All at once, so that they share few syncs.
        tokio::spawn(async move { mailbox.post(sent(number, None), vec![ANA]).await })
    };
    let posts: Vec<_> = (2..1_500).map(post).collect();
    for post in posts {
        post.await.expect("no panic").expect("posted");
    }
    let missed = within("being told", slow.next()).await.expect("is open");
    assert!(matches!(*missed, Happening::Missed(count) if count > 0), "{missed:?}");
}

#[tokio::test]
async fn the_log_keeps_what_is_said_and_what_waits() {
    let home = Home::new();
    let retention = Retention { age_ms: 60_000, bytes: 4_000 };
    let Opened { mailbox, .. } = Mailbox::open(MailboxConfig { retention, ..home.config() }).expect("opens");
    for number in 1..=100 {
        mailbox.post(sent(number, None), vec![ANA]).await.expect("posted");
        if number != 7 {
            mailbox.receipt(ANA, delivered(number)).await.expect("taken");
        }
    }
    let count = || async { mailbox.query(Query::default()).await.expect("reads").entries.len() };
    home.set_ms(&mailbox, 20_000);
    wait_until("the oldest are dropped by size", || async { count().await < 40 }).await;
    assert!(mailbox.states(id(7)).await.expect("reads").is_some(), "it waits");
    assert!(mailbox.states(id(100)).await.expect("reads").is_some(), "it is new");
    assert_eq!(mailbox.states(id(1)).await, Ok(None), "it was dropped with its entry");
    home.set_ms(&mailbox, 120_000);
    wait_until("all that is old is dropped", || async { count().await == 2 }).await;
    assert_eq!(ask(&mailbox, Query::default()).await, [7, 100], "what waits, and the last");
}

/// Has so many messages come and be refused, all at a time: each is one entry. Numbers from `first` on.
async fn come_at(home: &Home, mailbox: &Arc<Mailbox>, now_ms: u64, first: u64, count: u64) {
    home.set_ms(mailbox, now_ms);
    let refused = |number| {
        let mailbox = Arc::clone(mailbox);
        let mut envelope = message(number, None, ANA, ME);
        envelope.message.expires_ms += now_ms;
        // All at once, so that they share few syncs.
        tokio::spawn(async move { mailbox.refuse(Arc::new(envelope), "no".to_owned()).await })
    };
    let refused: Vec<_> = (first..first + count).map(refused).collect();
    for one in refused {
        one.await.expect("no panic").expect("kept");
    }
}

/// All pages of a query: the numbers in order of time, and how many entries were looked at.
async fn all_pages(mailbox: &Mailbox, query: Query) -> (Vec<u64>, usize) {
    let (mut found, mut looked_at, mut after) = (Vec::new(), 0, None);
    loop {
        let page = mailbox.query(Query { after, ..query.clone() }).await.expect("reads");
        found.extend(numbers(&page));
        looked_at += page.looked_at;
        after = page.next;
        if after.is_none() {
            found.sort_unstable();
            return (found, looked_at);
        }
    }
}

#[tokio::test]
async fn what_is_asked_for_by_time_or_id_is_found_without_looking_through_the_whole_log() {
    let home = Home::new();
    let mailbox = Arc::new(home.open().mailbox);
    for round in 0..10 {
        come_at(&home, &mailbox, round * 100_000, round * 1_000, 1_000).await;
    }
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let window = Query {
            from_ms: Some(START_MS + 400_000),
            before_ms: Some(START_MS + 430_000),
            order,
            limit: 100,
            ..Query::default()
        };
        let (found, looked_at) = all_pages(&mailbox, window.clone()).await;
        assert_eq!(found, (4_000..5_000).collect::<Vec<_>>(), "{order:?}");
        assert!(looked_at < 4_000, "{order:?}: {looked_at} of 10,000 entries were looked at");
        let page = mailbox.query(window).await.expect("reads");
        assert!(page.entries.len() == 100 && page.looked_at < 1_500, "{order:?}: {}", page.looked_at);
        let (found, looked_at) = all_pages(&mailbox, Query { id: Some(id(4_321)), order, ..Query::default() }).await;
        assert_eq!(found, [4_321], "{order:?}");
        assert!(looked_at < 4_000, "{order:?}: {looked_at} of 10,000 entries were looked at");
        let (found, looked_at) = all_pages(&mailbox, Query { order, ..Query::default() }).await;
        assert_eq!((found.len(), looked_at), (10_000, 10_000), "{order:?}");
    }
}

#[tokio::test]
async fn what_was_written_while_a_clock_was_ahead_is_found_too() {
    let home = Home::new();
    let mailbox = Arc::new(home.open().mailbox);
    // For a moment the clock is half a minute ahead.
    come_at(&home, &mailbox, 0, 0, 1_500).await;
    come_at(&home, &mailbox, 40_000, 1_500, 50).await;
    come_at(&home, &mailbox, 10_000, 1_550, 1_500).await;
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let late = Query { from_ms: Some(START_MS + 30_000), order, ..Query::default() };
        assert_eq!(all_pages(&mailbox, late).await.0, (1_500..1_550).collect::<Vec<_>>(), "{order:?}");
    }
}

#[tokio::test]
async fn a_message_is_found_by_its_id_with_each_time_it_was_handed_out_until_it_is_dealt_with() {
    let home = Home::new();
    let Opened { mailbox, mut incoming, .. } = home.open();
    let found = async |number| ask(&mailbox, Query { id: Some(id(number)), ..Query::default() }).await;
    mailbox.post(sent(1, None), vec![ANA]).await.expect("posted");
    mailbox.accept(came(2, None)).await.expect("accepted");
    // Another's message with the same id is another message.
    mailbox.accept(Arc::new(message(2, None, BEN, ME))).await.expect("accepted");
    // One of this agent to itself.
    let own = Arc::new(message(3, None, ME, ME));
    mailbox.post(own.clone(), vec![ME]).await.expect("posted");
    mailbox.accept(own).await.expect("accepted");
    for _ in 0..3 {
        let received = next_received(&mut incoming).await;
        home.set_ms(&mailbox, 1_000_000);
        mailbox.settle(received.place, Settlement::Handled { exit_status: 0 }).await.expect("settled");
    }
    assert_eq!(found(1).await, [1]);
    assert_eq!(found(2).await, [2; 4], "two, each as it came and as it was handed out");
    assert_eq!(found(3).await, [3; 3], "as it was sent, came and was handed out");
    assert_eq!(found(4).await, [0; 0]);
}
