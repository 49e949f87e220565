//! What the function reference says.

use datafusion::logical_expr::Documentation;

use crate::SECTION;

const TABLE: &str = "Name of a table or view, or of a file, as text. Rows without a vector, or \
                     without a hash, are left out.";

pub(crate) fn nearest() -> Documentation {
    Documentation::builder(
        SECTION,
        "Returns the nearest rows of each row of a table by their vectors, such as those of \
         `embed`: `id`, `other_id`, `rank` (from 1, the nearest first; of those equally far \
         the first in the table) and `distance` (DOUBLE). It is exact: all vectors are compared \
         with all, on all cores, and distances are those of arithmetic in 64 bits, the same \
         on any number of threads and on any machine. The vectors are kept in memory, 4 bytes \
         a number.",
        "nearest(table [, options])",
    )
    .with_argument("table", TABLE)
    .with_argument(
        "options",
        "A literal struct with any of `id` (the column that names rows; by default `id`, \
         `filename`, `path` or `file`, and otherwise the row's number, from 1), `vector` (a \
         column of lists of numbers of one length; by default `vector` or `embedding`), `k` \
         (how many, 10 by default), `metric` ('cosine', 1 less the cosine, the default; 'l2', \
         the Euclidean distance; 'dot', the negative product), `max_distance` (leaves out what \
         is further away) and `queries` (another table with the same columns, for whose rows \
         the nearest are looked for; by default it is the table itself, and no row is its own \
         neighbour).",
    )
    .with_sql_example(
        "CREATE TABLE points AS SELECT * FROM (VALUES\n\
         \x20   ('a', [1.0, 0.0]), ('b', [0.9, 0.1]), ('c', [0.0, 1.0])\n\
         ) AS points(id, vector);\n\
         SELECT * FROM nearest('points', {k: 1, metric: 'l2'});",
    )
    .with_related_udf("embed")
    .with_related_udf("near_duplicates")
    .build()
}

pub(crate) fn near_duplicates() -> Documentation {
    Documentation::builder(
        SECTION,
        "Returns the rows of a table that are nearly the same as others, in groups: \
         `group_id` (from 1), `id` and `distance` (to the nearest row of the group). A row \
         belongs to a group if it is within the distance of any row of it. Groups, \
         and rows in them, come in the order of the table.",
        "near_duplicates(table [, options])",
    )
    .with_argument("table", TABLE)
    .with_argument(
        "options",
        "A literal struct with any of `id` (the column that names rows; by default `id`, \
         `filename`, `path` or `file`, and otherwise the row's number, from 1), `hash` (a column \
         of whole numbers, such as `image_hash` gives; by default `hash`) or `vector` (a column \
         of lists of numbers of one length), `within` (how far near rows may be: of hashes the \
         bits that differ, 4 by default; of vectors 0.1 by default) and `metric` (of vectors, \
         'cosine' by default, or 'l2').",
    )
    .with_sql_example(
        "CREATE TABLE hashes AS\n\
         SELECT filename, image_hash(content) AS hash\n\
         FROM read_blob('sql/data/photos/*.png')\n\
         UNION ALL\n\
         SELECT 'small.png', image_hash(image_resize(content, 200, 150))\n\
         FROM read_blob('sql/data/photos/coffee.png');\n\
         SELECT * FROM near_duplicates('hashes', {within: 4});",
    )
    .with_related_udf("image_hash")
    .with_related_udf("nearest")
    .build()
}
