//! Several answers of one model for one image: one inference.
//!
//! `classify`, `embed` and `predict` differ in what they read of the outputs. Where they are
//! asked of the same image in one statement, the image is decoded and the model runs once,
//! and gives all tensors that any of them wants.

use std::sync::Arc;

use async_trait::async_trait;
use atoll_onnx::{Output, WantedTensors};
use atoll_udf_common::image::ImageColumn;
use atoll_udf_common::model::{self, ModelFailure};
use atoll_udf_common::outcome::{Outcome, outcome};
use atoll_udf_common::{CallContext, JoinedCalls, SharedCall, map_rows};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::Fields;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarFunctionArgs;

use crate::argument::ModelArgument;
use crate::classify::{k_at, labels_array};
use crate::embed::embeddings_array;
use crate::pipeline::{Pipeline, Scored};
use crate::predict::outputs_array;
use crate::{try_classify, try_embed, try_predict};

/// The arguments that decide what a model gives for an image: the model and the image.
const ARGUMENTS: usize = 2;

/// What a call reads of the outputs of a model.
#[derive(Debug, Clone)]
pub(crate) enum Reading {
    /// The best classes; errors are values for `try_classify`.
    Classes { is_strict: bool },
    /// One tensor; errors are values for `try_embed`.
    Numbers { is_strict: bool },
    /// The model's own outputs; errors are values for `try_predict`.
    Outputs { is_strict: bool, fields: Fields },
}

/// A call of a model that is a literal, with images.
#[derive(Debug)]
pub(crate) struct Asked {
    function: &'static str,
    pipeline: Arc<Pipeline>,
    reading: Reading,
    key: String,
}

impl Asked {
    /// What a call asks, unless its model is known only row by row.
    pub(crate) fn of(
        function: &'static str,
        model: &ModelArgument,
        reading: Reading,
    ) -> Option<Arc<dyn SharedCall>> {
        let ModelArgument::Literal(pipeline) = model else {
            return None;
        };
        let model = &pipeline.model;
        let key = format!(
            "{} {} {:?} {:?}",
            model.name(),
            model.sha256(),
            model.inference(),
            pipeline.preprocessing()
        );
        Some(Arc::new(Self {
            function,
            pipeline: Arc::clone(pipeline),
            reading,
            key,
        }))
    }

    /// Reads an answer out of the outputs of a row. `place` is that of the output which the
    /// call reads.
    fn read(
        &self,
        outputs: Option<Result<&[Output], &ModelFailure>>,
        place: usize,
        k: Option<usize>,
    ) -> Result<Answer> {
        let outputs = outputs.map(|outputs| outputs.map_err(Clone::clone));
        let strict = |error: ModelFailure| error.in_a_row(self.function);
        let chosen = |outputs: &[Output]| outputs[place].clone();
        match &self.reading {
            Reading::Classes { is_strict } => {
                let classes = outputs.zip(k).map(|(outputs, k)| {
                    outputs.and_then(|all| self.pipeline.classes(chosen(all), k))
                });
                match (is_strict, classes) {
                    (true, Some(Err(error))) => Err(strict(error)),
                    (_, classes) => Ok(Answer::Classes(classes)),
                }
            }
            Reading::Numbers { is_strict } => {
                let numbers = outputs.map(|outputs| {
                    outputs.and_then(|all| self.pipeline.embedding(chosen(all)))
                });
                match (is_strict, numbers) {
                    (true, Some(Err(error))) => Err(strict(error)),
                    (_, numbers) => Ok(Answer::Numbers(numbers)),
                }
            }
            Reading::Outputs { is_strict, fields } => {
                // The model's own come first.
                let own = outputs
                    .map(|outputs| outputs.map(|all| all[..fields.len()].to_vec()));
                match (is_strict, own) {
                    (true, Some(Err(error))) => Err(strict(error)),
                    (_, own) => Ok(Answer::Outputs(own)),
                }
            }
        }
    }

    /// The column of the answers.
    fn column(&self, answers: Vec<Answer>) -> Result<ArrayRef> {
        let (mut classes, mut numbers, mut outputs) = (vec![], vec![], vec![]);
        for answer in answers {
            match answer {
                Answer::Classes(answer) => classes.push(answer),
                Answer::Numbers(answer) => numbers.push(answer),
                Answer::Outputs(answer) => outputs.push(answer),
            }
        }
        match &self.reading {
            Reading::Classes { is_strict: true } => Ok(labels_array(good(classes))),
            Reading::Classes { is_strict: false } => try_classify::result(classes),
            Reading::Numbers { is_strict: true } => Ok(embeddings_array(&good(numbers))),
            Reading::Numbers { is_strict: false } => try_embed::result(numbers),
            Reading::Outputs {
                is_strict: true,
                fields,
            } => Ok(Arc::new(outputs_array(fields, good(outputs)))),
            Reading::Outputs { fields, .. } => try_predict::result(outputs, fields),
        }
    }
}

/// The answers of a strict function, of which no failure is left.
fn good<T>(rows: Vec<Outcome<T>>) -> Vec<Option<T>> {
    let rows = rows.into_iter();
    rows.map(|row| row.and_then(std::result::Result::ok))
        .collect()
}

/// The answer of a call for a row.
enum Answer {
    Classes(Outcome<Vec<Scored>>),
    Numbers(Outcome<Vec<f32>>),
    Outputs(Outcome<Vec<Output>>),
}

#[async_trait]
impl SharedCall for Asked {
    fn key(&self) -> &str {
        &self.key
    }

    fn arguments(&self) -> usize {
        ARGUMENTS
    }

    async fn join(
        &self,
        calls: Vec<Arc<dyn SharedCall>>,
        context: &CallContext,
    ) -> Result<Arc<dyn JoinedCalls>> {
        let mut asked: Vec<Arc<Asked>> = vec![];
        for call in calls {
            let call: Arc<dyn std::any::Any + Send + Sync> = call;
            match call.downcast() {
                Ok(call) => asked.push(call),
                Err(_) => return internal_err!("a call that asks no model"),
            }
        }
        Ok(Arc::new(Together::new(asked, context).await?))
    }
}

/// Calls that one inference answers.
#[derive(Debug)]
struct Together {
    /// The model with all tensors that are read.
    runner: Arc<Pipeline>,
    /// The calls, each with the place of the output that it reads.
    asked: Vec<(Arc<Asked>, usize)>,
}

impl Together {
    async fn new(asked: Vec<Arc<Asked>>, context: &CallContext) -> Result<Self> {
        let mut tensors: Vec<&str> = vec![];
        for inner in asked.iter().flat_map(|asked| asked.pipeline.model.inner()) {
            if !tensors.contains(&inner.tensor.as_str()) {
                tensors.push(&inner.tensor);
            }
        }
        let inside = |asked: &&Arc<Asked>| asked.pipeline.model.inner().len();
        let Some(most) = asked.iter().max_by_key(inside) else {
            return internal_err!("no calls to join");
        };
        let runner = match most.pipeline.model.inner().len() == tensors.len() {
            true => Arc::clone(&most.pipeline),
            false => {
                let tensors = tensors.iter().map(ToString::to_string).collect();
                let wanted = WantedTensors::Several(tensors);
                let (name, inference) =
                    (most.pipeline.model.name(), most.pipeline.model.inference());
                let model = model::load(name, &wanted, inference, context).await;
                let runner = model.map(|model| most.pipeline.with_model(model));
                Arc::new(runner.map_err(|error| error.at_plan_time(most.function))?)
            }
        };
        let place = |asked: &Arc<Asked>| {
            let named = runner.model.output_named(asked.pipeline.output_name());
            // Own outputs have the same places, and predict reads them all.
            named.unwrap_or_else(|| asked.pipeline.output())
        };
        let places: Vec<usize> = asked.iter().map(place).collect();
        Ok(Self {
            asked: asked.into_iter().zip(places).collect(),
            runner,
        })
    }
}

#[async_trait]
impl JoinedCalls for Together {
    async fn invoke(
        &self,
        args: Vec<ScalarFunctionArgs>,
        context: &CallContext,
    ) -> Result<Vec<ArrayRef>> {
        let Some(first) = args.first() else {
            return internal_err!("no calls to evaluate");
        };
        let rows = first.number_rows;
        let function = self.asked[0].0.function;
        let images = ImageColumn::try_new(function, &first.args[1].to_array(rows)?)?;
        let ks: Vec<Option<ArrayRef>> = args
            .iter()
            .map(|args| match args.args.get(2) {
                Some(k) if k.data_type().is_integer() => k.to_array(rows).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<_>>()?;
        let progress = context.progress.rows(function);
        progress.add_total(rows as u64);
        let (runner, asked) = (Arc::clone(&self.runner), self.asked.clone());
        let answers = map_rows(rows, context, move |row, _| {
            let outputs = outcome(|| match images.get(row) {
                Some(image) => runner.run_image(&image).map(Some),
                None => Ok(None),
            });
            let outputs = outputs.as_ref().map(|outputs| match outputs {
                Ok(outputs) => Ok(outputs.as_slice()),
                Err(error) => Err(error),
            });
            let answers = asked.iter().zip(&ks).map(|((asked, place), ks)| {
                let k = match asked.reading {
                    Reading::Classes { .. } => k_at(ks.as_ref(), row),
                    _ => Ok(None),
                };
                match k {
                    Ok(k) => asked.read(outputs, *place, k),
                    Err(error) => {
                        asked.read(outputs.map(|_| Err(&error)), *place, Some(1))
                    }
                }
            });
            let answers = answers.collect::<Result<Vec<_>>>();
            progress.advance(1);
            answers
        })
        .await?;
        let mut columns: Vec<Vec<Answer>> = self
            .asked
            .iter()
            .map(|_| Vec::with_capacity(rows))
            .collect();
        for row in answers {
            for (column, answer) in columns.iter_mut().zip(row) {
                column.push(answer);
            }
        }
        let columns = self.asked.iter().zip(columns);
        let columns = columns.map(|((asked, _), answers)| asked.column(answers));
        columns.collect()
    }
}
