//! What lies near what: vectors by their distance, hashes by the bits in which they differ.
//!
//! Vectors are compared each with each, exactly: products of matrices in 32 bits leave out
//! what cannot be near, and what is left is measured in 64 bits, in one order of sums. So
//! the result depends neither on how the work is cut and shared nor on the processor.
//!
//! This crate knows nothing about SQL, files or threads: its callers decide who searches
//! which rows, and when to stop.

mod bands;
mod error;
mod groups;
mod hashes;
mod metric;
mod search;
mod vectors;

pub use bands::Bands;
pub use error::Error;
pub use groups::{Groups, Member};
pub use hashes::Hashes;
pub use metric::Metric;
pub use search::{Neighbour, Pair, Search};
pub use vectors::Vectors;
