//! Statements and commands of `-c` and `-f`, in the order in which they were given.

use tokio::runtime::Handle;

use super::{Prompt, commands};
use crate::errors::Failure;
use crate::exit::Ending;
use crate::prepared::{PreparedScript, SqlSource, check_used};
use crate::session_args::SessionArgs;

/// Runs `atoll` with `-c` and `-f`.
pub(crate) async fn run_sources(
    sources: &[SqlSource],
    args: &SessionArgs,
    work: &Handle,
) -> Result<Ending, Failure> {
    Prompt::new(args, work)
        .await?
        .run_all(sources, &args.set)
        .await
}

impl Prompt {
    /// Runs everything in order, up to the first error.
    ///
    /// All of it is read and filled in before any of it runs: a typing error in the
    /// last script must not cost the hours that the first one takes.
    pub(super) async fn run_all(
        &mut self,
        sources: &[SqlSource],
        set: &[(String, String)],
    ) -> Result<Ending, Failure> {
        let mut prepared = Vec::new();
        for source in sources {
            prepared.push(match source {
                SqlSource::Command(_, sql) if commands::is_command(sql) => None,
                source => Some(PreparedScript::read(source, sources.len(), set)?),
            });
        }
        check_used(
            set,
            prepared.iter().flatten().map(|prepared| &prepared.script),
        )?;
        for (source, prepared) in sources.iter().zip(&prepared) {
            let ending = match (source, prepared) {
                (_, Some(prepared)) => {
                    self.settings.last = Some(prepared.script.text.clone());
                    self.runner.run_prepared(prepared).await?
                }
                (SqlSource::Command(_, line), None) => {
                    match commands::run(self, line).await? {
                        commands::Next::Continue(ending) => ending,
                        commands::Next::Quit => return Ok(Ending::Finished),
                    }
                }
                (SqlSource::File(_), None) => Ending::Finished,
            };
            if ending != Ending::Finished {
                return Ok(ending);
            }
        }
        Ok(Ending::Finished)
    }
}
