//! Finds out what a table is about, and has the right file read it.

use std::path::Path;

use atoll_report::Subject;
use atoll_session::Session;
use datafusion::arrow::datatypes::{DataType, Fields, Schema};
use datafusion::common::TableReference;

use super::columns::{column, literal, quoted, rows, schema, texts};
use super::{labels, study};
use crate::errors::Failure;

/// What to gather beside the table itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// What to test the best network on.
    pub(super) test: Option<String>,
    /// How many images of each kind to show.
    pub(super) images: usize,
    /// The hyperparameters of the contour; the two that matter most without it.
    pub(super) contour: Option<[String; 2]>,
}

/// What the rows of a table are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// A column for each result of a trial.
    Trials,
    /// The results of a trial in this struct column, as `train` returns them.
    TrialsIn(String),
    /// Images with their labels.
    Labels,
}

/// Reads a table, a Parquet file or a folder.
pub(super) async fn gather(
    session: &Session,
    name: &str,
    wanted: &Wanted,
) -> Result<Subject, Failure> {
    let source = source(session, name)?;
    let schema = schema(session, &source).await?;
    match shape(schema.fields()) {
        Some(Shape::Labels) => {
            let labels = labels::gather(session, (name, &source), &schema, wanted.images);
            Ok(Subject::Labels(labels.await?))
        }
        Some(Shape::Trials) => {
            let study = study::gather(session, (name, &source), &schema, None, wanted);
            Ok(Subject::Study(study.await?))
        }
        Some(Shape::TrialsIn(inside)) => {
            let inside = Some(inside.as_str());
            let study = study::gather(session, (name, &source), &schema, inside, wanted);
            Ok(Subject::Study(study.await?))
        }
        None => Err(neither(name, &schema)),
    }
}

fn neither(name: &str, schema: &Schema) -> Failure {
    const SHOWN: usize = 12;
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    let columns = names[..names.len().min(SHOWN)].join(", ");
    Failure::new(format!(
        "{name} has neither trials nor labelled images, but the columns {columns}{more}"
    ))
    .hint(
        "a study has what train returns, in a column or spread out (status, \
         validation_loss, history, ...); labelled images have a list of labels with \
         scores, as classify returns it",
    )
}

/// What stands behind FROM.
pub(super) fn source(session: &Session, name: &str) -> Result<String, Failure> {
    let exists = |table| session.context().table_exist(table).unwrap_or(false);
    // As it is called, which in SQL may need quotes, or as SQL writes it.
    if exists(TableReference::bare(name)) {
        return Ok(quoted(name));
    }
    if exists(TableReference::parse_str(name)) {
        return Ok(name.to_string());
    }
    let path = Path::new(name);
    // A job may write several files into its folder; the trials are in this one.
    let trials = path.join("trials.parquet");
    if trials.is_file() {
        return Ok(literal(&trials.to_string_lossy()));
    }
    let is_file = path.exists() || name.contains("://") || name.contains(['/', '*', '.']);
    match is_file {
        true => Ok(literal(name)),
        // The planner's error names the tables there are.
        false if is_word(name) => Ok(name.to_string()),
        false => Ok(quoted(name)),
    }
}

fn is_word(name: &str) -> bool {
    let first = name.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What the columns say that the rows are.
pub(super) fn shape(fields: &Fields) -> Option<Shape> {
    let named = |name: &str| fields.iter().find(|field| field.name() == name);
    if named("labels").is_some_and(|field| is_labels(field.data_type())) {
        return Some(Shape::Labels);
    }
    if is_trial(fields) {
        return Some(Shape::Trials);
    }
    let inside = fields.iter().find(|field| match field.data_type() {
        DataType::Struct(inside) => is_trial(inside),
        _ => false,
    });
    inside.map(|field| Shape::TrialsIn(field.name().clone()))
}

/// How a trial ended and how good it is: less is no trial, and more is not needed.
fn is_trial(fields: &Fields) -> bool {
    let has = |name: &str| fields.iter().any(|field| field.name() == name);
    has("status") && (has("validation_loss") || has("validation_accuracy"))
}

fn is_labels(data_type: &DataType) -> bool {
    let (DataType::List(item) | DataType::LargeList(item)) = data_type else {
        return false;
    };
    match item.data_type() {
        DataType::Struct(fields) => ["label", "score"]
            .iter()
            .all(|name| fields.iter().any(|field| field.name() == name)),
        _ => false,
    }
}

/// The stored tables and views that can be drawn, by their names.
pub(super) async fn tables(session: &Session) -> Result<Vec<String>, Failure> {
    let sql = "SELECT table_name FROM information_schema.tables \
               WHERE table_schema <> 'information_schema' ORDER BY 1";
    let mut found = Vec::new();
    for batch in rows(session, sql).await? {
        let names = column(&batch, "table_name").map(texts).transpose()?;
        for name in names.unwrap_or_default().into_iter().flatten() {
            // A view of a file that is gone is not what is looked for.
            let schema = schema(session, &quoted(&name)).await;
            if schema.is_ok_and(|schema| shape(schema.fields()).is_some()) {
                found.push(name);
            }
        }
    }
    Ok(found)
}

/// The stored table or view that can be drawn, if it is the only one.
pub(super) async fn only_table(session: &Session) -> Result<String, Failure> {
    let found = tables(session).await?;
    let usage = "\\plot [KIND] TABLE, where TABLE may be a file in quotes";
    match &found[..] {
        [only] => Ok(only.clone()),
        [] => Err(Failure::new("no table has trials or labelled images").hint(usage)),
        several => Err(Failure::new(format!(
            "several tables can be drawn: {}",
            several.join(", ")
        ))
        .hint(usage)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::Field;

    use super::*;

    fn text(name: &str) -> Field {
        Field::new(name, DataType::Utf8, true)
    }

    fn trial() -> Fields {
        let loss = Field::new("validation_loss", DataType::Float64, true);
        Fields::from(vec![text("status"), loss])
    }

    fn labels(item: Fields) -> Fields {
        let item = Field::new_list_field(DataType::Struct(item), true);
        Fields::from(vec![
            text("filename"),
            text("status"),
            Field::new("labels", DataType::List(Arc::new(item)), true),
        ])
    }

    #[test]
    fn columns_say_what_rows_are() {
        assert_eq!(shape(&trial()), Some(Shape::Trials));
        let inside = Fields::from(vec![
            text("hidden"),
            Field::new("t", DataType::Struct(trial()), true),
        ]);
        assert_eq!(shape(&inside), Some(Shape::TrialsIn("t".to_string())));
        let label = Fields::from(vec![text("label"), text("score")]);
        assert_eq!(shape(&labels(label)), Some(Shape::Labels));
        assert_eq!(shape(&labels(Fields::from(vec![text("name")]))), None);
        assert_eq!(
            shape(&Fields::from(vec![text("status"), text("job")])),
            None
        );
    }
}
