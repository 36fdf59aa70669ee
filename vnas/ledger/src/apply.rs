//! Applying what consensus has ordered.
//!
//! Each command first checks everything that can speak against it and only then writes, so a refused one has changed
//! nothing. What many commands of a batch touch (counters of the pool, of volumes, of members) is held in
//! [`state::State`] and written once at the end.

mod bad;
mod care;
mod content;
mod locks;
mod members;
mod moves;
mod namespace;
mod outcomes;
mod properties;
mod restore;
mod rights;
mod state;
mod transfer;
mod trash;
mod tree;
mod uploads;
mod users;
mod volumes;

pub use bad::{BAD_SHARDS_LIMIT, BAD_SHARDS_PER_AGENT};
pub use content::CHUNKS_PER_COMMAND_LIMIT;
pub use locks::{LOCK_TIMEOUT_LIMIT_S, LOCKS_LIMIT, LOCKS_PER_PATH_LIMIT};
pub use members::{JOIN_REQUEST_KEPT_MS, JOIN_REQUESTS_LIMIT, MEMBERS_LIMIT, TICKETS_LIMIT};
pub use moves::{MOVES_LIMIT, MOVES_PER_COMMAND_LIMIT};
pub use outcomes::OUTCOMES_KEPT;
pub use properties::{PROPERTIES_PER_NODE_LIMIT, PROPERTY_LIMIT_BYTES};
pub use rights::{GROUPS_LIMIT, RIGHTS_LIMIT, TYPE_POLICIES_LIMIT};
pub use transfer::COPY_LIMIT_NODES;
pub use trash::{TRASH_PURGE_LIMIT, TRASH_ROWS_LIMIT, TRASH_VERSIONS_LIMIT};
pub use uploads::UPLOADS_LIMIT;
pub use users::USERS_LIMIT;
pub use volumes::{SURVIVE_LIMIT, VOLUMES_LIMIT};

use crate::{Batch, Command, KvError, KvWrite, Outcome, Rejection};
use state::State;

/// Why a command was not carried out: a verdict, or a store that fails.
enum Fail {
    Rejected(Rejection),
    Kv(KvError),
}

impl From<Rejection> for Fail {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<KvError> for Fail {
    fn from(error: KvError) -> Self {
        Self::Kv(error)
    }
}

/// What a step of a command comes to.
type Step<T> = Result<T, Fail>;

/// Applies a batch at position `position` of the log. Answers one result for each submission, in order; a
/// submission whose id was applied before is answered as it was then and changes nothing. (An inline file's bytes are
/// in that answer only if the file is still the version it was.)
///
/// # Errors
/// If the store fails; the caller must throw the whole write away and stop.
pub fn apply(kv: &mut dyn KvWrite, position: u64, batch: &Batch) -> Result<Vec<Result<Outcome, Rejection>>, KvError> {
    let mut state = State::load(kv)?;
    state.meta.position = position;
    state.meta.time_ms = state.meta.time_ms.max(batch.time_ms);
    let mut results = Vec::with_capacity(batch.submissions.len());
    let mut fresh = Vec::with_capacity(batch.submissions.len());
    for submission in &batch.submissions {
        if let Some(result) = outcomes::replay(&state, submission)? {
            results.push(result);
            continue;
        }
        let result = match dispatch(&mut state, &submission.command) {
            Ok(outcome) => Ok(outcome),
            Err(Fail::Rejected(rejection)) => Err(rejection),
            Err(Fail::Kv(error)) => return Err(error),
        };
        outcomes::keep(&mut state, submission.id, &result)?;
        fresh.push(submission.id);
        results.push(result);
    }
    outcomes::turn(&mut state, &fresh)?;
    state.save()?;
    Ok(results)
}

fn dispatch(state: &mut State, command: &Command) -> Step<Outcome> {
    if let Command::CreatePool { id, name, survive, first } = command {
        return members::create_pool(state, *id, name, *survive, first);
    }
    if !state.has_pool()? {
        return Err(Rejection::Pool("there is no pool yet".to_owned()).into());
    }
    match command {
        Command::CreatePool { .. } => Err(Rejection::Pool("there is a pool already".to_owned()).into()),
        Command::SetSurvive { survive } => volumes::set_survive(state, *survive),

        Command::CreateTicket(ticket) => members::create_ticket(state, ticket),
        Command::RedeemTicket { secret_hash, agent } => members::redeem_ticket(state, secret_hash, agent),
        Command::RequestJoin { agent } => members::request_join(state, agent),
        Command::ApproveJoin { agent } => members::approve_join(state, *agent),
        Command::RejectJoin { agent } => members::reject_join(state, *agent),
        Command::UpdateAgent { agent } => members::update(state, agent),
        Command::RenameAgent { agent, name } => members::rename(state, *agent, name),
        Command::SetAgentState { agent, state: standing } => members::set_state(state, *agent, *standing),
        Command::RemoveAgent { agent, force } => members::remove(state, *agent, *force),

        Command::PutUser(user) => users::put(state, user),
        Command::RemoveUser { name } => users::remove(state, name),

        Command::CreateVolume { name, policy } => volumes::create(state, name, *policy),
        Command::SetVolumePolicy { volume, policy } => volumes::set_policy(state, *volume, *policy),
        Command::RenameVolume { volume, name } => volumes::rename(state, *volume, name),
        Command::RemoveVolume { volume, force } => volumes::remove(state, *volume, *force),

        Command::MakeFolder { path, guard, modified_ms } => namespace::make_folder(state, path, guard, *modified_ms),
        Command::CommitFile { path, guard, content, size_bytes, modified_ms, sha1, media_type } => {
            let file = namespace::FileCommit {
                content,
                size_bytes: *size_bytes,
                modified_ms: *modified_ms,
                sha1: *sha1,
                media_type: media_type.as_deref(),
            };
            namespace::commit_file(state, path, guard, &file)
        }
        Command::Remove { path, guard } => namespace::remove(state, path, guard),
        Command::Rename { from, to, overwrite, guard } => transfer::rename(state, from, to, *overwrite, guard),
        Command::Copy { from, to, overwrite, deep, guard } => transfer::copy(state, from, to, *overwrite, *deep, guard),
        Command::SetTimes { path, guard, modified_ms, created_ms } => {
            namespace::set_times(state, path, guard, *modified_ms, *created_ms)
        }
        Command::PatchProperties { path, guard, patches } => properties::patch(state, path, guard, patches),

        Command::BeginUpload { agent, run } => uploads::begin(state, *agent, *run),
        Command::StageChunks { upload, first_index, chunks } => uploads::stage(state, *upload, *first_index, chunks),
        Command::AbortUpload { upload } => uploads::abort(state, *upload),
        Command::AbortOldUploads { agent, run } => uploads::abort_old(state, *agent, *run),

        Command::Lock { request, guard } => locks::take(state, request, guard),
        Command::RefreshLock { token, path, user, timeout_s } => locks::refresh(state, token, path, user, *timeout_s),
        Command::Unlock { token, path, user } => locks::release(state, token, path, user),

        Command::ForgetGarbage { stripes } => content::forget_garbage(state, stripes),
        Command::Tick => tick(state),

        Command::SetCarePolicy { policy } => care::set_policy(state, policy),
        Command::BeginMoves { moves } => moves::begin(state, moves),
        Command::FinishMoves { moves } => moves::finish(state, moves),
        Command::AbortMoves { moves } => moves::abort(state, moves),
        Command::ForgetSurplus { shards } => moves::forget_surplus(state, shards),
        Command::ReplaceStripes { stripes } => content::replace(state, stripes),
        Command::PutCertificate { certificate } => care::put_certificate(state, certificate),

        Command::RestoreTrash { volume, id, to, overwrite, guard } => {
            restore::restore(state, *volume, *id, to.as_ref(), *overwrite, guard)
        }
        Command::CopyTrash { volume, id, to, overwrite, guard } => {
            restore::copy(state, *volume, *id, to, *overwrite, guard)
        }
        Command::PurgeTrash { volume, ids } => trash::purge(state, *volume, ids),
        Command::SplitGarbage { stripes } => content::split_garbage(state, stripes),

        Command::ReportBad { agent, keys } => bad::report(state, *agent, keys),
        Command::ReportSound { agent, keys } => bad::withdraw(state, *agent, keys),

        Command::PutGroup { name, agents } => rights::put_group(state, name, agents),
        Command::RemoveGroup { name } => rights::remove_group(state, name),
        Command::SetTypePolicy { kind, policy } => rights::set_type_policy(state, kind, *policy),
        Command::GrantRight { user, kind, expires_ms, granted_by } => {
            rights::grant(state, user, kind, *expires_ms, granted_by)
        }
        Command::RevokeRight { user, kind } => rights::revoke(state, user, kind),

        Command::Fresh { begun_ms, within_ms, command } => fresh(state, *begun_ms, *within_ms, command),
        Command::GiveUp { shards } => content::give_up(state, shards),
    }
}

/// Carries a command out unless what it names was sent out too long ago.
fn fresh(state: &mut State, begun_ms: u64, within_ms: u64, command: &Command) -> Step<Outcome> {
    if matches!(command, Command::Fresh { .. }) {
        return Err(Rejection::Invalid("a command is checked for its age once".to_owned()).into());
    }
    if state.now_ms().saturating_sub(begun_ms) > within_ms {
        return Err(Rejection::TooLate.into());
    }
    dispatch(state, command)
}

fn tick(state: &mut State) -> Step<Outcome> {
    locks::expire(state)?;
    members::expire(state)?;
    Ok(Outcome::Done)
}
