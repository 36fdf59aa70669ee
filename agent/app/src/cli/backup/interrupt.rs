//! Ctrl-C: while something is watched it ends the watching with a word, and while a secret is typed the terminal shows what is
//! typed again afterwards. A second one, and one at any other time, ends the command as always.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcsetattr};

use crate::cli::CliError;

static WATCHING: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);
/// How the terminal was before it hid what is typed.
static HIDDEN: Mutex<Option<Termios>> = Mutex::new(None);

/// While it lives, Ctrl-C only says so.
pub(super) struct Watching(());

impl Watching {
    pub(super) fn begin() -> Self {
        listen();
        ASKED.store(false, Ordering::SeqCst);
        WATCHING.store(true, Ordering::SeqCst);
        Self(())
    }

    /// Whether Ctrl-C was pressed.
    pub(super) fn is_asked(&self) -> bool {
        ASKED.load(Ordering::SeqCst)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHING.store(false, Ordering::SeqCst);
    }
}

/// The terminal hides what is typed from now on until [`show_again`].
pub(super) fn hides(before: Termios) {
    listen();
    *HIDDEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
}

/// Has the terminal show what is typed, if it does not.
pub(super) fn show_again() {
    if let Some(before) = HIDDEN.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        eprintln!();
    }
}

/// From the first call on. Where the signal cannot be had, it ends the command as always.
fn listen() {
    static LISTENS: OnceLock<()> = OnceLock::new();
    LISTENS.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        let work = move || {
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    pressed();
                }
            });
        };
        let _ = std::thread::Builder::new().name("backup-interrupt".into()).spawn(work);
    });
}

fn pressed() {
    if WATCHING.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
        return;
    }
    show_again();
    std::process::exit(i32::from(CliError::Interrupted(String::new()).exit_code()));
}
