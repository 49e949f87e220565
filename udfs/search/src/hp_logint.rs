//! `hp_logint`: a whole number whose decades are equally likely.

use std::sync::LazyLock;

use atoll_search::Domain;
use datafusion::logical_expr::Documentation;

use crate::numbers::{Between, Numbers, documented};
use crate::sampler::Kind;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    documented(
        "Draws a whole number from `low` to `high`, both included, every decade equally \
         likely: for sizes such as the units of a layer.",
        "hp_logint(seed, trial, name, low, high)",
        [
            ("low", "Smallest value, from 1."),
            ("high", "Largest value, above `low`."),
        ],
        "SELECT trial, hp_logint(42, trial, 'hidden', 16, 1024) AS hidden\n\
         FROM (VALUES (1), (2), (3)) AS trials(trial);",
    )
});

/// The SQL function `hp_logint(seed, trial, name, low, high)`.
pub(crate) fn hp_logint() -> Numbers {
    Numbers {
        name: "hp_logint",
        kind: "logint",
        bounds: [("low", Kind::Integer), ("high", Kind::Integer)],
        domain: Between::Integers(|low, high| {
            let (log, step) = (true, 1);
            Domain::Int {
                low,
                high,
                log,
                step,
            }
        }),
        unit: |draw| draw.unit(),
        documentation: &DOCUMENTATION,
        signature: Numbers::signature(),
    }
}
