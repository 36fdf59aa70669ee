//! The pool as backup sees it: members from the book, who answers from health, calls over the data channel.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup_service::call::{Ask, CallError, No, Reply};
use shoal_backup_service::network::{Member, Network as Pool};
use shoal_ledger::AgentRecord;
use shoal_net::{Lane, Network, Request, Response};

use crate::health::Health;
use crate::members::MemberBook;
use crate::wire::{self, Method, Status};

/// The pool, for backup.
pub(super) struct PoolNetwork {
    pub(super) network: Arc<dyn Network>,
    pub(super) health: Arc<Health>,
    pub(super) members: Arc<MemberBook>,
}

impl PoolNetwork {
    fn member(&self, record: AgentRecord) -> Member {
        let silent = self.health.silent_for(record.id);
        Member {
            agent: record.id,
            name: record.name,
            site: (!record.site.is_empty()).then_some(record.site),
            away_ms: silent.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
            distance_ms: u64::from(self.network.status(record.id).round_trip_us / 1_000),
            addresses: record.data_addresses.iter().map(ToString::to_string).collect(),
        }
    }
}

#[async_trait]
impl Pool for PoolNetwork {
    fn own(&self) -> AgentId {
        self.network.local()
    }

    fn members(&self) -> Vec<Member> {
        let own = self.network.local();
        self.members.records().into_iter().filter(|record| record.id != own).map(|record| self.member(record)).collect()
    }

    async fn call(&self, to: AgentId, ask: Ask, body: Bytes, patience: Duration) -> Reply {
        let request = wire::request_with_body(Method::Backup, &ask, body);
        let request: Request = request.map_err(|error| CallError::Malformed(error.to_string()))?;
        let response = self.network.call(to, Lane::Background, request, patience).await;
        let response = response.map_err(|error| CallError::Unreachable(error.to_string()))?;
        reply(response)
    }
}

/// What a response says.
fn reply(response: Response) -> Reply {
    match Status::of(response.status) {
        Status::Done => {
            let answer = wire::decode(&response.head).map_err(|error| CallError::Malformed(error.to_string()))?;
            Ok((answer, response.body))
        }
        Status::NotReady | Status::Unknown => Err(CallError::Unreachable(wire::reason(&response))),
        status => Err(CallError::No { no: no_of(status), reason: wire::reason(&response) }),
    }
}

/// A reply as others get it.
pub(super) fn response(reply: Reply) -> Response {
    match reply {
        Ok((answer, body)) => match wire::encode(&answer) {
            Ok(head) => Response { status: Status::Done as u16, head, body },
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        },
        Err(CallError::No { no, reason }) => wire::refusal(status_of(no), &reason),
        Err(error) => wire::refusal(Status::Failed, &error.to_string()),
    }
}

fn no_of(status: Status) -> No {
    match status {
        Status::NotFound => No::NotFound,
        Status::Full => No::Full,
        Status::Damaged => No::Damaged,
        Status::Refused => No::Refused,
        Status::Busy => No::Busy,
        _ => No::Failed,
    }
}

fn status_of(no: No) -> Status {
    match no {
        No::NotFound => Status::NotFound,
        No::Full => Status::Full,
        No::Damaged => Status::Damaged,
        No::Refused => Status::Refused,
        No::Failed => Status::Failed,
        No::Busy => Status::Busy,
    }
}

#[cfg(test)]
mod tests {
    use shoal_backup_service::call::{Answer, Standing};

    use super::*;

    #[test]
    fn a_reply_comes_back_as_it_was() {
        let standing = Answer::Standing(Standing { sequence: 7, ..Standing::default() });
        let good: Reply = Ok((standing, Bytes::from_static(b"bytes")));
        assert_eq!(reply(response(good.clone())), good);
        for no in [No::NotFound, No::Full, No::Damaged, No::Refused, No::Failed, No::Busy] {
            let bad: Reply = Err(CallError::no(no, "why"));
            assert_eq!(reply(response(bad.clone())), bad);
        }
        assert!(matches!(reply(wire::refusal(Status::NotReady, "starting")), Err(CallError::Unreachable(_))));
    }
}
