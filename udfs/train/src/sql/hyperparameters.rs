//! `hyperparameters`: what can be given to `train`, as a table.

use std::sync::{Arc, LazyLock};

use atoll_nn::{Hyperparameter, Hyperparameters};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{
    MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider,
};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::Documentation;

use super::arguments::SECTION;
use crate::backbone::BACKBONE;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("key"),
        text("domain"),
        text("default_value"),
        text("description"),
    ]))
});

pub(crate) fn documentation() -> Documentation {
    Documentation::builder(
        SECTION,
        "Returns the hyperparameters of `train`, a row each: `key`, `domain` (the values \
         that it may have), `default_value` and `description`. The keys of the struct \
         `augmentation` come last, with their path.",
        "hyperparameters()",
    )
    .with_sql_example(
        "SELECT key, default_value\n\
         FROM hyperparameters()\n\
         WHERE key IN ('learning_rate', 'batch_size', 'epochs', 'momentum');",
    )
    .with_related_udf("train")
    .build()
}

/// The key that is read before networks are trained.
fn backbone() -> Hyperparameter {
    Hyperparameter {
        key: BACKBONE,
        domain: "the path or URL of an ONNX file".to_string(),
        default: "NULL".to_string(),
        sentence: "A network that others trained, whose features the network learns from, \
            instead of the images themselves. What is trained is its head; the model of the \
            trial is both, in one file."
            .to_string(),
    }
}

/// What can be given to `train`, each with its domain, default and a sentence.
pub fn hyperparameters() -> Vec<Hyperparameter> {
    let mut rows = Hyperparameters::table();
    rows.insert(0, backbone());
    rows
}

/// The table function `hyperparameters()`.
#[derive(Debug)]
pub(crate) struct HyperparametersFunction;

impl TableFunctionImpl for HyperparametersFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        if !args.exprs().is_empty() {
            return plan_err!(
                "hyperparameters is called as hyperparameters(), got {} arguments",
                args.exprs().len()
            );
        }
        let rows = hyperparameters();
        let column = |text: fn(&Hyperparameter) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
        };
        let columns = vec![
            column(|row| row.key),
            column(|row| &row.domain),
            column(|row| &row.default),
            column(|row| &row.sentence),
        ];
        let rows = RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?;
        let table = MemTable::try_new(Arc::clone(&SCHEMA), vec![vec![rows]])?;
        Ok(Arc::new(table))
    }
}
