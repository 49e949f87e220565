-- A grid is a cross join, a random search is a sampler: one network per row.
-- Run: atoll run sql/demos/03_grid.sql
-- Parameter: epochs integer = 5 -- passes over the training images
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM 'sql/data/digits.parquet';

-- Three learning rates by two sizes.
CREATE OR REPLACE TABLE grid AS
WITH search_space AS (
    SELECT learning_rate, hidden
    FROM (SELECT unnest(logspace(0.01, 0.1, 3)) AS learning_rate) AS rates
    CROSS JOIN (SELECT unnest([32, 64]) AS hidden) AS sizes
)
SELECT
    *,
    train('digits', {
        architecture: 'mlp',
        hidden: hidden,
        learning_rate: learning_rate,
        epochs: ${epochs},
        seed: 1
    }) AS trial
FROM search_space;

SELECT
    learning_rate,
    hidden,
    trial['status'] AS status,
    trial['validation_accuracy'] AS validation_accuracy
FROM grid
ORDER BY validation_accuracy DESC;

-- The same, with values drawn from the number of the trial: any machine draws the same.
WITH search_space AS (
    SELECT
        number,
        hp_loguniform(42, number, 'learning_rate', 0.01, 0.2) AS learning_rate,
        hp_int(42, number, 'hidden', 16, 96) AS hidden,
        hp_choice(42, number, 'optimizer', ['sgd', 'rmsprop']) AS optimizer,
        hp_uniform(42, number, 'dropout', 0.0, 0.5) AS dropout
    FROM (SELECT unnest(range(1, 5)) AS number)
),
trials AS (
    SELECT
        *,
        train('digits', {
            architecture: 'mlp',
            hidden: hidden,
            dropout: dropout,
            optimizer: optimizer,
            learning_rate: CASE optimizer WHEN 'sgd' THEN learning_rate ELSE learning_rate / 20 END,
            epochs: ${epochs},
            seed: number
        }) AS trial
    FROM search_space
)
SELECT
    number,
    round(learning_rate, 4) AS learning_rate,
    hidden,
    optimizer,
    round(dropout, 2) AS dropout,
    trial['validation_accuracy'] AS validation_accuracy
FROM trials
ORDER BY validation_accuracy DESC;
