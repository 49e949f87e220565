//! The format of a file, from its name.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::execution::SessionState;

use crate::AtollOptions;

/// How files with an ending are read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending {
    /// The ending itself, in the case in which it is written, with its dot.
    pub(super) text: String,
    /// What the session calls the format.
    format: String,
    delimiter: Option<char>,
    compression: Option<String>,
}

impl Ending {
    /// The ending of a name.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = name.rsplit('/').next().unwrap_or_default();
        let (stem, last) = name.rsplit_once('.')?;
        let compressed = FileCompressionType::from_str(last)
            .is_ok_and(|compression| compression.is_compressed());
        let (format, compression) = match compressed {
            true => (stem.rsplit_once('.')?.1, Some(last.to_string())),
            false => (last, None),
        };
        let text = match compressed {
            true => format!(".{format}.{last}"),
            false => format!(".{format}"),
        };
        let (format, delimiter) = match format.to_lowercase().as_str() {
            "pq" => ("parquet".to_string(), None),
            "tsv" => ("csv".to_string(), Some('\t')),
            "ndjson" | "jsonl" => ("json".to_string(), None),
            other => (other.to_string(), None),
        };
        Some(Self {
            text,
            format,
            delimiter,
            compression,
        })
    }

    /// A Parquet file that is called as its owner likes.
    pub(super) fn parquet() -> Self {
        Self {
            text: String::new(),
            format: "parquet".to_string(),
            delimiter: None,
            compression: None,
        }
    }

    /// The session's format; `None` if it has none for this ending. The metadata of a
    /// Parquet file's columns are of interest to few, and those of several files may
    /// contradict each other.
    pub(super) fn open(
        &self,
        session: &SessionState,
        with_metadata: bool,
    ) -> Result<Option<Arc<dyn FileFormat>>> {
        let Some(factory) = session.get_file_format_factory(&self.format) else {
            return Ok(None);
        };
        let mut options = HashMap::new();
        let mut set = |key: &str, value: String| {
            options.insert(format!("format.{key}"), value);
        };
        if let Some(compression) = &self.compression {
            set("compression", compression.clone());
        }
        if let Some(delimiter) = self.delimiter {
            set("delimiter", delimiter.to_string());
        }
        if with_metadata && self.format == "parquet" {
            set("skip_metadata", "false".to_string());
        }
        if self.format == "csv" || self.format == "json" {
            let rows = AtollOptions::get(session.config_options()).infer_rows;
            set("schema_infer_max_rec", rows.to_string());
        }
        factory.create(session, &options).map(Some)
    }
}

/// Whether a name can only be a file's: tables have no slashes and no such endings.
pub fn is_file_name(name: &str) -> bool {
    let known = ["parquet", "csv", "json", "arrow"];
    name.contains(['/', '\\'])
        || Ending::of(name).is_some_and(|ending| known.contains(&ending.format.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<(&str, &str)>) {
        let ending = Ending::of(name);
        let found = ending
            .as_ref()
            .map(|e| (e.text.as_str(), e.format.as_str()));
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn the_last_endings_count() {
        check("a/b.parquet", Some((".parquet", "parquet")));
        check("b.pq", Some((".pq", "parquet")));
        check("a.b/c", None);
        check("x.v2.CSV.gz", Some((".CSV.gz", "csv")));
        check("x.tsv", Some((".tsv", "csv")));
        check("x.png", Some((".png", "png")));
    }
}
