-- Label images with a pretrained network: the five likeliest labels of each, or what
-- went wrong with it. No image is left out, and none is labelled twice: run again, the
-- job takes up what is new or changed, what failed for a reason that may have passed,
-- and everything after a change of the model or of its preprocessing.
-- Run:     atoll run sql/jobs/label_images.sql --set images='photos/*.jpg' --set output=out/labels
-- Reads:   ${images}: a folder, a pattern, or a .txt or .csv file with a path or URL a
--          line (of a .csv the first column; a line `url` or `filename` is its header)
-- Writes:  ${output}/status=labelled/ and ${output}/status=failed/, one row per image
--          the stored table ${table}, which remembers them for the next run and of which a
--          run changes only the rows that it takes up; a job with other images wants
--          another one
-- Fails:   when more than ${max_error_rate} of the images failed, after all is written
-- A listed URL counts as unchanged, since only fetching it would tell; ${refetch}=true
-- takes all of them up.
-- Parameter: images path = sql/data/photos -- a folder, a pattern, or a .txt or .csv file with a path or URL a line
-- Parameter: model path = sql/data/efficientnet-lite0.onnx -- an ONNX classifier
-- Parameter: output path = out/labels -- the folder to write to
-- Parameter: table identifier = image_labels -- the stored table that remembers what was labelled
-- Parameter: refetch boolean = false -- fetch listed URLs again
-- Parameter: max_error_rate number = 1 -- fail when a larger share of the images failed

-- Images are fetched a record batch at a time, so a batch must fit into memory.
SET datafusion.execution.batch_size = 256;

CREATE OR REPLACE VIEW image_files AS
SELECT filename, size, last_modified
FROM read_blob('${images}')
WHERE NOT filename LIKE '%.txt' AND NOT filename LIKE '%.csv'
UNION ALL
SELECT DISTINCT
    filename,
    NULL AS size,
    -- A file that changed just now is taken up.
    CASE WHEN ${refetch} THEN arrow_cast(now(), 'Timestamp(Microsecond, Some("UTC"))') END
        AS last_modified
FROM (
    SELECT trim(trim(BOTH chr(13) FROM split_part(line, ',', 1)), ' "') AS filename
    FROM (
        SELECT unnest(string_to_array(arrow_cast(content, 'Utf8'), chr(10))) AS line
        FROM read_blob('${images}')
        WHERE filename LIKE '%.txt' OR filename LIKE '%.csv'
    )
)
WHERE filename NOT IN ('', 'url', 'filename');

CREATE OR REFRESH TABLE ${table} AS
SELECT
    filename,
    size,
    last_modified,
    result['labels'] AS labels,
    coalesce(file['error_code'], result['error_code']) AS error_code,
    coalesce(file['error'], result['error']) AS error,
    file['content_sha256'] AS content_sha256,
    model['sha256'] AS model_sha256,
    model['preprocess_sha256'] AS preprocess_sha256,
    model['engine'] AS engine,
    arrow_cast(now(), 'Timestamp(Microsecond, Some("+00:00"))') AS labelled_at
FROM (
    SELECT
        *,
        try_classify('${model}', file['content'], 5) AS result,
        model_info('${model}') AS model
    FROM (
        SELECT filename, size, last_modified, try_url_download(filename) AS file
        FROM read_blob((SELECT filename, size, last_modified FROM image_files))
    )
);

COPY (
    SELECT
        * EXCEPT (size, last_modified),
        CASE WHEN labels IS NULL THEN 'failed' ELSE 'labelled' END AS status
    FROM ${table}
)
TO '${output}' STORED AS PARQUET PARTITIONED BY (status);

SELECT
    filename,
    labels[1]['label'] AS label,
    round(labels[1]['score'], 3) AS score,
    error
FROM ${table}
ORDER BY filename
LIMIT 20;

-- Last, so that all is written when it fails.
SELECT images, failed
FROM (SELECT count(*) AS images, count(error_code) AS failed FROM ${table})
WHERE assert(
    failed <= ${max_error_rate} * images,
    concat(failed, ' of ', images, ' images failed, see ${output}')
);
