-- Compare architectures on the validation split; judge the best once, on the test split.
-- Run: atoll run sql/demos/04_compare_and_evaluate.sql
-- Parameter: epochs integer = 5 -- passes over the training images
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM 'sql/data/digits.parquet';

-- Three seeds each, because one seed may be lucky.
CREATE OR REPLACE TABLE comparison AS
WITH search_space AS (
    SELECT architecture, seed
    FROM (
        VALUES
            ('dense(10)'),
            ('dense(64), relu, dense(10)'),
            ('conv(16, 3), relu, max_pool(2), flatten, dense(64), relu, dense(10)')
    ) AS architectures(architecture)
    CROSS JOIN (SELECT unnest([1, 2, 3]) AS seed) AS seeds
),
trials AS (
    SELECT
        *,
        train('digits', {
            architecture: architecture,
            learning_rate: 0.03,
            epochs: ${epochs},
            seed: seed
        }) AS trial
    FROM search_space
)
SELECT
    architecture,
    seed,
    trial['validation_accuracy'] AS validation_accuracy,
    trial['validation_loss'] AS validation_loss,
    trial['model'] AS model
FROM trials;

SELECT
    architecture,
    round(avg(validation_accuracy), 4) AS mean_accuracy,
    round(min(validation_accuracy), 4) AS worst,
    round(max(validation_accuracy), 4) AS best
FROM comparison
GROUP BY architecture
ORDER BY mean_accuracy DESC;

-- The interval says how far 359 digits can be trusted.
WITH best AS (
    SELECT architecture, model
    FROM comparison
    ORDER BY validation_accuracy DESC, validation_loss
    LIMIT 1
),
judged AS (
    SELECT architecture, evaluate(model, 'digits', {split: 'test'}) AS test
    FROM best
)
SELECT
    architecture,
    test['rows'] AS rows,
    round(test['accuracy'], 4) AS accuracy,
    round(test['accuracy_low'], 4) AS accuracy_low,
    round(test['accuracy_high'], 4) AS accuracy_high
FROM judged;
