//! `image_hash`: 64 bits that differ little between images that look alike.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::Hash;
use atoll_udf_common::image::image;
use atoll_udf_common::{Argument, Call, ExpensiveFunction, PreparedCall, Usage, usage};
use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs};

use crate::arguments::{literal_text, word};
use crate::rows::{EachRow, Row};
use crate::try_form::Strict;
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "image_hash",
    syntax: "image_hash(image [, hash])",
    arguments: &[Argument("image", image), Argument("hash", usage::text)],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns a perceptual hash of an image, 64 bits as BIGINT: images that look alike \
         have hashes of which few bits differ, see `hamming_distance`; with 'phash' up to 4 \
         where one is a copy of the other in another size or format, and about 32 where they \
         have nothing in common. The bits are those of Python's imagehash 4.3, of the upright \
         image: `lpad(to_hex(h), 16, '0')` is what it shows.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_argument(
        "hash",
        "'phash' (low frequencies, the default), 'dhash' (where it gets brighter), 'ahash' \
         (what is brighter than the mean) or 'whash' (wavelets; it takes the longest, and \
         16 bytes for each pixel of the largest square of a power of two).",
    )
    .with_sql_example(
        "SELECT filename, lpad(to_hex(image_hash(content, 'phash')), 16, '0') AS hash\n\
         FROM read_blob('sql/data/photos/*.png');",
    )
    .with_related_udf("hamming_distance")
    .build()
});

/// The SQL function `image_hash(image [, hash])`.
#[derive(Debug)]
pub struct ImageHash;

#[async_trait]
impl ExpensiveFunction for ImageHash {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        if let Some(hash) = literal_text(args, 1) {
            word::<Hash>(&USAGE, hash)?;
        }
        Ok(DataType::Int64)
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Self::rows()))
    }
}

impl Strict for ImageHash {
    type Value = i64;

    const ANSWER: &'static str = "hash";

    fn rows() -> EachRow<Self::Value> {
        EachRow {
            usage: &USAGE,
            value: hashed,
            collect: numbers,
        }
    }
}

fn hashed(row: &Row<'_>) -> Result<Option<i64>> {
    let hash = match (row.has(0), row.has(0).then(|| row.text(0)).flatten()) {
        (false, _) => Hash::default(),
        (true, Some(hash)) => word(&USAGE, hash)?,
        (true, None) => return Ok(None),
    };
    let hash = row.with_image(|image| hash.of(image))?;
    // The same bits: tables of Delta Lake have no numbers without a sign.
    Ok(Some(hash.cast_signed()))
}

fn numbers(hashes: Vec<Option<i64>>) -> Result<ArrayRef> {
    Ok(Arc::new(Int64Array::from(hashes)))
}
