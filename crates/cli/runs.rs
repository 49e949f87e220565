//! `atoll runs`: the scripts that a cluster runs on its own, see `atoll run --detach`.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use atoll_cluster::{Client, RunState};
use clap::Args;
use datafusion::arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, UInt8Array, UInt32Array,
};

use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::note;
use crate::output::{Expanded, TableFit, row_writer};
use crate::session_args::SessionArgs;

/// How often a run that is followed is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Arguments of `atoll runs`.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Show how this run stands and the last of what it printed [default: list all]
    #[arg(value_name = "ID")]
    id: Option<String>,

    /// Print what it prints until it ends, then exit with its exit code
    #[arg(long, requires = "id")]
    follow: bool,

    /// End it, as Ctrl-C would
    #[arg(long, requires = "id")]
    cancel: bool,
}

/// Runs `atoll runs`.
pub(crate) async fn runs(
    args: &RunsArgs,
    session: &SessionArgs,
) -> Result<Ending, Failure> {
    let Some(address) = &session.cluster else {
        return Err(
            Failure::new("the runs of a cluster are shown, and none is named")
                .hint("add --cluster df://HOST:PORT"),
        );
    };
    let client = Client::connect(address.clone(), session.token()?).await?;
    let Some(id) = &args.id else {
        list(&client.runs().await?, session)?;
        return Ok(Ending::Finished);
    };
    if args.cancel {
        client.cancel_run(id).await?;
    }
    let mut shown = 0;
    loop {
        let state = client.show_run(id).await?;
        io::stdout().write_all(news(&state, shown).as_bytes())?;
        io::stdout().flush()?;
        shown = state.printed;
        if !args.follow || state.has_ended() {
            tell(&state);
            let code = state
                .exit_code
                .map_or(Ending::Wrong, |code| Ending::from_code(code.into()));
            return Ok(if args.follow { code } else { Ending::Finished });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a run printed after its first `shown` bytes, as far as it is known.
fn news(state: &RunState, shown: u64) -> &str {
    let new = usize::try_from(state.printed - shown).unwrap_or(usize::MAX);
    let from = state.output.len().saturating_sub(new);
    state.output.get(from..).unwrap_or(&state.output)
}

fn tell(state: &RunState) {
    let executor = match &state.executor {
        Some(executor) => format!(" on {executor}"),
        None => String::new(),
    };
    note(&format!(
        "{}: {}{executor}, {:.1} s",
        state.script, state.phase, state.seconds
    ));
}

fn list(runs: &[RunState], session: &SessionArgs) -> Result<(), Failure> {
    let texts = |text: fn(&RunState) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(runs.iter().map(text)))
    };
    let codes = UInt8Array::from_iter(runs.iter().map(|run| run.exit_code));
    let seconds = runs.iter().map(|run| (run.seconds * 10.0).round() / 10.0);
    let starts = runs.iter().map(|run| run.starts);
    let rows = RecordBatch::try_from_iter([
        ("run_id", texts(|run| Some(run.id.clone()))),
        ("script", texts(|run| Some(run.script.clone()))),
        ("client", texts(|run| Some(run.client.clone()))),
        ("status", texts(|run| Some(run.phase.to_string()))),
        ("exit_code", Arc::new(codes)),
        ("executor", texts(|run| run.executor.clone())),
        ("starts", Arc::new(UInt32Array::from_iter_values(starts))),
        ("seconds", Arc::new(Float64Array::from_iter_values(seconds))),
    ])
    .map_err(|error| Failure::new(error.to_string()))?;
    let schema = rows.schema();
    let mut writer = row_writer(session.format, Expanded::Auto, TableFit::All, &schema);
    let mut out = io::stdout();
    writer.write(&rows, &mut out)?;
    writer.finish(&mut out)
}
