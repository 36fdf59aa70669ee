//! What is known of the members when their shards are looked after: what the ledger says, and what they say themselves.

use dci_proto::AgentId;
use shoal_care::{AgentFacts, HealthView, Presence, SelfReport};
use shoal_ledger::{AgentRecord, KvError, KvRead, query};

use super::Health;

impl Health {
    /// What is known of every member the ledger has, this agent among them.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub fn facts(&self, ledger: &dyn KvRead) -> Result<Vec<AgentFacts>, KvError> {
        let (own, view, now) = (self.self_report(), self.view_with_own(), self.now());
        let patience = self.state().core.absent_after();
        let of_member = |member: AgentRecord| {
            let doubtful = self.state().core.doubtful(now, member.id);
            let counted_bytes = query::agent_usage(ledger, member.id)?.bytes;
            let (given_up, id) = (view.of(member.id).unplugged_for(now, patience), member.id);
            let facts = facts(self.local, &own, &view, member, counted_bytes);
            Ok(AgentFacts { doubtful: doubtful && id != self.local, absent: facts.absent || given_up, ..facts })
        };
        query::agents(ledger)?.into_iter().map(of_member).collect()
    }
}

fn facts(local: AgentId, own: &SelfReport, view: &HealthView, member: AgentRecord, counted_bytes: u64) -> AgentFacts {
    let health = view.of(member.id);
    let is_local = member.id == local;
    let (room, standing, owed_bytes) = match is_local {
        true => (Some(own.room), &own.standing, own.owed_bytes),
        false => (health.room, &health.standing, health.owed_bytes),
    };
    // Shards of a store that is not there cannot be had, though its agent answers.
    let answers = (is_local || health.answers()) && health.unplugged_since.is_none();
    AgentFacts {
        id: member.id,
        stores: member.roles.store,
        mounts: member.roles.mount,
        state: member.state,
        answers,
        doubtful: false,
        absent: !is_local && health.presence == Presence::Absent,
        failing: standing.failing,
        standing: standing.score,
        site: member.site,
        capacity_bytes: room.map_or(member.capacity_bytes, |room| room.capacity_bytes),
        free_bytes: room.filter(|_| answers).map_or(0, |room| room.free_bytes),
        used_bytes: counted_bytes,
        owed_bytes,
    }
}

#[cfg(test)]
mod tests {
    use shoal_care::{AgentHealth, Duty, Room, Standing};
    use shoal_ledger::{AgentRoles, AgentState};

    use super::*;

    fn member(number: u8, state: AgentState) -> AgentRecord {
        AgentRecord {
            id: AgentId([number; 32]),
            name: number.to_string(),
            control_addresses: vec![],
            data_addresses: vec![],
            roles: AgentRoles::default(),
            state,
            site: "attic".into(),
            capacity_bytes: 1000,
            version: String::new(),
            joined_ms: 0,
        }
    }

    fn health(presence: Presence, failing: bool) -> AgentHealth {
        AgentHealth {
            presence,
            room: Some(Room { capacity_bytes: 900, used_bytes: 400, free_bytes: 500, shards: 4, unplugged: false }),
            owed_bytes: 7,
            standing: Standing { failing, ..Standing::default() },
            ..AgentHealth::default()
        }
    }

    #[test]
    fn what_an_agent_says_of_itself_counts_while_it_answers_and_its_duty_follows() {
        let own = SelfReport { owed_bytes: 3, ..SelfReport::default() };
        let view: HealthView = [
            (2, health(Presence::Up, false)),
            (3, health(Presence::Suspect, false)),
            (4, health(Presence::Absent, false)),
            (5, health(Presence::Up, true)),
        ]
        .into_iter()
        .map(|(number, health)| (AgentId([number; 32]), health))
        .collect();
        let told = |number: u8| {
            let facts = facts(AgentId([1; 32]), &own, &view, member(number, AgentState::Active), 123);
            assert_eq!((facts.used_bytes, facts.site.as_str()), (123, "attic"));
            (facts.duty(), facts.capacity_bytes, facts.free_bytes, facts.owed_bytes)
        };
        assert_eq!(told(1), (Duty::Takes, 0, 0, 3), "this agent knows itself");
        assert_eq!(told(2), (Duty::Takes, 900, 500, 7));
        assert_eq!(told(3), (Duty::Keeps, 900, 0, 7), "a suspect has no room");
        assert_eq!(told(4), (Duty::Gone, 900, 0, 7));
        assert_eq!(told(5), (Duty::Leaves, 900, 500, 7), "it is emptied while it can be read");
        assert_eq!(told(6), (Duty::Keeps, 1000, 0, 0), "never heard: the ledger says what it gives");
    }
}
