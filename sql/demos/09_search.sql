-- Search for hyperparameters with a sampler that learns and a pruner that stops bad trials.
-- Run: atoll run sql/demos/09_search.sql
-- Parameter: epochs integer = 9 -- passes over the training images of a whole trial
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM 'sql/data/digits.parquet';

CREATE OR REPLACE TABLE study AS
SELECT *
FROM tune('digits', {
    architecture: 'mlp',
    learning_rate: hp_loguniform(0.001, 0.5),
    hidden: hp_logint(8, 64),
    optimizer: hp_choice([
        {optimizer: 'sgd', momentum: hp_uniform(0.5, 0.99)},
        {optimizer: 'adam'}
    ]),
    epochs: ${epochs}
}, {trials: 27, sampler: 'tpe', pruner: 'hyperband', parallel: 4, seed: 1});

-- Most trials were stopped early; the others went on to the end.
SELECT t['status'] AS status, t['epochs'] AS epochs, count(*) AS trials
FROM study
GROUP BY status, epochs
ORDER BY epochs, status;

SELECT
    trial,
    round(learning_rate, 4) AS learning_rate,
    hidden,
    optimizer,
    round(t['validation_accuracy'], 4) AS validation_accuracy
FROM study
WHERE t['status'] = 'SUCCEEDED'
ORDER BY t['validation_loss'], trial
LIMIT 3;

-- A study without a pruner keeps all curves, over which others can be replayed: what would
-- successive halving with eta = 3 have cost, and what would it have found?
CREATE OR REPLACE TABLE whole AS
SELECT trial, t['history'] AS history, t['epochs'] AS epochs
FROM tune('digits', {
    architecture: 'mlp',
    learning_rate: hp_loguniform(0.001, 0.5),
    hidden: 16,
    epochs: ${epochs}
}, {trials: 18, sampler: 'sobol'});

WITH losses AS (
    SELECT trial, epochs, point['epoch'] AS epoch, point['validation_loss'] AS loss
    FROM (SELECT trial, epochs, unnest(history) AS point FROM whole)
),
first_rung AS (
    SELECT trial
    FROM losses
    WHERE epoch = 1
    ORDER BY loss, trial
    LIMIT 6
),
second_rung AS (
    SELECT trial
    FROM losses
    WHERE epoch = least(3, epochs) AND trial IN (SELECT trial FROM first_rung)
    ORDER BY loss, trial
    LIMIT 2
),
marked AS (
    SELECT
        losses.*,
        first_rung.trial IS NOT NULL AS is_in_first,
        second_rung.trial IS NOT NULL AS is_in_second
    FROM losses
    LEFT JOIN first_rung ON losses.trial = first_rung.trial
    LEFT JOIN second_rung ON losses.trial = second_rung.trial
)
SELECT
    count(*) AS epochs_without,
    count(*) FILTER (WHERE epoch = 1 OR (epoch <= 3 AND is_in_first) OR is_in_second)
        AS epochs_with_halving,
    round(min(loss), 3) AS best_without,
    round(min(loss) FILTER (WHERE is_in_second), 3) AS best_with_halving
FROM marked;
