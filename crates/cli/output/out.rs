//! The place that rows are written to: standard output, a file, or the pager that shows what
//! is longer than the screen.
//!
//! A pager reads as its user scrolls. Waiting for it must not keep Ctrl-C from being
//! heard, so rows are written to memory first and passed on by [`Out::settle`], which
//! may be dropped while it waits.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::errors::Failure;
use crate::terminal::text_width;

/// The options of `less` where the variable LESS has none: cut long lines, scroll sideways,
/// keep colours, end at once if everything fits, leave the text on the screen.
const LESS: &str = "-SRFX";

/// The exit codes of a shell that cannot run a command: not executable, not found.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// A writer for rows, with or without a pager behind it.
pub(crate) struct Out {
    stream: BufWriter<Box<dyn Write + Send>>,
    /// Rows go to a file instead of standard output.
    redirected: bool,
    pages: Option<Pages>,
}

/// A screen and the pager for what does not fit on it.
struct Pages {
    command: String,
    rows: usize,
    columns: usize,
    /// What was written and not passed on.
    pending: Vec<u8>,
    state: OutState,
}

/// How far the output of a statement is on its way to a pager.
enum OutState {
    /// It fits on the screen so far, and waits for the end.
    Fits,
    Paging(Child),
    /// The user has left the pager.
    Left,
}

/// Whether anyone still reads, as [`Out::settle`] found.
#[derive(Debug, PartialEq)]
pub(crate) enum ReaderState {
    Reads,
    /// Nobody wants the rest.
    Left,
}

impl Out {
    pub(crate) fn stdout() -> Self {
        Self {
            stream: BufWriter::new(Box::new(io::stdout())),
            redirected: false,
            pages: None,
        }
    }

    pub(crate) fn file(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| {
            Failure::new(format!("cannot write {}: {error}", path.display()))
        })?;
        Ok(Self {
            stream: BufWriter::new(Box::new(file)),
            redirected: true,
            pages: None,
        })
    }

    pub(crate) fn is_redirected(&self) -> bool {
        self.redirected
    }

    /// Shows what is longer than so many lines in a pager, or no longer does.
    pub(crate) fn page(&mut self, pager: Option<(&str, usize, usize)>) {
        self.pages = pager.map(|(command, rows, columns)| Pages {
            command: command.to_string(),
            rows,
            columns,
            pending: Vec::new(),
            state: OutState::Fits,
        });
    }

    /// Whether a pager has the screen.
    pub(crate) fn is_paging(&self) -> bool {
        let state = self.pages.as_ref().map(|pages| &pages.state);
        matches!(state, Some(OutState::Paging(_)))
    }

    /// Whether [`Out::settle`] will give the screen to a pager.
    pub(crate) fn needs_pager(&self) -> bool {
        let waits =
            |pages: &Pages| matches!(pages.state, OutState::Fits) && !pages.fits();
        self.pages.as_ref().is_some_and(waits)
    }

    /// Passes on what was written, and starts the pager once it is needed.
    pub(crate) async fn settle(&mut self) -> Result<ReaderState, Failure> {
        let needs_pager = self.needs_pager();
        let Some(pages) = &mut self.pages else {
            self.stream.flush()?;
            return Ok(ReaderState::Reads);
        };
        if needs_pager {
            pages.state = match pages.start() {
                Ok(pager) => OutState::Paging(pager),
                Err(error) => {
                    // The rows are worth more than the way they are shown.
                    self.stream.write_all(&pages.pending)?;
                    self.stream.flush()?;
                    let failure = no_pager(&format!("{} ({error})", pages.command));
                    self.pages = None;
                    return Err(failure);
                }
            };
        }
        pages.pass_on().await
    }

    /// Ends what one statement wrote: shows it, and waits for the user of a pager.
    pub(crate) async fn end(&mut self) -> Result<(), Failure> {
        let Some(pages) = &mut self.pages else {
            return Ok(self.stream.flush()?);
        };
        match std::mem::replace(&mut pages.state, OutState::Fits) {
            OutState::Fits => self.stream.write_all(&pages.pending)?,
            OutState::Paging(pager) => pages.wait_for(pager).await?,
            OutState::Left => {}
        }
        pages.pending.clear();
        Ok(self.stream.flush()?)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.pages {
            Some(Pages {
                state: OutState::Left,
                ..
            }) => Ok(bytes.len()),
            Some(pages) => Write::write(&mut pages.pending, bytes),
            None => self.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // The rest is up to `settle`.
        self.stream.flush()
    }
}

impl Pages {
    /// Whether the screen has room for what is pending.
    fn fits(&self) -> bool {
        let mut lines = self.pending.split(|byte| *byte == b'\n');
        // What follows the last line break is an empty line that takes no room.
        let mut room = self.rows + 1;
        lines.all(|line| {
            let width = text_width(&String::from_utf8_lossy(line));
            let taken = width.div_ceil(self.columns.max(1)).max(1);
            let fits = taken <= room;
            room = room.saturating_sub(taken);
            fits
        })
    }

    fn start(&self) -> io::Result<Child> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .kill_on_drop(true);
        if std::env::var_os("LESS").is_none() {
            shell.env("LESS", LESS);
        }
        shell.spawn()
    }

    async fn pass_on(&mut self) -> Result<ReaderState, Failure> {
        let OutState::Paging(pager) = &mut self.state else {
            return Ok(match self.state {
                OutState::Left => ReaderState::Left,
                _ => ReaderState::Reads,
            });
        };
        let Some(pipe) = &mut pager.stdin else {
            return Ok(ReaderState::Left);
        };
        // A pager that was left closes its end. That is how people stop reading.
        let written = pipe.write_all(&self.pending).await;
        self.pending.clear();
        if written.is_ok() {
            return Ok(ReaderState::Reads);
        }
        if let OutState::Paging(pager) =
            std::mem::replace(&mut self.state, OutState::Left)
        {
            self.wait_for(pager).await?;
        }
        Ok(ReaderState::Left)
    }

    /// Waits until the user leaves the pager. How it ends is no concern of the
    /// statement's, unless it never began.
    async fn wait_for(&self, mut pager: Child) -> Result<(), Failure> {
        let status = pager.wait().await.ok().and_then(|status| status.code());
        match status {
            Some(NOT_EXECUTABLE | NOT_FOUND) => Err(no_pager(&self.command)),
            _ => Ok(()),
        }
    }
}

fn no_pager(command: &str) -> Failure {
    Failure::new(format!("cannot start the pager {command}"))
        .hint("switch it off with \\pager off, or name another with \\pager COMMAND")
}

/// The pager to use where the user names none: that of the environment, or `less`.
pub(crate) fn usual_pager() -> Option<String> {
    match std::env::var("PAGER") {
        Ok(pager) => Some(pager).filter(|pager| !pager.trim().is_empty()),
        Err(_) => is_installed("less").then(|| "less".to_string()),
    }
}

/// Whether the shell would find a program.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(command: &str, rows: usize) -> (Out, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut out = Out::file(&folder.path().join("screen")).unwrap();
        let command =
            command.replace("FILE", &folder.path().join("pager").to_string_lossy());
        out.page(Some((&command, rows, 10)));
        (out, folder)
    }

    fn read(folder: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(folder.path().join(name)).unwrap_or_default()
    }

    #[tokio::test]
    async fn what_fits_goes_to_the_screen() {
        let (mut out, folder) = out("cat > FILE", 3);
        out.write_all(b"1\n2\n0123456789\n").unwrap();
        assert_eq!(out.settle().await.unwrap(), ReaderState::Reads);
        assert_eq!(read(&folder, "screen"), "");
        out.end().await.unwrap();
        assert_eq!(read(&folder, "screen"), "1\n2\n0123456789\n");
        assert_eq!(read(&folder, "pager"), "");
    }

    #[tokio::test]
    async fn what_does_not_goes_to_the_pager() {
        let (mut out, folder) = out("cat > FILE", 2);
        for text in ["1\n", "01234567890\n", "3\n"] {
            out.write_all(text.as_bytes()).unwrap();
            out.settle().await.unwrap();
        }
        assert!(out.is_paging(), "a line that is broken in two is two lines");
        out.end().await.unwrap();
        assert_eq!(read(&folder, "pager"), "1\n01234567890\n3\n");
        assert_eq!(read(&folder, "screen"), "");
        // The next statement starts afresh.
        out.write_all(b"4\n").unwrap();
        out.end().await.unwrap();
        assert_eq!(read(&folder, "screen"), "4\n");
    }

    #[tokio::test]
    async fn a_pager_that_is_left_wants_no_more() {
        let (mut out, folder) = out("head -n 1 > FILE", 2);
        let lines = "line\n".repeat(100_000);
        let mut reader = ReaderState::Reads;
        for _ in 0..20 {
            out.write_all(lines.as_bytes()).unwrap();
            reader = out.settle().await.unwrap();
        }
        assert_eq!(reader, ReaderState::Left);
        out.write_all(b"more").unwrap();
        out.end().await.unwrap();
        assert_eq!(read(&folder, "pager"), "line\n");
        assert_eq!(read(&folder, "screen"), "");
    }

    #[tokio::test]
    async fn a_pager_that_does_not_exist_is_an_error() {
        let (mut out, _folder) = out("no-such-pager 2>/dev/null", 2);
        out.write_all("line\n".repeat(100).as_bytes()).unwrap();
        // Whether the pipe breaks or not is a matter of time.
        let settled = out.settle().await.map(|_| ());
        let failure = settled.and(out.end().await).unwrap_err();
        assert!(failure.message.contains("no-such-pager"), "{failure:?}");
    }
}
