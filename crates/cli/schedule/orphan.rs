//! What a run does when the schedule that started it is gone.

use std::io;
use std::process::exit;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::args::StopArgs;

/// How long cancelled work may take before the process ends without it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Cancels this run, as Ctrl-C does, once standard input ends, if that is wanted: the
/// schedule holds its other end, so that it ends with the schedule however that dies.
pub(crate) fn end_with_schedule(args: &StopArgs) {
    if !args.stop_with_input {
        return;
    }
    thread::spawn(|| {
        // An error ends the input too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = kill(getpid(), Signal::SIGINT);
        thread::sleep(PATIENCE);
        exit(130);
    });
}
