//! When a command ends early: signals, and the end of standard input.

use std::io;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::exit::Ending;

/// The option that ties a process to the one that started it.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Stop when standard input ends, and not only at a signal
    #[arg(long, hide = true)]
    pub(crate) stop_with_input: bool,
}

/// Counts SIGTERM and Ctrl-C, and the end of standard input if that is to count.
pub(crate) fn stop(args: &StopArgs) -> watch::Receiver<u32> {
    let (sender, receiver) = watch::channel(0);
    let with_input = args.stop_with_input;
    tokio::spawn(async move {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else {
            return;
        };
        let mut input = Box::pin(input_ends());
        let mut open = with_input;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
                () = &mut input, if open => open = false,
            }
            sender.send_modify(|count| *count += 1);
        }
    });
    receiver
}

async fn input_ends() {
    let mut rest = Vec::new();
    // An error ends the input too.
    let _ = tokio::io::stdin().read_to_end(&mut rest).await;
}

/// How long cancelled work may take before the process ends without it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Cancels this process, as Ctrl-C does, once standard input ends, if that is wanted.
///
/// A schedule holds the other end of the standard input of the runs that it starts, so that
/// they end with the schedule however that dies. Returns what tells whether that happened.
pub(crate) fn end_with_input(args: &StopArgs) -> Arc<AtomicBool> {
    let has_ended = Arc::new(AtomicBool::new(false));
    if !args.stop_with_input {
        return has_ended;
    }
    let ended = Arc::clone(&has_ended);
    thread::spawn(move || {
        // An error ends the input too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        ended.store(true, Ordering::Release);
        let _ = kill(getpid(), Signal::SIGINT);
        thread::sleep(PATIENCE);
        exit(i32::from(Ending::Cancelled.code()));
    });
    has_ended
}
