//! Where a dataset comes from: a table or view of the session, or a file.

mod place;

use std::pin::pin;
use std::sync::Arc;

use atoll_compute::{CancellationToken, pool};
use atoll_udf_common::args::is_text;
use atoll_udf_common::files::{FileTable, Kind, Named, is_file_name};
use atoll_udf_common::structs::suggest;
use atoll_udf_common::tables::{table_hint, table_named};
use atoll_udf_common::{CallContext, Location, RowError, pool_error};
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{
    Column, DataFusionError, Result, exec_datafusion_err, exec_err, plan_err,
};
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, lit};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt};

use self::place::IsBad;
use super::metadata::{Described, class_names, features_name};
use super::reader::{FEATURES, Piece, holds, value_type};
use super::{ColumnOptions, Holds, Reader, Split, Subject, Table, photos};
use crate::files::{digest, put_if_absent};

/// The image column, unless the options name another.
pub(super) const IMAGE: &str = "image";

/// The split column that is used when it is there and the options name no other.
pub(super) const SPLIT: &str = "split";

/// Rows that one piece of work on the compute pool decodes.
const PIECE: usize = 512;

/// A dataset whose columns were checked.
#[derive(Debug, Clone)]
pub(crate) struct DatasetSource {
    /// Whether only this session can find it.
    is_table: bool,
    frame: DataFrame,
    /// The column that says which split a row belongs to.
    split: Option<String>,
    reader: Reader,
}

/// Which rows to read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// All but the test rows.
    NotTest,
    /// One split only.
    Only(Split),
    /// All.
    All,
}

impl DatasetSource {
    /// Finds a table, view or file and checks its columns, without reading rows.
    pub(crate) async fn open(
        session: &SessionState,
        function: &'static str,
        name: &str,
        options: &ColumnOptions,
    ) -> Result<Self> {
        let ctx = SessionContext::new_with_state(session.clone());
        let found = table_named(&ctx, name).await;
        // A session finds files by their names too. They are opened in another way, and
        // may be on this machine alone, like its tables.
        let is_table = found.is_some();
        if let Some(table) = found.filter(|table| !table.is::<FileTable>()) {
            let frame = ctx.read_table(table)?;
            let frame = photos::of_names(&ctx, frame, options, None).await?;
            let source = Self::new(frame, function, name, options)?;
            return Ok(Self { is_table, ..source });
        }
        match file(&ctx, function, name, options).await? {
            Some(frame) => {
                let source = Self::of_file(frame, function, name, options).await?;
                Ok(Self { is_table, ..source })
            }
            None if is_file_name(name) => no_file(&ctx, function, name).await,
            None => unknown_table(session, function, name),
        }
    }

    /// Opens what [`export`](Self::export) wrote, in another process: it has the columns that
    /// are read and no others.
    pub(crate) async fn open_export(
        session: &SessionState,
        function: &'static str,
        name: &str,
        location: &Location,
        options: &ColumnOptions,
    ) -> Result<Self> {
        let ctx = SessionContext::new_with_state(session.clone());
        let options = &options.without_extras();
        match file(&ctx, function, location.url.as_str(), options).await? {
            Some(frame) => Self::new(frame, function, name, options),
            None => no_file(&ctx, function, location.url.as_str()).await,
        }
    }

    /// Keeps the columns of a table or view in the storage, for processes without this
    /// session's tables. A file needs no copy: any process can open it.
    pub(crate) async fn export(&self, storage: &Location) -> Result<Option<String>> {
        if !self.is_table {
            return Ok(None);
        }
        let frame = self.frame.clone().select(self.columns().map(column_expr))?;
        let mut schema = frame.schema().as_arrow().clone();
        self.reader.name_classes(&mut schema)?;
        let schema = Arc::new(schema);
        let batches = frame.collect().await?;
        let encode = move || {
            let mut file = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut file, Arc::clone(&schema), None)?;
            for batch in batches {
                writer.write(&batch.with_schema(Arc::clone(&schema))?)?;
            }
            writer.close()?;
            Ok::<_, DataFusionError>(file)
        };
        let file = pool::run(&CancellationToken::new(), encode);
        let file = file.await.map_err(pool_error)??;
        let below = format!("exports/{}.parquet", digest(&file));
        put_if_absent(&storage.join(&below)?, file).await?;
        Ok(Some(below))
    }

    /// The columns that are read.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.reader.columns().chain(self.split.as_deref())
    }

    /// Finds a file and checks its columns, without reading rows.
    pub(crate) async fn open_file(
        session: &SessionState,
        function: &'static str,
        name: &str,
        options: &ColumnOptions,
    ) -> Result<Self> {
        if !is_file_name(name) {
            return exec_err!(
                "{function}: a dataset that comes from a column must be a Parquet or CSV \
                 path or URL, got '{name}'; write the name of a table as a literal"
            );
        }
        let ctx = SessionContext::new_with_state(session.clone());
        match file(&ctx, function, name, options).await? {
            Some(frame) => Self::of_file(frame, function, name, options).await,
            None => no_file(&ctx, function, name).await,
        }
    }

    /// The columns of a file without rows have no types, so that it is called empty and
    /// not wrong.
    async fn of_file(
        frame: DataFrame,
        function: &'static str,
        name: &str,
        options: &ColumnOptions,
    ) -> Result<Self> {
        let source = Self::new(frame.clone(), function, name, options);
        if source.is_err() {
            let rows = frame.limit(0, Some(1))?.collect().await?;
            if rows.iter().all(|batch| batch.num_rows() == 0) {
                return plan_err!("{function}: {name} has no rows");
            }
        }
        source
    }

    /// Checks the columns of rows that are a dataset.
    pub(crate) fn new(
        frame: DataFrame,
        function: &'static str,
        name: &str,
        options: &ColumnOptions,
    ) -> Result<Self> {
        let found = frame.schema().has_column_with_unqualified_name(SPLIT);
        let split = options.split.clone().or(found.then(|| SPLIT.to_string()));
        if let Some(split) = &split {
            let field = column(&frame, function, name, "split_column", split)?;
            if !is_text(value_type(field.data_type())) {
                return plan_err!(
                    "{function}: the split column {split} of {name} must be text \
                     ('train', 'validation' or 'test'), got {}; name another in the \
                     options: {{split_column: '...'}}",
                    field.data_type()
                );
            }
        }
        let subject = Subject {
            function,
            dataset: name.to_string(),
        };
        let reader = reader(&frame, subject, options, split.as_deref())?
            .with_class_names(class_names(frame.schema().as_arrow(), &options.label));
        Ok(Self {
            is_table: false,
            frame,
            split,
            reader,
        })
    }

    /// Whether labels are numbers to predict.
    pub(crate) fn has_numbers(&self) -> bool {
        self.reader.has_numbers()
    }

    /// Whether rows have lists of labels.
    pub(crate) fn has_sets(&self) -> bool {
        self.reader.has_sets()
    }

    /// Whether rows say which split they belong to.
    pub(crate) fn has_split(&self) -> bool {
        self.split.is_some()
    }

    /// What errors call this dataset.
    pub(crate) fn name(&self) -> &str {
        &self.reader.subject.dataset
    }

    /// The column of image files or of IMAGE structs, if the dataset has one.
    pub(crate) fn image(&self) -> Option<&str> {
        self.reader.image()
    }

    /// The name of the features that the dataset has already, as the snapshot of a trial
    /// with a backbone does.
    pub(crate) fn features_name(&self) -> Option<String> {
        features_name(self.frame.schema().as_arrow())
    }

    /// The column that says what the images are called, if there is one.
    pub(crate) fn file_names(&self) -> Option<&'static str> {
        photos::file_names(self.frame.schema().as_arrow())
    }

    /// What the statement says of the columns.
    pub(crate) fn options(&self) -> &ColumnOptions {
        self.reader.options()
    }

    /// Rows with all columns.
    pub(crate) fn frame(&self, wanted: Wanted) -> Result<DataFrame> {
        let mut frame = self.frame.clone();
        if let Some(split) = self.split.as_deref().map(column_expr) {
            frame = match wanted {
                Wanted::All => frame,
                Wanted::Only(only) => frame.filter(split.eq(lit(only.name())))?,
                // NULL is kept, so that it is refused and not overlooked.
                Wanted::NotTest => {
                    let test = lit(Split::Test.name());
                    frame.filter(split.clone().not_eq(test).or(split.is_null()))?
                }
            };
        }
        Ok(frame)
    }

    /// Reads rows; images are decoded on the compute pool.
    pub(crate) async fn read(
        &self,
        wanted: Wanted,
        token: &CancellationToken,
    ) -> Result<Table> {
        let batches = self
            .frame(wanted)?
            .select(self.columns().map(column_expr))?
            .execute_stream()
            .await?;
        let reader = Arc::new(self.reader.clone());
        let pieces = batches
            .map_ok(|batch| pieces(&batch))
            .try_flatten()
            .map(|piece| {
                let reader = Arc::clone(&reader);
                let token = token.clone();
                async move {
                    let piece = piece?;
                    let read = pool::run(&token, move || reader.read(&piece));
                    read.await.map_err(pool_error)?
                }
            });
        let mut pieces = pin!(pieces.buffered(2 * pool::threads()));
        let mut all = self.reader.empty();
        while let Some(piece) = pieces.try_next().await.transpose() {
            match piece {
                Ok(piece) => all.append(piece),
                Err(error) => return Err(self.numbered(error, wanted, token).await),
            }
        }
        match all.missing() {
            Some(column) => {
                let is_bad: IsBad = Arc::new(move |reader, piece| {
                    let piece = reader.unfolded(piece).ok()?;
                    let nulls = piece.column(column).logical_nulls()?;
                    (0..piece.num_rows()).find(|row| nulls.is_null(*row))
                });
                let first = place::find(self, wanted, token, &is_bad).await;
                let count = all.missing_in(column);
                self.reader.refuse_missing(column, count, first)
            }
            None => {
                let left_out = self.left_out(&all, wanted, token).await;
                let table = self.reader.finish(all)?;
                if table.is_empty() && left_out.is_some() {
                    return exec_err!(
                        "no image of {} can be read: {}",
                        self.name(),
                        left_out.unwrap_or_default()
                    );
                }
                let left_out = left_out.or(table.left_out);
                Ok(Table { left_out, ..table })
            }
        }
    }

    /// A sentence on the images that are left out.
    async fn left_out(
        &self,
        all: &Piece,
        wanted: Wanted,
        token: &CancellationToken,
    ) -> Option<String> {
        let (count, first) = all.left_out()?;
        let is_bad: IsBad = Arc::new(|reader, piece| {
            let unreadable = reader.unreadable(piece).ok()?;
            unreadable.first().map(|(row, _)| *row)
        });
        let row = place::find(self, wanted, token, &is_bad).await;
        let row = row.map_or_else(String::new, |row| format!(" in row {row}"));
        let are = match count {
            1 => "image cannot be read and is",
            _ => "images cannot be read and are",
        };
        Some(format!(
            "{count} {are} left out, such as the one{row} ({first})"
        ))
    }

    /// An error of one row with the number of the row in the data.
    async fn numbered(
        &self,
        error: DataFusionError,
        wanted: Wanted,
        token: &CancellationToken,
    ) -> DataFusionError {
        let Some(problem) = row_error(&error) else {
            return error;
        };
        let message = problem.error.strip_backtrace();
        let message = ["Execution error: ", "External error: "]
            .iter()
            .fold(message.as_str(), |text, prefix| {
                text.trim_start_matches(prefix)
            });
        let is_bad: IsBad = Arc::new(|reader, piece| {
            let error = reader.read(piece).err()?;
            row_error(&error).map(|problem| problem.row)
        });
        match place::find(self, wanted, token, &is_bad).await {
            Some(row) => exec_datafusion_err!("row {row}: {message}"),
            None => exec_datafusion_err!("{message}"),
        }
    }
}

fn row_error(error: &DataFusionError) -> Option<&RowError> {
    match error {
        DataFusionError::External(error) => error.downcast_ref(),
        _ => None,
    }
}

type Pieces = futures::stream::Iter<std::vec::IntoIter<Result<RecordBatch>>>;

/// Cuts a record batch up, because a whole table may arrive as one.
fn pieces(batch: &RecordBatch) -> Pieces {
    let rows = batch.num_rows();
    let pieces: Vec<_> = (0..rows)
        .step_by(PIECE)
        .map(|start| Ok(batch.slice(start, PIECE.min(rows - start))))
        .collect();
    futures::stream::iter(pieces)
}

/// A column by its exact name; `col` would fold its case.
pub(crate) fn column_expr(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// The rows of the files that a name stands for, if there are any: of tables, or of photos.
async fn file(
    ctx: &SessionContext,
    function: &str,
    name: &str,
    options: &ColumnOptions,
) -> Result<Option<DataFrame>> {
    let state = ctx.state();
    let context = CallContext::of(state.config());
    let table = FileTable::with_metadata(&state, context.directory.as_deref(), name);
    match table.await? {
        Some(table) => {
            let frame = ctx.read_table(Arc::new(table))?;
            let frame = photos::of_names(ctx, frame, options, Some(name)).await?;
            Ok(Some(frame))
        }
        None => photos::folder(ctx, function, name).await,
    }
}

/// Why a name that looks like a file's is no dataset.
async fn no_file<T>(ctx: &SessionContext, function: &str, name: &str) -> Result<T> {
    let context = CallContext::of(ctx.state().config());
    let named = Named::of(context.directory.as_deref(), name).await?;
    match named.kind {
        Kind::Missing => {
            exec_err!("file not found: {}; check the path", context.locate(name)?)
        }
        Kind::Pattern(_) => {
            exec_err!("no file matches '{name}'; check the pattern and its folder")
        }
        _ => plan_err!(
            "{function}: there is no dataset in '{name}'; a dataset is a Parquet, CSV or \
             JSON file or a folder of them, or a folder of photos with a subfolder for each \
             class"
        ),
    }
}

/// The columns of a snapshot, which is a data set too, and what it says of them.
fn of_snapshot(
    frame: &DataFrame,
    columns: &[Field],
    options: &ColumnOptions,
) -> Option<(Fields, Described)> {
    let described = Described::of(frame.schema().as_arrow())?;
    let features = columns.iter().find(|field| field.name() == FEATURES)?;
    match features.data_type() {
        DataType::Struct(fields)
            if options.features.is_none() && options.image.is_none() =>
        {
            Some((fields.clone(), described))
        }
        _ => None,
    }
}

/// How the columns become rows: those that the options name, else the image column, else
/// all columns of numbers, where there is nothing but those, label and split.
fn reader(
    frame: &DataFrame,
    subject: Subject,
    options: &ColumnOptions,
    split: Option<&str>,
) -> Result<Reader> {
    let (function, name) = (subject.function, subject.dataset.clone());
    let named =
        |option, column: &str| self::column(frame, function, &name, option, column);
    let fields = frame.schema().as_arrow().fields();
    if fields.is_empty() {
        return plan_err!("{function}: {name} is empty: it has no columns and no rows");
    }
    // Of what may be wrong this comes first: a label column under another name would look
    // like one more feature.
    let label = named("label", &options.label)?;
    check_extras(options, &named, &subject, split)?;
    let extras = [split, options.group.as_deref(), options.weight.as_deref()];
    // What is only for splits and for training is nothing that a score depends on.
    let unweighted = options.without_extras();
    let options = match function {
        "train" => options,
        _ => &unweighted,
    };
    let others: Vec<Field> = fields
        .iter()
        .filter(|field| {
            *field.name() != options.label && !extras.contains(&Some(field.name()))
        })
        .map(|field| field.as_ref().clone())
        .collect();
    if let Some((fields, columns)) = of_snapshot(frame, &others, options) {
        return Reader::of_snapshot(subject, &fields, &label, options, columns);
    }
    let features = match (&options.features, &options.image) {
        (Some(_), Some(_)) => {
            return plan_err!(
                "{function}: the options name an image column and feature columns; name \
                 either"
            );
        }
        (Some(names), None) => {
            let named = names.iter().map(|column| named("features", column));
            named.collect::<Result<Vec<_>>>()?
        }
        (None, Some(image)) => {
            let image = named("image", image)?;
            return Reader::of_images(subject, &image, &label, options);
        }
        (None, None) => match others.iter().find(|field| field.name() == IMAGE) {
            Some(image) => {
                return Reader::of_images(subject, image, &label, options);
            }
            // A score needs the columns that its model takes, whatever the others are.
            None if function == "train" => others,
            None => {
                let known = |field: &Field| holds(field.data_type()).is_some();
                others.into_iter().filter(known).collect()
            }
        },
    };
    if features.is_empty() {
        return plan_err!(
            "{function}: {name} has nothing to learn from: its only columns are {}",
            names(fields)
        );
    }
    if let (None, Some(odd)) = (
        &options.features,
        features
            .iter()
            .find(|field| holds(field.data_type()).is_none()),
    ) {
        return plan_err!(
            "{function}: column {} of {name} holds {}, from which no network learns, and it \
             has no column image; its columns are {}. Name those to learn from in the options, \
             {{features: ['...']}}, or the one of images, {{image: '...'}}",
            odd.name(),
            odd.data_type(),
            names(fields)
        );
    }
    let is_list = |field: &Field| holds(field.data_type()) == Some(Holds::Lists);
    match features.iter().all(is_list) {
        true => Reader::of_numbers(subject, &features, &label, options),
        false => Reader::of_columns(subject, &features, &label, options),
    }
}

/// Checks the types of the columns of groups and of weights.
fn check_extras(
    options: &ColumnOptions,
    named: &dyn Fn(&'static str, &str) -> Result<Field>,
    subject: &Subject,
    split: Option<&str>,
) -> Result<()> {
    let (function, dataset) = (subject.function, &subject.dataset);
    for (key, column) in [("group", &options.group), ("weight", &options.weight)] {
        let Some(column) = column else { continue };
        let field = named(key, column)?;
        let data_type = value_type(field.data_type());
        if Some(column.as_str()) == split {
            return plan_err!(
                "{function}: option {key} names the column {column} of {dataset}, which \
                 says which split a row belongs to; name another"
            );
        }
        let (is_valid, expected) = match key {
            "weight" => (data_type.is_numeric(), "numbers"),
            _ => (!data_type.is_nested(), "text or numbers"),
        };
        if !is_valid {
            return plan_err!(
                "{function}: the {key} column {column} of {dataset} must hold {expected}, \
                 got {data_type}"
            );
        }
    }
    Ok(())
}

fn names(fields: &Fields) -> String {
    let names = fields.iter().map(|field| field.name().as_str());
    names.collect::<Vec<_>>().join(", ")
}

fn column(
    frame: &DataFrame,
    function: &str,
    dataset: &str,
    option: &str,
    name: &str,
) -> Result<Field> {
    let schema = frame.schema().as_arrow();
    if let Ok(field) = schema.field_with_name(name) {
        return Ok(field.clone());
    }
    let columns = schema.fields().iter().map(|field| field.name().as_str());
    let hint = suggest(name, columns).unwrap_or("...");
    plan_err!(
        "{function}: dataset {dataset} has no column {name}; its columns are {}. Name \
         yours in the options: {{{option}: '{hint}'}}",
        names(schema.fields())
    )
}

fn unknown_table<T>(session: &SessionState, function: &str, name: &str) -> Result<T> {
    let hint = table_hint(session, name);
    plan_err!(
        "{function}: no table, view or file is called '{name}'; {hint}. A dataset is the \
         name of a table or view, or a Parquet or CSV path or URL"
    )
}
