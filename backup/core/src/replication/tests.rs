use super::*;
use crate::catalogue::tests::object;

const FIRST: AgentId = AgentId([1; 32]);
const SECOND: AgentId = AgentId([2; 32]);
const KINDS: [ObjectKind; 6] =
    [ObjectKind::Config, ObjectKind::Key, ObjectKind::Pack, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot];

fn thing(number: usize) -> Object {
    object(number as u64, KINDS[number], 1)
}

/// One archive of two packs; two peers that can be reached.
fn replication() -> Replication {
    let mut replication = Replication::new(2);
    for number in 0..KINDS.len() {
        replication.added(thing(number), number as u64 + 1).unwrap();
    }
    replication.needs(ArchiveId(1), (2..6).map(|number| thing(number).name)).unwrap();
    for peer in [FIRST, SECOND] {
        replication.assign(peer).unwrap();
        replication.reachable(peer, true);
    }
    replication
}

fn copies(replication: &Replication) -> usize {
    replication.protection(ArchiveId(1)).unwrap().copies
}

/// Sends and confirms all; the kinds sent to each peer, in order.
fn send_all(replication: &mut Replication, steady_ms: u64) -> BTreeMap<AgentId, Vec<ObjectKind>> {
    let mut sent: BTreeMap<AgentId, Vec<ObjectKind>> = BTreeMap::new();
    loop {
        let due = replication.due(steady_ms);
        if due.is_empty() {
            return sent;
        }
        for send in due {
            sent.entry(send.peer).or_default().push(send.object.kind);
            replication.confirmed(send.peer, &send.object.name);
        }
    }
}

#[test]
fn a_peer_that_was_full_goes_on_when_it_takes_something_or_says_that_it_has_room() {
    let mut replication = replication();
    replication.due(0);
    for number in 0..2 {
        replication.confirmed(FIRST, &thing(number).name);
    }
    let packs: Vec<Object> = replication.due(0).iter().filter(|send| send.peer == FIRST).map(|it| it.object).collect();
    assert_eq!(packs.len(), 2);
    replication.failed(FIRST, &packs[0].name, SendFailure::Full, 0);
    assert!(replication.due(1).iter().all(|send| send.peer != FIRST), "it is full");
    // A smaller one was on its way and fits.
    replication.confirmed(FIRST, &packs[1].name);
    let is_sent = |replication: &mut Replication| replication.due(1).iter().any(|send| send.object == packs[0]);
    assert!(is_sent(&mut replication));
    replication.failed(FIRST, &packs[0].name, SendFailure::Full, 1);
    assert!(!is_sent(&mut replication));
    replication.has_room(FIRST);
    assert!(is_sent(&mut replication) && !replication.progress(FIRST).unwrap().is_full);
    assert!(!replication.holds_archive(FIRST, ArchiveId(1)));
    replication.confirmed(FIRST, &packs[0].name);
    send_all(&mut replication, 1);
    assert!(replication.holds_archive(FIRST, ArchiveId(1)));
}

#[test]
fn each_peer_gets_all_in_order_once_and_counts_only_then() {
    let mut replication = replication();
    let due = replication.due(0);
    assert_eq!(due.len(), 2, "the configuration, to each");
    assert_eq!(replication.due(0), [], "it is on its way");
    due.iter().for_each(|send| assert!(replication.confirmed(send.peer, &send.object.name)));
    assert_eq!(copies(&replication), 0);
    let sent = send_all(&mut replication, 0);
    assert_eq!((&sent[&FIRST][..], &sent[&SECOND][..]), (&KINDS[1..], &KINDS[1..]));
    assert_eq!(replication.protection(ArchiveId(1)), Some(Protection { copies: 2, reachable: 2, of: 2 }));
    replication.reachable(FIRST, false);
    assert_eq!(replication.protection(ArchiveId(1)), Some(Protection { copies: 2, reachable: 1, of: 2 }));
}

#[test]
fn what_fails_is_sent_again_later_and_what_is_never_heard_of_too() {
    let mut replication = replication();
    replication.reachable(SECOND, false);
    assert_eq!(replication.due(0).len(), 1);
    replication.failed(FIRST, &thing(0).name, SendFailure::Unreachable, 0);
    assert_eq!((replication.due(RETRY_FIRST_MS - 1).len(), replication.due(RETRY_FIRST_MS).len()), (0, 1));
    let late = RETRY_FIRST_MS + SEND_TIMEOUT_MS;
    assert_eq!((replication.due(late - 1).len(), replication.due(late).len()), (0, 0), "it failed a second time");
    assert_eq!(replication.due(late + 2 * RETRY_FIRST_MS).len(), 1);
    replication.failed(FIRST, &thing(0).name, SendFailure::Full, late);
    assert!(replication.progress(FIRST).unwrap().is_full);
    assert_eq!((replication.due(late + FULL_WAIT_MS - 1).len(), replication.due(late + FULL_WAIT_MS).len()), (0, 1));
}

#[test]
fn a_peer_that_lost_its_disk_or_one_object_is_filled_again() {
    let mut replication = replication();
    send_all(&mut replication, 0);
    replication.damaged(FIRST, &thing(2).name);
    assert_eq!((copies(&replication), send_all(&mut replication, 0)[&FIRST].len(), copies(&replication)), (1, 1, 2));
    replication.reported(FIRST, []);
    assert_eq!(copies(&replication), 1);
    assert_eq!(send_all(&mut replication, 0)[&FIRST].len(), KINDS.len());
    replication.reported(FIRST, (0..6).map(|number| thing(number).name).chain([ObjectName::of(b"of another archive")]));
    assert_eq!(copies(&replication), 2);
}

#[test]
fn a_liar_counts_for_nothing_until_every_object_is_proven() {
    let mut replication = replication();
    send_all(&mut replication, 0);
    replication.lied(FIRST, &thing(3).name, Lie::FailedChallenge);
    assert_eq!(copies(&replication), 1);
    // It gets what it lost, and names all that it has: its word counts for nothing.
    assert_eq!(send_all(&mut replication, 0)[&FIRST], [ObjectKind::Pack]);
    replication.reported(FIRST, (0..6).map(|number| thing(number).name));
    assert_eq!((copies(&replication), replication.held(FIRST).filter(|(_, counts)| *counts).count()), (1, 0));
    (0..5).for_each(|number| replication.proven(FIRST, &thing(number).name));
    replication.reported(FIRST, (0..6).map(|number| thing(number).name));
    assert!(copies(&replication) == 1 && replication.progress(FIRST).unwrap().is_distrusted);
    replication.proven(FIRST, &thing(5).name);
    assert!(copies(&replication) == 2 && !replication.progress(FIRST).unwrap().is_distrusted);
}

#[test]
fn nothing_is_sent_to_who_pulls_and_deleted_things_are_never_sent() {
    let mut replication = replication();
    replication.pulls(FIRST, true);
    assert!(replication.due(0).iter().all(|send| send.peer == SECOND));
    replication.pulls(FIRST, false);
    replication.forgotten(ArchiveId(1));
    (2..6).for_each(|number| replication.deleted(&thing(number).name));
    assert_eq!(send_all(&mut replication, SEND_TIMEOUT_MS * 2)[&FIRST], KINDS[..2]);
    assert!(replication.is_full_copy(FIRST));
    assert_eq!(replication.needs(ArchiveId(2), [thing(2).name]), Err(ReplicationError::UnknownObject(thing(2).name)));
}

#[test]
fn what_is_on_the_way_is_bounded_and_peers_take_turns() {
    let mut replication = Replication::new(8);
    for number in 0..100 {
        replication.added(object(number, ObjectKind::Pack, 1), number + 1).unwrap();
    }
    for number in 0..8 {
        replication.assign(AgentId([number; 32])).unwrap();
        replication.reachable(AgentId([number; 32]), true);
    }
    let first = replication.due(0);
    assert_eq!(first.len(), IN_FLIGHT);
    first.iter().for_each(|send| _ = replication.confirmed(send.peer, &send.object.name));
    let served: std::collections::BTreeSet<_> = (0..8)
        .flat_map(|_| {
            let sends = replication.due(0);
            sends.iter().for_each(|send| _ = replication.confirmed(send.peer, &send.object.name));
            sends.into_iter().map(|send| send.peer)
        })
        .collect();
    assert_eq!(served.len(), 8);
}
