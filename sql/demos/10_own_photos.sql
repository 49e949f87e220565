-- Teach a network that others trained to tell apart what you care about.
-- Run: atoll run sql/demos/10_own_photos.sql
-- Parameter: epochs integer = 20 -- passes over the features of the photos
--
-- A folder of photos with a subfolder for each class needs no view: tune('photos/', ..).
CREATE OR REPLACE VIEW photos AS
SELECT
    filename,
    content AS image,
    CASE
        WHEN regexp_like(filename, 'astronaut|chelsea|horse') THEN 'alive'
        ELSE 'still'
    END AS label
FROM read_blob('sql/data/photos/*');

-- Each photo goes through the backbone once, whatever the number of heads.
CREATE OR REPLACE TABLE heads AS
SELECT *
FROM tune('photos', {
    backbone: 'sql/data/efficientnet-lite0.onnx',
    optimizer: 'adam',
    learning_rate: hp_loguniform(0.001, 0.1),
    weight_decay: hp_loguniform(0.0001, 0.1),
    epochs: ${epochs}
}, {trials: 10, folds: 3, pruner: 'none', seed: 1});

-- The best of them, backbone and head in one ONNX file, under a name.
CREATE OR REPLACE MODEL alive AS
SELECT t['model']
FROM heads
ORDER BY t['validation_accuracy'] DESC, t['validation_loss'], trial
LIMIT 1;

SELECT split_part(filename, '/', -1) AS photo, best['label'] AS label
FROM (
    SELECT filename, classify('alive', image, 1)[1] AS best FROM photos
) AS labelled
ORDER BY photo;
