-- Tune networks on handwritten digits, then judge the best one, once, on digits that no
-- network saw.
-- Run:     atoll run sql/jobs/digits_search.sql --set output=out/digits
-- Writes:  ${output}/trials.parquet, one row per trial with its curve and its model
--          ${output}/best.parquet, the best network and its accuracy on the test split
--          the table digits_study, the trials of all runs
-- Parameter: data path = sql/data/digits.parquet -- a table or Parquet file with image, label and split
-- Parameter: trials integer = 27 -- how many networks to try
-- Parameter: epochs integer = 15 -- passes over the training images of a network that is tried to the end
-- Parameter: output path = out/digits -- the folder to write to
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM '${data}';

-- `train` leaves the rows of the test split alone and validates on a tenth of the rest.
-- Most networks are stopped after an epoch or a few; the best third of each rung goes on.
CREATE OR REPLACE TABLE digits_trials AS
SELECT
    trial,
    learning_rate,
    hidden,
    rung,
    t['status'] AS status,
    t['validation_accuracy'] AS validation_accuracy,
    t['validation_loss'] AS validation_loss,
    t['best_epoch'] AS best_epoch,
    t['started_at'] AS started_at,
    t['worker'] AS worker,
    t['seconds'] AS seconds,
    t['model'] AS model,
    t['history'] AS history,
    t['error'] AS error,
    t['trial_id'] AS trial_id
FROM tune('digits', {
    architecture: 'lenet',
    filters: [16, 32],
    hidden: hp_logint(32, 128),
    learning_rate: hp_loguniform(0.01, 0.1),
    momentum: 0.9,
    batch_size: 32,
    epochs: ${epochs},
    schedule: 'cosine',
    seed: 1
}, {trials: ${trials}, sampler: 'tpe', pruner: 'hyperband', parallel: 4, seed: 1});

-- The study keeps the trials of all nights, each once: one that was trained before, with the
-- same hyperparameters on the same data, has the same identity.
CREATE TABLE IF NOT EXISTS digits_study AS
SELECT * FROM digits_trials WHERE false;

MERGE INTO digits_study AS study
USING (SELECT * FROM digits_trials WHERE trial_id IS NOT NULL) AS t
ON study.trial_id = t.trial_id
WHEN NOT MATCHED THEN INSERT (
    learning_rate, hidden, status, validation_accuracy, validation_loss, best_epoch, started_at,
    worker, seconds, model, history, error, trial_id
)
VALUES (
    t.learning_rate, t.hidden, t.status, t.validation_accuracy, t.validation_loss, t.best_epoch,
    t.started_at, t.worker, t.seconds, t.model, t.history, t.error, t.trial_id
);

COPY (SELECT * FROM digits_trials ORDER BY validation_accuracy DESC, validation_loss, trial)
TO '${output}/trials.parquet' STORED AS PARQUET;

SELECT trial, learning_rate, hidden, status, validation_accuracy, validation_loss, seconds
FROM digits_trials
ORDER BY validation_accuracy DESC, validation_loss, trial
LIMIT 12;

-- Without a network there is nothing to judge. The trials are written, and say why.
SELECT count(*) AS trials, count(model) AS networks
FROM digits_trials
HAVING assert(
    count(*) FILTER (WHERE status = 'SUCCEEDED') > 0,
    concat('none of ', count(*), ' trials succeeded, such as: ', min(error))
);

-- Validation chooses the network; the test split only says how good the choice is.
CREATE OR REPLACE TABLE digits_best AS
WITH best AS (
    SELECT learning_rate, hidden, validation_accuracy, model
    FROM digits_trials
    WHERE status = 'SUCCEEDED'
    ORDER BY validation_accuracy DESC, validation_loss, trial_id
    LIMIT 1
)
SELECT *, evaluate(model, 'digits', {split: 'test'}) AS test
FROM best;

COPY (SELECT * FROM digits_best)
TO '${output}/best.parquet' STORED AS PARQUET;

SELECT
    learning_rate,
    hidden,
    validation_accuracy,
    test['rows'] AS test_rows,
    test['accuracy'] AS test_accuracy,
    test['accuracy_low'] AS accuracy_low,
    test['accuracy_high'] AS accuracy_high,
    model
FROM digits_best;

-- The exported file says the same when `predict` applies it row by row.
WITH predictions AS (
    SELECT label, predict(model, image)['logits'] AS logits
    FROM digits
    CROSS JOIN digits_best
    WHERE split = 'test'
)
SELECT
    count(*) AS test_rows,
    avg(CASE WHEN array_position(logits, array_max(logits)) - 1 = label THEN 1.0 ELSE 0.0 END)
        AS accuracy_by_predict
FROM predictions;
