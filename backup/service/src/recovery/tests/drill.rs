//! Drills.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::ObjectName;

use super::super::*;
use super::stage::*;

fn with_files() -> (Owner, ObjectName) {
    let mut owner = Owner::new();
    for number in 0..20 {
        owner.write(&format!("f{number:02}"), &noise(number + 1, 1 << 20));
    }
    owner.write("empty", b"");
    let archive = owner.back_up();
    (owner, archive)
}

fn drill(archive: ObjectName) -> Drill {
    let holders = vec![agent(1)];
    Drill { passphrase: PASSPHRASE.to_owned(), archive, seed: 7, limit_bytes: 64 << 20, holders }
}

async fn ask(stage: &Stage, drill: &Drill) -> Reply {
    let body = serde_json::to_vec(drill).unwrap().into();
    stage.hub.seen_by(OWNER).call(agent(RESTORER), Ask::Drill, body, Duration::from_secs(60)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_as_it_was_is_proof_and_nothing_stays() {
    let (owner, archive) = with_files();
    let stage = Stage::new(&owner, &[1, 2]);
    let (answer, _) = ask(&stage, &drill(archive)).await.unwrap();
    let Answer::Drilled { result, took_ms } = answer else { panic!("{answer:?}") };
    assert!(result.is_proof() && took_ms > 0, "{result:?}");
    assert_eq!((result.good_files, result.good_bytes), (21, 20 << 20));
    assert!(stage.fetched().is_empty(), "{:?}", stage.fetched());

    // A part of it, if less is wanted.
    let small = Drill { limit_bytes: 5 << 20, ..drill(archive) };
    let (answer, _) = ask(&stage, &small).await.unwrap();
    assert!(
        matches!(&answer, Answer::Drilled { result, .. } if result.is_proof() && result.good_bytes == 5 << 20),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_room_for_it_cannot_try_and_finds_nothing_bad() {
    let (owner, archive) = with_files();
    let stage = Stage::new(&owner, &[1]);
    // Enough for what is small, and for no pack.
    stage.machine.set_free_bytes(Some(65 << 20));
    let error = ask(&stage, &drill(archive)).await.unwrap_err();
    assert!(error.to_string().contains("no room"), "{error}");
    stage.machine.set_free_bytes(None);
    let (answer, _) = ask(&stage, &drill(archive)).await.unwrap();
    assert!(matches!(&answer, Answer::Drilled { result, .. } if result.is_proof()), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_back_is_named() {
    let (owner, archive) = with_files();
    let stage = Stage::new(&owner, &[1]);
    let bad = owner.data_packs()[0].name;
    let twist: crate::testing::Twist = Arc::new(move |_, ask, reply| match (ask, reply) {
        (Ask::Get { name, .. }, Ok((answer, body))) if *name == bad => {
            Ok((answer, Bytes::from(body.iter().map(|byte| byte ^ 1).collect::<Vec<_>>())))
        }
        (_, reply) => reply,
    });
    stage.hub.twist(agent(1), twist);
    let (answer, _) = ask(&stage, &drill(archive)).await.unwrap();
    let Answer::Drilled { result, .. } = answer else { panic!("{answer:?}") };
    assert!(!result.is_proof() && result.bad_files > 0 && !result.differences.is_empty(), "{result:?}");
    assert!(stage.fetched().is_empty());
    assert_eq!(stage.liars.lock().unwrap()[0].agent, agent(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_does_not_do_it_nor_does_anybody_with_a_wrong_passphrase_or_another_drill_under_way() {
    const HELD: &[AgentId] = &[OWNER];
    let (owner, archive) = with_files();
    let holder = Stage::as_seen_by(agent(RESTORER), &owner, &[1], HELD, None);
    let refused = ask(&holder, &drill(archive)).await.unwrap_err();
    assert!(
        matches!(&refused, CallError::No { no: No::Refused, reason } if reason.contains("holds a copy")),
        "{refused}"
    );

    let stage = Stage::new(&owner, &[1]);
    let wrong = Drill { passphrase: "wrong".to_owned(), ..drill(archive) };
    assert!(matches!(ask(&stage, &wrong).await, Err(CallError::No { no: No::Refused, .. })));
    let body = Bytes::from_static(b"{}");
    let garbage = stage.hub.seen_by(OWNER).call(agent(RESTORER), Ask::Drill, body, Duration::from_secs(60)).await;
    assert!(matches!(garbage, Err(CallError::No { no: No::Refused, .. })), "{garbage:?}");

    let gate = Arc::new(Gate::default());
    let door = Arc::clone(&gate);
    stage.hub.twist(
        agent(1),
        Arc::new(move |_, ask, reply| {
            if matches!(ask, Ask::Tail { .. }) {
                door.pass();
            }
            reply
        }),
    );
    let first = drill(archive);
    let busy = async {
        stage.wait_for("the first drill", || gate.waiting() > 0).await;
        let second = ask(&stage, &first).await;
        gate.open();
        second
    };
    let (first, second) = tokio::join!(ask(&stage, &first), busy);
    assert!(first.is_ok() && matches!(second, Err(CallError::No { no: No::Busy, .. })), "{first:?} {second:?}");
    // By itself: for an owner who finds nobody else.
    let (result, _) = stage.recovery.try_drill(OWNER, drill(archive)).await.unwrap();
    assert!(result.is_proof());
}
