-- Use a trained network from SQL: it is an ONNX file like any other.
-- Run: atoll run sql/demos/05_use_the_model.sql
-- Parameter: epochs integer = 5 -- passes over the training images
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM 'sql/data/digits.parquet';

CREATE OR REPLACE TABLE reader AS
SELECT train('digits', {
    architecture: 'conv(16, 3), relu, max_pool(2), flatten, dense(64), relu, dense(10)',
    learning_rate: 0.03,
    epochs: ${epochs},
    seed: 1
})['model'] AS model;

-- What the file says about itself.
SELECT model_info(model) AS info
FROM reader;

-- The raw output, and the same as labels with probabilities.
SELECT
    label,
    predict(model, image)['logits'] AS logits,
    classify(model, image, 2) AS likeliest
FROM digits
CROSS JOIN reader
WHERE split = 'test'
LIMIT 5;

-- Which digits it takes for which: rows are the truth.
WITH answers AS (
    SELECT label, classify(model, image, 1)[1]['index'] AS answer
    FROM digits
    CROSS JOIN reader
    WHERE split = 'test'
)
SELECT label, answer, count(*) AS images
FROM answers
WHERE label <> answer
GROUP BY label, answer
ORDER BY images DESC, label, answer;
