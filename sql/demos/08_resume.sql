-- A finished trial is never trained again: run this twice, or stop it half way.
-- Run: atoll run sql/demos/08_resume.sql
-- Parameter: epochs integer = 5 -- passes over the training images
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM 'sql/data/digits.parquet';

CREATE OR REPLACE VIEW narrow AS
SELECT learning_rate
FROM (SELECT unnest(logspace(0.01, 0.1, 3)) AS learning_rate);

CREATE OR REPLACE TABLE study AS
SELECT
    learning_rate,
    train('digits', {
        architecture: 'mlp',
        learning_rate: learning_rate,
        epochs: ${epochs},
        seed: 1
    }) AS trial
FROM narrow;

-- A wider search trains only the rows that are new; the old ones are looked up.
CREATE OR REPLACE TABLE study AS
SELECT
    learning_rate,
    train('digits', {
        architecture: 'mlp',
        learning_rate: learning_rate,
        epochs: ${epochs},
        seed: 1
    }) AS trial
FROM (
    SELECT learning_rate FROM narrow
    UNION ALL
    SELECT 0.2
);

SELECT
    learning_rate,
    trial['status'] AS status,
    round(trial['validation_accuracy'], 4) AS validation_accuracy,
    trial['trial_id'] AS trial_id
FROM study
ORDER BY learning_rate;
