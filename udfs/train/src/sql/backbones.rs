//! The backbones of a call of `train`, and how they reach other processes.

use std::sync::Arc;

use atoll_onnx::{FEATURES, WantedTensors};
use atoll_udf_common::args::literal_str;
use atoll_udf_common::model::load_now;
use atoll_udf_common::{AtollOptions, Call, CallContext};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::scalar::ScalarStructBuilder;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::Expr;
use serde::{Deserialize, Serialize};

use super::options::TrainOptions;
use crate::backbone::{BACKBONE, BACKBONES, Backbone};

/// Loads the backbones that rows of a call may name.
pub(super) async fn open(
    call: &Call<'_>,
    options: &TrainOptions,
) -> Result<Vec<Arc<Backbone>>> {
    let mut names = options.backbones.clone();
    match call.args.get(1).map(named) {
        None | Some(Named::Nothing) => {}
        Some(Named::Literal(name)) if !names.contains(&name) => names.push(name),
        Some(Named::Column) if has_backbone(call) && names.is_empty() => {
            return plan_err!(
                "train: {BACKBONE} is not the same in all rows; list all that rows name in \
                 the options, such as {{{BACKBONES}: ['a.onnx', 'b.onnx']}}"
            );
        }
        Some(Named::Literal(_) | Named::Column) => {}
    }
    let config = call.session.config();
    let context = CallContext::of(config);
    let inference = AtollOptions::inference(config.options(), &context.warnings)?;
    let mut backbones = Vec::with_capacity(names.len());
    for name in names {
        let backbone =
            Backbone::open(&name, &options.backbone, inference, &context).await?;
        backbones.push(Arc::new(backbone));
    }
    Ok(backbones)
}

/// Writes a backbone that all rows name into the options, where planning reads it.
pub(super) fn settle(mut args: Vec<Expr>) -> Result<Vec<Expr>> {
    let Some(Named::Literal(name)) = args.get(1).map(named) else {
        return Ok(args);
    };
    let mut builder = ScalarStructBuilder::new();
    match args.get(2) {
        None => args.push(Expr::Literal(ScalarValue::Null, None)),
        Some(Expr::Literal(ScalarValue::Struct(options), _)) => {
            for (field, column) in options.fields().iter().zip(options.columns()) {
                if field.name() == BACKBONES {
                    return Ok(args);
                }
                let value = ScalarValue::try_from_array(column, 0)?;
                builder = builder.with_scalar(Arc::clone(field), value);
            }
        }
        Some(Expr::Literal(ScalarValue::Null, _)) => {}
        // What is no literal is refused when it is read.
        Some(_) => return Ok(args),
    }
    let names = ScalarValue::List(ScalarValue::new_list(
        &[ScalarValue::from(name)],
        &DataType::Utf8,
        true,
    ));
    let field = Field::new(BACKBONES, names.data_type(), true);
    let options = builder.with_scalar(field, names).build()?;
    args[2] = Expr::Literal(options, None);
    Ok(args)
}

/// The backbone that a call names by a literal, with the SHA-256 of its file.
pub(super) fn models(args: &[Expr]) -> Vec<(String, String)> {
    let Some(Named::Literal(name)) = args.get(1).map(named) else {
        return vec![];
    };
    // A model that cannot be loaded is an error wherever it is used.
    let model = load_now(&name, &WantedTensors::Output(FEATURES.to_string()));
    let model = model.map(|model| (name, model.sha256().to_string()));
    model.into_iter().collect()
}

/// What the second argument says of the backbone of all rows.
enum Named {
    Nothing,
    Literal(String),
    Column,
}

fn named(hyperparameters: &Expr) -> Named {
    let of_value = |value: &ScalarValue| match value.try_as_str() {
        Some(Some(name)) => Named::Literal(name.to_string()),
        _ => Named::Nothing,
    };
    match hyperparameters {
        Expr::Literal(ScalarValue::Struct(fields), _) => {
            let field = fields.column_by_name(BACKBONE);
            let value =
                field.and_then(|field| ScalarValue::try_from_array(field, 0).ok());
            value.as_ref().map_or(Named::Nothing, of_value)
        }
        Expr::Literal(..) => Named::Nothing,
        Expr::ScalarFunction(call) if call.func.name() == "named_struct" => {
            let mut fields = call.args.chunks_exact(2);
            let field = fields.find(|pair| literal_str(&pair[0]) == Some(BACKBONE));
            match field.map(|pair| &pair[1]) {
                None => Named::Nothing,
                Some(Expr::Literal(value, _)) => of_value(value),
                Some(_) => Named::Column,
            }
        }
        _ => Named::Column,
    }
}

/// Whether rows may name a backbone.
fn has_backbone(call: &Call<'_>) -> bool {
    match call.arg_fields[1].data_type() {
        DataType::Struct(fields) => fields.find(BACKBONE).is_some(),
        _ => false,
    }
}

/// What another process needs to train on: snapshots in the storage, one for each backbone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Shipped {
    snapshots: Vec<(String, Option<Arc<Backbone>>)>,
}

impl Shipped {
    /// Adds a snapshot, by its digest.
    pub(super) fn add(&mut self, sha256: &str, backbone: Option<&Arc<Backbone>>) {
        self.snapshots.push((sha256.to_string(), backbone.cloned()));
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| exec_datafusion_err!("cannot send a dataset: {error}"))
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).map_err(|error| {
            exec_datafusion_err!(
                "train: the client has another version of Atoll than this executor: {error}"
            )
        })
    }

    /// The backbones of the statement.
    pub(super) fn backbones(&self) -> Vec<Arc<Backbone>> {
        let backbones = self.snapshots.iter();
        backbones
            .filter_map(|(_, backbone)| backbone.clone())
            .collect()
    }

    /// The snapshot of images, or of their features.
    pub(super) fn snapshot(&self, backbone: Option<&Arc<Backbone>>) -> Result<&str> {
        let mut snapshots = self.snapshots.iter();
        let found = snapshots.find(|(_, other)| other.as_ref() == backbone);
        match found {
            Some((sha256, _)) => Ok(sha256),
            None => exec_err!("train: the client sent no snapshot for this row"),
        }
    }
}
