//! `check_dataset`: what is odd about a data set, a row for each finding.
//!
//! Rows are read once, in order, and of each only its digest, its perceptual hash and its
//! size are kept: some 60 bytes, and the name of its file. Nothing that is wrong with a row
//! ends the check.

mod findings;
mod look;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_common::args::literal_str;
use atoll_udf_common::tables::state_of;
use atoll_udf_common::{CallContext, Erased, OptionStruct, RowsExec};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::TableType;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Documentation, Expr};
use datafusion::physical_plan::ExecutionPlan;
use futures::FutureExt;
use tokio::sync::mpsc::Sender;

use self::findings::{Findings, SCHEMA};
use self::source::Source;
use crate::sql::SECTION;

/// What errors call the function.
const NAME: &str = "check_dataset";

const OPTIONS: [&str; 5] = ["image", "label", "split_column", "within", "few_rows"];

/// Hashes that differ in so many bits are of images that look alike.
const WITHIN: u32 = 4;

/// More bits are those of any two photos.
const MOST_BITS: u64 = 16;

/// A class with fewer rows is worth a word.
const FEW_ROWS: u64 = 10;

pub(crate) fn documentation() -> Documentation {
    Documentation::builder(
        SECTION,
        "Returns what is odd about a data set, a row for each finding: `kind`, `row` (its \
         number, from 1) or `file`, `class`, `other_row` or `other_file` (which it is like), \
         `distance` (bits of perceptual hashes that differ) and `detail`. The kinds are \
         UNREADABLE (an image that cannot be decoded, with the reason), NO_LABEL, DUPLICATE \
         (the same content as an earlier row), NEAR_DUPLICATE (looks like an earlier one), \
         TWO_LABELS (the same content as one of another class), ACROSS_SPLITS (the same, or \
         nearly so, as one of another split: what is learnt there is known here), BLANK (all \
         pixels are alike), ODD_SIZE (a side less than a quarter or more than four times the \
         median) and FEW_ROWS (of a class). What looks like others is named beside the \
         nearest of the earlier ones. Nothing ends the check; a data set without findings \
         gives no rows.",
        "check_dataset(dataset [, options])",
    )
    .with_argument(
        "dataset",
        "Name of a table or view, a Parquet, CSV or JSON file, or a folder or pattern of image \
         files: the folders in it are classes. Tables have their images in `image`, as files, \
         IMAGE structs or structs with `bytes`; of other columns equal rows are found.",
    )
    .with_argument(
        "options",
        "A literal struct with any of `image`, `label` and `split_column` (names of columns; \
         by default `image`, `label` and `split`), `within` (how many bits may differ, from 0 \
         to 16, 4 by default) and `few_rows` (10 by default).",
    )
    .with_sql_example(
        "SELECT kind, count(*) AS findings\n\
         FROM check_dataset('sql/data/photos')\n\
         GROUP BY kind ORDER BY kind;",
    )
    .with_related_udf("train")
    .build()
}

/// The table function `check_dataset(dataset [, options])`.
#[derive(Debug)]
pub(crate) struct CheckDataset;

/// What a statement asks for.
#[derive(Debug, Clone)]
struct Check {
    dataset: String,
    /// Columns that the user named.
    image: Option<String>,
    label: Option<String>,
    split: Option<String>,
    within: u32,
    few_rows: u64,
}

impl TableFunctionImpl for CheckDataset {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let (dataset, options) = match args.exprs() {
            [dataset] => (dataset, None),
            [dataset, options] => (dataset, Some(options)),
            all => {
                return plan_err!(
                    "{NAME} takes a dataset and maybe options, {NAME}(dataset, options), \
                     got {} arguments",
                    all.len()
                );
            }
        };
        let Some(dataset) = literal_str(dataset) else {
            return plan_err!(
                "{NAME}: dataset must be the name of a table, a file or a folder as text, \
                 got {dataset}"
            );
        };
        let options = OptionStruct::of_call(NAME, options, &OPTIONS, "{within: 4}")?;
        let within = options.between("within", 0..=MOST_BITS)?;
        Ok(Arc::new(CheckTable(Check {
            dataset: dataset.to_string(),
            image: options.text("image")?,
            label: options.text("label")?,
            split: options.text("split_column")?,
            // In range.
            within: within.map_or(WITHIN, |within| within as u32),
            few_rows: options.whole("few_rows", 0)?.unwrap_or(FEW_ROWS),
        })))
    }
}

/// The findings about a data set, as it is when they are read.
#[derive(Debug)]
struct CheckTable(Check);

#[async_trait]
impl TableProvider for CheckTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let state = Erased::new(state_of(session, NAME)?.clone());
        // What is wrong with the call is said before anything runs.
        let source = Arc::new(Source::open(&state, &self.0).await?);
        let check = self.0.clone();
        let description = format!(
            "dataset={}, {source}, within={}, few_rows={}",
            check.dataset, check.within, check.few_rows
        );
        let start = move |context, rows| {
            run(check.clone(), Arc::clone(&source), context, rows).boxed()
        };
        RowsExec::new("CheckExec", description, self.schema(), Arc::new(start))
            .projected(projection)
    }
}

/// Looks at all rows, and sends what was found.
async fn run(
    check: Check,
    source: Arc<Source>,
    context: Arc<TaskContext>,
    rows: Sender<Result<RecordBatch>>,
) -> Result<()> {
    let context = CallContext::of(context.session_config());
    let mut findings = Findings::new(check.within, check.few_rows);
    source.look(&context, &mut findings).await?;
    for batch in findings.into_batches()? {
        if rows.send(Ok(batch)).await.is_err() {
            // Nobody wants the rest.
            break;
        }
    }
    Ok(())
}
