//! How the process ends: the one list of exit codes.

/// How a command ended, other than by an error that is still to be shown.
///
/// What led to any but [`Ending::Finished`] has been explained on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All of it was done.
    Finished,
    /// It ran, and what it found is wrong: a check, or a run of a schedule.
    Wrong,
    /// The command line, a parameter or a file of jobs is wrong. Nothing ran.
    Usage,
    /// Another process runs the same job, or follows the same schedule.
    AlreadyRunning,
    /// `--timeout` ended it.
    TimedOut,
    /// Ctrl-C ended it.
    Cancelled,
}

impl Ending {
    /// The exit code of an error, which has no `Ending` of its own.
    pub(crate) const FAILED: u8 = 1;

    /// The exit code of the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Finished => 0,
            Self::Wrong => Self::FAILED,
            Self::Usage => 2,
            Self::AlreadyRunning => 3,
            Self::TimedOut => 4,
            // What shells report of a process that SIGINT ended.
            Self::Cancelled => 130,
        }
    }

    /// What the exit code of another `atoll` says.
    ///
    /// A failure and a wrong result share a code, and an unknown code is a failure too, so
    /// all of them are [`Ending::Wrong`].
    pub(crate) fn from_code(code: i32) -> Self {
        let all = [
            Self::Finished,
            Self::Usage,
            Self::AlreadyRunning,
            Self::TimedOut,
            Self::Cancelled,
        ];
        let known = all
            .into_iter()
            .find(|ending| i32::from(ending.code()) == code);
        known.unwrap_or(Self::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_written() {
        for (ending, code) in [
            (Ending::Finished, 0),
            (Ending::Wrong, 1),
            (Ending::Usage, 2),
            (Ending::AlreadyRunning, 3),
            (Ending::TimedOut, 4),
            (Ending::Cancelled, 130),
        ] {
            assert_eq!(ending.code(), code);
            assert_eq!(Ending::from_code(i32::from(code)), ending);
        }
        assert_eq!(Ending::from_code(101), Ending::Wrong);
    }
}
