-- Train one network and look at its learning curve.
-- Run: atoll run sql/demos/02_first_network.sql
-- Parameter: epochs integer = 5 -- passes over the training images
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM 'sql/data/digits.parquet';

SELECT split, count(*) AS images, count(DISTINCT label) AS classes
FROM digits
GROUP BY split
ORDER BY split;

-- `train` gives one row: how it went, and where the model is.
CREATE OR REPLACE TABLE first_network AS
SELECT train('digits', {
    architecture: 'dense(64), relu, dense(10)',
    learning_rate: 0.05,
    epochs: ${epochs},
    seed: 1
}) AS trial;

SELECT
    trial['status'] AS status,
    trial['best_epoch'] AS best_epoch,
    trial['validation_accuracy'] AS validation_accuracy,
    trial['seconds'] AS seconds,
    trial['model'] AS model
FROM first_network;

-- The curve: one row per epoch.
SELECT
    epoch['epoch'] AS epoch,
    epoch['train_loss'] AS train_loss,
    epoch['validation_loss'] AS validation_loss,
    epoch['validation_accuracy'] AS validation_accuracy
FROM (SELECT unnest(trial['history']) AS epoch FROM first_network)
ORDER BY 1;
