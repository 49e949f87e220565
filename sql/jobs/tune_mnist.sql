-- Tune networks on MNIST: learning rates by sizes of the hidden layer. Validation chooses
-- the best, the test set judges it once, next to a network with default hyperparameters.
-- Run:     atoll run sql/jobs/tune_mnist.sql --set data=mnist --set output=out/mnist
-- Sparse:  ... --set rates=5 --set 'sizes=[128, 512]' --set epochs=12
-- Deeper:  ... --set network=vgg --set rates=2 --set 'sizes=[256]' --set epochs=12
-- Best:    ... --set network=deep --set slowest=0.03 --set rates=1
--              --set 'sizes=[256]' --set epochs=28
--              --set 'augmentation={shift: 2, rotate: 10, scale: 0.1}'
-- Reads:   ${data}, the folder of MNIST's own four files
-- Writes:  ${output}/trials.parquet, one row per trial with its curve and its model
--          ${output}/best.parquet, the best network and the default one on the test set
-- Parameter: data path = tests/data/idx -- the folder of MNIST's own four files
-- Parameter: network choice(lenet, vgg, deep) = lenet -- the layers before the hidden one
-- Parameter: slowest number = 0.01 -- the smallest learning rate
-- Parameter: fastest number = 0.1 -- the largest learning rate
-- Parameter: rates integer = 10 -- how many learning rates, evenly spaced in their logarithm
-- Parameter: sizes list = [64, 128, 256, 512, 1024] -- units of the hidden layer
-- Parameter: epochs integer = 20 -- passes over the training images
-- Parameter: augmentation struct = NULL -- random changes of training images, as train takes them
-- Parameter: seed integer = 1 -- of the weights, the order and the dropout
-- Parameter: output path = out/mnist -- the folder to write to
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

-- The layers before the hidden one. `lenet` is the network of the article with batch norm.
CREATE OR REPLACE VIEW networks AS
SELECT network, layers
FROM (VALUES
    (
        'lenet',
        'conv(32, 5), batch_norm, relu, max_pool(2), '
        || 'conv(64, 5), batch_norm, relu, max_pool(2)'
    ),
    (
        'vgg',
        'conv(32, 3), batch_norm, relu, conv(32, 3), batch_norm, relu, max_pool(2), '
        || 'dropout(0.2), '
        || 'conv(64, 3), batch_norm, relu, conv(64, 3), batch_norm, relu, max_pool(2), '
        || 'dropout(0.2)'
    ),
    (
        'deep',
        'conv(32, 3), batch_norm, relu, conv(32, 3), batch_norm, relu, max_pool(2), '
        || 'dropout(0.2), '
        || 'conv(64, 3), batch_norm, relu, conv(64, 3), batch_norm, relu, max_pool(2), '
        || 'dropout(0.2), '
        || 'conv(128, 3), batch_norm, relu, conv(128, 3), batch_norm, relu, max_pool(2), '
        || 'dropout(0.2)'
    )
) AS networks(network, layers);

-- A killed run goes on where it stopped: finished trials are looked up, not trained.
CREATE OR REPLACE TABLE mnist_trials AS
WITH search_space AS (
    SELECT
        network,
        learning_rate,
        hidden,
        layers || ', dense(' || hidden || '), relu, dropout(0.5), dense(10)' AS architecture
    FROM networks
    CROSS JOIN (
        SELECT unnest(logspace(${slowest}, ${fastest}, ${rates})) AS learning_rate
    ) AS learning_rates
    CROSS JOIN (SELECT unnest(${sizes}) AS hidden) AS sizes
    WHERE network = '${network}'
),
trials AS (
    SELECT
        *,
        train('mnist_train', {
            architecture: architecture,
            learning_rate: learning_rate,
            momentum: 0.9,
            weight_decay: 0.0005,
            schedule: 'cosine',
            label_smoothing: 0.1,
            ema_decay: 0.999,
            augmentation: ${augmentation},
            batch_size: 64,
            epochs: ${epochs},
            seed: ${seed}
        }) AS trial
    FROM search_space
)
SELECT
    network,
    learning_rate,
    hidden,
    trial['status'] AS status,
    trial['validation_accuracy'] AS validation_accuracy,
    trial['validation_loss'] AS validation_loss,
    trial['best_epoch'] AS best_epoch,
    trial['started_at'] AS started_at,
    trial['worker'] AS worker,
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

-- Without a network there is nothing to judge. The trials are written, and say why.
SELECT count(*) AS trials, count(model) AS networks
FROM mnist_trials
HAVING assert(
    count(model) > 0,
    concat('none of ', count(*), ' trials succeeded, such as: ', min(error))
);

-- Two networks meet the test set: the best, and one that nobody tuned.
CREATE OR REPLACE TABLE mnist_untuned AS
SELECT train('mnist_train', {seed: ${seed}}) AS trial;

SELECT trial['status'] AS untuned
FROM mnist_untuned
WHERE assert(trial['model'] IS NOT NULL, concat('untuned: ', trial['error']));

CREATE OR REPLACE TABLE mnist_best AS
WITH best AS (
    SELECT 'tuned' AS chosen_by, learning_rate, hidden, validation_accuracy, model
    FROM mnist_trials
    WHERE status = 'SUCCEEDED'
    ORDER BY validation_accuracy DESC, validation_loss, trial_id
    LIMIT 1
),
chosen AS (
    SELECT chosen_by, learning_rate, hidden, validation_accuracy, model
    FROM best
    UNION ALL
    SELECT 'default', NULL, NULL, trial['validation_accuracy'], trial['model']
    FROM mnist_untuned
)
SELECT *, evaluate(model, 'mnist_test') AS test
FROM chosen;

COPY (SELECT * FROM mnist_best)
TO '${output}/best.parquet' STORED AS PARQUET;

SELECT
    chosen_by,
    learning_rate,
    hidden,
    validation_accuracy,
    test['rows'] AS test_rows,
    test['accuracy'] AS test_accuracy,
    test['accuracy_low'] AS accuracy_low,
    test['accuracy_high'] AS accuracy_high,
    model
FROM mnist_best
ORDER BY chosen_by;
