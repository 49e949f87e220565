//! What the reference says of `tune`.

use datafusion::logical_expr::Documentation;

use super::options::keys;

pub(crate) fn documentation() -> Documentation {
    Documentation::builder(
        crate::SECTION,
        "Searches for hyperparameters and returns a row for each trial: `trial` (its number), \
         a column for each hyperparameter that varies, `rung` (how often it went on) and `t`, \
         what `train` returned. A trial that a pruner stopped has the status `PRUNED`.\n\n\
         The space is a struct like the hyperparameters of `train`, in which domains stand \
         for what is searched: `hp_uniform(low, high)`, `hp_loguniform`, `hp_int`, \
         `hp_logint`, `hp_normal` and `hp_choice([..])`. Structs in a choice bring \
         hyperparameters of their own, which other choices do not have.\n\n\
         The rows are the same on any machine with the same CPU level and any number of \
         cores or executors: which results a decision may look at is decided by known costs \
         and never by time. Trials and rungs are kept in the trial store, so that a stopped \
         statement resumes, and more trials or another pruner train only what is new.",
        "tune(dataset, space [, options])",
    )
    .with_argument(
        "dataset",
        "Name of a table or view, or a file or folder, as for `train`.",
    )
    .with_argument(
        "space",
        "Struct of hyperparameters of `train`, some of them domains.",
    )
    .with_argument(
        "options",
        format!(
            "Struct with any of {}. `trials` is 50 by default (with the sampler 'grid' all); \
             `sampler` 'tpe' (default), 'random', 'sobol', 'grid', 'gp' or 'cma_es'; `pruner` \
             'none' (default), 'median' (with `startup`, 5 trials), 'halving' or 'hyperband' \
             (with `eta`, 3), none of which judges before `min_epochs` (1); `parallel` how \
             many trials may be under way when one is proposed (8; twice the cores or slots \
             keeps them busy; it changes what is found, the number of cores does not); \
             `seed` (0); `objective` 'validation_error' (default; the loss where labels are \
             numbers), 'validation_loss' or 'cost' (multiplications), or a list of them for a \
             Pareto front, whose values are then in a struct `objectives`; or \
             'validation_score', which is made large and the default where `metric` is given; `start` a table \
             with an earlier study to learn from; `budget_seconds` after which no training \
             starts, and `trainings` (of trials or rungs) after which none does. The others \
             are those of `train`.",
            keys()
        ),
    )
    .with_sql_example(
        "SELECT trial, learning_rate, t.status, t.epochs\n\
         FROM tune('sql/data/digits.parquet', {\n\
         \x20   architecture: 'mlp', learning_rate: hp_loguniform(0.01, 1), epochs: 2\n\
         }, {trials: 3})\n\
         ORDER BY trial;",
    )
    .with_related_udf("train")
    .build()
}
