-- Files are rows, and images are values.
-- Run: atoll run sql/demos/01_functions_and_files.sql

-- A folder, a pattern or a URL becomes a table. Without `content` no file is read.
SELECT filename, size, last_modified
FROM read_blob('sql/data/photos/*')
ORDER BY size DESC;

-- What the headers say; the pixels stay packed.
SELECT filename, image_info(content) AS info
FROM read_blob('sql/data/photos/*')
ORDER BY filename;

-- Decode, crop, shrink and pack again, all in one expression.
SELECT
    filename,
    size,
    length(encode(
        image_encode(image_resize(image_center_crop(content, 256, 256), 64, 64, 'bicubic'), 'png'),
        'hex'
    )) / 2 AS thumbnail_size
FROM read_blob('sql/data/photos/*.png')
ORDER BY filename;
