//! `atoll run --detach`: leaves a script with the scheduler of a cluster.

use std::io::{self, Write};

use atoll_cluster::{Client, RunOrder, who};
use atoll_jobs::rfc3339;
use atoll_session::{Session, SessionOptions};

use super::record::new_run_id;
use super::{RunArgs, ScriptText};
use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::{LogFormat, note};
use crate::session_args::SessionArgs;

/// Has the cluster run a script, and prints the name of the run.
pub(super) async fn detach(
    args: &RunArgs,
    session: &SessionArgs,
    script: ScriptText<'_>,
) -> Result<Ending, Failure> {
    let Some(address) = &session.cluster else {
        Failure::new("--detach leaves the script with a cluster, and none is named")
            .hint("add --cluster df://HOST:PORT")
            .print();
        return Ok(Ending::Usage);
    };
    let client = Client::connect(address.clone(), session.token()?).await?;
    let order = RunOrder {
        id: new_run_id(),
        script: script.name.to_string(),
        text: script.source.to_string(),
        arguments: arguments(args, session).await?,
        client: who(),
    };
    let id = order.id.clone();
    client.order(order).await?;
    writeln!(io::stdout(), "{id}")?;
    if !session.quiet {
        note(&format!(
            "an executor runs it now; see it with: atoll runs {id} --cluster {address}"
        ));
    }
    Ok(Ending::Finished)
}

/// The options that mean the same to the executor's process as to this one.
async fn arguments(
    args: &RunArgs,
    session: &SessionArgs,
) -> Result<Vec<String>, Failure> {
    // Where it is looked for depends on this machine's variables and folders.
    let options = SessionOptions {
        storage: session.storage.clone(),
        ..SessionOptions::default()
    };
    let storage = Session::new(options).await?.storage();
    let file = args.file.as_deref().map(|file| file.display().to_string());
    let mut arguments = vec![];
    let mut add = |option: &str, value: Option<String>| {
        // One word, so that a value may begin with a dash.
        arguments.extend(value.map(|value| format!("--{option}={value}")));
    };
    add("script-name", file);
    add("storage", Some(storage));
    for (name, value) in &session.set {
        add("set", Some(format!("{name}={value}")));
    }
    add("format", Some(session.format.name()));
    add(
        "memory-limit",
        session.memory_limit.map(|bytes| bytes.to_string()),
    );
    add(
        "threads",
        session.threads.map(|threads| threads.to_string()),
    );
    add("job", args.job.clone());
    let interval = args
        .interval
        .map(|interval| format!("{}/{}", rfc3339(interval.start), rfc3339(interval.end)));
    add("interval", interval);
    let timeout = args.timeout.map(humantime::format_duration);
    add(
        "timeout",
        timeout.map(|time| time.to_string().replace(' ', "")),
    );
    add("retries", Some(args.retries.to_string()));
    // Otherwise nobody would see how far it is.
    let log = args.log_format.unwrap_or(LogFormat::Text);
    add("log-format", Some(log.name()));
    Ok(arguments)
}
