//! Messages that have something executed, in the audit log: before it is begun, after it has ended, and where it is refused. And
//! the log as admins at other agents read it.

use dci_proto::AgentId;
use dci_proto::message::{Body, Message, MessageType, UserName};
use shoal_ledger::{TypePolicy, UserRole};
use shoal_mailbox::Settlement;
use shoal_net::Response;

use super::Messages;
use super::permission::{Permission, Question};
use crate::audit::{Act, AuditAsk, AuditError, Ending, what_is_asked};
use crate::wire::{self, Status};

/// What reading the audit log counts as where rights are looked up: a type of the agents' own, which nobody can set.
const READ_KIND: &str = "shoal.audit";

impl Messages {
    /// Whether messages of a type have something executed here.
    pub(super) fn executes(&self, kind: &MessageType) -> bool {
        self.peerlets.executes(kind)
    }

    /// Notes that what a message asks for begins. Where that fails it must not.
    pub(super) async fn note_begun(&self, message: &Message) -> Result<(), AuditError> {
        self.audit.begin(act(message)).await.map(drop)
    }

    /// Notes what came of it.
    pub(super) async fn note_end(&self, message: &Message, settlement: &Settlement) {
        let ending = match settlement {
            Settlement::Handled { exit_status } | Settlement::Failed { exit_status, .. } => {
                Ending::Handled { status: *exit_status }
            }
            Settlement::Refused { reason } => Ending::Refused { why: reason.clone() },
            Settlement::Expired => Ending::Refused { why: "its time was over".to_owned() },
        };
        // Should it not be noted, the next start says that nobody knows.
        if let Err(error) = self.audit.end_message(message.from.agent, message.id, ending).await {
            tracing::error!(%error, id = %message.id, "how an act ended is not in the audit log");
        }
    }

    /// Notes that a message is refused.
    pub(super) async fn note_refused(&self, message: &Message, why: &str) {
        self.note_refusal(act(message), why).await;
    }

    /// Notes that somebody may not send what they wanted to send from here.
    pub(super) async fn note_not_sent(&self, user: &UserName, kind: &MessageType, body: &Body, why: &str) {
        let what = what_is_asked(kind, body);
        let (user, kind) = (Some(user.as_str().to_owned()), kind.clone());
        self.note_refusal(Act { user, from: self.agent, kind, message: None, what }, why).await;
    }

    /// Answers another agent that asks on behalf of an admin. That agent says who it is; that they are an admin is for the ledger to say.
    pub(crate) async fn tell_audit(&self, asked: AuditAsk) -> Response {
        let Ok(kind) = READ_KIND.parse() else { return wire::refusal(Status::Failed, "the audit log has no name") };
        let policy = TypePolicy { role: UserRole::Admin, right: false };
        match self.permissions.ask(Question { user: asked.user, kind, policy }).await {
            Permission::Given => {}
            Permission::Denied(why) => return wire::refusal(Status::Refused, &why),
            Permission::Unknown(why) => return wire::refusal(Status::NotReady, &why),
        }
        let page = self.audit.page(asked.query).await.map_err(|error| error.to_string());
        match page.and_then(|page| serde_json::to_vec(&page).map_err(|error| error.to_string())) {
            Ok(page) => wire::answer_bytes(page.into()),
            Err(error) => wire::refusal(Status::Failed, &error),
        }
    }

    async fn note_refusal(&self, act: Act, why: &str) {
        let from: AgentId = act.from;
        if let Err(error) = self.audit.refuse(act, why.to_owned()).await {
            tracing::error!(%error, %from, why, "a refusal is not in the audit log");
        }
    }
}

fn act(message: &Message) -> Act {
    Act {
        user: message.from.user.as_ref().map(|user| user.as_str().to_owned()),
        from: message.from.agent,
        kind: message.kind.clone(),
        message: Some(message.id),
        what: what_is_asked(&message.kind, &message.body),
    }
}
