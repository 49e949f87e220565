-- Label images with a pretrained network: the five likeliest labels of each, or what
-- went wrong with it. No image is left out.
-- Run:     atoll run sql/jobs/label_images.sql --set images='photos/*.jpg' --set output=out/labels
-- Reads:   ${images}: a folder, a pattern, or a .txt or .csv file with a path or URL a
--          line (of a .csv the first column; a line `url` or `filename` is its header)
-- Writes:  ${output}/status=labelled/ and ${output}/status=failed/, one row per image
-- Default: images=sql/data/photos
-- Default: model=sql/data/efficientnet-lite0.onnx
-- Default: output=out/labels

-- Images are fetched a record batch at a time, so a batch must fit into memory.
SET datafusion.execution.batch_size = 256;

CREATE OR REPLACE VIEW image_files AS
SELECT filename
FROM read_blob('${images}')
WHERE NOT filename LIKE '%.txt' AND NOT filename LIKE '%.csv'
UNION ALL
SELECT filename
FROM (
    SELECT trim(trim(BOTH chr(13) FROM split_part(line, ',', 1)), ' "') AS filename
    FROM (
        SELECT unnest(string_to_array(arrow_cast(content, 'Utf8'), chr(10))) AS line
        FROM read_blob('${images}')
        WHERE filename LIKE '%.txt' OR filename LIKE '%.csv'
    )
)
WHERE filename NOT IN ('', 'url', 'filename');

COPY (
    WITH fetched AS (
        SELECT filename, try_url_download(filename) AS file
        FROM image_files
    ),
    classified AS (
        SELECT filename, file, try_classify('${model}', file['content'], 5) AS result
        FROM fetched
    )
    SELECT
        filename,
        result['labels'] AS labels,
        coalesce(file['error_code'], result['error_code']) AS error_code,
        coalesce(file['error'], result['error']) AS error,
        file['content_sha256'] AS content_sha256,
        CASE WHEN result['labels'] IS NULL THEN 'failed' ELSE 'labelled' END AS status
    FROM classified
)
TO '${output}' STORED AS PARQUET PARTITIONED BY (status);

CREATE OR REPLACE VIEW image_labels AS
SELECT *
FROM '${output}/';

SELECT
    filename,
    labels[1]['label'] AS label,
    round(labels[1]['score'], 3) AS score,
    error
FROM image_labels
ORDER BY filename
LIMIT 20;

SELECT status, count(*) AS images
FROM image_labels
GROUP BY status
ORDER BY status;
