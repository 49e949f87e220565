-- Tune networks on MNIST: the learning rate, and the size of the hidden layer. Validation
-- chooses the best, the test set judges it once, next to a network with default
-- hyperparameters.
-- Run:     atoll run sql/jobs/tune_mnist.sql --set data=mnist --set output=out/mnist
-- Sparse:  ... --set trials=10 --set epochs=12
-- Deeper:  ... --set network=vgg --set trials=9 --set epochs=12
-- Best:    ... --set network=deep --set slowest=0.03 --set narrowest=128 --set widest=512
--              --set trials=9 --set epochs=28
--              --set 'augmentation={shift: 2, rotate: 10, scale: 0.1}'
-- Reads:   ${data}, the folder of MNIST's own four files
-- Writes:  ${output}/trials.parquet, one row per trial with its curve and its model
--          ${output}/best.parquet, the best network and the default one on the test set
-- Parameter: data path = tests/data/idx -- the folder of MNIST's own four files
-- Parameter: network choice(lenet, vgg, deep) = lenet -- the layers before the hidden one
-- Parameter: slowest number = 0.01 -- the smallest learning rate
-- Parameter: fastest number = 0.1 -- the largest learning rate
-- Parameter: narrowest integer = 64 -- the fewest units of the hidden layer
-- Parameter: widest integer = 1024 -- the most units of the hidden layer
-- Parameter: trials integer = 50 -- how many networks to try
-- Parameter: pruner choice(none, median, halving, hyperband) = hyperband -- what stops bad trials
-- Parameter: parallel integer = 8 -- trials under way at once; twice the cores keeps them busy
-- Parameter: epochs integer = 20 -- passes over the training images of a network that is tried to the end
-- Parameter: augmentation struct = NULL -- random changes of training images, as train takes them
-- Parameter: seed integer = 1 -- of the search, the weights, the order and the dropout
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

-- The layers before the hidden one: `lenet` is the network of the article with batch norm.
-- A killed run goes on where it stopped: finished trials and rungs are looked up, not
-- trained.
CREATE OR REPLACE TABLE mnist_trials AS
SELECT
    trial,
    '${network}' AS network,
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
FROM tune('mnist_train', {
    architecture: CASE '${network}'
        WHEN 'lenet' THEN
            'conv(32, 5), batch_norm, relu, max_pool(2), '
            || 'conv(64, 5), batch_norm, relu, max_pool(2), '
        ELSE
            'conv(32, 3), batch_norm, relu, conv(32, 3), batch_norm, relu, max_pool(2), '
            || 'dropout(0.2), '
            || 'conv(64, 3), batch_norm, relu, conv(64, 3), batch_norm, relu, max_pool(2), '
            || 'dropout(0.2), '
    END
    || CASE '${network}'
        WHEN 'deep' THEN
            'conv(128, 3), batch_norm, relu, conv(128, 3), batch_norm, relu, max_pool(2), '
            || 'dropout(0.2), '
        ELSE ''
    END
    || 'dense(hidden), relu, dropout(0.5), dense(10)',
    hidden: hp_logint(${narrowest}, ${widest}),
    learning_rate: hp_loguniform(${slowest}, ${fastest}),
    momentum: 0.9,
    weight_decay: 0.0005,
    schedule: 'cosine',
    label_smoothing: 0.1,
    ema_decay: 0.999,
    augmentation: ${augmentation},
    batch_size: 64,
    epochs: ${epochs},
    seed: ${seed}
}, {
    trials: ${trials},
    sampler: 'tpe',
    pruner: '${pruner}',
    parallel: ${parallel},
    seed: ${seed}
});

COPY (SELECT * FROM mnist_trials ORDER BY validation_accuracy DESC, validation_loss, trial)
TO '${output}/trials.parquet' STORED AS PARQUET;

SELECT trial, learning_rate, hidden, status, validation_accuracy, validation_loss, seconds
FROM mnist_trials
ORDER BY validation_accuracy DESC, validation_loss, trial
LIMIT 10;

-- Without a network there is nothing to judge. The trials are written, and say why.
SELECT count(*) AS trials, count(model) AS networks
FROM mnist_trials
HAVING assert(
    count(*) FILTER (WHERE status = 'SUCCEEDED') > 0,
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
