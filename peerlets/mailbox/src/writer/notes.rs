//! Telling consumers and followers what has become durable.

use std::sync::Arc;

use super::Writer;
use crate::core::Note;
use crate::log::{Happening, LogEntry};
use crate::mailbox::RecipientStatus;
use crate::outlets::Received;
use crate::{Direction, Now, Place, State, Status};

impl Writer {
    pub(super) fn tell(&mut self, now: Now, notes: Vec<Note>) {
        let followed = self.happenings.receiver_count() > 0;
        for note in notes {
            match note {
                Note::Logged { place, direction, envelope, recipients } => {
                    self.envelopes.keep(place, Arc::clone(&envelope));
                    if let Some(observer) = &self.observer {
                        observer.logged(place, direction, &envelope);
                    }
                    if followed {
                        let status = Status { state: State::Waiting, since_ms: now.wall_ms, attempts: 0 };
                        let states =
                            recipients.into_iter().map(|agent| RecipientStatus { agent, status: status.clone() });
                        let states = states.collect();
                        self.publish(LogEntry { place, at_ms: now.wall_ms, direction, relay: None, envelope, states });
                    }
                }
                Note::Relayed { place, of, attempt } => self.relayed(now, place, (of, attempt), followed),
                Note::Changed { place, id, agent, status } => {
                    let recipient = RecipientStatus { agent, status };
                    if let Some(observer) = &self.observer {
                        observer.changed(place, id, &recipient);
                    }
                    if followed {
                        self.happen(Happening::Changed { place, id, recipient });
                    }
                }
            }
        }
    }

    fn relayed(&mut self, now: Now, place: Place, (of, attempt): (Place, u32), followed: bool) {
        let Some(envelope) = self.envelope(of) else { return };
        if followed {
            let direction = Direction::Relayed;
            let (relay, envelope) = (Some((of, attempt)), Arc::clone(&envelope));
            self.publish(LogEntry { place, at_ms: now.wall_ms, direction, relay, envelope, states: Vec::new() });
        }
        let bytes = crate::envelopes::size_bytes(&envelope);
        self.incoming.push(Received { place: of, envelope, attempt }, bytes);
    }

    fn publish(&self, entry: LogEntry) {
        self.happen(Happening::Logged(Box::new(entry)));
    }

    fn happen(&self, happening: Happening) {
        // Nobody follows any more: nobody misses it.
        let _ = self.happenings.send(Arc::new(happening));
    }
}
