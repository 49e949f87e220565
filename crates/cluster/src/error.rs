//! What can go wrong between the processes of a cluster.

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
    /// The token is missing or another one.
    #[error(
        "the scheduler at {0} asks for a token; set ATOLL_TOKEN or --token-file to the \
         one that it was started with"
    )]
    Refused(Address),
    /// The scheduler does not know what was asked for; it was started anew.
    #[error("the scheduler at {0} was restarted and has forgotten the job")]
    Unknown(Address),
    /// The token itself is wrong.
    #[error("{0}")]
    Token(String),
    /// A server cannot start.
    #[error("{0}")]
    Start(String),
}
