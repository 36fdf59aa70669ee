//! Users.

use super::state::State;
use super::{Step, members, rights};
use crate::tables::{self, normalized};
use crate::{Outcome, Rejection, UserRecord, UserRole, query};

/// Users of a pool, at most.
pub const USERS_LIMIT: usize = 10_000;

/// Bytes of a password hash, at most.
const HASH_LIMIT_BYTES: usize = 512;

pub(super) fn put(state: &mut State, user: &UserRecord) -> Step<Outcome> {
    members::check_name("a user's name", &user.name)?;
    if user.name.contains(':') {
        return Err(Rejection::Invalid("a user's name must not hold a colon".to_owned()).into());
    }
    if user.password_hash.len() > HASH_LIMIT_BYTES {
        return Err(Rejection::Invalid(format!("a password hash is longer than {HASH_LIMIT_BYTES} bytes")).into());
    }
    let known = query::user(&*state.kv, &user.name)?;
    let created_ms = match &known {
        Some(known) => {
            check_admin_stays(state, known, Some(user.role))?;
            known.created_ms
        }
        None => {
            state.check_room(tables::USERS, USERS_LIMIT)?;
            state.now_ms()
        }
    };
    let record = UserRecord { created_ms, ..user.clone() };
    state.put(tables::USERS, &tables::user_key(&user.name), &record)?;
    Ok(Outcome::Done)
}

pub(super) fn remove(state: &mut State, name: &str) -> Step<Outcome> {
    let known = query::user(&*state.kv, name)?;
    let known = known.ok_or_else(|| Rejection::NotFound(format!("user {}", super::namespace::shortened(name))))?;
    check_admin_stays(state, &known, None)?;
    state.delete(&tables::user_key(name))?;
    rights::forget_user(state, name)?;
    Ok(Outcome::Done)
}

fn check_admin_stays(state: &State, known: &UserRecord, role_then: Option<UserRole>) -> Step<()> {
    if known.role != UserRole::Admin || role_then == Some(UserRole::Admin) {
        return Ok(());
    }
    let others = query::users(&*state.kv)?;
    let name = normalized(&known.name);
    if others.iter().any(|user| user.role == UserRole::Admin && normalized(&user.name) != name) {
        return Ok(());
    }
    Err(Rejection::LastAdmin.into())
}
