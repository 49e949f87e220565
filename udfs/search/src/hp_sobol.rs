//! `hp_sobol`: numbers between two bounds that spread evenly over trials.

use std::sync::LazyLock;

use atoll_search::Domain;
use datafusion::logical_expr::Documentation;

use crate::numbers::{Between, LOW_AND_HIGH, Numbers, documented};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    documented(
        "Gives trial after trial a number from `low` up to `high` of a scrambled Sobol \
         sequence: random to look at, and each stretch of 2^k trials that begins at a \
         multiple of 2^k has one value in each 2^k-th of the range. It repeats after \
         65,536 trials.",
        "hp_sobol(seed, trial, name, low, high)",
        [
            ("low", "Smallest value."),
            ("high", "Upper bound, above `low`."),
        ],
        "SELECT trial, hp_sobol(42, trial, 'dropout', 0.2, 0.7) AS dropout\n\
         FROM (VALUES (0), (1), (2), (3)) AS trials(trial);",
    )
});

/// The SQL function `hp_sobol(seed, trial, name, low, high)`.
pub(crate) fn hp_sobol() -> Numbers {
    Numbers {
        name: "hp_sobol",
        kind: "uniform",
        bounds: LOW_AND_HIGH,
        domain: Between::Numbers(|low, high| {
            let (log, step) = (false, None);
            Domain::Float {
                low,
                high,
                log,
                step,
            }
        }),
        unit: |draw| draw.sobol(),
        documentation: &DOCUMENTATION,
        signature: Numbers::signature(),
    }
}
