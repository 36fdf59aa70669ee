//! The command line: what a person types, turned into an agent that runs or into calls of an agent's API.
//!
//! Standard output carries the answer and nothing else; everything else goes to standard error. `--json` prints the
//! API's answer as it is.

mod audit;
mod backup;
mod chat;
mod client;
mod commands;
mod discover;
mod drain;
mod duration;
mod exit;
mod files;
mod flow;
mod follow;
mod message;
mod node;
mod peerlet;
mod policy;
mod pool;
pub(crate) mod print;
mod request;
mod rights;
mod run;
mod scrub;
mod stream;
mod sweep;
mod trash;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) use commands::segment as escaped;
pub use exit::CliError;

/// Shoal pools the spare disk of a group's PCs into one drive.
///
/// Start with `shoal up` on the first PC, `shoal invite` there, and `shoal join TICKET` on the others. To look at it
/// first, `shoal demo` runs six agents on this computer.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 no agent answers; 4 not signed in or not allowed; 5 refused (not
/// there, there already, in use); 6 the data directory cannot be used; 7 a port is in use; 8 written by a newer
/// version; 9 the ticket is not valid; 10 the pool cannot agree on changes now; 11 this
/// computer's clock is years off; 12 the agent is not safe to switch off;
/// 13 the volume lacks shards or has lost some; 14 not every agent did it and ended with status 0, or a step of a flow is not done;
/// 15 an archive was made that lacks files which could not be read;
/// 130 stopped with Ctrl-C.
#[derive(Parser)]
#[command(name = "shoal", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    agent: AgentChoice,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Which agent to talk to; by default the one of this machine.
#[derive(Args, Clone, Debug)]
pub struct AgentChoice {
    /// Data directory of the agent to run or talk to.
    #[arg(long, global = true, env = "SHOAL_DATA")]
    data: Option<PathBuf>,
    /// Address of another agent's API, such as http://10.0.0.5:4919; asks for the password of --user. With `up` and
    /// `join`: where the agent serves its own API and page [default: 127.0.0.1:4919].
    #[arg(long, global = true)]
    api: Option<String>,
    /// Who signs in at --api. The password is read from SHOAL_PASSWORD, else from standard input.
    #[arg(long, global = true, default_value = "admin")]
    user: String,
}

#[derive(Subcommand)]
enum Command {
    /// Run the agent in the foreground; the first start makes a pool and prints the admin's password once.
    ///
    /// Example: shoal up --name office-pc
    Up(up::UpOptions),
    /// Join a pool with a ticket and run the agent; later starts need only `shoal up`.
    ///
    /// Example: shoal join shoal1-…
    Join {
        /// The ticket `shoal invite` printed, or the address of an agent (HOST:PORT of its data channel) to ask without
        /// one and wait for an admin's approval.
        #[arg(env = "SHOAL_TICKET", hide_env_values = true)]
        ticket: String,
        #[command(flatten)]
        up: up::UpOptions,
    },
    /// Run several agents on this computer as one pool, to try things out. Ctrl-C ends it, the same --dir resumes it.
    ///
    /// Example: shoal demo --agents 6
    Demo(crate::demo::DemoOptions),
    /// Print a ticket with which one more agent can join.
    ///
    /// Example: shoal invite --hours 2
    Invite {
        /// Hours the ticket is good for, at most 720 (30 days).
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=720))]
        hours: u64,
        /// The new agent only holds shards: it serves no drive and never gets the pool's key.
        #[arg(long)]
        store_only: bool,
    },
    /// List agents and pools that announce themselves on the local network, or that answer at the addresses given. Needs
    /// no running agent.
    ///
    /// At most 4,096 addresses, each asked once; those of networks this computer is in, unless --anywhere is given. Agents that
    /// do not announce themselves do not answer.
    ///
    /// Example: shoal discover 10.0.0.0/24
    Discover(discover::DiscoverOptions),
    /// How the pool is, in a sentence and in figures.
    ///
    /// Example: shoal status --json
    Status,
    /// The agents of the pool, and those who ask to join.
    ///
    /// Example: shoal nodes
    Nodes,
    /// Tend one agent.
    ///
    /// Example: shoal node approve 12D3KooW…
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Have all shards read again now, and what is damaged or missing made anew.
    ///
    /// Agents do so by themselves in the course of a month. What was found is told by the names of the files concerned.
    ///
    /// Example: shoal scrub --wait
    Scrub(scrub::ScrubOptions),
    /// The volumes.
    ///
    /// Example: shoal volume create photos --survive 1
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// What was deleted or overwritten, and getting it back.
    ///
    /// Example: shoal trash restore /docs/report.txt
    #[command(subcommand)]
    Trash(trash::TrashCommand),
    /// How safe the pool keeps data, and how patient it is.
    ///
    /// Example: shoal policy set --survive 2
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// What waits to be rebuilt, moved or cut anew, how long it takes, and what cannot be done now.
    ///
    /// Example: shoal repair --plan
    Repair {
        /// Look at every stripe anew and show what would be done, changing nothing.
        #[arg(long)]
        plan: bool,
    },
    /// Who may use the drive and tend the pool.
    ///
    /// Example: shoal user add ana
    #[command(subcommand)]
    User(UserCommand),
    /// Send a message to a peerlet on other agents, and go on; `shoal message` tells what became of it.
    ///
    /// Example: shoal send word-count --on office-pc "how many words are these"
    Send(message::MessageOptions),
    /// Send a message to a peerlet on other agents, wait, and print what they answer as it comes.
    ///
    /// Answers go to standard output, after the agent's name where there are several recipients; who did not deal with it,
    /// and why, to standard error. With --json each event is a line as it comes: sent, state, reply, done. Ends with code 0
    /// only if every recipient dealt with it and ended with status 0, else with 14.
    ///
    /// Example: shoal request word-count --on office-pc,lab-2 "how many words are these"
    Request(request::RequestOptions),
    /// What became of a message that was sent from this agent, at each recipient.
    ///
    /// Example: shoal message 0198c0de-…
    Message {
        /// Its id, as `shoal send` and `shoal log` tell it.
        id: dci_proto::MessageId,
    },
    /// What this agent sent, received and handed to peerlets.
    ///
    /// Example: shoal log --type word-count --since 1h
    Log(message::LogOptions),
    /// Say messages of the log again, as new ones that name the old, to the same or other agents.
    ///
    /// Example: shoal replay 17 18 --on lab-2
    Replay(message::ReplayOptions),
    /// Which agent of the pool has which peerlets, and whether it is online.
    ///
    /// Example: shoal peerlets
    Peerlets,
    /// Talk to the others: in a room, or to one user. What is typed is said; /help tells what else there is.
    ///
    /// Shows what was said before, then what is said; on behalf of --user with this computer's agent. In a pipe it says what it
    /// reads and ends; with --follow it goes on showing. With --json each event is a line.
    ///
    /// Example: shoal chat --user ana lab
    Chat(chat::ChatOptions),
    /// The peerlets of this agent.
    ///
    /// Example: shoal peerlet add ./word-count
    #[command(subcommand)]
    Peerlet(peerlet::PeerletCommand),
    /// Send files and folders to other agents, see how far they are, and take out what came.
    ///
    /// Example: shoal files send photos --on lab-2 --wait
    #[command(subcommand)]
    Files(files::FilesCommand),
    /// Starts a peerlet's program held to its limits; for agents.
    #[command(name = crate::messages::LAUNCHER_WORD, hide = true, disable_help_flag = true)]
    PeerletLauncher {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Runs a peerlet that comes with Shoal; for agents.
    #[command(name = crate::shipped::PROGRAM_WORD, hide = true)]
    PeerletProgram {
        /// Its type.
        kind: String,
    },
    /// Who has a right to send what needs one, such as `run`.
    ///
    /// Example: shoal right grant ana run --for 8h
    #[command(subcommand)]
    Right(rights::RightCommand),
    /// Names that stand for several agents.
    ///
    /// Example: shoal group set lab pc-1 pc-2
    #[command(subcommand)]
    Group(rights::GroupCommand),
    /// What it takes to send messages of a type.
    ///
    /// Example: shoal type set chat --role viewer
    #[command(subcommand)]
    Type(rights::TypeCommand),
    /// Run a command on one agent or many, and see what each prints as it comes.
    ///
    /// Off until an admin gives you the right (`shoal right grant USER run`) and the owner of each PC allows the command ([run] in
    /// its agent.toml). What a command prints on its standard error comes on standard error. Ctrl-C ends the watching, not the
    /// commands. With --json each event is a line as it comes (sent, output, state, ended), the last one a summary. Ends with
    /// code 0 only if every agent ran the command and it ended with status 0, else with 14.
    ///
    /// Example: shoal run --all -- uptime
    Run(run::RunOptions),
    /// Tasks in several steps on several agents, what one gives going into the next. See docs/flows.md.
    ///
    /// Example: shoal flow run readings.toml
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// What this agent was told to do that needs a right: who wanted it, when, and what came of it. For admins.
    ///
    /// With --all that of every agent that answers, and the names of those that do not.
    ///
    /// Example: shoal audit --all --type run
    Audit(audit::AuditOptions),
    /// This PC's backup on other PCs: set it up, change it, see how it is. Without a command: how it is.
    ///
    /// Example: shoal backup init
    Backup(backup::BackupOptions),
    /// The archives of a backup, and what is in them.
    ///
    /// Example: shoal archives find '*.odt'
    Archives(backup::ArchivesOptions),
    /// Restore files or everything from an archive.
    ///
    /// N is an archive's number, `latest`, or a date such as 2026-11-28 or '2026-11-28 14:00': the last archive made by then, local
    /// time. Paths are those of the archive (`shoal archives ls`), with all that is in them; none: everything. Shows how far it
    /// is; Ctrl-C ends the watching, not the restore. Ends with code 1 if something did not come back.
    ///
    /// Example: shoal restore latest /home/ana/report.odt --to /tmp/back
    Restore(backup::RestoreOptions),
    /// Check the pool as a whole, or recover one that lost its voters for good.
    ///
    /// Example: shoal pool check
    #[command(subcommand)]
    Pool(PoolCommand),
}

#[derive(Subcommand)]
enum PoolCommand {
    /// Compare the ledger with the shards that the agents have, and name the files that lack some or are lost.
    ///
    /// Shards that are missing are made anew by their agents. Ends with code 13 where stripes lack shards or are lost.
    ///
    /// Example: shoal pool check --json
    Check,
    /// Carry on a pool that lost its voters for good, from what this computer's agent kept. The agent must not run.
    ///
    /// Shows first what was found and what may be missing; changes nothing before you agree.
    ///
    /// Example: shoal pool recover --from copy
    Recover {
        /// `ledger` (this agent's own), `copy` (the newest encrypted copy it keeps), a file with a copy from another
        /// agent's DATA/ledger-copies, or a folder with a ledger this agent kept aside [default: whichever is newest].
        #[arg(long, value_name = "ledger|copy|FILE")]
        from: Option<String>,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Do it though agents that voted seem to be there.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Subcommand)]
enum VolumeCommand {
    /// All volumes, what is in them and how they keep it.
    ///
    /// Example: shoal volume list
    List,
    /// Make a volume.
    ///
    /// Example: shoal volume create photos --survive 1
    Create {
        /// Its name, also in the drive's URL.
        name: String,
        #[command(flatten)]
        policy: VolumePolicyOptions,
    },
    /// Change how a volume keeps what is written from now on.
    ///
    /// Example: shoal volume set photos --survive pool --compress false
    Set {
        /// Its name.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        #[command(flatten)]
        policy: VolumePolicyOptions,
    },
    /// Rename a volume; drives mapped under the old name must be mapped anew.
    ///
    /// Example: shoal volume rename photos pictures
    Rename {
        /// Its name.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// The new name.
        new_name: String,
    },
    /// Remove a volume and everything in it.
    ///
    /// Example: shoal volume remove photos --force
    Remove {
        /// Its name.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// Remove it though there are files in it.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Args)]
struct VolumePolicyOptions {
    /// How many agents may be lost without losing data (0 to 8), or `pool` to follow the pool.
    #[arg(long)]
    survive: Option<String>,
    /// Whether to compress what gets smaller by it.
    #[arg(long)]
    compress: Option<bool>,
}

#[derive(Subcommand)]
enum UserCommand {
    /// All users.
    ///
    /// Example: shoal user list
    List,
    /// Add a user. A password is made up and printed once, unless --password-stdin gives one.
    ///
    /// Example: shoal user add ana --role operator
    Add {
        /// The name to sign in with.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// What they may do: viewer, user, operator or admin.
        #[arg(long, default_value = "user")]
        role: String,
        /// Read the password from standard input, one line.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change a user's password: made up and printed once, or read from standard input.
    ///
    /// Example: shoal user passwd ana --password-stdin < file
    Passwd {
        /// Whose.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
        /// Read the password from standard input, one line.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove a user.
    ///
    /// Example: shoal user remove ana
    Remove {
        /// Whom.
        #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
        name: String,
    },
}

/// Runs what the command line says and tells how it went.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Command::PeerletLauncher { words } => return shoal_peerlets::launcher::main(words),
        Command::PeerletProgram { kind } => return crate::shipped::run(kind),
        _ => {}
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error, arguments.json);
            ExitCode::from(error.exit_code())
        }
    }
}

/// On standard error, so that standard output carries answers only.
fn tell(error: &CliError, json: bool) {
    if json {
        let told =
            serde_json::json!({ "error": error.to_string(), "hint": error.hint(), "exit_code": error.exit_code() });
        eprintln!("{}", print::harmless_json(&told.to_string()));
        return;
    }
    // Names of files stand in sentences too.
    eprintln!("shoal: {}", print::harmless_lines(&error.to_string()));
    if let Some(hint) = error.hint() {
        eprintln!("  {}", print::harmless_lines(&hint));
    }
}

fn run(arguments: &Arguments) -> Result<(), CliError> {
    let json = arguments.json;
    let agent = &arguments.agent;
    match &arguments.command {
        Command::Up(options) => up::up(agent, options, None),
        Command::Join { ticket, up } => up::up(agent, up, Some(ticket)),
        Command::Demo(options) => crate::demo::run(options),
        Command::Discover(options) => discover::discover(options, json),
        Command::Invite { hours, store_only } => commands::invite(agent, *hours, *store_only, json),
        Command::Status => commands::status(agent, json),
        Command::Nodes => commands::nodes(agent, json),
        Command::Scrub(options) => scrub::scrub(agent, options, json),
        Command::Node(command) => node::node(agent, command, json),
        Command::Volume(command) => commands::volume(agent, command, json),
        Command::Trash(command) => trash::trash(agent, command, json),
        Command::Policy(command) => policy::policy(agent, command, json),
        Command::Repair { plan } => drain::repair(agent, *plan, json),
        Command::User(command) => commands::user(agent, command, json),
        Command::Send(options) => message::send(agent, options, json),
        Command::Request(options) => request::request(agent, options, json),
        Command::Message { id } => message::states(agent, *id, json),
        Command::Log(options) => message::log(agent, options, json),
        Command::Chat(options) => chat::chat(agent, options, json),
        Command::Replay(options) => message::replay(agent, options, json),
        Command::Peerlets => peerlet::all(agent, json),
        Command::Peerlet(command) => peerlet::peerlet(agent, command, json),
        Command::Files(command) => files::files(agent, command, json),
        Command::PeerletLauncher { .. } | Command::PeerletProgram { .. } => Ok(()),
        Command::Right(command) => rights::right(agent, command, json),
        Command::Group(command) => rights::group(agent, command, json),
        Command::Type(command) => rights::kind(agent, command, json),
        Command::Run(options) => run::run(agent, options, json),
        Command::Flow(command) => flow::flow(agent, command, json),
        Command::Audit(options) => audit::audit(agent, options, json),
        Command::Backup(options) => backup::backup(agent, options, json),
        Command::Archives(options) => backup::archives(agent, options, json),
        Command::Restore(options) => backup::restore(agent, options, json),
        Command::Pool(PoolCommand::Check) => pool::check(agent, json),
        Command::Pool(PoolCommand::Recover { from, yes, force }) => {
            pool::recover(agent, from.as_deref(), *yes, *force, json)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
