//! The record of a run before its first statement: what is run, on which machine, with which
//! parameters.

use std::collections::BTreeMap;

use atoll_jobs::{Run, RunStatus, StatementRun};
use chrono::Utc;
use datafusion::DATAFUSION_VERSION;
use sha2::{Digest, Sha256};

use super::{RunArgs, ScriptText};
use crate::prepared::PreparedScript;
use crate::script::ScriptStatement;

/// The record of a run that begins.
pub(super) fn record(
    args: &RunArgs,
    prepared: &PreparedScript,
    script: ScriptText<'_>,
) -> Run {
    let now = Utc::now();
    let file = args.script_name.as_deref().or(args.file.as_deref());
    let stem = file.and_then(|file| file.file_stem());
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
    let job = args.job.clone().or(stem).filter(|job| job != "-");
    let statement = |statement: &ScriptStatement| StatementRun {
        number: statement.number,
        line: prepared.script.source_line(statement.line),
        sql: statement.sql.clone(),
        status: RunStatus::Skipped,
        attempts: 0,
        rows: None,
        seconds: 0.0,
        files: vec![],
    };
    Run {
        version: 1,
        run_id: args.run_id.clone().unwrap_or_else(new_run_id),
        job: job.unwrap_or_else(|| "stdin".to_string()),
        script: script.name.to_string(),
        script_sha256: hex::encode(Sha256::digest(script.source)),
        interval: args.interval,
        status: RunStatus::Running,
        exit_code: None,
        started_at: now,
        finished_at: None,
        seconds: None,
        parameters: prepared.script.values.clone(),
        versions: versions(),
        host: atoll_compute::pool::hostname(),
        pid: std::process::id(),
        statements: prepared.statements.iter().map(statement).collect(),
        error: None,
    }
}

/// A name for a run: when it was asked for, and by which process.
pub(super) fn new_run_id() -> String {
    let now = Utc::now().format("%Y%m%dT%H%M%S%.6fZ");
    format!("{now}-{}", std::process::id())
}

fn versions() -> BTreeMap<String, String> {
    BTreeMap::from(
        [
            ("atoll", atoll_session::VERSION.to_string()),
            ("datafusion", DATAFUSION_VERSION.to_string()),
            ("engine", atoll_session::training_engine()),
        ]
        .map(|(name, version)| (name.to_string(), version)),
    )
}
