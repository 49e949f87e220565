//! The threads of one trial.
//!
//! Work is cut into parts whose number and order do not depend on how many threads there
//! are; who does a part makes no difference to its result. Threads live as long as the
//! network: a step of a small network takes as long as starting a few threads.
#![expect(unsafe_code, reason = "threads that outlive a call borrow its work")]

use std::any::Any;
use std::fmt;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// How often a thread looks for work before it sleeps: about 20 microseconds. Layers
/// follow each other faster than the system wakes a thread.
const LOOKS: u32 = 1_000;

type Work = dyn Fn() + Sync;

/// Threads that work on one thing at a time, the caller among them.
pub(crate) struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What the threads of a team share.
#[derive(Default)]
struct Shared {
    /// Changes whenever there is new work or the end has come.
    call: AtomicU64,
    state: Mutex<TeamState>,
    wake: Condvar,
    done: Condvar,
}

/// The work that a team has now, and who still does it.
#[derive(Default)]
struct TeamState {
    work: Option<&'static Work>,
    /// The workers that have not finished the work.
    busy: usize,
    /// What the first of their panics says.
    panic: Option<Box<dyn Any + Send>>,
    ends: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, TeamState> {
        // No code that may panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut seen = 0;
        loop {
            let mut looks = 0;
            while self.call.load(Ordering::Acquire) == seen && looks < LOOKS {
                hint::spin_loop();
                looks += 1;
            }
            let mut state = self.state();
            while self.call.load(Ordering::Acquire) == seen {
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            seen = self.call.load(Ordering::Acquire);
            if state.ends {
                return;
            }
            let Some(work) = state.work else { continue };
            drop(state);
            let result = catch_unwind(AssertUnwindSafe(work));
            let mut state = self.state();
            if let Err(panic) = result {
                state.panic.get_or_insert(panic);
            }
            state.busy -= 1;
            if state.busy == 0 {
                self.done.notify_one();
            }
        }
    }
}

impl Team {
    /// Starts `threads - 1` threads. Where the system gives none, the caller works alone.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |_| {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name("trial".to_owned());
            builder.spawn(move || shared.serve()).ok()
        };
        let workers = (1..threads).filter_map(start).collect();
        Self { shared, workers }
    }

    /// How many threads work, the caller included.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` for each of the parts, on any thread and in any order.
    pub(crate) fn share<T: Send>(
        &self,
        parts: impl Iterator<Item = T> + Send,
        work: impl Fn(T) + Sync,
    ) {
        if self.workers.is_empty() {
            parts.for_each(work);
            return;
        }
        let parts = Mutex::new(parts);
        self.run(&|| {
            loop {
                let part = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
                match part {
                    Some(part) => work(part),
                    None => return,
                }
            }
        });
    }

    /// Calls `work` once on each thread.
    fn run(&self, work: &(dyn Fn() + Sync)) {
        // SAFETY: only the lifetime changes. `Finish` waits until no worker uses `work`,
        // also if the caller's own call panics, and then takes it out of the state.
        let lasting: &'static Work = unsafe { std::mem::transmute(work) };
        {
            let mut state = self.shared.state();
            state.work = Some(lasting);
            state.busy = self.workers.len();
            // Left over where the caller panicked, too.
            state.panic = None;
            self.shared.call.fetch_add(1, Ordering::Release);
        }
        self.shared.wake.notify_all();
        let finish = Finish(&self.shared);
        work();
        drop(finish);
        let panic = self.shared.state().panic.take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Waits for the workers when it is dropped.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let mut looks = 0;
        let mut state = self.0.state();
        while state.busy > 0 {
            if looks < LOOKS {
                drop(state);
                hint::spin_loop();
                looks += 1;
                state = self.0.state();
            } else {
                state = self
                    .0
                    .done
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.work = None;
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.state().ends = true;
        self.shared.call.fetch_add(1, Ordering::Release);
        // A worker between its look at `call` and its sleep holds the lock.
        drop(self.shared.state());
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // It catches the panics of its work, so there is nothing to report.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_done_once() {
        for threads in [1, 2, 5] {
            let team = Team::new(threads);
            assert_eq!(team.threads(), threads);
            let mut counts = vec![0_u32; 1_000];
            for _ in 0..100 {
                team.share(counts.iter_mut(), |count| *count += 1);
            }
            assert!(counts.iter().all(|count| *count == 100));
        }
    }

    #[test]
    fn a_panic_of_any_part_reaches_the_caller_and_the_team_works_on() {
        let team = Team::new(3);
        for bad in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.share(0..20, |part| assert_ne!(part, bad));
            }));
            assert!(result.is_err());
        }
        let mut counts = [0; 20];
        team.share(counts.iter_mut(), |count| *count += 1);
        assert_eq!(counts, [1; 20]);
    }
}
