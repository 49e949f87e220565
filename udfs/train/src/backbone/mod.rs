//! Backbones: networks that others trained, whose features networks learn from.
//!
//! A [`Backbone`] is opened when a statement is planned. [`Backbone::features_of`] makes a
//! dataset of numbers from a dataset of images; each image is computed once, whatever
//! statement asks for it. A network that was trained on those is a head, and
//! [`BackboneFile::with_head`] makes one model file of both.

mod features;
mod kept;
mod options;

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_onnx::{FEATURES, Inference, Inner, LoadedModel, ModelFiles, WantedTensors};
use atoll_udf_common::CallContext;
use atoll_udf_common::model::{self, ModelFailure};
use bytes::Bytes;
use datafusion::common::{Result, exec_err, plan_err};
use serde::{Deserialize, Serialize};

pub(crate) use options::{BACKBONE, BACKBONE_OPTIONS, BACKBONES, BackboneOptions};

use crate::files::digest;

/// The SQL function whose statement names the backbone.
const FUNCTION: &str = "train";

/// The layout of what names the features of a backbone.
const VERSION: u32 = 1;

/// A network that others trained, and what is taken of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Backbone {
    /// The name, path or URL, as the statement has it.
    pub(crate) name: String,
    /// The path or URL.
    path: String,
    /// The SHA-256 of its file.
    pub(crate) sha256: String,
    /// The tensor that a head takes.
    tensor: String,
    /// Whether it is averaged over the places of an image.
    pooled: bool,
    /// How an image becomes its input, under the keys of a model's metadata.
    preprocessing: BTreeMap<String, String>,
    /// What computes the features, if that is not ONNX Runtime on the processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inference: Option<String>,
}

/// What names features: all that decides them, and not what the file is called.
#[derive(Serialize)]
struct Identity<'a> {
    version: u32,
    model: &'a str,
    tensor: &'a str,
    pooled: bool,
    preprocessing: &'a BTreeMap<String, String>,
    /// Left out where it is the usual one, so that features that are kept stay known.
    #[serde(skip_serializing_if = "Option::is_none")]
    inference: Option<&'a str>,
}

impl Backbone {
    /// Loads a model and finds its features.
    pub(crate) async fn open(
        name: &str,
        options: &BackboneOptions,
        inference: Inference,
        context: &CallContext,
    ) -> Result<Self> {
        let refuse = |failure: ModelFailure| failure.at_plan_time(FUNCTION);
        let wanted = WantedTensors::Output(options.output().to_string());
        let named = model::named(name, context).await.map_err(refuse)?;
        let path = named.map_or_else(|| name.to_string(), |named| named.to_string());
        let model = model::load(&path, &wanted, Inference::default(), context).await;
        let model = model.map_err(refuse)?;
        let features = features(&model, options)?;
        let preprocess = model::preprocess(&model, options.preprocessing());
        let Some(preprocess) = preprocess.map_err(refuse)? else {
            return plan_err!(
                "{FUNCTION}: backbone {name} does not say how an image becomes its input; \
                 say it in the options, such as {{{BACKBONE_OPTIONS}: {{resize: \
                 'shortest_side', resize_size: 256, crop: 'center', scale: 1.0, mean: \
                 [127, 127, 127], std: [128, 128, 128]}}}}"
            );
        };
        model
            .check_image(preprocess.output_shape())
            .map_err(|error| refuse(ModelFailure::from(error)))?;
        Ok(Self {
            name: name.to_string(),
            path,
            sha256: model.sha256().to_string(),
            tensor: features.tensor,
            pooled: features.pooled,
            preprocessing: preprocess.to_metadata(),
            inference: (inference != Inference::default()).then(|| inference.to_string()),
        })
    }

    /// The name of its features: equal ones are computed by equal networks from equal
    /// tensors of equally prepared images.
    pub(crate) fn key(&self) -> String {
        let identity = Identity {
            version: VERSION,
            model: &self.sha256,
            tensor: &self.tensor,
            pooled: self.pooled,
            preprocessing: &self.preprocessing,
            inference: self.inference.as_deref(),
        };
        // Texts and numbers, whose serialisation cannot fail.
        digest(&serde_json::to_vec(&identity).unwrap_or_default())
    }

    /// Reads the file, for the models that it becomes a part of.
    pub(crate) async fn read(
        self: &Arc<Self>,
        context: &CallContext,
    ) -> Result<BackboneFile> {
        let files = model::files(&self.path, context).await;
        let files = files.map_err(|failure| failure.at_plan_time(FUNCTION))?;
        if files.sha256() != self.sha256 {
            return exec_err!(
                "backbone {} is another file than it was when the statement began; run it \
                 again",
                self.name
            );
        }
        Ok(BackboneFile {
            backbone: Arc::clone(self),
            files,
        })
    }
}

/// What is taken of a model.
fn features(model: &LoadedModel, options: &BackboneOptions) -> Result<Inner> {
    let output = options.output();
    let is_own = model.outputs().any(|port| port.name == output);
    if output == FEATURES && !is_own {
        return match model.features() {
            Some(features) => Ok(features.clone()),
            None => plan_err!(
                "{FUNCTION}: backbone {} has no dense layer at its end whose input could be \
                 the features; name a tensor of it in the options, {{{BACKBONE_OPTIONS}: \
                 {{output: '...'}}}} (model_info lists them)",
                model.name()
            ),
        };
    }
    if model.output_named(output).is_none() {
        return plan_err!(
            "{FUNCTION}: backbone {} has no tensor {output}; model_info lists those that it \
             has",
            model.name()
        );
    }
    Ok(Inner {
        tensor: output.to_string(),
        pooled: false,
    })
}

/// A backbone with its file.
#[derive(Debug)]
pub(crate) struct BackboneFile {
    backbone: Arc<Backbone>,
    files: ModelFiles<Bytes>,
}

impl BackboneFile {
    /// The backbone with this head behind it, as one ONNX file.
    pub(crate) fn with_head(&self, head: &[u8]) -> Result<Vec<u8>, String> {
        let Backbone {
            name,
            tensor,
            pooled,
            preprocessing,
            ..
        } = &*self.backbone;
        let features = Inner {
            tensor: tensor.clone(),
            pooled: *pooled,
        };
        let backbone = atoll_onnx::Backbone {
            files: &self.files,
            features: &features,
            preprocessing,
        };
        let joined = atoll_onnx::with_head(&backbone, head);
        joined.map_err(|reason| format!("backbone {name} cannot have a head: {reason}"))
    }
}
