//! A study under way: its trainings run as soon as the virtual clock lets them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atoll_search::{Job, Outcome, Point, Step, Study, TrialEnd};
use atoll_udf_common::{CallContext, Price};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringArray, StructArray,
};
use datafusion::arrow::datatypes::Float64Type;
use datafusion::common::runtime::JoinSet;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use serde_json::{Map, Value};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until};

use super::cut::{self, Cut};
use super::earlier;
use super::live::Live;
use super::options::Objective;
use super::template::{Template, batch};
use super::{OBJECTIVES, RESULT, RUNG, Search, TRIAL};

/// The status of a trial that a pruner ended.
const PRUNED: &str = "PRUNED";

/// Why a trial ended of which a pruner had not decided yet.
const UNDECIDED: &str =
    "the budget of the study was over before it was decided whether this trial goes on";

/// Runs a study and sends a row for each trial when it is known how it ends; `earlier`
/// gives the rows that it starts from.
pub(super) async fn run(
    search: Arc<Search>,
    earlier: Option<Arc<dyn ExecutionPlan>>,
    template: Arc<Template>,
    context: Arc<TaskContext>,
    rows: Sender<Result<RecordBatch>>,
) -> Result<()> {
    let calls = CallContext::of(context.session_config());
    let price = template.price(&search.dataset, &calls).await?;
    let (seen, left_out) = match earlier {
        None => (vec![], 0),
        Some(rows) => {
            let cost = |point: &Point| whole_cost(&search, price.as_ref(), point);
            earlier::read(rows, &search, &cost, Arc::clone(&context)).await?
        }
    };
    if left_out > 0 {
        calls.warnings.add(format!(
            "tune: {left_out} rows of {} have values outside of the space and were left out",
            search.options.start.as_deref().unwrap_or_default()
        ));
    }
    let study = Study::new(search.tree.space.clone(), search.options.study, seen)
        .map_err(|error| exec_datafusion_err!("tune: {error}"))?;
    let deadline = search.options.budget_seconds.map(|seconds| {
        let seconds = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let now = Instant::now();
        now.checked_add(seconds)
            .unwrap_or(now + Duration::from_secs(u32::MAX.into()))
    });
    let options = context.session_config().options();
    let live = Live::begin(&search, options).await;
    let mut runner = Runner {
        search,
        template,
        live,
        context: Arc::clone(&context),
        study,
        price,
        jobs: BTreeMap::new(),
        results: BTreeMap::new(),
        objectives: BTreeMap::new(),
        trainings: 0,
        is_cut: false,
        checkpoints: BTreeMap::new(),
        tally: Tally::default(),
    };
    let ended = runner.run(deadline, &calls, &rows).await;
    runner.live.end(ended.is_ok()).await;
    ended
}

/// What is known of a study while it runs.
struct Runner {
    search: Arc<Search>,
    template: Arc<Template>,
    /// What others see of it.
    live: Live,
    context: Arc<TaskContext>,
    study: Study,
    price: Option<Price>,
    /// Jobs that have started and whose trials have not ended.
    jobs: BTreeMap<u64, Job>,
    /// What they came to.
    results: BTreeMap<u64, StructArray>,
    /// The values of trials with several objectives, by their jobs.
    objectives: BTreeMap<u64, Vec<f64>>,
    /// How many jobs have started.
    trainings: u64,
    /// Whether a budget was over.
    is_cut: bool,
    /// The latest checkpoint of each trial that may go on.
    checkpoints: BTreeMap<u64, String>,
    tally: Tally,
}

/// How trials ended.
#[derive(Default)]
struct Tally {
    trials: u64,
    infeasible: u64,
    first_error: Option<String>,
}

type Ended = (u64, Result<StructArray>);

impl Runner {
    async fn run(
        &mut self,
        deadline: Option<Instant>,
        calls: &CallContext,
        rows: &Sender<Result<RecordBatch>>,
    ) -> Result<()> {
        let mut running: JoinSet<Ended> = JoinSet::new();
        let mut is_late = false;
        loop {
            let step = {
                let (search, price) = (&self.search, &self.price);
                self.study
                    .next(&mut |point| cost(search, price.as_ref(), point))
            };
            match step {
                Step::Start(job) => {
                    self.start(job, &mut running);
                    if self.search.options.trainings == Some(self.trainings) {
                        self.cut();
                    }
                    continue;
                }
                Step::Done => break,
                Step::Wait => {}
            }
            let deadline = deadline.filter(|_| !self.is_cut);
            let over = async move {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let is_asked = self.live.takes_stop();
            self.live.show(running.len(), self.trainings).await;
            if is_asked {
                self.cut();
                continue;
            }
            let ended = tokio::select! {
                ended = running.join_next() => ended,
                () = self.live.pause() => continue,
                () = over => {
                    is_late = true;
                    self.cut();
                    continue;
                }
            };
            let Some(ended) = ended else {
                return exec_err!("tune: a training was lost");
            };
            let (job, result) =
                ended.map_err(|error| DataFusionError::External(Box::new(error)))?;
            self.enter(job, result?)?;
            if !self.send(rows).await? {
                return Ok(());
            }
        }
        self.send(rows).await?;
        self.conclude()?;
        if self.live.is_stopped() {
            let trials = self.tally.trials;
            calls.warnings.add(format!(
                "tune: the study was stopped after {trials} trials; the same statement finds \
                 them and goes on"
            ));
        }
        match is_late {
            true => self.say_cut(calls).await,
            false => Ok(()),
        }
    }

    /// Starts nothing any more.
    fn cut(&mut self) {
        self.is_cut = true;
        self.study.stop();
    }

    fn start(&mut self, job: Job, running: &mut JoinSet<Ended>) {
        let row = self.hyperparameters(&job.point);
        let checkpoint = self.checkpoints.remove(&job.trial);
        let (template, context) = (Arc::clone(&self.template), Arc::clone(&self.context));
        self.jobs.insert(job.id, job.clone());
        self.trainings += 1;
        running.spawn(async move {
            let result = template.run(&job, row, checkpoint, context).await;
            (job.id, result)
        });
    }

    fn hyperparameters(&self, point: &Point) -> Map<String, Value> {
        let mut all = self.search.tree.resolve(point);
        let varying = &self.search.tree.varying;
        all.retain(|name, _| varying.iter().any(|(other, _)| other == name));
        all
    }

    /// Notes what a training came to.
    fn enter(&mut self, id: u64, result: StructArray) -> Result<()> {
        let Some(job) = self.jobs.get(&id) else {
            return exec_err!("tune: a training that was not started ended");
        };
        let text = |name: &str| text(&result, name);
        let objectives = &self.search.options.objectives;
        let price = objectives
            .contains(&Objective::Cost)
            .then(|| whole_cost(&self.search, self.price.as_ref(), &job.point));
        let found = |name: &str| number(&result, name);
        let values = values_of(objectives, &found, price);
        let outcome = match (text("status").as_deref(), values) {
            (Some("SUCCEEDED"), Some(values)) => Outcome::Values(values),
            _ => Outcome::Failed,
        };
        if let Outcome::Values(values) = &outcome
            && values.len() > 1
        {
            self.objectives.insert(id, values.clone());
        }
        if !job.is_last
            && let Some(checkpoint) = text("checkpoint")
        {
            self.checkpoints.insert(job.trial, checkpoint);
        }
        self.study.tell(id, outcome);
        self.results.insert(id, result);
        Ok(())
    }

    /// Sends the rows of trials that have ended; false when nobody wants them any more.
    async fn send(&mut self, rows: &Sender<Result<RecordBatch>>) -> Result<bool> {
        for end in self.study.ended() {
            let row = self.row(&end)?;
            self.live.add(row.clone());
            if rows.send(Ok(row)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn row(&mut self, end: &TrialEnd) -> Result<RecordBatch> {
        let trial = end.trial;
        self.checkpoints.remove(&trial);
        let (Some(job), Some(result)) =
            (self.jobs.remove(&end.job), self.results.remove(&end.job))
        else {
            return exec_err!("tune: trial {trial} ended without a training");
        };
        // What came of its rungs before is in the trial store, and not needed here.
        let of_trial = self.jobs.iter().filter(|(_, job)| job.trial == trial);
        let passed: Vec<u64> = of_trial.map(|(id, _)| *id).collect();
        for id in passed {
            self.jobs.remove(&id);
            self.results.remove(&id);
        }
        self.tally.enter(&result);
        let result = match (end.is_pruned, end.is_decided) {
            (true, true) => pruned(&result, None)?,
            (true, false) => pruned(&result, Some(UNDECIDED))?,
            (false, _) => result,
        };
        let schema = &self.search.schema;
        let mut row = self.hyperparameters(&job.point);
        row.insert(TRIAL.to_string(), trial.into());
        row.insert(RUNG.to_string(), end.rung.into());
        if let Some(values) = self.objectives.remove(&end.job) {
            let names = self.search.options.objectives.iter().map(|o| o.name());
            let named = names
                .map(str::to_string)
                .zip(values.into_iter().map(Value::from));
            row.insert(OBJECTIVES.to_string(), Value::Object(named.collect()));
        }
        let last = schema.fields().len() - 1;
        let known = Arc::new(schema.project(&(0..last).collect::<Vec<_>>())?);
        let mut columns = batch(&known, &[row])?.columns().to_vec();
        columns.push(Arc::new(result));
        debug_assert_eq!(schema.field(last).name(), RESULT);
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// A study of which nothing can be trained is a mistake of its space.
    fn conclude(&self) -> Result<()> {
        let Tally {
            trials,
            infeasible,
            first_error,
        } = &self.tally;
        if *trials > 0 && trials == infeasible {
            let reason = first_error.as_deref().unwrap_or("no reason is known");
            return exec_err!(
                "tune: all {trials} trials are INFEASIBLE; the first one because {reason}"
            );
        }
        Ok(())
    }

    /// Says where a budget of seconds cut the study, and keeps that.
    async fn say_cut(&mut self, calls: &CallContext) -> Result<()> {
        let (trials, trainings) = (self.tally.trials, self.trainings);
        let seconds = self.search.options.budget_seconds.unwrap_or_default();
        calls.warnings.add(format!(
            "tune: budget_seconds, which is {seconds}, was over after {trials} trials; the \
             same statement finds them and goes on, and with {{trainings: {trainings}}} in \
             its place it gives these rows anywhere"
        ));
        let cut = Cut {
            trainings,
            trials,
            budget_seconds: seconds,
            at: cut::now(),
        };
        let options = self.context.session_config().options();
        cut::keep(&self.search.id, self.search.describe(), cut, options).await
    }
}

impl Tally {
    fn enter(&mut self, result: &StructArray) {
        self.trials += 1;
        if text(result, "status").as_deref() == Some("INFEASIBLE") {
            self.infeasible += 1;
            if self.first_error.is_none() {
                self.first_error = text(result, "error");
            }
        }
    }
}

/// What a unit of a point's budget costs.
fn cost(search: &Search, price: Option<&Price>, point: &Point) -> f64 {
    let all = search.tree.resolve(point);
    let epoch = price.map_or(1.0, |price| price(&all));
    match search.epochs {
        Some(_) => epoch,
        // The budget is a whole trial.
        None => epoch * all.get("epochs").and_then(Value::as_f64).unwrap_or(1.0),
    }
}

/// What a whole trial costs.
fn whole_cost(search: &Search, price: Option<&Price>, point: &Point) -> f64 {
    f64::from(search.options.study.budget) * cost(search, price, point)
}

/// The values of a trial that a study makes small.
pub(super) fn values_of(
    objectives: &[Objective],
    found: &dyn Fn(&str) -> Option<f64>,
    cost: Option<f64>,
) -> Option<Vec<f64>> {
    let (accuracy, loss) = (found("validation_accuracy"), found("validation_loss"));
    let values = objectives.iter().map(|objective| match objective {
        Objective::Error => accuracy.map(|accuracy| 1.0 - accuracy).or(loss),
        Objective::Loss => loss,
        Objective::Score => found("validation_score").map(|score| -score),
        Objective::Cost => cost,
    });
    values.collect()
}

fn text(result: &StructArray, name: &str) -> Option<String> {
    let column = result.column_by_name(name)?.as_string_opt::<i32>()?;
    column.is_valid(0).then(|| column.value(0).to_string())
}

fn number(result: &StructArray, name: &str) -> Option<f64> {
    let column = result
        .column_by_name(name)?
        .as_primitive_opt::<Float64Type>()?;
    column.is_valid(0).then(|| column.value(0))
}

/// The result of a trial that a pruner ended, or that waited for it.
fn pruned(result: &StructArray, error: Option<&str>) -> Result<StructArray> {
    if text(result, "status").as_deref() != Some("SUCCEEDED") {
        return Ok(result.clone());
    }
    let (fields, mut columns, nulls) = result.clone().into_parts();
    for (name, text) in [("status", Some(PRUNED)), ("error", error)] {
        if let (Some((place, _)), Some(text)) = (fields.find(name), text) {
            let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
            columns[place] = text;
        }
    }
    Ok(StructArray::try_new(fields, columns, nulls)?)
}
