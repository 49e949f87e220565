//! The executor: a process that runs tasks, and one that watches over it.
//!
//! A task may bring its process down, such as by a crash in a native library or for
//! lack of memory. [`supervise`] therefore runs the [`work`] in a child process and
//! starts it anew, and tells the scheduler at once what is lost.

mod driver;
mod engine;
mod entry;
mod held;
mod parts;
mod rescue;
mod supervisor;
mod worker;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

pub use driver::{RunCommand, interrupt};
pub use held::Held;
pub use supervisor::{Event, supervise};
pub use worker::work;

use crate::{Address, Token};

/// How often a row is started before it is given up.
const ATTEMPTS: u32 = 3;

/// What an executor is started with.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// The scheduler to work for.
    pub scheduler: Address,
    /// The address to listen on, for the scheduler, clients and other executors.
    pub bind: IpAddr,
    /// The name by which others reach this machine, if not by `bind`.
    pub advertise: Option<String>,
    /// The port for results; the next one is for the scheduler. 0 picks free ones.
    pub port: u16,
    /// Tasks at once.
    pub slots: NonZeroUsize,
    /// Where results wait to be fetched.
    pub work_dir: PathBuf,
    /// The cluster's secret.
    pub token: Token,
    /// How many bytes operators may hold.
    pub memory_limit: Option<usize>,
}

/// What tells one worker process from the next.
#[derive(Debug, Clone)]
pub struct WorkerId {
    /// The name of the executor among others, new for each process.
    pub id: String,
    /// The port for results.
    pub port: u16,
    /// The port for the scheduler.
    pub grpc_port: u16,
}

/// What a supervisor says to its worker on standard input: finish and go. Its end says
/// that the supervisor is gone.
pub(crate) const DRAIN: &str = "drain";

/// What a worker says on standard output once the scheduler knows it.
pub const READY: &str = "ready";
