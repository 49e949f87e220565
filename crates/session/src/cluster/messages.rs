//! What travels between the client and executors: a task, and the operators of Atoll in it.
//!
//! A task is the plan that an executor runs, with what the plan needs of the client's
//! session. Operators of DataFusion are written by DataFusion; the others are here, the
//! input of each being written beside it. Around a task `atoll-cluster` puts its number,
//! the number of its rows and a signature (`SignedTask`), and Ballista a job.

use std::collections::HashMap;

use datafusion_proto::protobuf;
use prost::Message;

/// A task on its way.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireTask {
    #[prost(string, tag = "1")]
    pub(crate) storage: String,
    #[prost(string, tag = "2")]
    pub(crate) storage_id: String,
    /// Where the client's relative paths start.
    #[prost(string, tag = "3")]
    pub(crate) directory: String,
    #[prost(map = "string, string", tag = "4")]
    pub(crate) options: HashMap<String, String>,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) plan: Vec<u8>,
}

/// An operator of Atoll.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireNode {
    #[prost(oneof = "WireOperator", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")]
    pub(crate) operator: Option<WireOperator>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum WireOperator {
    #[prost(message, tag = "1")]
    Calls(WireCalls),
    #[prost(bytes, tag = "2")]
    Scan(Vec<u8>),
    #[prost(message, tag = "3")]
    Piece(WirePiece),
    #[prost(message, tag = "4")]
    Output(WireOutput),
    #[prost(message, tag = "5")]
    Parts(WireParts),
    /// The schema of scans, as an Arrow IPC stream without rows.
    #[prost(bytes, tag = "6")]
    Scans(Vec<u8>),
    #[prost(message, tag = "7")]
    Shuffle(WireShuffle),
    /// A listing, as the family of its functions writes it.
    #[prost(bytes, tag = "8")]
    Listing(Vec<u8>),
    #[prost(message, tag = "9")]
    Reads(WireReads),
    #[prost(message, tag = "10")]
    Checks(WireChecks),
}

/// What is read of the file that a column names.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireReads {
    #[prost(uint32, tag = "1")]
    pub(crate) filename: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) columns: Vec<WirePart>,
}

/// A column that is read of a file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WirePart {
    /// The number of a [`Part`](atoll_udf_blob::Part).
    #[prost(uint32, tag = "1")]
    pub(crate) part: u32,
    #[prost(bool, tag = "2")]
    pub(crate) is_read: bool,
    #[prost(bool, tag = "3")]
    pub(crate) nullable: bool,
}

/// What every row has to pass.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireChecks {
    #[prost(message, repeated, tag = "1")]
    pub(crate) checks: Vec<protobuf::PhysicalExprNode>,
}

/// Ranges of what earlier stages left.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireParts {
    #[prost(string, tag = "1")]
    pub(crate) folder: String,
    /// An Arrow IPC stream without rows.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) schema: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) partitions: Vec<WirePartition>,
    #[prost(bool, tag = "4")]
    pub(crate) is_broadcast: bool,
    #[prost(message, optional, tag = "5")]
    pub(crate) partitioning: Option<protobuf::Partitioning>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WirePartition {
    #[prost(message, repeated, tag = "1")]
    pub(crate) ranges: Vec<WireRange>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireRange {
    #[prost(string, tag = "1")]
    pub(crate) object: String,
    #[prost(uint64, tag = "2")]
    pub(crate) start: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) end: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) rows: u64,
}

/// Where the rows of a task go that another stage reads.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireShuffle {
    #[prost(message, optional, tag = "1")]
    pub(crate) partitioning: Option<protobuf::Partitioning>,
    #[prost(uint64, repeated, tag = "2")]
    pub(crate) partitions: Vec<u64>,
    #[prost(string, tag = "3")]
    pub(crate) folder: String,
    #[prost(string, tag = "4")]
    pub(crate) name: String,
}

/// Where the rows of a task go.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireOutput {
    #[prost(oneof = "WireTarget", tags = "1, 2, 5")]
    pub(crate) target: Option<WireTarget>,
    /// See [`TaskTerms`].
    #[prost(uint64, tag = "3")]
    pub(crate) few: u64,
    #[prost(string, tag = "4")]
    pub(crate) name: String,
}

/// A target, as its own module writes it.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum WireTarget {
    #[prost(bytes, tag = "1")]
    Table(Vec<u8>),
    #[prost(bytes, tag = "2")]
    Folder(Vec<u8>),
    #[prost(bytes, tag = "5")]
    Listing(Vec<u8>),
}

/// Rows of a Parquet file.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WirePiece {
    /// The scan of the file.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) scan: Vec<u8>,
    /// The first of its rows, the row after the last, and how many there are.
    #[prost(uint64, tag = "2")]
    pub(crate) start: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) end: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) total: u64,
    #[prost(string, optional, tag = "5")]
    pub(crate) e_tag: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WireCalls {
    #[prost(message, repeated, tag = "1")]
    pub(crate) calls: Vec<WireCall>,
    /// The column that names a row's file.
    #[prost(uint32, optional, tag = "2")]
    pub(crate) source: Option<u32>,
}

/// One call.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct WireCall {
    #[prost(string, tag = "1")]
    pub(crate) function: String,
    /// The name of the column it makes.
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    /// An Arrow IPC stream of one row: the arguments, NULL where they are columns, and
    /// last the type that the call returns.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) arguments: Vec<u8>,
    /// For each argument the column it is, or -1 for a literal.
    #[prost(sint32, repeated, tag = "4")]
    pub(crate) columns: Vec<i32>,
    /// What the function ships.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) shipped: Vec<u8>,
}
