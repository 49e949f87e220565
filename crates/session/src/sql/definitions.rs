//! Refuses what statements that define or write something say without an effect.
//!
//! [`super::ignored`] is about queries; here it is the words of CREATE TABLE, CREATE
//! EXTERNAL TABLE, COPY and DESCRIBE that nothing would read.

use std::collections::HashSet;
use std::fmt::Display;

use datafusion::common::{Result, plan_err};
use datafusion::sql::parser::{CopyToStatement, CreateExternalTable, Statement};
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, CreateTable, CreateTableOptions, Statement as SqlStatement,
    Value,
};

pub(super) fn refuse(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            SqlStatement::CreateTable(create) => of_table(create),
            SqlStatement::ExplainTable {
                hive_format: Some(format),
                ..
            } => refused(
                &format!("DESCRIBE {format}"),
                "write DESCRIBE EXTENDED and the name of a stored table",
            ),
            _ => Ok(()),
        },
        Statement::CreateExternalTable(create) => of_external_table(create),
        Statement::CopyTo(copy) => of_copy(copy),
        Statement::Explain(explain) => refuse(&explain.statement),
        Statement::Reset(_) => Ok(()),
    }
}

fn refused(what: &dyn Display, remedy: &str) -> Result<()> {
    plan_err!("{what} is not supported; {remedy}")
}

const WITHOUT: &str = "leave it out";

fn of_table(create: &CreateTable) -> Result<()> {
    let name = &create.name;
    if create.hive_formats.is_some() {
        return refused(
            &"STORED AS, ROW FORMAT or LOCATION in CREATE TABLE",
            "stored tables are Parquet in the storage; write CREATE EXTERNAL TABLE for \
             files elsewhere",
        );
    }
    if create.like.is_some() || create.clone.is_some() {
        return refused(
            &"CREATE TABLE .. LIKE or CLONE",
            "write CREATE TABLE a AS SELECT * FROM b, with WHERE false for no rows",
        );
    }
    match &create.table_options {
        CreateTableOptions::None => {}
        options => return refused(&format!("{options} of table {name}"), WITHOUT),
    }
    if let Some(comment) = &create.comment {
        return refused(&format!("the comment {comment} of table {name}"), WITHOUT);
    }
    if let Some(by) = &create.partition_by {
        return refused(
            &format!("PARTITION BY {by} of table {name}"),
            "write PARTITIONED BY and names of columns",
        );
    }
    if create.cluster_by.is_some()
        || create.clustered_by.is_some()
        || create.order_by.is_some()
    {
        return refused(
            &format!("an order of the rows of table {name}"),
            "write ORDER BY in the query that reads them",
        );
    }
    if create.temporary || create.transient || create.volatile {
        return refused(&"a temporary table", &format!("write CREATE VIEW {name}"));
    }
    columns(&create.columns)
}

/// Refuses words about columns that are neither kept nor heeded.
fn columns(columns: &[ColumnDef]) -> Result<()> {
    for column in columns {
        for option in &column.options {
            match &option.option {
                // The planner knows these, and says so where they cannot be kept.
                ColumnOption::Null
                | ColumnOption::NotNull
                | ColumnOption::Default(_)
                | ColumnOption::PrimaryKey(_)
                | ColumnOption::Unique(_)
                | ColumnOption::ForeignKey(_)
                | ColumnOption::Check(_) => {}
                other => {
                    return refused(
                        &format!("{other} of column {}", column.name),
                        WITHOUT,
                    );
                }
            }
        }
    }
    Ok(())
}

fn of_external_table(create: &CreateExternalTable) -> Result<()> {
    if create.unbounded {
        return refused(&"UNBOUNDED", "files are read to their end; leave it out");
    }
    let unchecked = "nothing checks what files hold; leave it out";
    if let Some(constraint) = create.constraints.first() {
        return refused(&format!("{constraint} of an external table"), unchecked);
    }
    for column in &create.columns {
        let unchecked_option = column.options.iter().find(|option| {
            matches!(
                option.option,
                ColumnOption::PrimaryKey(_) | ColumnOption::Unique(_)
            )
        });
        if let Some(option) = unchecked_option {
            let (option, name) = (&option.option, &column.name);
            let what = format!("{option} of column {name} of an external table");
            return refused(&what, unchecked);
        }
    }
    columns(&create.columns)?;
    check_keys(&create.options)?;
    without_options(&create.file_type, &create.options)
}

fn of_copy(copy: &CopyToStatement) -> Result<()> {
    let mut seen = HashSet::new();
    if let Some(twice) = copy.partitioned_by.iter().find(|name| !seen.insert(*name)) {
        return plan_err!("PARTITIONED BY names {twice} twice; name it once");
    }
    check_keys(&copy.options)?;
    let name = copy.target.rsplit('/').next().unwrap_or_default();
    if copy.stored_as.is_none() && !name.contains('.') {
        return plan_err!(
            "COPY .. TO '{}' does not say in which format; add STORED AS PARQUET (or CSV, \
             JSON, ARROW, DELTA), or end the name of a file with .parquet",
            copy.target
        );
    }
    check_level(&copy.options)?;
    let ending = copy.target.rsplit_once('.').map(|(_, ending)| ending);
    let format = copy.stored_as.as_deref().or(ending).unwrap_or_default();
    without_options(format, &copy.options)?;
    let for_reading = for_reading(format);
    if let Some((key, _)) = copy
        .options
        .iter()
        .find(|(key, _)| for_reading.contains(&bare(key).as_str()))
    {
        return plan_err!(
            "the option {key} is about reading {} and has no effect in COPY; leave it out",
            format.to_ascii_uppercase()
        );
    }
    Ok(())
}

/// A key as it is looked up.
fn bare(key: &str) -> String {
    let key = key.to_ascii_lowercase();
    key.strip_prefix("format.").unwrap_or(&key).to_string()
}

fn check_keys(options: &[(String, Value)]) -> Result<()> {
    let mut seen = HashSet::new();
    let twice = options.iter().find(|(key, _)| !seen.insert(bare(key)));
    match twice {
        Some((key, _)) => plan_err!("the option {key} is given twice; give it once"),
        None => Ok(()),
    }
}

/// Refuses a level that no compression has.
fn check_level(options: &[(String, Value)]) -> Result<()> {
    let of = |wanted: &str| options.iter().find(|(key, _)| bare(key) == wanted);
    let Some((_, level)) = of("compression_level") else {
        return Ok(());
    };
    let compression = of("compression").map(|(_, value)| value.to_string());
    let is_none =
        |name: &String| name.trim_matches('\'').eq_ignore_ascii_case("uncompressed");
    if compression.as_ref().is_none_or(is_none) {
        return plan_err!(
            "the option compression_level has no effect without compression; add \
             compression 'gzip' or 'zstd', or leave it out, got {level}"
        );
    }
    Ok(())
}

/// Refuses options of a format that has none.
fn without_options(format: &str, options: &[(String, Value)]) -> Result<()> {
    // What COPY itself takes, whatever the format.
    const OF_COPY: [&str; 4] = ["manifest", "mode", "schema_change", "target_file_size"];
    let is_arrow = format.eq_ignore_ascii_case("arrow");
    let mut of_format = options.iter().filter(|(key, _)| {
        let key = bare(key);
        !key.contains('.') && !OF_COPY.contains(&key.as_str())
    });
    match of_format.next() {
        Some((key, _)) if is_arrow => plan_err!(
            "files of the format ARROW have no options, got {key}; leave it out"
        ),
        _ => Ok(()),
    }
}

/// Options of a format that say how files are read.
fn for_reading(format: &str) -> &'static [&'static str] {
    match format.to_ascii_lowercase().as_str() {
        "csv" => &[
            "schema_infer_max_rec",
            "newlines_in_values",
            "terminator",
            "null_regex",
            "comment",
            "truncated_rows",
        ],
        "json" | "ndjson" => &["schema_infer_max_rec", "newline_delimited"],
        "parquet" => &[
            "enable_page_index",
            "pruning",
            "skip_metadata",
            "metadata_size_hint",
            "pushdown_filters",
            "reorder_filters",
            "force_filter_selections",
            "schema_force_view_types",
            "binary_as_string",
            "coerce_int96",
            "coerce_int96_tz",
            "bloom_filter_on_read",
            "max_predicate_cache_size",
            "max_in_list_size",
        ],
        _ => &[],
    }
}
