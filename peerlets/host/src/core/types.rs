//! What goes into the core and what comes out.

use dci_proto::message::{Body, MessageType};
use dci_proto::{MessageId, SessionId};

use crate::manifest::Mode;

/// One delivery of a message to this host. Numbered by the shell, upwards, never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One start of a program. Numbered by the core, never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u64);

/// What the core must know of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Which delivery.
    pub ticket: Ticket,
    /// Its id, by which programs name it.
    pub id: MessageId,
    /// Its type.
    pub kind: MessageType,
    /// The session it names.
    pub session: Option<SessionId>,
    /// When it is void if it still waits, in ms of the core's clock.
    pub void_ms: u64,
}

/// When a message that was fed counts as handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settles {
    /// When the program has ended, with its exit status.
    AtExit,
    /// When it is in the program's standard input.
    WhenFed,
    /// When a line has come: one line answers one message, and the next message is fed after it.
    WithItsLine,
    /// When a reply has come that does not say that more will follow.
    WithItsReply,
}

/// What the core must know of a peerlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which messages share a process.
    pub mode: Mode,
    /// When they are handled.
    pub settles: Settles,
    /// Until when a program must be ready, and each message answered, in ms.
    pub time_ms: u64,
    /// Messages that may wait.
    pub queue: usize,
    /// How long a session or service stays without messages, in ms.
    pub idle_ms: u64,
    /// Processes at once.
    pub instances: usize,
    /// How long it has to end when it is asked to, in ms.
    pub grace_ms: u64,
}

/// What a program printed as a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyLine {
    /// The message it says it answers.
    pub about: Option<MessageId>,
    /// The reply; `None`: it only says that it is done.
    pub body: Option<Body>,
    /// Whether more will follow.
    pub more: bool,
    /// What became of the message, 0 for success.
    pub status: i32,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its exit status; 128 and the signal's number where that ended it.
    pub status: i32,
    /// What was wrong, if it could not be started or was ended for a limit.
    pub fault: Option<String>,
    /// The end of what it printed on standard error.
    pub said: String,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peerlet is there, or another version of it.
    Learnt(MessageType, Policy),
    /// It is there no more.
    Forgotten(MessageType),
    /// A message is for this host.
    Arrived(Work),
    /// A program could not be started.
    StartFailed(ProcessId, String),
    /// It takes messages.
    Ready(ProcessId),
    /// A message is in its standard input.
    Fed(ProcessId, Ticket),
    /// It printed a reply.
    Reply(ProcessId, ReplyLine),
    /// It will print no more.
    OutputClosed(ProcessId),
    /// It did what it may not, such as printing too much.
    Broke(ProcessId, String),
    /// It is gone.
    Exited(ProcessId, End),
    /// Time has passed.
    Tick,
    /// The host is to end: programs are ended, messages that none has seen are given back.
    ShutDown,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A program has dealt with it.
    Handled {
        /// 0 for success.
        status: i32,
        /// The end of what a oneshot printed on standard error.
        said: String,
    },
    /// None has, or none to the end.
    Refused {
        /// Why, for people.
        why: String,
    },
    /// The host ends, and no program has seen it: it may be delivered again.
    GivenBack,
}

/// How far a program's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Its input is closed.
    InputClosed,
    /// It was asked to end.
    Terminated,
    /// It was ended.
    Killed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start a program.
    Start {
        /// The number it has from now on.
        process: ProcessId,
        /// Of which peerlet.
        kind: MessageType,
        /// For which session.
        session: Option<SessionId>,
        /// For which message, if it is for one only.
        ticket: Option<Ticket>,
    },
    /// Write a message to its standard input, after those before.
    Feed(ProcessId, Ticket),
    /// Close its standard input, after what was fed.
    CloseInput(ProcessId),
    /// Ask it to end.
    Terminate(ProcessId),
    /// End it, and all it started.
    Kill(ProcessId),
    /// Hand a reply to who delivered the message.
    Reply(Ticket, Body),
    /// Tell who delivered the message what became of it. Nothing follows about it.
    Settle(Ticket, Verdict),
    /// It printed something that answers no message it has.
    Stray(ProcessId),
}

/// How soon the core wants to know that time has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Within a tenth of a second.
    Soon,
    /// Within a second.
    Seldom,
    /// Not before something else happens.
    Never,
}

/// What is under way for a peerlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Programs that run.
    pub processes: usize,
    /// Messages no program has.
    pub waiting: usize,
    /// Messages programs have and have not answered.
    pub open: usize,
}
