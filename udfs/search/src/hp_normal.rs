//! `hp_normal`: normally distributed numbers.

use std::sync::LazyLock;

use atoll_search::Domain;
use datafusion::logical_expr::Documentation;

use crate::numbers::{Between, Numbers, documented};
use crate::sampler::Kind;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    documented(
        "Draws a number of the normal distribution with a mean and a standard deviation, \
         within five of those around the mean.",
        "hp_normal(seed, trial, name, mean, deviation)",
        [
            ("mean", "The mean."),
            ("deviation", "The standard deviation, greater than 0."),
        ],
        "SELECT trial, hp_normal(42, trial, 'log_rate', -2, 0.5) AS log_rate\n\
         FROM (VALUES (1), (2), (3)) AS trials(trial);",
    )
});

/// The SQL function `hp_normal(seed, trial, name, mean, deviation)`.
pub(crate) fn hp_normal() -> Numbers {
    Numbers {
        name: "hp_normal",
        kind: "normal",
        bounds: [("mean", Kind::Number), ("deviation", Kind::Number)],
        domain: Between::Numbers(|mean, deviation| Domain::Normal { mean, deviation }),
        unit: |draw| draw.unit(),
        documentation: &DOCUMENTATION,
        signature: Numbers::signature(),
    }
}
