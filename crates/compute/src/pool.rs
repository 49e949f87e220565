//! The pool of threads that runs every expensive row of the process.
//!
//! There is one for all statements, because two pools of a thread a core each would only
//! take turns on the cores and double the memory of what runs.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use crate::CancellationToken;
use crate::panics::{Panic, catch};

/// Stack of a pool thread. Image codecs recurse and keep tables on the stack, and
/// an unoptimised build needs several times the default of 2 MiB.
const STACK_SIZE: usize = 16 << 20;

/// What the names of the pool's threads start with; the number follows.
const THREAD_NAME: &str = "atoll-compute-";

/// How many threads [`configure`] asked for; 0 means one a core.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Why work did not give a result.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The statement was cancelled; nothing is wrong with the work.
    #[error("cancelled")]
    Cancelled,
    /// The work panicked. This is a bug; the pool and other work go on.
    #[error("internal error in a compute thread: {0}")]
    Panicked(Panic),
    /// The operating system refused to start threads.
    #[error("cannot start {threads} compute threads, try a smaller --threads: {reason}")]
    Start {
        /// How many threads were asked for.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
}

/// Sets how wide the pool is. Takes effect before its first use only, since work of
/// other statements may run on it afterwards.
pub fn configure(threads: NonZeroUsize) {
    THREADS.store(threads.get(), Ordering::Relaxed);
}

/// How many pieces of work run at once, which is the number of the pool's threads.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        threads => threads,
    }
}

/// Queues `work` at once, first in first out, and resolves to its result.
///
/// The work is queued when this function is called, not when the future is first
/// polled: a caller that queues a whole record batch and then awaits the rows in
/// order keeps every thread busy. Work whose `token` is cancelled before a thread is
/// free never starts; running work has to poll the token itself.
pub fn run<T: Send + 'static>(
    token: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, PoolError>> + Send + 'static {
    let (sender, receiver) = oneshot::channel();
    let started = pool().map(|pool| {
        let token = token.clone();
        pool.spawn_fifo(move || {
            let result = if token.is_cancelled() {
                Err(PoolError::Cancelled)
            } else {
                catch(work).map_err(PoolError::Panicked)
            };
            // The receiver is gone when the statement was dropped: no one to tell.
            let _ = sender.send(result);
        });
    });
    async move {
        started?;
        receiver.await.unwrap_or(Err(PoolError::Cancelled))
    }
}

/// Names the thread that this runs on as `host:process/thread`: two pieces of work of one
/// worker never overlap.
pub fn worker() -> String {
    let thread = std::thread::current();
    let number = thread
        .name()
        .and_then(|name| name.strip_prefix(THREAD_NAME));
    let number = number.unwrap_or("0");
    format!("{}:{}/{number}", hostname(), std::process::id())
}

/// The name of this machine, for people who read records and status pages.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_string(),
        name => name.to_string(),
    }
}

fn pool() -> Result<&'static rayon::ThreadPool, PoolError> {
    static POOL: OnceLock<Result<rayon::ThreadPool, (usize, String)>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let threads = threads();
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .stack_size(STACK_SIZE)
            .thread_name(|n| format!("{THREAD_NAME}{n}"))
            .build()
            .map_err(|error| (threads, error.to_string()))
    });
    pool.as_ref().map_err(|(threads, reason)| PoolError::Start {
        threads: *threads,
        reason: reason.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;

    #[tokio::test]
    async fn never_runs_more_than_threads_at_once() {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let token = CancellationToken::new();
        // The first rows wait for each other, however late a busy machine starts a
        // thread.
        let met = Arc::new(Barrier::new(threads()));
        let rows: Vec<_> = (0..20 + threads())
            .map(|row| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                let met = Arc::clone(&met);
                run(&token, move || {
                    most.fetch_max(
                        running.fetch_add(1, Ordering::SeqCst) + 1,
                        Ordering::SeqCst,
                    );
                    if row < threads() {
                        met.wait();
                    }
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for row in rows {
            row.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), threads());
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error_and_the_pool_goes_on() {
        let token = CancellationToken::new();
        let error = run(&token, || panic!("boom")).await.unwrap_err();
        let message = "internal error in a compute thread: boom (in ";
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(run(&token, || 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn cancelled_work_never_starts() {
        let token = CancellationToken::new();
        token.cancel();
        let result = run(&token, || panic!("must not start")).await;
        assert!(matches!(result, Err(PoolError::Cancelled)));
    }
}
