//! What the program says on standard error, beside errors.

use std::io::{self, Write};

use clap::ValueEnum;

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A sentence a line
    Text,
    /// A JSON object a line
    Json,
}

impl LogFormat {
    /// The name as it is typed.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_string())
    }
}

/// Says something on standard error that is not data.
pub(crate) fn note(text: &str) {
    // Standard error being closed leaves no one to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
