//! Scheduler, executor and client of a Ballista cluster.
