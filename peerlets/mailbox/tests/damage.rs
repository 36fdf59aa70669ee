//! A file that cannot be used is refused with a sentence that says what to do.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use common::{ANA, Home, came, sent};
use redb::{Database, ReadableDatabase, TableDefinition};
use shoal_mailbox::{Accepted, Mailbox, MailboxError, Opened, Query};

const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
const NUMBERS: TableDefinition<'static, &str, u64> = TableDefinition::new("numbers");

fn refused(home: &Home) -> MailboxError {
    Mailbox::open(home.config()).err().expect("is refused")
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let home = Home::new();
    drop(home.open());
    let database = Database::open(home.path()).expect("opens");
    let transaction = database.begin_write().expect("begins");
    transaction.open_table(NUMBERS).expect("opens").insert("version", 2).expect("writes");
    transaction.commit().expect("commits");
    drop(database);
    let error = refused(&home);
    assert!(matches!(error, MailboxError::NewerVersion { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("update this agent"), "{error}");
}

#[tokio::test]
async fn a_file_in_use_is_refused() {
    let home = Home::new();
    let opened = home.open();
    assert_eq!(refused(&home), MailboxError::InUse(home.path()));
    drop(opened);
    drop(home.open());
}

#[tokio::test]
async fn a_file_that_is_damaged_is_refused_or_read_but_never_panics() {
    let home = Home::new();
    let Opened { mailbox, .. } = home.open();
    for number in 1..=50 {
        mailbox.post(sent(number, None), vec![ANA]).await.expect("posted");
    }
    drop(mailbox);
    let whole = std::fs::read(home.path()).expect("reads");
    let mut refusals = 0;
    for at in [0, 9, 64, 320, 4_096, 8_192, 20_000, 40_000] {
        let mut damaged = whole.clone();
        damaged[at..at + 40].fill(0xa5);
        std::fs::write(home.path(), damaged).expect("writes");
        match Mailbox::open(home.config()) {
            Ok(opened) => drop(opened),
            Err(error) => {
                refusals += 1;
                let text = error.to_string();
                assert!(matches!(error, MailboxError::Damaged { .. }) && text.contains("move it away"), "{at}: {text}");
            }
        }
    }
    assert!(refusals > 0);
    std::fs::write(home.path(), &whole[..whole.len() / 2]).expect("writes");
    assert!(matches!(refused(&home), MailboxError::Damaged { .. }));
}

#[tokio::test]
async fn a_damaged_entry_is_counted_and_all_others_are_there() {
    let home = Home::new();
    let Opened { mailbox, .. } = home.open();
    let Ok(Accepted::New(place)) = mailbox.refuse(came(1, None), "no".into()).await else { panic!("is new") };
    mailbox.post(sent(2, None), vec![ANA]).await.expect("posted");
    drop(mailbox);
    let database = Database::open(home.path()).expect("opens");
    let transaction = database.begin_write().expect("begins");
    transaction.open_table(LOG).expect("opens").insert(place.0, [0xff; 20].as_slice()).expect("writes");
    transaction.commit().expect("commits");
    assert!(database.begin_read().is_ok());
    drop(database);
    let Opened { mailbox, .. } = home.open();
    let page = mailbox.query(Query::default()).await.expect("reads");
    assert_eq!((page.entries.len(), page.damaged), (1, 1));
    assert!(matches!(mailbox.entry(place).await, Err(MailboxError::Damaged { .. })));
    mailbox.post(sent(3, None), vec![ANA]).await.expect("others are not held up");
}
