//! Drives the real binary, one file per promise. Every run has a time limit and a
//! storage of its own; nothing needs a network.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests fail by panicking, as tests do"
)]

mod batch;
mod book;
#[path = "../support/s3.rs"]
mod bucket;
mod cancel;
mod cluster;
mod copy;
mod demo;
mod detached;
mod distribution;
mod doctor;
mod examples;
mod formats;
mod inference;
mod jobs;
mod kills;
mod listing;
mod mistakes;
mod models;
mod named_models;
mod names;
mod nulls;
mod panics;
mod photos;
mod prompt;
mod python;
mod refresh;
mod report;
mod resume;
mod s3;
mod schedule;
mod scripts;
mod serve;
#[path = "../support/cluster.rs"]
mod server;
mod slots;
mod support;
mod tables;
mod tour;
mod tpch;
mod tune;
mod warnings;
mod watch;
mod writers;
