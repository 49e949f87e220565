//! `atoll doctor`: whether this machine has what atoll needs, and what to do if not.

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;

use atoll_onnx::{Availability, Bfloat16, Error, Provider};
use atoll_session::{Location, Session, SessionOptions, TableState, TaskRunner};
use datafusion::arrow::ARROW_VERSION;
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::object_store::{ObjectStoreExt, PutPayload};

use crate::errors::Failure;
use crate::exit::Ending;
use crate::session_args::SessionArgs;
use crate::terminal;

/// Below this, image models and joins compete for the last pages.
const LITTLE_MEMORY: u64 = 2 << 30;

/// From so many small files on, OPTIMIZE is worth a word.
const MANY_SMALL_FILES: u64 = 20;

/// What one check found.
enum CheckResult {
    Good,
    /// It works, but could be better; what to do.
    Note(String),
    /// It does not work; what to do.
    Wrong(String),
}

/// One line of what `atoll doctor` prints.
struct Check {
    name: &'static str,
    found: String,
    state: CheckResult,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            found: found.into(),
            state: CheckResult::Good,
        }
    }
}

/// Runs every check and prints what they found.
pub(crate) async fn run(args: &SessionArgs) -> Result<Ending, Failure> {
    let mut checks = vec![
        Check::good("atoll", atoll_session::VERSION),
        Check::good("DataFusion", datafusion::DATAFUSION_VERSION),
        Check::good("Arrow", ARROW_VERSION),
        onnx_runtime(),
        execution_providers(),
        openvino(),
        cpu(args.threads),
        memory(),
        screen(),
    ];
    let options = match args.options().await {
        Ok(options) => {
            if let Some(cluster) = &options.cluster {
                checks.push(slots(cluster.as_ref()).await);
            }
            options
        }
        Err(failure) => {
            checks.push(Check {
                name: "cluster",
                found: failure.message,
                state: CheckResult::Wrong(failure.hint.unwrap_or_default()),
            });
            SessionOptions {
                storage: args.storage.clone(),
                ..SessionOptions::default()
            }
        }
    };
    checks.extend(storage(options).await);
    let mut out = io::stdout().lock();
    out.write_all(render(&checks).as_bytes())?;
    let wrong = checks
        .iter()
        .any(|check| matches!(check.state, CheckResult::Wrong(_)));
    Ok(if wrong {
        Ending::Wrong
    } else {
        Ending::Finished
    })
}

fn render(checks: &[Check]) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for Check { name, found, state } in checks {
        let (word, remedy) = match state {
            CheckResult::Good => ("ok   ", None),
            CheckResult::Note(remedy) => ("note ", Some(remedy)),
            CheckResult::Wrong(remedy) => ("WRONG", Some(remedy)),
        };
        text.push_str(&format!("{word}  {name:width$}  {found}\n"));
        for line in remedy.into_iter().flat_map(|remedy| remedy.lines()) {
            text.push_str(&format!("{:7}{:width$}  {line}\n", "", ""));
        }
    }
    text
}

fn onnx_runtime() -> Check {
    let name = "ONNX Runtime";
    match atoll_onnx::runtime() {
        Ok(info) => {
            Check::good(name, format!("{} at {}", info.version, info.path.display()))
        }
        Err(error) => {
            let text = error.to_string();
            let (found, remedy) = text.split_once('\n').unwrap_or((
                &text,
                "install onnxruntime 1.32.0 and set ORT_DYLIB_PATH to its library",
            ));
            let remedy = remedy.trim().trim_start_matches("hint: ").to_string();
            Check {
                name,
                found: found.to_string(),
                state: CheckResult::Wrong(remedy),
            }
        }
    }
}

/// What `SET atoll.execution_provider` takes here.
fn execution_providers() -> Check {
    let (mut ready, mut missing) = (Vec::new(), Vec::new());
    for provider in Provider::ALL {
        match provider.availability() {
            Ok(Availability::Ready) => ready.push(provider.name()),
            Ok(Availability::NotInRuntime) => missing.push(provider.name()),
            // Without ONNX Runtime there is none, which the line above says.
            Ok(Availability::NotInProgram) | Err(_) => {}
        }
    }
    let name = "execution providers";
    let found = if ready.is_empty() {
        "none".to_string()
    } else {
        ready.join(", ")
    };
    if missing.is_empty() {
        return Check::good(name, found);
    }
    let missing = missing.join(", ");
    Check {
        name,
        found,
        state: CheckResult::Note(format!(
            "this ONNX Runtime was built without {missing}; set ORT_DYLIB_PATH to one \
             that has it"
        )),
    }
}

/// The second engine, which nobody needs.
fn openvino() -> Check {
    let name = "OpenVINO";
    let bfloat16 = match Bfloat16::of_this_processor() {
        Ok(Bfloat16::Native) => "bfloat16 by instructions of its own",
        Ok(Bfloat16::Emulated) => "bfloat16 emulated, which is slow",
        Ok(Bfloat16::Absent) => "float32 only, on this processor",
        Err(Error::OpenVinoMissing { .. }) => {
            return Check {
                name,
                found: "not installed; models run on ONNX Runtime".to_string(),
                state: CheckResult::Note(
                    "for SET atoll.inference = 'openvino', on processors of Intel and \
                     AMD: cargo xtask setup --openvino,\n\
                     or pip install openvino where pip installed atoll, or set \
                     OPENVINO_DYLIB_PATH to the file libopenvino_c"
                        .to_string(),
                ),
            };
        }
        Err(error) => {
            return Check {
                name,
                found: error.to_string(),
                state: CheckResult::Wrong(
                    "correct or unset OPENVINO_DYLIB_PATH, or pip install openvino"
                        .to_string(),
                ),
            };
        }
    };
    match atoll_onnx::openvino() {
        Ok(info) => {
            let path = info.path.display();
            Check::good(name, format!("{} at {path}; {bfloat16}", info.version))
        }
        Err(error) => Check::good(name, error.to_string()),
    }
}

fn cpu(threads: Option<NonZeroUsize>) -> Check {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = threads.map_or(cores, NonZeroUsize::get);
    let features = cpu_features();
    let list = if features.is_empty() {
        "none".to_string()
    } else {
        features.join(" ")
    };
    let found = format!("{cores} cores, {threads} threads, vector features: {list}");
    let state = if threads > cores {
        CheckResult::Note(format!(
            "more threads than cores slow each other down: --threads {cores}"
        ))
    } else if cfg!(target_arch = "x86_64") && !features.contains(&"fma") {
        CheckResult::Note(
            "training is several times slower without AVX2 and FMA".to_string(),
        )
    } else {
        CheckResult::Good
    };
    Check {
        name: "CPU",
        found,
        state,
    }
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let all = [
        ("sse4.2", std::is_x86_feature_detected!("sse4.2")),
        ("avx2", std::is_x86_feature_detected!("avx2")),
        ("fma", std::is_x86_feature_detected!("fma")),
        ("avx512f", std::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::is_x86_feature_detected!("avx512bw")),
        ("avx512bf16", std::is_x86_feature_detected!("avx512bf16")),
    ];
    all.into_iter()
        .filter(|(_, there)| *there)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<&'static str> {
    // NEON belongs to every 64-bit ARM processor; elsewhere nothing is assumed.
    if cfg!(target_arch = "aarch64") {
        vec!["neon"]
    } else {
        vec![]
    }
}

fn memory() -> Check {
    let name = "memory";
    let Some((total, free)) =
        std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| {
                Some((
                    meminfo(&text, "MemTotal:")?,
                    meminfo(&text, "MemAvailable:")?,
                ))
            })
    else {
        return Check::good(name, "this system does not say");
    };
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let found = format!("{:.1} GiB, {:.1} GiB available", gib(total), gib(free));
    let state = if free < LITTLE_MEMORY {
        CheckResult::Note(
            "end other programs, or limit operators: --memory-limit 512m".to_string(),
        )
    } else {
        CheckResult::Good
    };
    Check { name, found, state }
}

/// A value of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib << 10)
}

async fn slots(cluster: &dyn TaskRunner) -> Check {
    let (name, address) = ("cluster", cluster.address());
    match cluster.slots().await {
        Ok(slots) if slots > 0 => {
            Check::good(name, format!("{address} answers, {slots} slots"))
        }
        Ok(_) => Check {
            name,
            found: format!("{address} answers, no executor is connected"),
            state: CheckResult::Wrong(
                "start some with: atoll executor --scheduler HOST:PORT".to_string(),
            ),
        },
        Err(error) => Check {
            name,
            found: Failure::from(error).message,
            state: CheckResult::Wrong("start the scheduler again".to_string()),
        },
    }
}

async fn storage(options: SessionOptions) -> Vec<Check> {
    let name = "storage";
    let session = match Session::new(options).await {
        Ok(session) => session,
        Err(error) => {
            let failure = Failure::from(error);
            let remedy = failure.hint.unwrap_or_else(|| {
                "name a folder you can write to with --storage FOLDER".to_string()
            });
            let state = CheckResult::Wrong(remedy);
            return vec![Check {
                name,
                found: failure.message,
                state,
            }];
        }
    };
    let storage = session.storage();
    let writable = match write_to(&storage).await {
        Ok(()) => Check::good(name, format!("{storage} is writable")),
        Err(error) => Check {
            name,
            found: format!("{storage}: {}", Failure::from(error).message),
            state: CheckResult::Wrong(
                "make it writable, or name another with --storage FOLDER".to_string(),
            ),
        },
    };
    vec![writable, tables(&session).await, models(&session).await]
}

/// What the stored tables hold, and what OPTIMIZE and VACUUM would save.
async fn tables(session: &Session) -> Check {
    let name = "tables";
    let states = match session.table_states().await {
        Ok(states) => states,
        Err(error) => {
            let failure = Failure::from(error);
            return Check {
                name,
                found: failure.message,
                state: CheckResult::Wrong(
                    failure
                        .hint
                        .unwrap_or("DROP TABLE what is damaged".to_string()),
                ),
            };
        }
    };
    let sum = |of: fn(&TableState) -> u64| states.iter().map(of).sum::<u64>();
    let found = format!(
        "{} tables, {} files, {}",
        states.len(),
        sum(|table| table.files),
        megabytes(sum(|table| table.bytes))
    );
    let mut remedies = vec![];
    for table in &states {
        let name = &table.name;
        if table.small_files >= MANY_SMALL_FILES {
            let files = table.small_files;
            remedies.push(format!(
                "OPTIMIZE {name}; puts {files} small files together, which are read faster"
            ));
        }
        if table.unused_files > 0 {
            let (files, bytes) = (table.unused_files, megabytes(table.unused_bytes));
            remedies.push(format!(
                "VACUUM {name}; deletes {files} files that no version of the last week \
                 needs, {bytes}"
            ));
        }
    }
    let state = if remedies.is_empty() {
        CheckResult::Good
    } else {
        CheckResult::Note(remedies.join("\n"))
    };
    Check { name, found, state }
}

/// Whether the files are there that models with names stand for.
async fn models(session: &Session) -> Check {
    let name = "models";
    let state = match session.model_state().await {
        Ok(state) => state,
        Err(error) => {
            let failure = Failure::from(error);
            let remedy = failure
                .hint
                .unwrap_or("DROP MODEL what is damaged".to_string());
            return Check {
                name,
                found: failure.message,
                state: CheckResult::Wrong(remedy),
            };
        }
    };
    let found = format!("{} names, {} versions", state.names, state.versions);
    if state.missing.is_empty() {
        return Check::good(name, found);
    }
    Check {
        name,
        found: format!(
            "{found}; the file of {} is not there",
            state.missing.join(", ")
        ),
        state: CheckResult::Wrong(
            "put it back, or ALTER MODEL .. DROP VERSION what is lost".to_string(),
        ),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Writes a small file and takes it away again.
async fn write_to(storage: &str) -> DataFusionResult<()> {
    let name = format!("doctor-{}", std::process::id());
    let file = Location::parse(storage)?.join(&name)?;
    let external = |error| DataFusionError::ObjectStore(Box::new(error));
    file.store
        .put(&file.path, PutPayload::from_static(b"atoll doctor"))
        .await
        .map_err(external)?;
    file.store.delete(&file.path).await.map_err(external)
}

fn screen() -> Check {
    let found = match terminal::stdout_width() {
        Some(width) => format!("{width} columns"),
        None => "output is not a terminal".to_string(),
    };
    let colors = if terminal::color_allowed() {
        "colours"
    } else {
        "no colours"
    };
    let progress = if io::stderr().is_terminal() {
        "progress"
    } else {
        "no progress"
    };
    Check::good("terminal", format!("{found}, {colors}, {progress}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_its_finding() {
        let checks = [
            Check::good("atoll", "1"),
            Check {
                name: "storage",
                found: "no".to_string(),
                state: CheckResult::Wrong("do this\nand that".to_string()),
            },
        ];
        assert_eq!(
            render(&checks),
            "ok     atoll    1\nWRONG  storage  no\n                do this\n                and that\n"
        );
    }

    #[test]
    fn meminfo_is_in_kibibytes() {
        let text = "MemTotal:       2 kB\nMemAvailable:   1 kB\n";
        assert_eq!(meminfo(text, "MemAvailable:"), Some(1024));
        assert_eq!(meminfo(text, "Nothing:"), None);
    }
}
