-- Tune 50 networks on MNIST: 10 learning rates by 5 sizes of the hidden layer. Validation
-- chooses the best, the test set judges it once.
-- Run:     atoll run sql/jobs/tune_mnist.sql --set data=mnist --set output=out/mnist
-- Reads:   ${data}, the folder of MNIST's own four files
-- Writes:  ${output}/trials.parquet, one row per trial with its curve and its model
--          ${output}/best.parquet, the best network and its accuracy on the test set
-- Default: data=tests/data/idx
-- Default: epochs=20
-- Default: output=out/mnist
CREATE OR REPLACE VIEW mnist_train AS
SELECT image, label
FROM read_idx(
    '${data}/train-images-idx3-ubyte.gz',
    '${data}/train-labels-idx1-ubyte.gz'
);

CREATE OR REPLACE VIEW mnist_test AS
SELECT image, label
FROM read_idx(
    '${data}/t10k-images-idx3-ubyte.gz',
    '${data}/t10k-labels-idx1-ubyte.gz'
);

-- A killed run goes on where it stopped: finished trials are looked up, not trained.
CREATE OR REPLACE TABLE mnist_trials AS
WITH search_space AS (
    SELECT learning_rate, hidden
    FROM (SELECT unnest(logspace(0.001, 0.1, 10)) AS learning_rate) AS rates
    CROSS JOIN (SELECT unnest([64, 128, 256, 512, 1024]) AS hidden) AS sizes
),
trials AS (
    SELECT
        *,
        train('mnist_train', {
            architecture: 'lenet',
            filters: [32, 64],
            hidden: hidden,
            dropout: 0.5,
            learning_rate: learning_rate,
            momentum: 0.9,
            weight_decay: 0.0005,
            schedule: 'exponential',
            decay: 0.95,
            batch_size: 64,
            epochs: ${epochs},
            seed: 1
        }) AS trial
    FROM search_space
)
SELECT
    learning_rate,
    hidden,
    trial['status'] AS status,
    trial['validation_accuracy'] AS validation_accuracy,
    trial['validation_loss'] AS validation_loss,
    trial['best_epoch'] AS best_epoch,
    trial['seconds'] AS seconds,
    trial['model'] AS model,
    trial['history'] AS history,
    trial['error'] AS error,
    trial['trial_id'] AS trial_id
FROM trials;

COPY (SELECT * FROM mnist_trials ORDER BY validation_accuracy DESC, validation_loss)
TO '${output}/trials.parquet' STORED AS PARQUET;

SELECT learning_rate, hidden, status, validation_accuracy, validation_loss, seconds
FROM mnist_trials
ORDER BY validation_accuracy DESC, validation_loss
LIMIT 10;

CREATE OR REPLACE TABLE mnist_best AS
WITH best AS (
    SELECT learning_rate, hidden, validation_accuracy, model
    FROM mnist_trials
    WHERE status = 'SUCCEEDED'
    ORDER BY validation_accuracy DESC, validation_loss, trial_id
    LIMIT 1
)
SELECT *, evaluate(model, 'mnist_test') AS test
FROM best;

COPY (SELECT * FROM mnist_best)
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
FROM mnist_best;
