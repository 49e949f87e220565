//! The first argument of every function: which model a row wants.

use std::collections::HashMap;
use std::sync::Arc;

use atoll_onnx::{Inference, LoadedModel, ModelFiles, WantedTensors};
use atoll_udf_common::args::{bytes_at, is_text, literal_str, string_at};
use atoll_udf_common::model::{self, BYTES, ModelFailure};
use atoll_udf_common::{AtollOptions, Call, CallContext};
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, Expr};

use crate::options::Options;
use crate::pipeline::{Pipeline, Purpose};

/// The model that a call names, with the SHA-256 of its file. It is loaded as `wanted`, so
/// that the one which the call loads anyway serves.
pub(crate) fn named(args: &[Expr], wanted: &WantedTensors) -> Vec<(String, String)> {
    let name = args.first().and_then(literal_str);
    // A model that cannot be loaded is an error wherever it is used.
    let model = name.and_then(|name| model::load_now(name, wanted).ok());
    let named = model.map(|model| (model.name().to_string(), model.sha256().to_string()));
    named.into_iter().collect()
}

type Outcome = Result<Arc<Pipeline>, ModelFailure>;

/// The model of a call, as far as it is known before the first row.
#[derive(Debug)]
pub(crate) enum ModelArgument {
    /// A literal: one model for every row.
    Literal(Arc<Pipeline>),
    /// A column of paths or of files.
    Column {
        options: Options,
        purpose: Purpose,
        inference: Inference,
    },
}

/// The models of one record batch.
#[derive(Debug)]
pub(crate) enum Models {
    One(Arc<Pipeline>),
    Named {
        column: ArrayRef,
        by_name: HashMap<String, Outcome>,
    },
    Bytes {
        column: ArrayRef,
        options: Options,
        purpose: Purpose,
        inference: Inference,
    },
}

/// Loads the model that a literal names, at plan time.
///
/// By ONNX Runtime on the processor, whatever the session says: what a model takes and gives is the same
/// everywhere, and whoever plans for a cluster need not have its devices.
pub(crate) fn literal(
    function: &str,
    value: Option<&ScalarValue>,
    options: &Options,
    purpose: Purpose,
) -> Result<Option<Pipeline>> {
    let Some(name) = value.and_then(|value| value.try_as_str().flatten()) else {
        return Ok(None);
    };
    model::load_now(name, &options.wanted())
        .and_then(|model| Pipeline::new(model, options, purpose))
        .map(Some)
        .map_err(|error| error.at_plan_time(function))
}

impl ModelArgument {
    /// Resolves a literal; a column waits for its rows.
    pub(crate) async fn prepare(
        function: &str,
        call: &Call<'_>,
        options: Options,
        purpose: Purpose,
    ) -> Result<Self> {
        let config = call.session.config();
        let context = CallContext::of(config);
        let inference = AtollOptions::inference(config.options(), &context.warnings)?;
        let Some(name) = call.args.first().and_then(literal_str) else {
            return Ok(Self::Column {
                options,
                purpose,
                inference,
            });
        };
        let wanted = options.wanted_for(purpose);
        let model = model::load(name, &wanted, inference, &context).await;
        model
            .and_then(|model| Pipeline::new(model, &options, purpose))
            .map(|pipeline| Self::Literal(Arc::new(pipeline)))
            .map_err(|error| error.at_plan_time(function))
    }

    /// What computes the answers.
    pub(crate) fn inference(&self) -> Inference {
        match self {
            Self::Literal(pipeline) => pipeline.model.inference(),
            Self::Column { inference, .. } => *inference,
        }
    }

    /// Finds the models of a record batch, each once.
    pub(crate) async fn models(
        &self,
        value: &ColumnarValue,
        rows: usize,
        context: &CallContext,
    ) -> Result<Models> {
        let (options, purpose, inference) = match self {
            Self::Literal(pipeline) => return Ok(Models::One(Arc::clone(pipeline))),
            Self::Column {
                options,
                purpose,
                inference,
            } => (options, *purpose, *inference),
        };
        let column = value.to_array(rows)?;
        if !is_text(column.data_type()) {
            return Ok(Models::Bytes {
                column,
                options: options.clone(),
                purpose,
                inference,
            });
        }
        let mut by_name = HashMap::new();
        for row in 0..rows {
            let Some(name) = string_at(&column, row) else {
                continue;
            };
            if by_name.contains_key(name) {
                continue;
            }
            let wanted = options.wanted_for(purpose);
            let pipeline = model::load(name, &wanted, inference, context)
                .await
                .and_then(|model| Pipeline::new(model, options, purpose));
            by_name.insert(name.to_string(), pipeline.map(Arc::new));
        }
        Ok(Models::Named { column, by_name })
    }
}

impl Models {
    /// The model of a row; `None` when the argument is NULL.
    pub(crate) fn get(&self, row: usize) -> Result<Option<Arc<Pipeline>>, ModelFailure> {
        match self {
            Self::One(pipeline) => Ok(Some(Arc::clone(pipeline))),
            Self::Named { column, by_name } => string_at(column, row)
                .and_then(|name| by_name.get(name).cloned())
                .transpose(),
            Self::Bytes {
                column,
                options,
                purpose,
                inference,
            } => {
                let Some(bytes) = bytes_at(column, row) else {
                    return Ok(None);
                };
                let wanted = options.wanted_for(*purpose);
                let read = || Ok::<_, ModelFailure>(ModelFiles::alone(bytes));
                let model = LoadedModel::load_from(*inference, BYTES, &wanted, read)?;
                Ok(Some(Arc::new(Pipeline::new(model, options, *purpose)?)))
            }
        }
    }
}

/// The value of a literal argument.
pub(crate) fn literal_value(arg: Option<&Expr>) -> Option<&ScalarValue> {
    match arg {
        Some(Expr::Literal(value, _)) => Some(value),
        Some(Expr::Alias(alias)) => literal_value(Some(&alias.expr)),
        _ => None,
    }
}
