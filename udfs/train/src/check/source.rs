//! Where the rows of a check come from: a table, or a folder of photos.

use std::fmt::{self, Display, Formatter};
use std::pin::pin;
use std::sync::Arc;

use atoll_compute::pool;
use atoll_udf_common::args::string_at;
use atoll_udf_common::files::{FileTable, Kind, Named, Place};
use atoll_udf_common::structs::suggest;
use atoll_udf_common::tables::{rows_in_order, table_named};
use atoll_udf_common::{CallContext, pool_error};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, DataFusionError, Result, plan_err};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt, stream};

use super::findings::{Findings, Row};
use super::look::{self, Seen};
use super::{Check, NAME};

/// The columns that have a meaning, unless the options name others.
const IMAGES: [&str; 2] = ["image", "content"];
const LABEL: &str = "label";
const SPLIT: &str = "split";
const FILES: [&str; 2] = ["filename", "path"];

/// Rows that one piece of work looks at.
const PIECE: usize = 32;

/// Rows that can be looked at.
#[derive(Debug)]
pub(super) enum Source {
    /// Those of a table.
    Table(Box<Rows>),
    /// Files of images, in folders that are classes.
    Files(Box<Named>),
}

/// A table, and which of its columns are what.
#[derive(Debug)]
pub(super) struct Rows {
    frame: DataFrame,
    columns: Columns,
}

/// Numbers of columns.
#[derive(Debug, Clone)]
struct Columns {
    image: Option<usize>,
    label: Option<usize>,
    split: Option<usize>,
    file: Option<usize>,
    /// What makes two rows equal where there are no images.
    content: Vec<usize>,
}

impl Source {
    /// Finds a table, a file of rows, or files of images.
    pub(super) async fn open(state: &SessionState, check: &Check) -> Result<Self> {
        let ctx = SessionContext::new_with_state(state.clone());
        let name = check.dataset.as_str();
        if let Some(table) = table_named(&ctx, name).await {
            return Rows::source(ctx.read_table(table)?, check);
        }
        let context = CallContext::of(state.config());
        let directory = context.directory.as_deref();
        let table = FileTable::with_metadata(state, directory, name).await;
        if let Ok(Some(table)) = table {
            return Rows::source(ctx.read_table(Arc::new(table))?, check);
        }
        let named = Named::of(directory, name).await?;
        match named.kind {
            Kind::Folder | Kind::Pattern(_) => Ok(Self::Files(Box::new(named))),
            Kind::File(_) => match table {
                Err(error) => Err(error),
                Ok(_) => plan_err!(
                    "{NAME}: '{name}' is one file and no table; name the folder of photos"
                ),
            },
            Kind::Missing => plan_err!(
                "{NAME}: no table, view, file or folder is called '{name}'; SHOW TABLES lists \
                 the tables"
            ),
        }
    }

    /// Looks at all rows, in their order.
    pub(super) async fn look(
        &self,
        context: &CallContext,
        findings: &mut Findings,
    ) -> Result<()> {
        match self {
            Self::Table(rows) => rows.look(context, findings).await,
            Self::Files(named) => files(named, context, findings).await,
        }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(rows) => match rows.columns.image {
                Some(image) => {
                    let schema = rows.frame.schema().as_arrow();
                    write!(f, "images={}", schema.field(image).name())
                }
                None => write!(f, "rows"),
            },
            Self::Files(_) => write!(f, "files"),
        }
    }
}

impl Rows {
    fn source(frame: DataFrame, check: &Check) -> Result<Source> {
        let columns = Columns::find(frame.schema().as_arrow(), check)?;
        Ok(Source::Table(Box::new(Self { frame, columns })))
    }

    async fn look(&self, context: &CallContext, findings: &mut Findings) -> Result<()> {
        let columns = &self.columns;
        let wanted: Vec<usize> = columns.wanted();
        let schema = self.frame.schema().as_arrow();
        let names = wanted.iter().map(|at| schema.field(*at).name());
        let exprs = names.map(|name| Expr::Column(Column::from_name(name)));
        let frame = self.frame.clone().select(exprs.collect::<Vec<_>>())?;
        let columns = columns.among(&wanted);
        let progress = context.progress.rows(NAME);
        let pieces = rows_in_order(frame)
            .await?
            .map_ok(|batch| stream::iter(pieces(&batch)))
            .try_flatten()
            .map(|piece| {
                let (columns, token) = (columns.clone(), context.token.clone());
                async move {
                    let piece = piece?;
                    let look = move || columns.look(&piece);
                    pool::run(&token, look).await.map_err(pool_error)?
                }
            });
        let mut pieces = pin!(pieces.buffered(2 * pool::threads()));
        let mut number = 0;
        while let Some(rows) = pieces.try_next().await? {
            progress.add_total(rows.len() as u64);
            progress.advance(rows.len() as u64);
            for mut row in rows {
                number += 1;
                row.number = Some(number);
                findings.add(row);
            }
        }
        Ok(())
    }
}

/// Cuts a record batch up, because a whole table may arrive as one.
fn pieces(batch: &RecordBatch) -> Vec<Result<RecordBatch>> {
    let rows = batch.num_rows();
    let starts = (0..rows).step_by(PIECE);
    starts
        .map(|start| Ok(batch.slice(start, PIECE.min(rows - start))))
        .collect()
}

impl Columns {
    fn find(schema: &Schema, check: &Check) -> Result<Self> {
        let at = |name: &str| schema.index_of(name).ok();
        let named = |option: &str, name: &Option<String>, defaults: &[&str]| {
            let Some(name) = name else {
                return Ok(defaults.iter().find_map(|name| at(name)));
            };
            match at(name) {
                Some(found) => Ok(Some(found)),
                None => {
                    let names = schema.fields().iter().map(|field| field.name().as_str());
                    let hint = suggest(name, names).unwrap_or("...");
                    plan_err!(
                        "{NAME}: dataset {} has no column {name}; name one in the options: \
                         {{{option}: '{hint}'}}",
                        check.dataset
                    )
                }
            }
        };
        let image = named("image", &check.image, &IMAGES)?;
        let is_image = |at: &usize| look::is_image(schema.field(*at).data_type());
        let label = named("label", &check.label, &[LABEL])?;
        let split = named("split_column", &check.split, &[SPLIT])?;
        let file = FILES.iter().find_map(|name| at(name));
        let others = (0..schema.fields().len())
            .filter(|at| ![label, split, file].contains(&Some(*at)));
        let content = match image {
            // Images that are lists of numbers, or whatever the options name.
            Some(image) if !is_image(&image) => vec![image],
            Some(_) => vec![],
            None => others.collect(),
        };
        Ok(Self {
            image: image.filter(is_image),
            label,
            split,
            file,
            content,
        })
    }

    /// The columns that are read, each once.
    fn wanted(&self) -> Vec<usize> {
        let single = [self.image, self.label, self.split, self.file];
        let mut wanted: Vec<usize> = single.into_iter().flatten().collect();
        wanted.extend(&self.content);
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// The same columns by their places among those that are read.
    fn among(&self, wanted: &[usize]) -> Self {
        let place = |at: &usize| wanted.binary_search(at).ok();
        let one = |at: Option<usize>| at.as_ref().and_then(place);
        Self {
            image: one(self.image),
            label: one(self.label),
            split: one(self.split),
            file: one(self.file),
            content: self.content.iter().filter_map(place).collect(),
        }
    }

    fn look(&self, piece: &RecordBatch) -> Result<Vec<Row>> {
        let text = |at: Option<usize>| {
            at.map(|at| cast(piece.column(at), &DataType::Utf8))
                .transpose()
        };
        let (labels, splits) = (text(self.label)?, text(self.split)?);
        let files = text(self.file)?;
        let seen: Vec<Seen> = match self.image {
            Some(image) => look::images(piece.column(image))?,
            None => {
                let columns = self.content.iter().map(|at| piece.column(*at));
                look::others(&columns.cloned().collect::<Vec<ArrayRef>>())?
            }
        };
        let value = |column: &Option<ArrayRef>, row: usize| {
            let text = column.as_ref().and_then(|column| string_at(column, row));
            text.map(str::to_string)
        };
        let rows = seen.into_iter().enumerate().map(|(row, seen)| Row {
            number: None,
            file: value(&files, row),
            class: labels.is_some().then(|| value(&labels, row)),
            split: value(&splits, row),
            seen,
        });
        Ok(rows.collect())
    }
}

/// Looks at files of images. Those that cannot be read are findings.
async fn files(
    named: &Named,
    context: &CallContext,
    findings: &mut Findings,
) -> Result<()> {
    let files = named.files().await?;
    if files.is_empty() {
        return Err(named.without_files());
    }
    let folder = match (&named.kind, &named.place) {
        (Kind::Folder, Place::Local(path)) => Some(path.display().to_string()),
        (Kind::Folder, Place::Stored(location)) => Some(location.to_string()),
        _ => None,
    };
    let progress = context.progress.rows(NAME);
    progress.add_total(files.len() as u64);
    let looks = stream::iter(files).map(|file| {
        let token = context.token.clone();
        async move {
            let seen = match file.read().await {
                Ok(bytes) => {
                    let look = move || look::file(&bytes);
                    pool::run(&token, look).await.map_err(pool_error)?
                }
                Err(error) => Seen {
                    content: None,
                    picture: Some(Err(error.message().to_string())),
                },
            };
            Ok::<_, DataFusionError>((file.filename, seen))
        }
    });
    let mut looks = pin!(looks.buffered(2 * pool::threads()));
    while let Some((filename, seen)) = looks.try_next().await? {
        progress.advance(1);
        findings.add(Row {
            number: None,
            class: Some(class(folder.as_deref(), &filename)),
            file: Some(filename),
            split: None,
            seen,
        });
    }
    Ok(())
}

/// The class of a file: the folder in the data set's own, or the last one of its path where
/// a pattern found it.
fn class(folder: Option<&str>, filename: &str) -> Option<String> {
    let below = match folder {
        Some(folder) => filename.strip_prefix(folder.trim_end_matches('/'))?,
        None => filename,
    };
    let mut names = below.split('/').filter(|name| !name.is_empty());
    let class = match folder {
        Some(_) => {
            let first = names.next()?;
            // A file right in the folder has no class.
            names.next().map(|_| first)
        }
        None => names.nth_back(1),
    };
    class.map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(folder: Option<&str>, filename: &str, expected: Option<&str>) {
        let found = class(folder, filename);
        assert_eq!(found.as_deref(), expected, "{filename} in {folder:?}");
    }

    #[test]
    fn folders_are_classes() {
        check(Some("photos"), "photos/cat/a.jpg", Some("cat"));
        check(Some("photos/"), "photos/cat/old/a.jpg", Some("cat"));
        check(Some("photos"), "photos/a.jpg", None);
        check(Some("s3://b/p"), "s3://b/p/dog/a.jpg", Some("dog"));
        check(None, "/data/dog/a.jpg", Some("dog"));
        check(None, "a.jpg", None);
    }
}
