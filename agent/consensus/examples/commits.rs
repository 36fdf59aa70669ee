//! Commits per second and the time of read points, of members in one process:
//! `cargo run -p shoal-consensus --example commits -- MEMBERS CALLERS COMMANDS`.

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::time::Instant;

use futures::future::join_all;
use harness::{Pool, make_folder};
use shoal_ledger::LedgerClient;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap_or(0));
    let mut next = |default: usize| arguments.next().filter(|value| *value > 0).unwrap_or(default);
    let (members, callers, commands) = (next(3), next(64), next(6400));
    let pool = Pool::of(members as u8).await;
    let numbers: Vec<u8> = (1..=members as u8).collect();
    let leader = pool.until_leader(&numbers).await;
    let follower = numbers.iter().copied().find(|number| *number != leader);
    for (what, number) in [("leader", Some(leader)), ("follower", follower)] {
        let Some(number) = number else { continue };
        let member = &pool.members[&number];
        let begun = Instant::now();
        join_all((0..callers).map(|caller| async move {
            for index in 0..commands / callers {
                make_folder(member, &format!("{what}-{caller}-{index}")).await.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        }))
        .await
        .into_iter()
        .for_each(|result| {
            if let Err(error) = result {
                println!("{error}")
            }
        });
        let rate = commands as f64 / begun.elapsed().as_secs_f64();
        println!(
            "{members} members, {callers} callers at the {what}: {rate:.0} commits/s, {} entries",
            member.status().applied
        );
        let mut alone = Vec::new();
        for index in 0..100 {
            let begun = Instant::now();
            let _ = make_folder(member, &format!("{what}-alone-{index}")).await;
            alone.push(begun.elapsed());
        }
        alone.sort();
        println!("  one caller: {:?} a commit (median)", alone[50]);
        let mut points = Vec::new();
        for _ in 0..1000 {
            let begun = Instant::now();
            let _ = member.barrier().await;
            points.push(begun.elapsed());
        }
        points.sort();
        let begun = Instant::now();
        join_all((0..16).map(|_| async {
            for _ in 0..1000 {
                let _ = member.barrier().await;
            }
        }))
        .await;
        let rate = 16_000.0 / begun.elapsed().as_secs_f64();
        println!("  read point: median {:?}, p99 {:?}; 16 callers {rate:.0}/s", points[500], points[990]);
    }
}
