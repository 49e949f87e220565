-- Label images with a pretrained network: the five likeliest labels of each, or what
-- went wrong with it. No image is left out, and none is labelled twice: run again, the
-- job takes up what is new or changed, what failed for a reason that may have passed,
-- and everything after a change of the model or of its preprocessing.
-- Run:     atoll run sql/jobs/label_images.sql --set images='photos/*.jpg' --set output=out/labels
-- Reads:   ${images}: a folder, a pattern, or a .txt or .csv file with a path or URL a
--          line (of a .csv the first column; a line `url` or `filename` is its header)
-- Writes:  ${output}/status=labelled/ and ${output}/status=failed/, one row per image
--          the stored table ${table}, which remembers them for the next run and of which a
--          run changes only the rows that it took up; a job with other images wants
--          another one. ${table}_run says what the last run was
-- Fails:   when more than ${max_error_rate} of the images failed, after all is written
-- A listed URL counts as unchanged, since only fetching it would tell; ${refetch}=true
-- fetches all, and infers where the content is another.
-- Parameter: images path = sql/data/photos -- a folder, a pattern, or a .txt or .csv file with a path or URL a line
-- Parameter: model path = sql/data/efficientnet-lite0.onnx -- an ONNX classifier
-- Parameter: output path = out/labels -- the folder to write to
-- Parameter: table identifier = image_labels -- the stored table that remembers what was labelled
-- Parameter: refetch boolean = false -- fetch listed URLs again, and infer where the content is another
-- Parameter: max_error_rate number = 1 -- fail when a larger share of the images failed

-- Images are fetched a record batch at a time, so a batch must fit into memory.
SET datafusion.execution.batch_size = 256;

CREATE OR REPLACE VIEW image_files AS
SELECT filename, size, last_modified
FROM read_blob('${images}')
WHERE NOT filename LIKE '%.txt' AND NOT filename LIKE '%.csv'
UNION ALL
SELECT DISTINCT filename, NULL AS size, NULL AS last_modified
FROM (
    SELECT trim(trim(BOTH chr(13) FROM split_part(line, ',', 1)), ' "') AS filename
    FROM (
        SELECT unnest(string_to_array(arrow_cast(content, 'Utf8'), chr(10))) AS line
        FROM read_blob('${images}')
        WHERE filename LIKE '%.txt' OR filename LIKE '%.csv'
    )
)
WHERE filename NOT IN ('', 'url', 'filename');

-- What the rows of this run have in common.
CREATE OR REPLACE TABLE ${table}_run AS
SELECT
    info['sha256'] AS model_sha256,
    info['preprocess_sha256'] AS preprocess_sha256,
    info['engine'] AS engine,
    arrow_cast(now(), 'Timestamp(Microsecond, Some("+00:00"))') AS started_at
FROM (SELECT model_info('${model}') AS info);

-- The first run starts from a table without rows.
CREATE TABLE IF NOT EXISTS ${table} AS
SELECT
    filename,
    size,
    last_modified,
    result['labels'] AS labels,
    result['error_code'] AS error_code,
    result['error'] AS error,
    result['error'] AS content_sha256,
    model_sha256,
    preprocess_sha256,
    engine,
    started_at AS labelled_at
FROM (
    SELECT filename, size, last_modified, try_classify('${model}', content, 5) AS result
    FROM read_blob('${images}')
)
CROSS JOIN ${table}_run
WHERE false;

MERGE INTO ${table} AS before
USING (
    WITH known AS (
        SELECT
            files.filename,
            files.size,
            files.last_modified,
            this_run.model_sha256,
            this_run.preprocess_sha256,
            this_run.engine,
            this_run.started_at,
            before.labels,
            before.error_code,
            before.error,
            before.content_sha256,
            before.engine AS engine_before,
            before.labelled_at,
            before.filename IS NOT NULL
                AND before.model_sha256 = this_run.model_sha256
                AND (before.preprocess_sha256 IS NOT DISTINCT FROM this_run.preprocess_sha256)
                AS is_same_network,
            (before.size IS NOT DISTINCT FROM files.size)
                AND (before.last_modified IS NOT DISTINCT FROM files.last_modified)
                AND NOT (files.size IS NULL AND ${refetch})
                AS is_same_file,
            -- The page Error codes of the book says what may pass by itself.
            coalesce(before.error_code, '') IN (
                'URL_DNS', 'URL_CONNECT', 'URL_TIMEOUT', 'URL_INCOMPLETE', 'HTTP_THROTTLED',
                'HTTP_5XX', 'NOT_FOUND', 'FETCH_FAILED', 'MODEL_RUNTIME', 'EXECUTOR_DIED'
            ) AS may_pass
        FROM image_files AS files
        CROSS JOIN ${table}_run AS this_run
        LEFT JOIN ${table} AS before ON before.filename = files.filename
    ),
    fetched AS (
        SELECT
            *,
            try_url_download(filename) AS file
        FROM known
        WHERE NOT (is_same_network AND is_same_file AND NOT may_pass)
    ),
    -- Touched, moved or copied over without a change: the labels stay.
    compared AS (
        SELECT
            *,
            is_same_network
                AND NOT may_pass
                AND coalesce(file['content_sha256'] = content_sha256, false) AS is_same_image
        FROM fetched
    ),
    classified AS (
        SELECT
            *,
            try_classify(
                '${model}',
                CASE WHEN is_same_image THEN NULL ELSE file['content'] END,
                5
            ) AS result
        FROM compared
    )
    SELECT
        filename,
        size,
        last_modified,
        CASE WHEN is_same_image THEN labels ELSE result['labels'] END AS labels,
        CASE
            WHEN is_same_image THEN error_code
            ELSE coalesce(file['error_code'], result['error_code'])
        END AS error_code,
        CASE
            WHEN is_same_image THEN error
            ELSE coalesce(file['error'], result['error'])
        END AS error,
        file['content_sha256'] AS content_sha256,
        model_sha256,
        preprocess_sha256,
        CASE WHEN is_same_image THEN engine_before ELSE engine END AS engine,
        CASE WHEN is_same_image THEN labelled_at ELSE started_at END AS labelled_at
    FROM classified
) AS taken_up
ON before.filename = taken_up.filename
WHEN MATCHED THEN UPDATE SET *
WHEN NOT MATCHED THEN INSERT *;

-- Images that are gone.
DELETE FROM ${table}
WHERE filename NOT IN (SELECT filename FROM image_files);

CREATE OR REPLACE VIEW labelled_images AS
SELECT
    images.*,
    CASE WHEN labels IS NULL THEN 'failed' ELSE 'labelled' END AS status,
    -- New is what this run took up.
    labelled_at = started_at AS is_new
FROM ${table} AS images
CROSS JOIN ${table}_run;

COPY (
    SELECT
        filename,
        labels,
        error_code,
        error,
        content_sha256,
        model_sha256,
        preprocess_sha256,
        engine,
        labelled_at,
        status
    FROM labelled_images
)
TO '${output}' STORED AS PARQUET PARTITIONED BY (status);

SELECT
    filename,
    labels[1]['label'] AS label,
    round(labels[1]['score'], 3) AS score,
    error
FROM labelled_images
ORDER BY filename
LIMIT 20;

SELECT
    status,
    count(*) AS images,
    count(*) FILTER (WHERE is_new) AS new_images
FROM labelled_images
GROUP BY status
ORDER BY status;

-- Last, so that all is written when it fails.
SELECT images, failed
FROM (
    SELECT count(*) AS images, count(error_code) AS failed
    FROM labelled_images
)
WHERE assert(
    failed <= ${max_error_rate} * images,
    concat(failed, ' of ', images, ' images failed, see ${output}')
);
