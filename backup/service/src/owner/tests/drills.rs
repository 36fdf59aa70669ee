//! Drills: by another agent, or here if there are only holders.

use shoal_backup::drill::DrillResult;

use super::*;
use crate::call::{Answer, Drill};
use crate::owner::{LocalDrill, OwnerError};

fn good(files: u64) -> DrillResult {
    DrillResult { good_files: files, good_bytes: 100, ..DrillResult::default() }
}

/// Says that all went well, if it is asked with the right passphrase.
struct Tester(Mutex<Option<String>>);

#[async_trait]
impl Answers for Tester {
    async fn answer(&self, _from: AgentId, ask: Ask, body: Bytes) -> Reply {
        let Ask::Drill = ask else { return Err(CallError::no(crate::call::No::Refused, "no holder")) };
        let drill: Drill = serde_json::from_slice(&body).unwrap();
        assert_eq!(drill.holders.len(), 2);
        *self.0.lock().unwrap() = Some(drill.passphrase);
        Ok((Answer::Drilled { result: good(3), took_ms: 1_000 }, Bytes::new()))
    }
}

struct Here(DrillResult);

#[async_trait]
impl LocalDrill for Here {
    async fn drill(&self, _drill: Drill) -> Result<(DrillResult, u64), CallError> {
        Ok((self.0.clone(), 500))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_that_holds_nothing_tries_to_restore() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let kit = pool.init().await;
    assert!(matches!(pool.owner().drill().await, Err(OwnerError::NobodyDrills(_))), "there is no archive");
    pool.back_up().await;
    let tester = Arc::new(Tester(Mutex::default()));
    let answers: Arc<dyn Answers> = tester.clone();
    pool.hub.join(agent(9), &answers);
    let proof = pool.owner().drill().await.unwrap();
    assert_eq!((proof.by, proof.archive.0, proof.result.clone()), (agent(9), 1, good(3)));
    assert_eq!(tester.0.lock().unwrap().as_deref(), Some(kit.passphrase.as_str()));
    let status = pool.status();
    assert_eq!((status.proof, status.alerts.len()), (Some(proof), 0));
    assert!(status.full_restore_ms.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn if_there_are_only_holders_this_pc_tries_itself_by_schedule_and_a_failure_is_told() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let bad = DrillResult { bad_files: 2, ..good(1) };
    pool.owner().set_local_drill(Arc::new(Here(bad)));
    let mut plan = pool.plan();
    plan.drill_days = 30;
    pool.owner().init(plan).await.unwrap();
    pool.back_up().await;
    // The engine's clock is the machine's own; what is due is by the test's.
    let made_ms = pool.status().newest.unwrap().made_ms;
    let now_ms = pool.machine.now().wall_ms;
    pool.machine.pass(made_ms.saturating_sub(now_ms) + 3 * 24 * 60 * 60_000);
    let status =
        pool.until("a failed drill", |status| status.alerts.iter().any(|alert| alert.kind == "drill_failed")).await;
    assert_eq!(status.proof, None);
}
