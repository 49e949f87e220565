//! How much each hyperparameter matters.
//!
//! Functional ANOVA over a random forest: F. Hutter, H. Hoos, K. Leyton-Brown, "An
//! Efficient Approach for Assessing Hyperparameter Importance", ICML 2014. The forest
//! learns the objective from the hyperparameters; the variance of its prediction over
//! the whole domain is then shared out among single hyperparameters and pairs of them.

use std::num::NonZeroUsize;

use fanova::{FanovaOptions, RandomForestOptions};

use crate::parameter::{Domain, Parameter};
use crate::study::{Study, Trial};

/// Trees in the forest, as in Optuna.
const TREES: u64 = 64;
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
    let parameters = Parameter::varying(study);
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

/// One tree after the other, because a tree that saw no difference has no shares and
/// must not count; the crate would make the mean NaN.
fn share_out(names: &[&str], columns: &[Vec<f64>], target: &[f64]) -> Importance {
    let features = || columns.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let all = NonZeroUsize::new(columns.len()).unwrap_or(NonZeroUsize::MIN);
    let mut trees: Vec<_> = (0..TREES)
        .filter_map(|seed| {
            let forest = RandomForestOptions::new()
                .seed(seed)
                .trees(NonZeroUsize::MIN)
                .max_features(all);
            let options = FanovaOptions::new().random_forest(forest);
            // It refuses empty columns and numbers that are not finite; neither is here.
            options.fit(features(), target).ok()
        })
        .collect();
    let mut share = |features: &[usize]| {
        let values: Vec<f64> = trees
            .iter_mut()
            .map(|tree| tree.quantify_importance(features).mean)
            .filter(|value| value.is_finite())
            .collect();
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>();
        let parts: Vec<&str> = features.iter().map(|&index| names[index]).collect();
        Share {
            name: parts.join(" × "),
            // Rounding leaves a pair that adds nothing a hair below zero.
            mean: mean.max(0.0),
            deviation: (variance / count).sqrt(),
        }
    };
    let mut main: Vec<(usize, Share)> = (0..columns.len())
        .map(|index| (index, share(&[index])))
        .collect();
    main.sort_by(|(_, a), (_, b)| b.mean.total_cmp(&a.mean));
    let mut first: Vec<usize> =
        main.iter().take(PAIRED).map(|(index, _)| *index).collect();
    first.sort_unstable();
    let mut pairs = Vec::new();
    for (n, &one) in first.iter().enumerate() {
        for &other in &first[n + 1..] {
            pairs.push(share(&[one, other]));
        }
    }
    pairs.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    Importance {
        main: main.into_iter().map(|(_, share)| share).collect(),
        pairs,
        trials: target.len(),
    }
}

/// A column for the forest. The variance is taken over the column's range as if every
/// part of it were equally likely, so the scale is the one on which values were chosen;
/// values from a list count by their rank.
fn encode(parameter: &Parameter, trials: &[(&Trial, f64)]) -> Vec<f64> {
    let place = |trial: &Trial| {
        let value = trial.values.get(parameter.index);
        value.and_then(|value| parameter.place(value))
    };
    let places: Vec<Option<f64>> = trials.iter().map(|(trial, _)| place(trial)).collect();
    let scaled: Vec<Option<f64>> = match parameter.domain {
        Domain::Numbers { log, distinct, .. } if distinct > MOST_LEVELS => places
            .iter()
            .map(|place| place.map(|value| if log { value.ln() } else { value }))
            .collect(),
        Domain::Numbers { .. } | Domain::Categories(_) => {
            let mut levels: Vec<f64> = places.iter().flatten().copied().collect();
            levels.sort_by(f64::total_cmp);
            levels.dedup();
            let rank = |value| levels.iter().position(|level| *level == value);
            let rank = |place: Option<f64>| place.and_then(rank).map(|rank| rank as f64);
            places.into_iter().map(rank).collect()
        }
    };
    let known = scaled.iter().copied().flatten();
    let low = known.fold(f64::INFINITY, f64::min);
    // A missing value lies apart from the others, where one split can reach it.
    let apart = if low.is_finite() { low - 1.0 } else { 0.0 };
    scaled
        .into_iter()
        .map(|value| value.unwrap_or(apart))
        .collect()
}
