//! A model with everything that turns a row into its answer.

use std::cell::Cell;
use std::fmt::Display;
use std::sync::Arc;

use atoll_compute::panics::catch;
use atoll_imaging::{DecodeOptions, Preprocess};
use atoll_onnx::{
    Data, FEATURES, Head, LoadedModel, NoClasses, Output, OutputKind, Port, scores, top_k,
};
use atoll_udf_common::image::{ImageValue, guarded};
use atoll_udf_common::model::{ModelFailure, preprocess};

use crate::input::Input;
use crate::options::Options;

/// How many numbers a thread keeps for its next image, rather than clear new ones for each:
/// those of 591 x 591 pixels.
const MOST_KEPT: usize = 1 << 20;

thread_local! {
    static NUMBERS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// What a function wants from a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The best classes of an image.
    Classify,
    /// The best classes of a row of numbers or columns.
    ClassifyRows,
    /// One output for an image.
    Embed,
    /// All outputs, for any input.
    Predict,
    /// Nothing but what the file says about itself.
    Describe,
}

/// A model with everything that turns a row into its answer.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) model: LoadedModel,
    preprocess: Option<Preprocess>,
    /// Where `preprocess` came from beside the model; kept for descriptions.
    options: Options,
    output: usize,
    kind: OutputKind,
    labels: Option<Arc<[String]>>,
}

/// One class of an image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scored {
    pub(crate) label: Option<String>,
    pub(crate) score: f32,
    pub(crate) index: i32,
}

impl Purpose {
    /// What `classify` wants, of images or of rows.
    pub(crate) fn of_classify(takes_images: bool) -> Self {
        match takes_images {
            true => Self::Classify,
            false => Self::ClassifyRows,
        }
    }
}

impl Pipeline {
    /// Checks that a model fits a purpose. A failure concerns every row.
    pub(crate) fn new(
        model: LoadedModel,
        options: &Options,
        purpose: Purpose,
    ) -> Result<Self, ModelFailure> {
        let preprocess = match purpose {
            Purpose::Describe => None,
            _ => preprocess(&model, &options.preprocessing)?,
        };
        let output = match purpose {
            Purpose::Describe | Purpose::Predict => 0,
            Purpose::Classify | Purpose::ClassifyRows | Purpose::Embed => {
                output(&model, options)?
            }
        };
        let pipeline = Self {
            output,
            kind: match purpose {
                Purpose::Classify | Purpose::ClassifyRows => {
                    output_kind(&model, output, options)?
                }
                _ => OutputKind::Unknown,
            },
            labels: options.labels.clone(),
            options: options.clone(),
            preprocess,
            model,
        };
        if matches!(purpose, Purpose::Classify | Purpose::Embed) {
            pipeline.check_image()?;
        }
        match purpose {
            Purpose::Classify | Purpose::ClassifyRows => pipeline.check_classes()?,
            Purpose::Predict if pipeline.model.outputs().len() == 0 => {
                return Err(pipeline.unreadable());
            }
            _ => {}
        }
        Ok(pipeline)
    }

    /// The same with another session of the model.
    pub(crate) fn with_model(&self, model: LoadedModel) -> Self {
        Self {
            model,
            preprocess: self.preprocess.clone(),
            options: self.options.clone(),
            output: self.output,
            kind: self.kind,
            labels: self.labels.clone(),
        }
    }

    /// Checks that a preprocessed image fits the model's only input.
    pub(crate) fn check_image(&self) -> Result<(), ModelFailure> {
        self.model.single_input()?;
        let shape = self.preprocess()?.output_shape();
        Ok(self.model.check_image(shape)?)
    }

    /// How an image becomes the input, for people; an unusable description is no
    /// reason not to describe the rest.
    pub(crate) fn describe_preprocess(&self) -> Result<Option<Preprocess>, ModelFailure> {
        preprocess(&self.model, &self.options.preprocessing)
    }

    /// Checks that the output holds classes, as far as its shape tells.
    fn check_classes(&self) -> Result<(), ModelFailure> {
        let Some(port) = self.port() else {
            return Err(self.unreadable());
        };
        if !port.is_list() {
            return Err(self.no_list(port));
        }
        match port.row_len() {
            Some(classes) => self.check_labels(classes),
            None => Ok(()),
        }
    }

    /// Checks that the labels are those of so many numbers.
    fn check_labels(&self, numbers: usize) -> Result<(), ModelFailure> {
        let labels = self.labels().len();
        self.kind
            .check(numbers, labels)
            .map_err(|problem| self.no_classes(&problem))?;
        // One number is the probability of the second of two classes.
        if labels == 0 || labels == numbers || (numbers == 1 && labels == 2) {
            return Ok(());
        }
        let classes = if numbers == 1 { "class" } else { "classes" };
        Err(ModelFailure::argument(format!(
            "model {} has {numbers} {classes} in its output {}, got {labels} labels; \
             choose another output or give as many labels",
            self.model.name(),
            self.output_name(),
        )))
    }

    fn no_classes(&self, problem: &NoClasses) -> ModelFailure {
        ModelFailure::argument(format!(
            "output {} of model {} {problem}",
            self.output_name(),
            self.model.name()
        ))
    }

    fn no_list(&self, shape: &dyn Display) -> ModelFailure {
        ModelFailure::argument(format!(
            "output {} of model {} is {shape} and no list of classes; choose another \
             output",
            self.output_name(),
            self.model.name()
        ))
    }

    fn unreadable(&self) -> ModelFailure {
        let ports = &self.model.signature().outputs;
        ModelFailure::argument(format!(
            "model {} has no output of numbers or text; its outputs are {}",
            self.model.name(),
            listed(ports.iter())
        ))
    }

    /// The output that is read.
    fn port(&self) -> Option<&Port> {
        self.model.outputs().nth(self.output)
    }

    pub(crate) fn output_name(&self) -> &str {
        self.port().map_or("", |port| port.name.as_str())
    }

    fn labels(&self) -> &[String] {
        self.labels
            .as_deref()
            .unwrap_or_else(|| self.model.labels())
    }

    fn preprocess(&self) -> Result<&Preprocess, ModelFailure> {
        self.preprocess.as_ref().ok_or_else(|| {
            ModelFailure::argument(format!(
                "model {} does not say how an image becomes its input; pass options such \
                 as {{resize: 'shortest_side', resize_size: 256, crop: 'center', \
                 scale: 1.0, mean: [127, 127, 127], std: [128, 128, 128]}}",
                self.model.name()
            ))
        })
    }

    /// What decides the outputs of a run for an image, as far as it is no model.
    pub(crate) fn preprocessing(&self) -> Option<&Preprocess> {
        self.preprocess.as_ref()
    }

    /// Decodes an image and turns it into the numbers that the model takes, over numbers
    /// that are not needed any more.
    fn write_image(
        &self,
        image: &ImageValue<'_>,
        numbers: &mut Vec<f32>,
    ) -> Result<(), ModelFailure> {
        let preprocess = self.preprocess()?;
        numbers.resize(preprocess.output_len(), 0.0);
        match image {
            ImageValue::Encoded(bytes) => {
                let options = DecodeOptions::default();
                guarded(|| preprocess.apply_file(bytes, &options, numbers))?;
            }
            ImageValue::Decoded(image) => {
                guarded(|| preprocess.apply(*image, numbers))?;
            }
        }
        Ok(())
    }

    /// Runs the model on an image, or on values by the names of its inputs, and returns all
    /// outputs.
    pub(crate) fn run(&self, input: Input<'_>) -> Result<Vec<Output>, ModelFailure> {
        match input {
            Input::Image(image) => self.run_image(&image),
            Input::Values(values) => self.catch(|| Ok(self.model.run(values)?)),
        }
    }

    /// Does what asks the model. A panic is an error of this row only.
    fn catch<T>(
        &self,
        work: impl FnOnce() -> Result<T, ModelFailure>,
    ) -> Result<T, ModelFailure> {
        catch(work).unwrap_or_else(|panic| {
            Err(ModelFailure::panicked(self.model.name(), &panic))
        })
    }

    /// Runs the model on an image and returns all outputs.
    pub(crate) fn run_image(
        &self,
        image: &ImageValue<'_>,
    ) -> Result<Vec<Output>, ModelFailure> {
        let mut numbers = NUMBERS.take();
        self.write_image(image, &mut numbers)?;
        let shape = self.preprocess()?.output_shape();
        let outputs = self.catch(|| Ok(self.model.run_image(&numbers, shape)?))?;
        if numbers.len() <= MOST_KEPT {
            NUMBERS.set(numbers);
        }
        Ok(outputs)
    }

    /// The output that is read, among those that a run gives.
    pub(crate) fn output(&self) -> usize {
        self.output
    }

    /// The chosen output for an image.
    pub(crate) fn embed(&self, image: &ImageValue<'_>) -> Result<Vec<f32>, ModelFailure> {
        self.embedding(self.run_image(image)?.swap_remove(self.output))
    }

    /// What the chosen output says as an embedding.
    pub(crate) fn embedding(&self, output: Output) -> Result<Vec<f32>, ModelFailure> {
        let output = match self.model.is_pooled(self.output) {
            true => output.pooled(),
            false => output,
        };
        let mut numbers = self.floats(output.data)?;
        if self.options.normalize {
            normalize(&mut numbers);
        }
        Ok(numbers)
    }

    fn floats(&self, data: Data) -> Result<Vec<f32>, ModelFailure> {
        data.into_floats().ok_or_else(|| self.not_numbers())
    }

    /// The `k` best classes of an image or a row.
    pub(crate) fn classify(
        &self,
        input: Input<'_>,
        k: usize,
    ) -> Result<Vec<Scored>, ModelFailure> {
        self.classes(self.run(input)?.swap_remove(self.output), k)
    }

    /// The `k` best classes that the chosen output says.
    pub(crate) fn classes(
        &self,
        output: Output,
        k: usize,
    ) -> Result<Vec<Scored>, ModelFailure> {
        if !output.is_list() {
            return Err(self.no_list(&format!("of shape {:?}", output.shape)));
        }
        let numbers = self.floats(output.data)?;
        self.check_labels(numbers.len())?;
        let labels = self.labels();
        let scores = scores(numbers, self.kind, labels.len())
            .map_err(|problem| self.no_classes(&problem))?;
        let scored = top_k(&scores, k).into_iter().map(|(idx, score)| Scored {
            label: labels.get(idx).cloned(),
            score,
            index: i32::try_from(idx).unwrap_or(i32::MAX),
        });
        Ok(scored.collect())
    }

    fn not_numbers(&self) -> ModelFailure {
        ModelFailure::argument(format!(
            "output {} of model {} is text; choose one of numbers",
            self.output_name(),
            self.model.name()
        ))
    }
}

/// Divides numbers by their length, the root of the sum of their squares. Numbers without
/// a length stay as they are.
fn normalize(numbers: &mut [f32]) {
    let squares: f64 = numbers.iter().map(|x| f64::from(*x).powi(2)).sum();
    let length = squares.sqrt();
    if length > 0.0 && length.is_finite() {
        for number in numbers {
            *number = (f64::from(*number) / length) as f32;
        }
    }
}

/// The output that the options name, else the first one of floating point numbers.
fn output(model: &LoadedModel, options: &Options) -> Result<usize, ModelFailure> {
    let found = match &options.output {
        Some(name) => model.output_named(name),
        None => model.default_output(),
    };
    found.ok_or_else(|| {
        let problem = match &options.output {
            Some(name) if name == FEATURES => {
                "has no dense layer with a layer before it, whose input would be its \
                 features"
                    .to_string()
            }
            Some(name) => format!("has no output {name}"),
            None => "has no output of floating point numbers".to_string(),
        };
        ModelFailure::argument(format!(
            "model {} {problem}; its outputs are {}, and model_info lists the tensors \
             inside of it, which can be named too",
            model.name(),
            listed(model.signature().outputs.iter())
        ))
    })
}

fn listed<'a>(ports: impl Iterator<Item = &'a Port>) -> String {
    let ports: Vec<String> = ports.map(|port| format!("{} {port}", port.name)).collect();
    ports.join(", ")
}

/// What the output means. Where the options say something else than the graph, the query
/// is wrong.
fn output_kind(
    model: &LoadedModel,
    output: usize,
    options: &Options,
) -> Result<OutputKind, ModelFailure> {
    model
        .output_kind(output, options.output_kind)
        .map_err(|head| {
            let ends = match head {
                Head::Softmax => "Softmax, so that it holds probabilities",
                Head::Sigmoid => "a sigmoid, so that it holds probabilities",
                _ => "LogSoftmax, so that it holds logarithms",
            };
            ModelFailure::argument(format!(
                "option output_kind does not fit: the output of model {} comes from \
                 {ends}; leave the option out",
                model.name()
            ))
        })
}
