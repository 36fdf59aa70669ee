//! Agents find each other on the local network.

use shoal_net::{Announcement, Announcer, browse};

use crate::world::*;

fn announcement(seed: u8, port: u16) -> Announcement {
    Announcement {
        agent: agent(seed),
        name: format!("pc-{seed}"),
        pool_id: None,
        pool_name: "test".to_owned(),
        control_port: port,
        data_port: port + 1,
        version: "0.1.0".to_owned(),
    }
}

#[tokio::test]
async fn an_agent_that_announces_itself_is_found_and_one_that_stopped_is_not() {
    let (stays, goes) = (announcement(61, 4100), announcement(62, 4200));
    let _announcer = Announcer::start(&stays).expect("announces");
    let gone = Announcer::start(&goes).expect("announces");
    let found = async |wanted: &Announcement| {
        let all = browse(std::time::Duration::from_millis(1500)).await.expect("looks round");
        all.into_iter().find(|found| found.announcement == *wanted)
    };
    until("the agent is found", async || {
        found(&stays).await.is_some_and(|agent| agent.data_addresses.iter().any(|address| address.port() == 4101))
    })
    .await;
    drop(gone);
    until("the agent that stopped is found no more", async || found(&goes).await.is_none()).await;
}
