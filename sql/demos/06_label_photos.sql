-- Label photos with a network that others trained.
-- Run: atoll run sql/demos/06_label_photos.sql

-- Labels and preprocessing come with the model.
SELECT
    filename,
    labels[1]['label'] AS first,
    round(labels[1]['score'], 3) AS score,
    labels[2]['label'] AS second
FROM (
    SELECT filename, classify('sql/data/efficientnet-lite0.onnx', content, 2) AS labels
    FROM read_blob('sql/data/photos/*')
)
ORDER BY filename;

-- What the network saw in the cup of coffee, one label a row.
SELECT label['label'] AS label, round(label['score'], 3) AS score
FROM (
    SELECT unnest(classify('sql/data/efficientnet-lite0.onnx', content, 5)) AS label
    FROM read_blob('sql/data/photos/coffee.png')
)
ORDER BY score DESC;
