//! The ports of an agent: taken before anything else is touched, so that one in use is told and nothing begun.

use std::net::SocketAddr;
use std::sync::Arc;

use shoal_net::{Net, NetConfig, NetStartError};
use tokio::net::TcpListener;

use crate::AgentError;
use crate::addresses::advertised;
use crate::config::AgentConfig;
use crate::data_directory::Secret;
use crate::handler::AgentHandler;
use crate::join::Doorkeeper;

/// Listeners of the doors people use.
pub(crate) struct Doors {
    pub(crate) dav: Option<TcpListener>,
    pub(crate) dav_address: SocketAddr,
    pub(crate) api: TcpListener,
    pub(crate) api_address: SocketAddr,
}

impl Doors {
    /// Takes the ports people use, and sees to it that those agents use are free: taking these needs the agent's key.
    pub(crate) async fn bind(config: &AgentConfig) -> Result<Self, AgentError> {
        for address in [config.listen, config.data_listen()] {
            bind(address, "other agents").await?;
        }
        let (api, api_address) = bind(config.api, "console and API").await?;
        let (dav, dav_address) = match config.roles.mount {
            true => bind(config.dav, "the drive").await.map(|(listener, address)| (Some(listener), address))?,
            false => (None, config.dav),
        };
        Ok(Self { dav, dav_address, api, api_address })
    }
}

async fn bind(address: SocketAddr, purpose: &'static str) -> Result<(TcpListener, SocketAddr), AgentError> {
    let failed =
        |error: std::io::Error| AgentError::Listen { address: address.to_string(), purpose, reason: error.to_string() };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// The way to other agents, answering nobody yet.
pub(crate) struct Listening {
    pub(crate) net: Arc<Net>,
    pub(crate) handler: AgentHandler,
    pub(crate) doorkeeper: Doorkeeper,
    /// Where others reach the control network.
    pub(crate) control: Vec<SocketAddr>,
    /// Where others reach the data channel.
    pub(crate) data: Vec<SocketAddr>,
}

impl Listening {
    /// Takes the ports agents use.
    pub(crate) async fn start(config: &AgentConfig, seed: &Secret) -> Result<Self, AgentError> {
        let (handler, doorkeeper) = (AgentHandler::default(), Doorkeeper::default());
        let net_config =
            NetConfig { key_seed: seed.clone(), control_listen: config.listen, data_listen: config.data_listen() };
        let net = Net::start(net_config, Arc::new(handler.clone()), Arc::new(doorkeeper.clone())).await;
        let net = net.map_err(|error| match error {
            NetStartError::Listen { address, reason, .. } => {
                AgentError::Listen { address: address.to_string(), purpose: "other agents", reason }
            }
            other => AgentError::Internal(other.to_string()),
        })?;
        let control = advertised(config, net.control_addresses());
        let data = advertised(config, net.data_addresses());
        Ok(Self { net: Arc::new(net), handler, doorkeeper, control, data })
    }
}
