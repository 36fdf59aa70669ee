//! Which way a connection to a peer is made: directly where that works, over others where it does not.
//!
//! Once the direct way to a port has failed and a tunnel stands, new connections go through tunnels at once, and the
//! direct way is tried beside them with growing pauses. When it works, a direct connection takes the tunnels' place.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use crate::asking::Connection;
use crate::limits::{BACKOFF_FIRST, DIRECT_RETRY_FIRST, DIRECT_RETRY_LAST, DRAIN_LOOK, DRAIN_TIMEOUT};
use crate::net::Core;
use crate::peer::{PeerState, Port};
use crate::pool::Connected;
use crate::{Lane, back, control, data, tunnel};

/// Makes a connection to a peer, ready to be asked on.
pub(crate) async fn connect(core: Arc<Core>, peer: Arc<PeerState>, lane: Lane) -> Connected {
    let port = Port::of(lane);
    let failed = if peer.is_indirect(port) {
        None
    } else {
        match directly(&core, &peer, lane).await {
            Ok(connection) => return Ok(connection),
            Err(reason) => Some(reason),
        }
    };
    match tunnel::connect(&core, &peer, lane).await {
        Ok(connection) => {
            peer.set_indirect(port, true);
            if !peer.set_tried(port, true) {
                core.tasks.spawn(try_directly(core.clone(), peer, port));
            }
            Ok(connection)
        }
        Err(reason) => {
            // The next attempt begins with the direct way.
            peer.set_indirect(port, false);
            Err(failed.map_or_else(|| reason.clone(), |failed| format!("{failed}; over others: {reason}")))
        }
    }
}

async fn directly(core: &Arc<Core>, peer: &PeerState, lane: Lane) -> Connected {
    match Port::of(lane) {
        Port::Control => control::connect(core, peer).await,
        Port::Data => data_directly(core, peer, lane).await,
    }
}

/// Dials the peer, or has it dial us where only it can. What was last seen to fail is tried last.
async fn data_directly(core: &Arc<Core>, peer: &PeerState, lane: Lane) -> Connected {
    let may_bring = peer.has_control_connection();
    let bring_first = may_bring && peer.data_dial_failed_within(DIRECT_RETRY_LAST);
    if bring_first && let Ok(connection) = back::connect(core, peer, lane).await {
        return Ok(connection);
    }
    match data::connect(core, peer, lane).await {
        Err(reason) if may_bring && !bring_first => {
            let brought = back::connect(core, peer, lane).await;
            brought.map_err(|failed| format!("{reason}; brought by itself: {failed}"))
        }
        connected => connected,
    }
}

/// Tries the direct way until it works or no tunnel is in use any more.
async fn try_directly(core: Arc<Core>, peer: Arc<PeerState>, port: Port) {
    let trying = async {
        let mut pause = DIRECT_RETRY_FIRST;
        loop {
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(DIRECT_RETRY_LAST),
                // Not at once: the peer may say that it is there again and again.
                () = peer.retry_wanted(port) => sleep(BACKOFF_FIRST).await,
            }
            if !peer.has_tunnels(port) {
                return None;
            }
            let lane = if port == Port::Control { Lane::Control } else { Lane::Foreground };
            if let Ok(connection) = directly(&core, &peer, lane).await {
                return Some(connection);
            }
        }
    };
    let direct = peer.struck_off.run_until_cancelled(Box::pin(trying)).await.flatten();
    peer.set_tried(port, false);
    peer.set_indirect(port, false);
    if let Some(direct) = direct {
        tracing::debug!(agent = %peer.agent, ?port, "reached directly now");
        for tunnel in peer.replace_tunnels(port, direct) {
            core.tasks.spawn(drain(tunnel));
        }
    }
}

/// Closes a connection that nobody takes any more, when those who took it have their answers.
async fn drain(connection: Arc<Connection>) {
    let begin = Instant::now();
    let idle = async {
        loop {
            // First a while: whoever took it just now has not asked yet.
            sleep(DRAIN_LOOK).await;
            if connection.in_flight() == 0 || begin.elapsed() >= DRAIN_TIMEOUT {
                return;
            }
        }
    };
    tokio::select! {
        () = idle => connection.close("another took its place"),
        () = connection.closed() => {}
    }
}
