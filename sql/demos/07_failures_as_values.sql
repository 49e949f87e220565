-- A row in is a row out: what fails says why, and the rest goes on.
-- Run: atoll run sql/demos/07_failures_as_values.sql
-- Parameter: epochs integer = 2 -- passes over the training images
CREATE OR REPLACE VIEW digits AS
SELECT image, label, split
FROM 'sql/data/digits.parquet';

-- One good trial, one that diverges, one that cannot be.
SELECT
    learning_rate,
    trial['status'] AS status,
    trial['validation_accuracy'] AS validation_accuracy,
    trial['error'] AS error
FROM (
    SELECT
        learning_rate,
        train('digits', {
            architecture: 'dense(32), relu, dense(10)',
            learning_rate: learning_rate,
            epochs: ${epochs},
            seed: 1
        }) AS trial
    FROM (VALUES (0.05), (1e6), (-1.0)) AS search_space(learning_rate)
);

-- A script is not an image, and one of these files does not exist.
SELECT
    filename,
    file['error_code'] AS fetch_error,
    image['error_code'] AS decode_error,
    coalesce(file['error'], image['error']) AS error
FROM (
    SELECT filename, file, try_image_decode(file['content']) AS image
    FROM (
        SELECT filename, try_url_download(filename) AS file
        FROM (
            VALUES
                ('sql/data/photos/coffee.png'),
                ('sql/demos/07_failures_as_values.sql'),
                ('sql/data/photos/tea.png')
        ) AS files(filename)
    )
);
