//! What can go wrong between the processes of a cluster.

use datafusion::common::DataFusionError;

use crate::Address;

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one. The command line must change.
    #[error("{0}")]
    Address(String),
    /// Nothing answers there.
    #[error(
        "no scheduler answers at {address} ({reason}); start one with: atoll scheduler, \
         or check the address"
    )]
    Unreachable {
        /// Where one should be.
        address: Address,
        /// What the connection said.
        reason: String,
    },
    /// Something else answers there.
    #[error(
        "what answers at {address} is no scheduler of Atoll ({reason}); check the port"
    )]
    NotAtoll {
        /// Where one should be.
        address: Address,
        /// What it said.
        reason: String,
    },
    /// The scheduler is of another version; tasks mean different things to it.
    #[error(
        "the scheduler at {address} is Atoll {theirs}, this is {}; use the same version \
         everywhere",
        atoll_session::VERSION
    )]
    Version {
        /// The scheduler.
        address: Address,
        /// Its version.
        theirs: String,
    },
    /// No token was given.
    #[error(
        "the scheduler at {0} asks for a token; set ATOLL_TOKEN or --token-file to the \
         one that it was started with"
    )]
    NoToken(Address),
    /// Another token was given.
    #[error(
        "the token given is not that of the scheduler at {0}; set ATOLL_TOKEN or \
         --token-file to the one that it was started with"
    )]
    WrongToken(Address),
    /// The scheduler does not know what was asked for; it was started anew.
    #[error("the scheduler at {0} was restarted and has forgotten the job")]
    Unknown(Address),
    /// The scheduler stopped answering in the middle of a job.
    #[error(
        "the scheduler at {address} has not answered for {seconds} s; start it again, \
         then run the statement again: finished trials are kept"
    )]
    Silent {
        /// Where it was.
        address: Address,
        /// For how long it was waited for.
        seconds: u64,
    },
    /// Nothing runs tasks.
    #[error(
        "no executor is connected to the scheduler at {0}; start some with: atoll executor \
         --scheduler HOST:PORT"
    )]
    NoExecutors(Address),
    /// The cluster lost a job, however often it was submitted.
    #[error(
        "the cluster lost the job {times} times: {reason}; see the scheduler's status \
         page, then run the statement again: finished trials are kept"
    )]
    Lost {
        /// How often it was submitted.
        times: u32,
        /// What was said the last time.
        reason: String,
    },
    /// The scheduler does not know a run.
    #[error(
        "the scheduler at {address} knows no run {id}; see atoll runs, and job_runs() for \
         those that ended long ago"
    )]
    NoRun {
        /// What was asked for.
        id: String,
        /// The scheduler.
        address: Address,
    },
    /// The text of a token is no token.
    #[error("{0}")]
    Token(String),
    /// A server cannot start.
    #[error("{0}")]
    Start(String),
}

impl Error {
    /// Whether the same statement may succeed later without a change to it.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Unknown(_)
            | Self::Silent { .. }
            | Self::NoExecutors(_)
            | Self::Lost { .. } => true,
            Self::Address(_)
            | Self::NotAtoll { .. }
            | Self::NoRun { .. }
            | Self::Version { .. }
            | Self::NoToken(_)
            | Self::WrongToken(_)
            | Self::Token(_)
            | Self::Start(_) => false,
        }
    }
}

/// Kept as it is, so that whoever runs the statement can tell what may pass.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}
