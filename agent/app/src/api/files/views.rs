//! Transfers as the API shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use dci_proto::AgentId;

use super::super::Api;
use super::super::failure::Failure;
use super::super::messages::types::AgentView;
use super::types::{FilesList, IncomingView, OutgoingView, RecipientProgress};
use crate::files::{Incoming, IncomingState, Outgoing, OutgoingState, RecipientState, RecipientView};

fn name_of(names: &BTreeMap<AgentId, String>, agent: AgentId) -> String {
    names.get(&agent).cloned().unwrap_or_else(|| agent.fingerprint())
}

fn eta_s(bytes: u64, have_bytes: u64, rate_bytes_s: Option<u64>) -> Option<u64> {
    rate_bytes_s.map(|rate| bytes.saturating_sub(have_bytes).div_ceil(rate.max(1)))
}

pub(super) fn incoming(names: &BTreeMap<AgentId, String>, one: &Incoming) -> IncomingView {
    let (record, progress) = (one.record(), one.progress());
    let coming = record.state == IncomingState::Coming;
    let rate_bytes_s = progress.rate_bytes_s.filter(|_| coming && progress.waits_for.is_none());
    let (state, why) = match &record.state {
        IncomingState::Coming if progress.waits_for.is_none() => ("receiving", None),
        IncomingState::Coming => ("waiting", progress.waits_for),
        IncomingState::Done => ("done", None),
        IncomingState::Failed(why) => ("failed", Some(why.clone())),
        IncomingState::Removed => ("failed", Some("it was removed".to_owned())),
    };
    IncomingView {
        transfer: record.transfer.to_string(),
        from: AgentView { agent: record.from, name: name_of(names, record.from) },
        user: record.user,
        note: record.note,
        state: state.to_owned(),
        received_ms: record.received_ms,
        expires_ms: record.expires_ms,
        files: record.files,
        bytes: record.bytes,
        have_bytes: progress.have_bytes,
        pulled_bytes: progress.pulled_bytes,
        rate_bytes_s,
        eta_s: eta_s(record.bytes, progress.have_bytes, rate_bytes_s),
        why,
        folder: one.content().display().to_string(),
    }
}

fn recipient(names: &BTreeMap<AgentId, String>, bytes: u64, view: RecipientView) -> RecipientProgress {
    let state = match view.state {
        RecipientState::Waiting => "waiting",
        RecipientState::Accepted => "accepted",
        RecipientState::Receiving => "receiving",
        RecipientState::Done => "done",
        RecipientState::Failed => "failed",
    };
    let is_receiving = view.state == RecipientState::Receiving;
    RecipientProgress {
        agent: view.agent,
        name: name_of(names, view.agent),
        state: state.to_owned(),
        since_ms: view.since_ms,
        have_bytes: view.have_bytes,
        served_bytes: view.served_bytes,
        rate_bytes_s: view.rate_bytes_s,
        eta_s: eta_s(bytes, view.have_bytes, view.rate_bytes_s).filter(|_| is_receiving),
        why: view.why,
    }
}

pub(super) async fn outgoing(
    api: &Api,
    names: &BTreeMap<AgentId, String>,
    one: &Arc<Outgoing>,
) -> Result<OutgoingView, Failure> {
    let record = one.record();
    let recipients = api.files()?.recipients(one).await?;
    let state = match record.state {
        OutgoingState::Uploading => "uploading",
        OutgoingState::Sending => "sending",
        OutgoingState::Offered => "offered",
        OutgoingState::Ended => "ended",
    };
    Ok(OutgoingView {
        transfer: record.transfer.to_string(),
        state: state.to_owned(),
        note: record.note,
        user: record.user,
        to: record.to,
        created_ms: record.created_ms,
        expires_ms: record.expires_ms,
        files: record.files,
        bytes: record.bytes,
        messages: record.messages,
        why: record.given_up,
        recipients: recipients.into_iter().map(|view| recipient(names, record.bytes, view)).collect(),
    })
}

/// All transfers.
pub(super) async fn all(api: &Api) -> Result<FilesList, Failure> {
    let files = api.files()?;
    let names = api.names();
    let mut list = FilesList::default();
    (list.kept_bytes, list.cap_bytes) = files.room_bytes();
    list.incoming = files.all_incoming().iter().map(|one| incoming(&names, one)).collect();
    for one in files.all_outgoing() {
        list.outgoing.push(outgoing(api, &names, &one).await?);
    }
    Ok(list)
}
