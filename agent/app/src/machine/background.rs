//! Turns for background work: rebuilding, re-striping, scrubbing, rebalancing, draining all ask here before each step,
//! so that together they stay below what people notice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_care::pace::{Class, ClassStats, PaceCore, TurnId};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::load::LoadSource;

/// Time between two looks at whether a turn that is waited for may begin.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Turns waited for at once, at most; who asks for more waits to be let in line.
const WAITING_LIMIT: usize = 64;

/// Gives turns. One for each agent.
pub struct Background {
    started: Instant,
    load: Box<dyn LoadSource>,
    core: Mutex<PaceCore>,
    line: Semaphore,
    ended: Notify,
}

impl Background {
    /// Paced by what `load` says.
    #[must_use]
    pub fn new(load: impl LoadSource + 'static) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            load: Box::new(load),
            core: Mutex::default(),
            line: Semaphore::new(WAITING_LIMIT),
            ended: Notify::new(),
        })
    }

    /// Waits for a turn: at most 30 s while fewer than two run, but for [`Class::Idle`] on battery. The turn lasts until
    /// it is dropped; it should be one small step, such as one shard rebuilt. Dropping the wait gives it up.
    pub async fn turn(self: &Arc<Self>, class: Class) -> Turn {
        // Never closed.
        let _in_line = self.line.acquire().await;
        let turn = Turn { background: self.clone(), id: self.core().ask(self.now(), class) };
        loop {
            let ended = self.ended.notified();
            if self.begins(turn.id) {
                return turn;
            }
            tokio::select! {
                () = ended => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// What each class has had so far.
    #[must_use]
    pub fn stats(&self) -> [(Class, ClassStats); Class::ALL.len()] {
        let stats = self.core().stats();
        let [endangered, repair, idle] = Class::ALL;
        let [of_endangered, of_repair, of_idle] = stats;
        [(endangered, of_endangered), (repair, of_repair), (idle, of_idle)]
    }

    /// Begins whatever may begin; whether this turn has.
    fn begins(&self, id: TurnId) -> bool {
        let (now, load) = (self.now(), self.load.load());
        let mut core = self.core();
        let mut others = false;
        while let Some(begun) = core.begin_next(now, load) {
            others |= begun != id;
        }
        let begun = core.has_begun(id);
        drop(core);
        if others {
            self.ended.notify_waiters();
        }
        begun
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn core(&self) -> MutexGuard<'_, PaceCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to do one small step of background work. Dropping it ends the turn.
#[must_use = "the turn ends when it is dropped"]
pub struct Turn {
    background: Arc<Background>,
    id: TurnId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = self.background.now();
        self.background.core().end(now, self.id);
        self.background.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use shoal_care::pace::Load;

    use super::*;

    /// People are there or not.
    struct Switch(Arc<AtomicBool>);

    impl LoadSource for Switch {
        fn load(&self) -> Load {
            Load { foreground_per_s: u32::from(self.0.load(Ordering::Relaxed)), ..Load::default() }
        }
    }

    fn background(people: bool) -> (Arc<Background>, Arc<AtomicBool>) {
        let people = Arc::new(AtomicBool::new(people));
        (Background::new(Switch(people.clone())), people)
    }

    async fn work(background: &Arc<Background>, class: Class, steps: usize, step: Duration) -> Duration {
        let begin = Instant::now();
        for _ in 0..steps {
            let _turn = background.turn(class).await;
            tokio::time::sleep(step).await;
        }
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn alone_on_a_quiet_machine_work_goes_on_at_once_and_beside_people_a_fifth_of_the_time() {
        let step = Duration::from_secs(1);
        let (quiet, _) = background(false);
        assert_eq!(work(&quiet, Class::Repair, 10, step).await, 10 * step);
        let (busy, _) = background(true);
        let took = work(&busy, Class::Repair, 10, step).await;
        assert!((46 * step..48 * step).contains(&took), "ten steps, nine rests of four: {took:?}");
        let [_, (class, stats), _] = busy.stats();
        assert_eq!((class, stats.turns, stats.worked), (Class::Repair, 10, 10 * step));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_soon_after_people_are_gone_and_a_wait_given_up_holds_up_nobody() {
        let (background, people) = background(true);
        let long = Duration::from_secs(5);
        work(&background, Class::Idle, 1, long).await;
        let given_up = tokio::time::timeout(long, background.turn(Class::Idle)).await;
        assert!(given_up.is_err(), "45 s of rest");
        people.store(false, Ordering::Relaxed);
        let begin = Instant::now();
        let _one = background.turn(Class::Idle).await;
        let _two = background.turn(Class::Idle).await;
        assert!(begin.elapsed() <= LOOK_EVERY, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_are_two_at_a_time() {
        let (background, _) = background(false);
        let step = Duration::from_secs(1);
        let begin = Instant::now();
        let work = |_| {
            let background = background.clone();
            async move {
                let _turn = background.turn(Class::Idle).await;
                tokio::time::sleep(step).await;
            }
        };
        futures::future::join_all((0..200).map(work)).await;
        assert!((100 * step..101 * step).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }
}
