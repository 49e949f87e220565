//! The options of COPY that are not the file format's.

use std::collections::HashMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::logical_expr::dml::CopyTo;

use crate::{Origin, parse_size};

/// Before each key, the SQL parser puts this.
const PREFIX: &str = "format.";

/// What a COPY to a folder replaces.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Mode {
    /// The whole folder.
    #[default]
    Overwrite,
    /// The partitions that it has rows of.
    OverwritePartitions,
}

/// How a COPY publishes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CopyOptions {
    /// List the files in `_manifest.json`.
    pub(super) manifest: bool,
    pub(super) mode: Mode,
    /// The rows may have other columns than those that lie in the target.
    pub(super) schema_change: bool,
    /// Start another file at about this many bytes.
    pub(super) target_file_size: Option<u64>,
}

impl CopyOptions {
    /// Takes these options out of those of the file format.
    pub(super) fn take(options: &mut HashMap<String, String>) -> Result<Self> {
        let mut take = |key: &str| options.remove(&format!("{PREFIX}{key}"));
        Ok(Self {
            manifest: flag("manifest", take("manifest"))?,
            schema_change: flag("schema_change", take("schema_change"))?,
            mode: match take("mode").as_deref() {
                None | Some("overwrite") => Mode::Overwrite,
                Some("overwrite_partitions") => Mode::OverwritePartitions,
                Some(other) => {
                    return plan_err!(
                        "the option mode must be overwrite or overwrite_partitions, got \
                         '{other}'"
                    );
                }
            },
            target_file_size: take("target_file_size").map(|s| size(&s)).transpose()?,
        })
    }

    /// Refuses what only a folder can have.
    pub(super) fn check_single_file(&self) -> Result<()> {
        let single = Self {
            schema_change: self.schema_change,
            ..Self::default()
        };
        if *self != single {
            return plan_err!(
                "manifest, mode and target_file_size describe a folder; end the target \
                 with / instead of a file name"
            );
        }
        Ok(())
    }
}

fn flag(key: &str, given: Option<String>) -> Result<bool> {
    match given {
        None => Ok(false),
        Some(text) => text.parse().map_err(|_| {
            plan_datafusion_err!("the option {key} must be true or false, got '{text}'")
        }),
    }
}

fn size(text: &str) -> Result<u64> {
    parse_size(text).ok_or_else(|| {
        plan_datafusion_err!(
            "the option target_file_size must be a size such as '128mb', got '{text}'"
        )
    })
}

/// Refuses options of columns that are not written, and files without columns.
pub(super) fn check_columns(copy: &CopyTo) -> Result<()> {
    let schema = copy.input.schema();
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    for key in copy.options.keys() {
        let option = key.strip_prefix(PREFIX).unwrap_or(key);
        let Some((option, column)) = option.split_once("::") else {
            continue;
        };
        // A field of a struct is named by its path.
        let is_written = names.iter().any(|name| {
            let rest = column.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        if option != "metadata" && !is_written {
            return plan_err!(
                "the option {option} is given for the column {column}, which is not \
                 written; columns are {}",
                listed(&names)
            );
        }
    }
    let by = &copy.partition_by;
    if !by.is_empty() && names.iter().all(|name| by.contains(name)) {
        return plan_err!(
            "every column is in PARTITIONED BY, so that none is left for the files; \
             select another one beside {}",
            listed(&names)
        );
    }
    Ok(())
}

fn listed(names: &[&String]) -> String {
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    names.join(", ")
}

/// Has Parquet files say where they come from, in their key-value metadata.
pub(super) fn add_provenance(copy: &mut CopyTo, origin: &Origin) {
    if copy.file_type.get_ext() == "parquet" {
        let (key, value) = origin.provenance();
        let key = format!("{PREFIX}metadata::{key}");
        copy.options.entry(key).or_insert(value);
    }
}

/// A row group of wide rows is closed at this size.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Bounds the row groups of Parquet files in bytes, where rows may be large.
///
/// DataFusion's writers count rows, and hold a million of them. Only the one that encodes
/// a file on one thread can count bytes. A COPY to a folder has a file for each thread
/// anyway, and rows of numbers and text into one file keep the faster writer.
pub(super) fn bound_row_groups(copy: &mut CopyTo) {
    let fields = copy.input.schema().fields();
    let is_wide = fields.iter().any(|field| is_wide(field.data_type()));
    if copy.file_type.get_ext() != "parquet" || !is_wide {
        return;
    }
    let bounds = [
        ("max_row_group_bytes", ROW_GROUP_BYTES.to_string()),
        ("allow_single_file_parallelism", "false".to_string()),
    ];
    for (key, value) in bounds {
        let key = format!("{PREFIX}{key}");
        copy.options.entry(key).or_insert(value);
    }
}

/// Whether values have no bound in bytes that anyone expects: blobs and lists.
fn is_wide(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|f| is_wide(f.data_type())),
        DataType::Dictionary(_, values) => is_wide(values),
        other => {
            other.is_binary() || other.is_list() || matches!(other, DataType::Map(..))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_out() {
        let mut options = HashMap::from(
            [
                ("format.manifest", "true"),
                ("format.mode", "overwrite_partitions"),
                ("format.target_file_size", "128MB"),
                ("format.compression", "snappy"),
            ]
            .map(|(key, value)| (key.to_string(), value.to_string())),
        );
        let expected = CopyOptions {
            manifest: true,
            mode: Mode::OverwritePartitions,
            schema_change: false,
            target_file_size: Some(128 << 20),
        };
        assert_eq!(CopyOptions::take(&mut options).unwrap(), expected);
        assert_eq!(options.len(), 1, "the format's own stay");
    }

    #[test]
    fn wrong_values_are_named() {
        for (key, value) in [
            ("manifest", "maybe"),
            ("mode", "append"),
            ("target_file_size", "0"),
            ("target_file_size", "many"),
        ] {
            let given = (format!("{PREFIX}{key}"), value.to_string());
            let error = CopyOptions::take(&mut HashMap::from([given])).unwrap_err();
            let error = error.strip_backtrace();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
    }
}
