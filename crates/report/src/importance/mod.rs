//! How much each hyperparameter matters.
//!
//! Functional ANOVA over a random forest: F. Hutter, H. Hoos, K. Leyton-Brown, "An
//! Efficient Approach for Assessing Hyperparameter Importance", ICML 2014. The forest
//! learns the objective from the hyperparameters; the variance of its prediction over
//! the whole domain is then shared out among single hyperparameters and pairs of them.
//!
//! The crate `fanova` takes the domain from the values that occur, so that the first and
//! the last value of a grid count half, and is NaN as soon as one tree saw no difference.
//! Studies are grids and have many equal results, hence a forest of our own.

mod forest;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use self::forest::Tree;
use crate::parameter::{Domain, Parameter};
use crate::study::{Study, Trial};

/// Trees in the forest, as in Optuna.
const TREES: usize = 64;
/// Any number; the same study shall give the same shares.
const SEED: u64 = 1;
/// More trials would take seconds and change little.
const MOST_TRIALS: usize = 500;
/// Fewer say nothing.
const FEWEST_TRIALS: usize = 4;
/// Hyperparameters whose pairs are looked at, the most important ones.
const PAIRED: usize = 6;
/// A numeric hyperparameter with no more values than this was chosen from a list, and
/// each of them counts the same.
const MOST_LEVELS: usize = 12;

/// What share of the variance comes from what.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// Single hyperparameters, the most important first.
    pub main: Vec<Share>,
    /// What pairs add beyond their parts, the most important first.
    pub pairs: Vec<Share>,
    /// How many trials the forest learned from.
    pub trials: usize,
}

/// A share of the variance.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// The hyperparameter, or two of them.
    pub name: String,
    /// Mean over the trees; all shares together are at most 1.
    pub mean: f64,
    /// Standard deviation over the trees.
    pub deviation: f64,
}

/// Shares out the variance of the objective; the error is why that cannot be done.
pub fn importance(study: &Study) -> Result<Importance, String> {
    let objective = study.objective();
    let parameters = Parameter::measured(study);
    if parameters.is_empty() {
        return Err("no hyperparameter differs among the trials".to_string());
    }
    let measured: Vec<(&Trial, f64)> = study
        .trials
        .iter()
        .filter_map(|trial| Some((trial, objective.of_trial(trial)?)))
        .collect();
    let step = measured.len().div_ceil(MOST_TRIALS).max(1);
    let measured: Vec<(&Trial, f64)> = measured.into_iter().step_by(step).collect();
    if measured.len() < FEWEST_TRIALS {
        return Err(format!(
            "it takes at least {FEWEST_TRIALS} trials with a result, and there are {}",
            measured.len()
        ));
    }
    let target: Vec<f64> = measured.iter().map(|(_, value)| *value).collect();
    if target.iter().all(|value| *value == target[0]) {
        return Err("all trials have the same result".to_string());
    }
    let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
    let columns: Vec<Vec<f64>> = parameters
        .iter()
        .map(|parameter| encode(parameter, &measured))
        .collect();
    Ok(share_out(&names, &columns, &target))
}

fn share_out(names: &[&str], columns: &[Vec<f64>], target: &[f64]) -> Importance {
    let mut rng = Pcg64::seed_from_u64(SEED);
    let trees: Vec<Tree> = (0..TREES)
        .map(|_| Tree::grow(columns, target, &mut rng))
        // A tree that saw no difference has no variance to share out.
        .filter(Tree::differs)
        .collect();
    let share = |name: String, of_tree: &dyn Fn(&Tree) -> f64| {
        let values: Vec<f64> = trees.iter().map(of_tree).collect();
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2));
        Share {
            name,
            // Rounding leaves a pair that adds nothing a hair below zero.
            mean: mean.max(0.0),
            deviation: (squares.sum::<f64>() / count).sqrt(),
        }
    };
    let mut main: Vec<(usize, Share)> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            (index, share((*name).to_string(), &|tree| tree.main(index)))
        })
        .collect();
    main.sort_by(|(_, a), (_, b)| b.mean.total_cmp(&a.mean));
    let mut first: Vec<usize> =
        main.iter().take(PAIRED).map(|(index, _)| *index).collect();
    first.sort_unstable();
    let mut pairs = Vec::new();
    for (n, &one) in first.iter().enumerate() {
        for &other in &first[n + 1..] {
            let name = format!("{} × {}", names[one], names[other]);
            pairs.push(share(name, &|tree| {
                tree.joint(one, other) - tree.main(one) - tree.main(other)
            }));
        }
    }
    pairs.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    Importance {
        main: main.into_iter().map(|(_, share)| share).collect(),
        pairs,
        trials: target.len(),
    }
}

/// A column for the forest, from 0 to 1. The variance is taken over the whole domain as
/// if every part of it were equally likely, so the scale is the one on which values were
/// chosen; values from a list have parts of the same width.
fn encode(parameter: &Parameter, trials: &[(&Trial, f64)]) -> Vec<f64> {
    let place = |trial: &Trial| {
        let value = trial.values.get(parameter.index);
        value.and_then(|value| parameter.place(value))
    };
    let places: Vec<Option<f64>> = trials.iter().map(|(trial, _)| place(trial)).collect();
    if let Domain::Numbers { log, distinct, .. } = parameter.domain
        && distinct > MOST_LEVELS
        && places.iter().all(Option::is_some)
    {
        let scaled = places.into_iter().flatten();
        let scaled = scaled.map(|value| if log { value.ln() } else { value });
        return unit(&scaled.collect::<Vec<f64>>());
    }
    let mut levels = places.clone();
    levels.sort_by(|a, b| match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    levels.dedup();
    let rank = |place: &Option<f64>| levels.iter().position(|level| level == place);
    let middle = |rank: usize| (rank as f64 + 0.5) / levels.len() as f64;
    places
        .iter()
        .map(|place| middle(rank(place).unwrap_or_default()))
        .collect()
}

/// Stretches values to the range from 0 to 1.
fn unit(values: &[f64]) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match high > low {
        true => values
            .iter()
            .map(|value| (value - low) / (high - low))
            .collect(),
        false => vec![0.5; values.len()],
    }
}
