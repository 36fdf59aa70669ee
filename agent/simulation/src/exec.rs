//! The executor: tasks on virtual time, one at a time, in an order that only the seed decides.
//!
//! A task belongs to an agent or to the world. When its agent crashes it is dropped where it stands; while its agent
//! sleeps it is not run, and its timers stand still.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::world::{Sim, World};

pub(crate) type TaskId = usize;
pub(crate) type Action = Box<dyn FnOnce(&Sim)>;

/// One millisecond of virtual time; all times are in microseconds.
pub(crate) const MS: u64 = 1_000;
/// One second of virtual time.
pub(crate) const SECOND: u64 = 1_000 * MS;

/// Whose a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody's: faults, the administrator, the judge.
    World,
    /// An agent's, in this run of it.
    Agent(usize, u32),
}

pub(crate) struct Task {
    pub(crate) owner: Owner,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

thread_local! {
    static CURRENT: Cell<TaskId> = const { Cell::new(0) };
    static READY: RefCell<VecDeque<TaskId>> = const { RefCell::new(VecDeque::new()) };
}

fn wake(task: TaskId) {
    READY.with_borrow_mut(|ready| ready.push_back(task));
}

/// Something that happens at a time.
pub(crate) struct Entry {
    at_us: u64,
    tie: u64,
    sequence: u64,
    action: Action,
}

impl Entry {
    fn key(&self) -> (u64, u64, u64) {
        (self.at_us, self.tie, self.sequence)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest: a `BinaryHeap` gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl World {
    /// Has something happen `after_us` from now; what happens at one time does so in an order that the seed decides.
    pub(crate) fn at(&mut self, after_us: u64, action: impl FnOnce(&Sim) + 'static) {
        self.sequence += 1;
        let (tie, sequence) = (self.rng.next(), self.sequence);
        self.queue.push(Entry { at_us: self.now_us + after_us, tie, sequence, action: Box::new(action) });
    }

    fn is_alive(&self, owner: Owner) -> bool {
        match owner {
            Owner::World => true,
            Owner::Agent(agent, run) => self.agents[agent].up && self.agents[agent].run == run,
        }
    }

    fn is_asleep(&self, owner: Owner) -> Option<usize> {
        match owner {
            Owner::Agent(agent, _) if self.agents[agent].asleep => Some(agent),
            _ => None,
        }
    }

    /// Takes the tasks of an agent out; the caller drops them once it has let go of the world.
    pub(crate) fn take_tasks(&mut self, agent: usize) -> Vec<Task> {
        let of_agent =
            |task: &Option<Task>| matches!(task, Some(Task { owner: Owner::Agent(owner, _), .. }) if *owner == agent);
        self.tasks.iter_mut().filter(|task| of_agent(task)).filter_map(Option::take).collect()
    }
}

impl Sim {
    /// Starts a task.
    pub(crate) fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + 'static) {
        let future = Box::pin(future);
        let id = self.with(|world| {
            world.tasks.push(Some(Task { owner, future }));
            world.tasks.len() - 1
        });
        wake(id);
    }

    /// Starts a task of an agent, in its present run.
    pub(crate) fn spawn_on(&self, agent: usize, future: impl Future<Output = ()> + 'static) {
        let run = self.with(|world| world.agents[agent].run);
        self.spawn(Owner::Agent(agent, run), future);
    }

    /// Runs until nothing more happens or the run is over.
    pub(crate) fn run(&self) {
        READY.with_borrow_mut(VecDeque::clear);
        let ids: Vec<TaskId> = self.with(|world| (0..world.tasks.len()).collect());
        ids.into_iter().for_each(wake);
        loop {
            while let Some(id) = READY.with_borrow_mut(VecDeque::pop_front) {
                self.poll(id);
                if self.with(|world| world.over) {
                    return;
                }
            }
            let Some(entry) = self.with(|world| {
                let entry = world.queue.pop()?;
                world.now_us = entry.at_us;
                world.counters.events += 1;
                Some(entry)
            }) else {
                return;
            };
            (entry.action)(self);
        }
    }

    fn poll(&self, id: TaskId) {
        let Some(mut task) = self.with(|world| {
            let task = world.tasks.get_mut(id)?.take()?;
            if let Some(agent) = world.is_asleep(task.owner) {
                world.tasks[id] = Some(task);
                world.agents[agent].on_wake.push(Box::new(move |_| wake(id)));
                return None;
            }
            Some(task)
        }) else {
            return;
        };
        CURRENT.set(id);
        let mut context = Context::from_waker(Waker::noop());
        if task.future.as_mut().poll(&mut context) == Poll::Pending {
            let owner = task.owner;
            let mut task = Some(task);
            self.with(|world| {
                if world.is_alive(owner) {
                    world.tasks[id] = task.take();
                }
            });
        }
    }

    /// Waits; on an agent's task by that agent's own steady clock, which stands still while it sleeps.
    pub(crate) async fn sleep(&self, owner: Owner, duration_us: u64) {
        let slot = Slot::default();
        self.set_timer(owner, duration_us, slot.clone());
        slot.wait().await;
    }

    /// Waits on an agent's task.
    pub(crate) async fn sleep_on(&self, agent: usize, duration_us: u64) {
        let run = self.with(|world| world.agents[agent].run);
        self.sleep(Owner::Agent(agent, run), duration_us).await;
    }

    fn set_timer(&self, owner: Owner, duration_us: u64, slot: Slot<()>) {
        self.with(|world| {
            let until = match owner {
                Owner::World => 0,
                Owner::Agent(agent, _) => world.steady_us(agent) + duration_us,
            };
            world.at(duration_us, move |sim| fire(sim, owner, until, slot));
        });
    }

    /// Fills a slot after a while, unless it is filled by then.
    pub(crate) fn fill_later<T: 'static>(&self, owner: Owner, duration_us: u64, slot: Slot<T>, value: T) {
        let timer = Slot::default();
        self.set_timer(owner, duration_us, timer.clone());
        timer.when_filled(move || slot.fill(value));
    }
}

fn fire(sim: &Sim, owner: Owner, until_us: u64, slot: Slot<()>) {
    let Owner::Agent(agent, _) = owner else {
        return slot.fill(());
    };
    let ready = sim.with(|world| {
        if !world.is_alive(owner) {
            return false;
        }
        let left = until_us.saturating_sub(world.steady_us(agent));
        if world.agents[agent].asleep {
            let slot = slot.clone();
            world.agents[agent].on_wake.push(Box::new(move |sim| fire(sim, owner, until_us, slot)));
            return false;
        }
        if left > 0 {
            let slot = slot.clone();
            world.at(left, move |sim| fire(sim, owner, until_us, slot));
        }
        left == 0
    });
    if ready {
        slot.fill(());
    }
}

/// A value that comes once; whoever fills it first wins.
pub(crate) struct Slot<T>(Rc<RefCell<SlotState<T>>>);

struct SlotState<T> {
    value: Option<T>,
    filled: bool,
    waiter: Option<TaskId>,
    hook: Option<Box<dyn FnOnce()>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(SlotState { value: None, filled: false, waiter: None, hook: None })))
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Slot<T> {
    pub(crate) fn fill(&self, value: T) {
        let mut state = self.0.borrow_mut();
        if state.filled {
            return;
        }
        state.filled = true;
        state.value = Some(value);
        if let Some(task) = state.waiter.take() {
            wake(task);
        }
        let hook = state.hook.take();
        drop(state);
        if let Some(hook) = hook {
            hook();
        }
    }

    fn when_filled(&self, hook: impl FnOnce() + 'static) {
        self.0.borrow_mut().hook = Some(Box::new(hook));
    }

    /// Once this is filled, fills another.
    pub(crate) fn then_fill<U: 'static>(&self, other: Slot<U>, value: U)
    where
        T: 'static,
    {
        self.when_filled(move || other.fill(value));
    }

    pub(crate) async fn wait(&self) -> T {
        std::future::poll_fn(|_| {
            let mut state = self.0.borrow_mut();
            state.waiter = Some(CURRENT.get());
            state.value.take().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// Values of many senders for one receiver.
pub(crate) struct Channel<T>(Rc<RefCell<(VecDeque<T>, Option<TaskId>)>>);

impl<T> Default for Channel<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new((VecDeque::new(), None))))
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Channel<T> {
    pub(crate) fn send(&self, value: T) {
        let mut state = self.0.borrow_mut();
        state.0.push_back(value);
        if let Some(task) = state.1.take() {
            wake(task);
        }
    }

    pub(crate) async fn receive(&self) -> T {
        std::future::poll_fn(|_| {
            let mut state = self.0.borrow_mut();
            state.1 = Some(CURRENT.get());
            state.0.pop_front().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// One at a time, for each key.
pub(crate) struct Locks<K>(Rc<RefCell<Held<K>>>);

type Held<K> = std::collections::BTreeMap<K, Vec<TaskId>>;

impl<K: Ord + Copy> Default for Locks<K> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<K: Ord + Copy> Locks<K> {
    /// Waits for the key. Locks of an earlier run of an agent are others: they went with it.
    pub(crate) fn lock(&self, key: K) -> impl Future<Output = LockGuard<K>> + use<K> {
        let held = Rc::clone(&self.0);
        async move {
            std::future::poll_fn(|_| {
                let mut state = held.borrow_mut();
                match state.get_mut(&key) {
                    Some(waiting) => {
                        waiting.push(CURRENT.get());
                        Poll::Pending
                    }
                    None => {
                        state.insert(key, Vec::new());
                        Poll::Ready(())
                    }
                }
            })
            .await;
            LockGuard { held, key }
        }
    }
}

/// Lets the key go when dropped.
pub(crate) struct LockGuard<K: Ord + Copy> {
    held: Rc<RefCell<Held<K>>>,
    key: K,
}

impl<K: Ord + Copy> Drop for LockGuard<K> {
    fn drop(&mut self) {
        let waiting = self.held.borrow_mut().remove(&self.key);
        waiting.into_iter().flatten().for_each(wake);
    }
}
