//! What functions that judge models on data sets share: the model and the rows of a call.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use atoll_compute::warnings::Warnings;
use atoll_onnx::{Inference, LoadedModel, WantedTensors};
use atoll_udf_common::args::{bytes_at, string_at};
use atoll_udf_common::{AtollOptions, Call, CallContext, model, storage_root};
use datafusion::arrow::array::ArrayRef;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::execution::SessionState;

use super::arguments::DatasetArgument;
use super::options::EvaluateOptions;
use super::options::check_metric;
use crate::dataset::{DatasetSource, Split, Table, Wanted};
use crate::single_flight::Memo;

/// The models and data sets of one call, whose first two arguments they are.
pub(super) struct Judged {
    function: &'static str,
    /// The dataset, when it is the same for all rows.
    source: Option<DatasetSource>,
    options: EvaluateOptions,
    session: SessionState,
    datasets: Memo<Arc<Table>>,
}

/// Without the session, which prints its whole catalog.
impl Debug for Judged {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut judged = f.debug_struct("Judged");
        judged
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Judged {
    /// Opens the dataset and reads the model of a call, where they are literals, so that what
    /// is missing or broken is an error of the plan.
    pub(super) async fn prepare(
        function: &'static str,
        call: &Call<'_>,
        options: EvaluateOptions,
    ) -> Result<Self> {
        let source = match DatasetArgument::new(&call.args[1]) {
            DatasetArgument::Literal(name) => {
                let columns = &options.columns;
                let source =
                    DatasetSource::open(call.session, function, &name, columns).await?;
                check_split(function, &source, options.split)?;
                check_metric(function, &source, options.metric)?;
                Some(source)
            }
            DatasetArgument::Null | DatasetArgument::Column => None,
        };
        if let DatasetArgument::Literal(name) = DatasetArgument::new(&call.args[0]) {
            let config = call.session.config();
            let context = CallContext::of(config);
            let wanted = &WantedTensors::Outputs;
            let inference = AtollOptions::inference(config.options(), &context.warnings)?;
            let model = model::load(&name, wanted, inference, &context).await;
            model.map_err(|error| error.at_plan_time(function))?;
        }
        Ok(Self::new(function, call, options, source))
    }

    /// The same in another process, with what [`ship`](Self::ship) gave.
    pub(super) async fn receive(
        function: &'static str,
        call: &Call<'_>,
        options: EvaluateOptions,
        shipped: &[u8],
    ) -> Result<Self> {
        let DatasetArgument::Literal(name) = DatasetArgument::new(&call.args[1]) else {
            return Self::prepare(function, call, options).await;
        };
        if shipped.is_empty() {
            return Self::prepare(function, call, options).await;
        }
        let export = storage_root(call.session.config_options())?
            .join(&String::from_utf8_lossy(shipped))?;
        let columns = &options.columns;
        let source =
            DatasetSource::open_export(call.session, function, &name, &export, columns)
                .await?;
        Ok(Self::new(function, call, options, Some(source)))
    }

    fn new(
        function: &'static str,
        call: &Call<'_>,
        options: EvaluateOptions,
        source: Option<DatasetSource>,
    ) -> Self {
        Self {
            function,
            source,
            options,
            session: SessionState::clone(call.session),
            datasets: Memo::default(),
        }
    }

    pub(super) fn options(&self) -> &EvaluateOptions {
        &self.options
    }

    /// What another process needs to know of the dataset.
    pub(super) async fn ship(&self) -> Result<Vec<u8>> {
        let Some(source) = &self.source else {
            return Ok(vec![]);
        };
        let storage = storage_root(self.session.config_options())?;
        let export = source.export(&storage).await?;
        Ok(export.unwrap_or_default().into_bytes())
    }

    /// The model, the name of the dataset and the rows that count, of a row of the statement;
    /// none where one of them is NULL.
    pub(super) async fn row<'a>(
        &self,
        args: &'a [ArrayRef],
        row: usize,
        context: &CallContext,
    ) -> Result<Option<(LoadedModel, &'a str, Arc<Table>)>> {
        let Some(dataset) = string_at(&args[1], row) else {
            return Ok(None);
        };
        let options = self.session.config_options();
        let inference = AtollOptions::inference(options, &context.warnings)?;
        let model = match (string_at(&args[0], row), bytes_at(&args[0], row)) {
            (Some(name), _) => {
                model::load(name, &WantedTensors::Outputs, inference, context).await
            }
            (None, Some(bytes)) => model::load_bytes(bytes, inference, context).await,
            (None, None) => return Ok(None),
        };
        let model = model.map_err(|error| error.in_a_row(self.function))?;
        let table = self.table(dataset, context).await?;
        Ok(Some((model, dataset, table)))
    }

    /// What computes the answers of the models; none where settings contradict each other.
    pub(super) fn inference(&self) -> Option<Inference> {
        let options = self.session.config_options();
        AtollOptions::inference(options, &Warnings::default()).ok()
    }

    /// The rows that count; the first row that needs them reads them.
    async fn table(&self, name: &str, context: &CallContext) -> Result<Arc<Table>> {
        let function = self.function;
        let read = || async {
            let columns = &self.options.columns;
            let source = match &self.source {
                Some(source) => source.clone(),
                None => {
                    DatasetSource::open_file(&self.session, function, name, columns)
                        .await?
                }
            };
            check_split(function, &source, self.options.split)?;
            let wanted = match (self.options.split, source.has_split()) {
                (Some(split), _) => Wanted::Only(split),
                (None, true) => Wanted::Only(Split::Test),
                (None, false) => Wanted::All,
            };
            let split = self.options.split;
            let mut table = source.read(wanted, &context.token).await?;
            if table.is_empty() && split.is_none() && source.has_split() {
                table = source.read(Wanted::All, &context.token).await?;
            }
            match (table.is_empty(), split) {
                (false, _) => Ok(Arc::new(table.with_named_classes())),
                (true, None) => exec_err!("{function}: {name} has no rows"),
                (true, Some(split)) => exec_err!(
                    "{function}: {name} has no rows with split '{}'",
                    split.name()
                ),
            }
        };
        self.datasets.get_or_make(name, read).await
    }
}

fn check_split(
    function: &str,
    source: &DatasetSource,
    split: Option<Split>,
) -> Result<()> {
    match split {
        Some(split) if !source.has_split() => plan_err!(
            "{function}: {} has no column split, so it has no rows with split '{}'; leave \
             the option out to score all rows, or name a split_column",
            source.name(),
            split.name()
        ),
        _ => Ok(()),
    }
}
