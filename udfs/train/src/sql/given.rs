//! What a row of `train` says of its trial.

use std::sync::Arc;

use atoll_udf_common::structs::row_to_json;
use datafusion::arrow::array::{ArrayRef, AsArray};
use serde_json::{Map, Value};

use super::train::RESUME_FROM;
use crate::backbone::{BACKBONE, BACKBONES, Backbone};
use crate::record::{Status, TrialRecord};
use crate::trial::refused;

/// What a row says of its trial.
#[derive(Debug)]
pub(super) struct Given<'a> {
    /// The hyperparameters as the row has them.
    pub(super) hyperparameters: Map<String, Value>,
    /// The network whose features it learns from.
    pub(super) backbone: Option<&'a Arc<Backbone>>,
    /// The checkpoint that it goes on from.
    pub(super) resume_from: Option<String>,
}

impl<'a> Given<'a> {
    /// Reads the struct in a row of the second argument, or says why its trial is
    /// infeasible. `known` are the backbones of the statement.
    pub(super) fn read(
        given: Option<&ArrayRef>,
        row: usize,
        known: &'a [Arc<Backbone>],
    ) -> Result<Self, Box<TrialRecord>> {
        let infeasible =
            |error: String| refused(Status::Infeasible, "INVALID_HYPERPARAMETER", error);
        let mut hyperparameters = match given {
            // The error is, say, an integer that is out of range.
            Some(given) => row_to_json(given.as_struct(), row)
                .map_err(|error| infeasible(error.strip_backtrace()))?,
            None => Map::new(),
        };
        let mut text = |key: &str, what: &str| match hyperparameters.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(infeasible(format!(
                "{key} must be the path or URL of {what}, got {other}"
            ))),
        };
        let resume_from = text(RESUME_FROM, "a checkpoint")?;
        let backbone = match text(BACKBONE, "an ONNX file")? {
            None => None,
            Some(name) => {
                let found = known.iter().find(|backbone| backbone.name == name);
                Some(found.ok_or_else(|| {
                    let error = format!(
                        "backbone '{name}' is none of those that the statement names; list \
                         all in the options, {{{BACKBONES}: ['{name}', ...]}}"
                    );
                    infeasible(error)
                })?)
            }
        };
        Ok(Self {
            hyperparameters,
            backbone,
            resume_from,
        })
    }
}
