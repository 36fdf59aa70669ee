//! Reading the ledger. Every function takes a view and touches nothing else.

use dci_proto::{AgentId, ContentId, InodeId, StripeId, VolumeId};

use crate::{
    AgentRecord, GarbageStripe, JoinRequest, KvError, KvRead, Lock, Node, NodePath, PoolRecord, Property, StripeRecord,
    TicketRecord, UserRecord, VolumeRecord,
};

/// The pool; `None` in an empty ledger.
pub fn pool(kv: &dyn KvRead) -> Result<Option<PoolRecord>, KvError> {
    let _ = kv;
    todo!()
}

/// The latest time a leader stamped, in ms since 1970 UTC; 0 in an empty ledger.
pub fn time_ms(kv: &dyn KvRead) -> Result<u64, KvError> {
    let _ = kv;
    todo!()
}

/// All members, by id.
pub fn agents(kv: &dyn KvRead) -> Result<Vec<AgentRecord>, KvError> {
    let _ = kv;
    todo!()
}

/// One member.
pub fn agent(kv: &dyn KvRead, id: AgentId) -> Result<Option<AgentRecord>, KvError> {
    let _ = (kv, id);
    todo!()
}

/// Tickets that have been given out and not used.
pub fn tickets(kv: &dyn KvRead) -> Result<Vec<TicketRecord>, KvError> {
    let _ = kv;
    todo!()
}

/// Agents that wait for an admin.
pub fn join_requests(kv: &dyn KvRead) -> Result<Vec<JoinRequest>, KvError> {
    let _ = kv;
    todo!()
}

/// All users, by name.
pub fn users(kv: &dyn KvRead) -> Result<Vec<UserRecord>, KvError> {
    let _ = kv;
    todo!()
}

/// One user.
pub fn user(kv: &dyn KvRead, name: &str) -> Result<Option<UserRecord>, KvError> {
    let _ = (kv, name);
    todo!()
}

/// All volumes, by number.
pub fn volumes(kv: &dyn KvRead) -> Result<Vec<VolumeRecord>, KvError> {
    let _ = kv;
    todo!()
}

/// The volume of a name.
pub fn volume_by_name(kv: &dyn KvRead, name: &str) -> Result<Option<VolumeRecord>, KvError> {
    let _ = (kv, name);
    todo!()
}

/// One volume.
pub fn volume(kv: &dyn KvRead, id: VolumeId) -> Result<Option<VolumeRecord>, KvError> {
    let _ = (kv, id);
    todo!()
}

/// What stands at a path. Names are looked up in Unicode normal form C.
pub fn node(kv: &dyn KvRead, path: &NodePath) -> Result<Option<Node>, KvError> {
    let _ = (kv, path);
    todo!()
}

/// Visits what a folder holds in the order of the normalised names, from after the name `after`, until `visit`
/// returns false.
pub fn children(
    kv: &dyn KvRead,
    folder: InodeId,
    after: Option<&str>,
    visit: &mut dyn FnMut(Node) -> bool,
) -> Result<(), KvError> {
    let _ = (kv, folder, after, visit);
    todo!()
}

/// Contents and plain bytes of the chunks `first..first + limit` of a file.
pub fn chunks(kv: &dyn KvRead, file: InodeId, first: u32, limit: u32) -> Result<Vec<(ContentId, u32)>, KvError> {
    let _ = (kv, file, first, limit);
    todo!()
}

/// The stripe that holds a content.
pub fn content(kv: &dyn KvRead, id: ContentId) -> Result<Option<(StripeId, StripeRecord)>, KvError> {
    let _ = (kv, id);
    todo!()
}

/// One stripe.
pub fn stripe(kv: &dyn KvRead, id: StripeId) -> Result<Option<StripeRecord>, KvError> {
    let _ = (kv, id);
    todo!()
}

/// Visits all stripes in the order of their ids, from after `after`, until `visit` returns false.
pub fn stripes(
    kv: &dyn KvRead,
    after: Option<StripeId>,
    visit: &mut dyn FnMut(StripeId, StripeRecord) -> bool,
) -> Result<(), KvError> {
    let _ = (kv, after, visit);
    todo!()
}

/// Stripes whose shards may be dropped, oldest first, at most `limit`.
pub fn garbage(kv: &dyn KvRead, limit: usize) -> Result<Vec<GarbageStripe>, KvError> {
    let _ = (kv, limit);
    todo!()
}

/// Dead properties of a node.
pub fn properties(kv: &dyn KvRead, node: InodeId) -> Result<Vec<Property>, KvError> {
    let _ = (kv, node);
    todo!()
}

/// Locks that cover a path: taken on it, or deep ones taken above it. Expired ones are left out.
pub fn locks_covering(kv: &dyn KvRead, path: &NodePath) -> Result<Vec<Lock>, KvError> {
    let _ = (kv, path);
    todo!()
}

/// Locks taken on a path or anywhere below it. Expired ones are left out.
pub fn locks_below(kv: &dyn KvRead, path: &NodePath) -> Result<Vec<Lock>, KvError> {
    let _ = (kv, path);
    todo!()
}
