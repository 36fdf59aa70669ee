//! Groups and rights, against the members and users they name.

use super::{Check, Validator, ensure};
use crate::tables;
use crate::{GroupRecord, RightRecord, query};

impl Validator<'_> {
    pub(super) fn rights(&self) -> Check {
        for (key, group) in self.rows::<GroupRecord>(tables::GROUPS)? {
            let expected = tables::group_key(&group.name);
            ensure(expected.get(1..) == Some(key.as_slice()), || {
                format!("group {} is not under its name", group.name)
            })?;
            let ordered = group.agents.is_sorted_by(|one, other| one < other);
            ensure(ordered, || format!("the agents of group {} are not in order", group.name))?;
            for agent in &group.agents {
                let member = query::agent(self.kv, *agent)?.is_some();
                ensure(member, || format!("{agent} is in group {} and no member", group.name))?;
            }
        }
        for (key, right) in self.rows::<RightRecord>(tables::RIGHTS)? {
            let expected = tables::right_key(&right.user, &right.kind);
            ensure(expected.get(1..) == Some(key.as_slice()), || {
                format!("a right of {} is not under its key", right.user)
            })?;
            let known = query::user(self.kv, &right.user)?.is_some();
            ensure(known, || format!("{} has a right and is no user", right.user))?;
        }
        Ok(())
    }
}
