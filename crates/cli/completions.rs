//! What shells and `man` read about the command line, made from its definition.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::generate;
use clap_mangen::{Man, generate_to};

use crate::errors::Failure;
use crate::exit::Ending;

/// Arguments of `atoll completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Arguments of `atoll man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this folder [default: print the first]
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// What the manual page says beyond `--help`.
const MANUAL: &str = "\
Exit codes: 0 when all went well, 1 after a failed statement or check, 2 for a wrong \
command line, 130 after Ctrl-C; run also ends with 3 when the same job is running \
already and with 4 when its time was up.

Environment: ORT_DYLIB_PATH names the library of ONNX Runtime, where it is neither in \
../lib beside the program nor in the cache folder; OPENVINO_DYLIB_PATH that of \
OpenVINO. ATOLL_TOKEN is the token of a cluster. \
ATOLL_CPU_LEVEL (portable, avx2 or avx512) lowers the instructions that training uses, \
so that unlike machines give the same bits. AWS_*, GOOGLE_* and AZURE_* say how object \
stores are reached. NO_COLOR switches colours off.

Examples:

atoll -c \"SELECT * FROM 'trials.parquet' LIMIT 5\"

atoll run label_images.sql --set images='photos/*.jpg' --set output=labels

atoll --cluster df://10.0.0.10:50050 --storage s3://bucket/atoll run tune.sql";

/// Prints the completion script of a shell for `command`, the whole command line.
pub(crate) fn completions(
    args: &CompletionsArgs,
    mut command: Command,
) -> Result<Ending, Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "atoll", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Ending::Finished)
}

/// Writes the manual pages of `command`, one for each command of it, or prints the first.
pub(crate) fn man(args: &ManArgs, command: Command) -> Result<Ending, Failure> {
    let command = command.after_long_help(MANUAL);
    match &args.folder {
        Some(folder) => {
            fs::create_dir_all(folder)?;
            generate_to(command, folder)?;
        }
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            io::stdout().lock().write_all(&page)?;
        }
    }
    Ok(Ending::Finished)
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;
    use crate::args::command;

    #[test]
    fn every_shell_completes_commands_and_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            generate(shell, &mut command(), "atoll", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["run", "doctor", "memory-limit"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn the_manual_has_a_page_for_each_command() {
        let folder =
            std::env::temp_dir().join(format!("atoll-man-{}", std::process::id()));
        let args = ManArgs {
            folder: Some(folder.clone()),
        };
        man(&args, command()).unwrap();
        for page in ["atoll.1", "atoll-run.1", "atoll-executor.1"] {
            assert!(folder.join(page).is_file(), "{page}");
        }
        let first = fs::read_to_string(folder.join("atoll.1")).unwrap();
        assert!(first.contains("ORT_DYLIB_PATH"), "{first}");
        // What `--help` does not list is not in the manual either.
        assert!(!folder.join("atoll-functions.1").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}
