//! The options struct of `tune`.

use atoll_search::{PrunerKind, SamplerKind, StudyOptions};
use atoll_udf_common::structs::{TRAIN_KEYS, check_keys, scalar_to_json, suggest};
use datafusion::common::{Result, ScalarValue, plan_err};
use serde_json::Value;

/// The keys that `tune` reads itself.
const OWN: [&str; 12] = [
    "trials",
    "sampler",
    "pruner",
    "parallel",
    "seed",
    "objective",
    "eta",
    "min_epochs",
    "startup",
    "start",
    "budget_seconds",
    "trainings",
];

/// Those that only say where a study ends.
pub(super) const BUDGETS: [&str; 2] = ["budget_seconds", "trainings"];

/// The keys that go on to `train`: a search resumes its trials itself.
fn of_train() -> impl Iterator<Item = &'static str> {
    TRAIN_KEYS.into_iter().filter(|key| *key != "resume_from")
}

/// All keys, for the documentation.
pub(super) fn keys() -> String {
    OWN.into_iter()
        .chain(of_train())
        .collect::<Vec<_>>()
        .join(", ")
}

/// The epochs of a trial that names none.
pub(super) const DEFAULT_EPOCHS: u32 = 10;

/// Trials of a search that names no number.
const DEFAULT_TRIALS: u64 = 50;

/// Virtual slots of a search that names no number. It decides what a study finds, so it
/// must not depend on the machine; twice the slots of four cores.
const DEFAULT_PARALLEL: usize = 8;

/// What a study makes small or large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objective {
    /// The share of validation rows that are labelled wrong, or the loss where labels are
    /// numbers.
    Error,
    /// The validation loss.
    Loss,
    /// What the trial costs, in multiplications.
    Cost,
    /// The metric that the options of `train` name, or what it takes without; the larger
    /// the better.
    Score,
}

const OBJECTIVES: [(&str, Objective); 4] = [
    ("validation_error", Objective::Error),
    ("validation_loss", Objective::Loss),
    ("cost", Objective::Cost),
    ("validation_score", Objective::Score),
];

impl Objective {
    pub(crate) fn name(self) -> &'static str {
        let found = OBJECTIVES.iter().find(|(_, objective)| *objective == self);
        found.map_or("", |(name, _)| name)
    }
}

/// The options of `tune`.
#[derive(Debug, Clone)]
pub(crate) struct TuneOptions {
    pub(crate) study: StudyOptions,
    pub(crate) objectives: Vec<Objective>,
    /// A table with the rows of an earlier study.
    pub(crate) start: Option<String>,
    /// Seconds after which no trial starts any more.
    pub(crate) budget_seconds: Option<f64>,
    /// How many trainings start at most.
    pub(crate) trainings: Option<u64>,
    /// What goes on to `train`.
    pub(crate) of_train: Vec<(String, ScalarValue)>,
}

impl TuneOptions {
    /// Reads the options, a literal struct, for trials of so many epochs; `None` where
    /// they vary.
    pub(super) fn parse(
        literal: Option<&ScalarValue>,
        epochs: Option<u32>,
    ) -> Result<Self> {
        let reader = Reader::new(literal)?;
        let sampler = match reader.text("sampler")? {
            None => SamplerKind::Tpe,
            Some(name) => named("sampler", &name, &SamplerKind::NAMES)?,
        };
        let objectives = reader.objectives()?;
        let pruner = reader.pruner()?;
        let budget = match (epochs, pruner) {
            (Some(epochs), _) => epochs,
            (None, PrunerKind::None) => 1,
            (None, _) => {
                return plan_err!(
                    "tune: pruner '{}' compares trials after so many epochs, so epochs must \
                     be a number and no domain; leave the pruner out, or give one number",
                    pruner.name()
                );
            }
        };
        let trials = match (reader.whole("trials", 1)?, sampler) {
            (Some(trials), _) => trials,
            (None, SamplerKind::Grid) => u64::MAX,
            (None, _) => DEFAULT_TRIALS,
        };
        let parallel = reader.whole("parallel", 1)?;
        let parallel = parallel.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Ok(Self {
            study: StudyOptions {
                sampler,
                pruner,
                trials,
                parallel: parallel.unwrap_or(DEFAULT_PARALLEL),
                seed: reader.seed()?,
                objectives: objectives.len(),
                budget,
            },
            objectives,
            start: reader.text("start")?,
            budget_seconds: reader.positive("budget_seconds")?,
            trainings: reader.whole("trainings", 1)?,
            of_train: reader.of_train(),
        })
    }
}

/// One of some names.
fn named<T: Copy>(key: &str, name: &str, all: &[(&'static str, T)]) -> Result<T> {
    if let Some((_, found)) = all.iter().find(|(other, _)| *other == name) {
        return Ok(*found);
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let hint = match suggest(name, names.iter().copied()) {
        Some(name) => format!("; did you mean '{name}'?"),
        None => String::new(),
    };
    plan_err!(
        "tune: option {key} must be one of {}, got '{name}'{hint}",
        names.join(", ")
    )
}

struct Reader {
    values: Vec<(String, ScalarValue)>,
}

impl Reader {
    fn new(literal: Option<&ScalarValue>) -> Result<Self> {
        let values = match literal {
            None => vec![],
            Some(value) if value.is_null() => vec![],
            Some(value @ ScalarValue::Struct(options)) => {
                let all: Vec<_> = OWN.into_iter().chain(of_train()).collect();
                check_keys("tune", "option", &value.data_type(), &all)?;
                let named = options.fields().iter().zip(options.columns());
                let values = named.map(|(field, column)| {
                    Ok((
                        field.name().clone(),
                        ScalarValue::try_from_array(column, 0)?,
                    ))
                });
                values.collect::<Result<_>>()?
            }
            Some(other) => {
                return plan_err!(
                    "tune takes its options as a struct such as {{trials: 100}}, got {other}"
                );
            }
        };
        Ok(Self { values })
    }

    fn get(&self, key: &str) -> Result<Option<Value>> {
        let found = self.values.iter().find(|(name, _)| name == key);
        let found = found.filter(|(_, value)| !value.is_null());
        found
            .map(|(name, value)| scalar_to_json(name, value))
            .transpose()
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match self.get(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => refuse(key, "text", &other),
        }
    }

    fn whole(&self, key: &str, least: u64) -> Result<Option<u64>> {
        match self.get(key)? {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|number| *number >= least) {
                Some(number) => Ok(Some(number)),
                None => refuse(key, &format!("an integer from {least}"), &value),
            },
        }
    }

    fn seed(&self) -> Result<i64> {
        match self.get("seed")? {
            None => Ok(0),
            Some(value) => match value.as_i64() {
                Some(seed) => Ok(seed),
                None => refuse("seed", "an integer", &value),
            },
        }
    }

    fn positive(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key)? {
            None => Ok(None),
            Some(value) => match value.as_f64().filter(|number| *number > 0.0) {
                Some(number) => Ok(Some(number)),
                None => refuse(key, "greater than 0", &value),
            },
        }
    }

    fn objectives(&self) -> Result<Vec<Objective>> {
        let names = match self.get("objective")? {
            // Who names a metric wants it improved.
            None if self.get("metric")?.is_some() => return Ok(vec![Objective::Score]),
            None => return Ok(vec![Objective::Error]),
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names))
                if !names.is_empty() && names.iter().all(Value::is_string) =>
            {
                let names = names.iter().filter_map(Value::as_str);
                names.map(str::to_string).collect()
            }
            Some(other) => {
                return refuse("objective", "a name or a list of names", &other);
            }
        };
        let objectives = names
            .iter()
            .map(|name| named("objective", name, &OBJECTIVES));
        let objectives: Vec<Objective> = objectives.collect::<Result<_>>()?;
        if objectives.len() > 1 && objectives.contains(&Objective::Score) {
            return plan_err!(
                "tune: objective validation_score is made large, and several objectives are \
                 all made small; take validation_error or validation_loss beside others"
            );
        }
        for (n, objective) in objectives.iter().enumerate() {
            if objectives[..n].contains(objective) {
                return plan_err!(
                    "tune: option objective has {} twice; name it once",
                    objective.name()
                );
            }
        }
        Ok(objectives)
    }

    fn pruner(&self) -> Result<PrunerKind> {
        let count = |key: &str| -> Result<Option<u32>> {
            let number = self.whole(key, 1)?;
            Ok(number.map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
        };
        let name = self.text("pruner")?.unwrap_or_else(|| "none".to_string());
        let all = PrunerKind::NAMES.map(|name| (name, name));
        let name = named("pruner", &name, &all)?;
        let least = count("min_epochs")?.unwrap_or(1);
        let eta = count("eta")?.unwrap_or(3);
        let needs = |key: &str, pruners: &str| -> Result<()> {
            match self.get(key)? {
                None => Ok(()),
                Some(_) => plan_err!(
                    "tune: option {key} is for {pruners}, and the pruner is '{name}'; leave \
                     it out"
                ),
            }
        };
        Ok(match name {
            "none" => {
                needs("min_epochs", "pruners")?;
                needs("eta", "the pruners 'halving' and 'hyperband'")?;
                needs("startup", "the pruner 'median'")?;
                PrunerKind::None
            }
            "median" => {
                needs("eta", "the pruners 'halving' and 'hyperband'")?;
                let startup = self.whole("startup", 1)?.unwrap_or(5);
                let startup = usize::try_from(startup).unwrap_or(usize::MAX);
                PrunerKind::Median { startup, least }
            }
            name => {
                needs("startup", "the pruner 'median'")?;
                match name {
                    "halving" => PrunerKind::Halving { eta, least },
                    _ => PrunerKind::Hyperband { eta, least },
                }
            }
        })
    }

    fn of_train(self) -> Vec<(String, ScalarValue)> {
        let all = self.values.into_iter();
        all.filter(|(name, _)| of_train().any(|key| key == name))
            .collect()
    }
}

fn refuse<T>(key: &str, expected: &str, actual: &Value) -> Result<T> {
    plan_err!("tune: option {key} must be {expected}, got {actual}")
}
