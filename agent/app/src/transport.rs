//! Messages of consensus over the control network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_consensus::ConsensusTransport;
use shoal_net::{Lane, Network, Request};

use crate::health::{Health, Presence};
use crate::wire::{self, Method};

/// Carries messages of consensus.
pub(crate) struct ControlTransport {
    network: Arc<dyn Network>,
    health: Arc<Health>,
}

impl ControlTransport {
    pub(crate) fn new(network: Arc<dyn Network>, health: Arc<Health>) -> Self {
        Self { network, health }
    }
}

#[async_trait]
impl ConsensusTransport for ControlTransport {
    async fn call(&self, to: AgentId, message: Bytes, timeout: Duration) -> Result<Bytes, String> {
        let request = Request { method: Method::Consensus as u16, head: Bytes::new(), body: message };
        let answer = self.network.call(to, Lane::Control, request, timeout).await;
        let response = answer.map_err(|error| {
            self.health.probe(&self.network, to);
            error.to_string()
        })?;
        wire::check(&response).map_err(|error| error.to_string())?;
        Ok(response.body)
    }

    fn may_answer(&self, agent: AgentId) -> bool {
        self.health.probe(&self.network, agent);
        !matches!(self.health.view_of(agent).presence, Presence::Suspect | Presence::Absent)
    }
}
