//! What is posted is sent until it is acknowledged, what is accepted is handed out until it is dealt with; restarts included.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::sync::Arc;

use common::{ANA, BEN, Home, LIFE_MS, ME, came, delivered, id, message, next_received, next_sending, sent, within};
use dci_proto::AgentId;
use dci_proto::message::{ReceiptState, Recipient};
use shoal_mailbox::{
    Accepted, Limits, Mailbox, MailboxConfig, MailboxError, Opened, PostRefused, ReceiptOutcome, Settlement, State,
};

#[tokio::test]
async fn a_message_is_sent_again_after_a_restart_until_it_is_acknowledged() {
    let home = Home::new();
    let Opened { mailbox, mut outgoing, .. } = home.open();
    mailbox.post(sent(1, None), vec![ANA]).await.expect("posted");
    let first = next_sending(&mut outgoing).await;
    assert_eq!((first.envelope, first.attempt, first.recipients), (sent(1, None), 0, vec![ANA]));
    drop((mailbox, outgoing));

    let Opened { mailbox, mut outgoing, .. } = home.open();
    let second = next_sending(&mut outgoing).await;
    assert_eq!((second.envelope, second.attempt), (sent(1, None), 1));
    home.set_ms(&mailbox, 1_000);
    assert_eq!(next_sending(&mut outgoing).await.attempt, 2);
    assert_eq!(mailbox.receipt(ANA, delivered(1)).await, Ok(ReceiptOutcome::Changed));
    drop((mailbox, outgoing));

    let Opened { mailbox, mut outgoing, .. } = home.open();
    mailbox.post(sent(2, None), vec![ANA]).await.expect("posted");
    assert_eq!(next_sending(&mut outgoing).await.envelope, sent(2, None), "the first is not sent any more");
    let states = mailbox.states(id(1)).await.expect("reads").expect("is known");
    assert_eq!((states[0].agent, &states[0].status.state, states[0].status.attempts), (ANA, &State::Delivered, 3));
    assert_eq!(mailbox.states(id(9)).await, Ok(None));
}

#[tokio::test]
async fn messages_of_a_session_are_sent_one_after_the_other() {
    let home = Home::new();
    let Opened { mailbox, mut outgoing, .. } = home.open();
    for number in 1..=20 {
        mailbox.post(sent(number, Some(1)), vec![ANA]).await.expect("posted");
    }
    for number in 1..=20 {
        let sending = next_sending(&mut outgoing).await;
        assert_eq!((sending.envelope.message.id, sending.attempt), (id(number), 0));
        mailbox.receipt(ANA, delivered(number)).await.expect("taken");
    }
}

#[tokio::test]
async fn a_recipient_that_comes_back_is_sent_to_at_once_and_an_expired_message_to_nobody() {
    let home = Home::new();
    let Opened { mailbox, mut outgoing, .. } = home.open();
    mailbox.post(sent(1, None), vec![ANA]).await.expect("posted");
    for now_ms in [0, 1_000, 3_000, 8_000] {
        home.set_ms(&mailbox, now_ms);
        next_sending(&mut outgoing).await;
    }
    home.set_ms(&mailbox, 10_000);
    mailbox.seen(ANA);
    assert_eq!(next_sending(&mut outgoing).await.attempt, 4);
    home.set_ms(&mailbox, LIFE_MS);
    let is_expired = || async {
        let states = mailbox.states(id(1)).await.expect("reads").expect("is known");
        matches!(states[0].status.state, State::Expired { .. })
    };
    common::wait_until("it expires", is_expired).await;
    mailbox.seen(ANA);
    assert_eq!(mailbox.receipt(ANA, delivered(1)).await, Ok(ReceiptOutcome::Nothing));
    drop(mailbox);
    assert_eq!(within("the end", outgoing.next()).await, None);
}

#[tokio::test]
async fn more_than_fits_the_queue_is_sent_as_it_is_taken() {
    const COUNT: u64 = 3_000;
    let home = Home::new();
    let limits = Limits { on_the_way: 10_000, ..Limits::default() };
    let Opened { mailbox, mut outgoing, .. } = Mailbox::open(MailboxConfig { limits, ..home.config() }).expect("opens");
    let mailbox = Arc::new(mailbox);
    let posts: Vec<_> = (1..=COUNT)
        .map(|number| {
            let mailbox = Arc::clone(&mailbox);
            tokio::spawn(async move { mailbox.post(sent(number, None), vec![ANA]).await })
        })
        .collect();
    for post in posts {
        post.await.expect("no panic").expect("posted");
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..COUNT {
        assert!(seen.insert(next_sending(&mut outgoing).await.envelope.message.id), "sent twice");
    }
}

#[tokio::test]
async fn a_message_that_came_is_handed_out_until_it_is_dealt_with_and_never_taken_twice() {
    let home = Home::new();
    let Opened { mailbox, mut incoming, .. } = home.open();
    assert!(matches!(mailbox.accept(came(1, Some(1))).await, Ok(Accepted::New(_))));
    let again = Accepted::Known(ReceiptState::Delivered);
    assert_eq!(mailbox.accept(came(1, Some(1))).await, Ok(again.clone()));
    let received = next_received(&mut incoming).await;
    assert_eq!((received.envelope, received.attempt), (came(1, Some(1)), 1));
    drop((mailbox, incoming));

    let Opened { mailbox, mut incoming, .. } = home.open();
    assert_eq!(mailbox.accept(came(1, Some(1))).await, Ok(again));
    let received = next_received(&mut incoming).await;
    assert_eq!((received.envelope, received.attempt), (came(1, Some(1)), 2));
    let handled = ReceiptState::Handled { exit_status: 3 };
    let settled = mailbox.settle(received.place, Settlement::Handled { exit_status: 3 }).await;
    assert_eq!(settled, Ok(handled.clone()));
    let twice = mailbox.settle(received.place, Settlement::Expired).await;
    assert_eq!(twice, Err(MailboxError::NotPending(received.place)));
    drop((mailbox, incoming));

    let Opened { mailbox, mut incoming, .. } = home.open();
    assert_eq!(mailbox.accept(came(1, Some(1))).await, Ok(Accepted::Known(handled)));
    mailbox.accept(came(2, None)).await.expect("accepted");
    assert_eq!(next_received(&mut incoming).await.envelope, came(2, None), "the first is dealt with");
}

#[tokio::test]
async fn what_came_is_handed_out_in_order_also_when_nobody_takes_it_for_a_while() {
    // More than the queue holds, fewer than one sender may have out.
    const COUNT: u64 = 500;
    let home = Home::new();
    let Opened { mailbox, mut incoming, .. } = home.open();
    for number in 1..=COUNT {
        mailbox.accept(came(number, Some(1))).await.expect("accepted");
    }
    for number in 1..=COUNT {
        assert_eq!(next_received(&mut incoming).await.envelope.message.id, id(number));
    }
    drop((mailbox, incoming));
    let Opened { mut incoming, mailbox: _mailbox, .. } = home.open();
    for number in 1..=COUNT {
        let received = next_received(&mut incoming).await;
        assert_eq!((received.envelope.message.id, received.attempt), (id(number), 2));
    }
}

#[tokio::test]
async fn what_is_refused_is_remembered_and_not_handed_out() {
    let home = Home::new();
    let Opened { mailbox, mut incoming, .. } = home.open();
    mailbox.refuse(came(1, None), "you may not".into()).await.expect("kept in mind");
    let refused = ReceiptState::Refused { reason: "you may not".into() };
    assert_eq!(mailbox.accept(came(1, None)).await, Ok(Accepted::Known(refused)));
    mailbox.accept(came(2, None)).await.expect("accepted");
    assert_eq!(next_received(&mut incoming).await.envelope, came(2, None));
}

#[tokio::test]
async fn who_joins_a_group_gets_its_messages_and_messages_over_the_limit_are_refused() {
    let home = Home::new();
    let Opened { mailbox, mut outgoing, .. } = home.open();
    let lab = Recipient::Group("lab".parse().expect("a group"));
    let mut envelope = message(1, None, ME, ANA);
    envelope.message.to = lab.clone();
    mailbox.post(Arc::new(envelope), vec![ANA]).await.expect("posted");
    assert_eq!(next_sending(&mut outgoing).await.recipients, [ANA]);
    mailbox.receipt(ANA, delivered(1)).await.expect("taken");
    assert_eq!(mailbox.joined(lab, vec![ANA, BEN]).await, Ok(1));
    assert_eq!(next_sending(&mut outgoing).await.recipients, [BEN]);
    let many: Vec<AgentId> = (0..=Limits::default().recipients).map(|number| AgentId(agent_key(number))).collect();
    let refused = PostRefused::Recipients { found: many.len(), limit: many.len() - 1 };
    assert_eq!(mailbox.post(sent(2, None), many).await, Err(MailboxError::Post(refused)));
}

fn agent_key(number: usize) -> [u8; 32] {
    let mut key = [9; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}
