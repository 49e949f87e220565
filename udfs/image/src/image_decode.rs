//! `image_decode`: the pixels of an image file.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::image::{image, image_array, image_type};
use atoll_udf_common::{Argument, Call, ExpensiveFunction, PreparedCall, Usage};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs};

use crate::rows::EachRow;
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "image_decode",
    syntax: "image_decode(image)",
    arguments: &[Argument("image", image)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Decodes an image to an IMAGE: struct<width, height, channels, data>, pixels of \
         8 bits in rows from top to bottom, channels interleaved (HWC). The format is \
         found from the content. The image is turned upright as its EXIF orientation \
         says, transparency is dropped, gray stays one channel, and of an animation the \
         first frame is taken. An image that cannot be decoded fails the query.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_sql_example(
        "SELECT filename, image['width'] AS width, image['height'] AS height\nFROM \
         (SELECT filename, image_decode(content) AS image FROM \
         read_blob('sql/data/photos/*.png')) AS photos;",
    )
    .with_related_udf("try_image_decode")
    .with_related_udf("image_info")
    .build()
});

/// The SQL function `image_decode(image)`.
#[derive(Debug)]
pub struct ImageDecode;

#[async_trait]
impl ExpensiveFunction for ImageDecode {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, _args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        Ok(image_type())
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(EachRow {
            usage: &USAGE,
            value: |row| row.decode().map(Some),
            collect: image_array,
        }))
    }
}
