//! `image_encode`: an image as the bytes of a file.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Format, encode};
use atoll_udf_common::image::{image, image_error};
use atoll_udf_common::{Argument, Call, ExpensiveFunction, PreparedCall, Usage, usage};
use datafusion::arrow::array::{ArrayRef, BinaryArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs};

use crate::arguments::{literal_text, word};
use crate::rows::{EachRow, Row};
use crate::try_form::Strict;
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "image_encode",
    syntax: "image_encode(image, format)",
    arguments: &[Argument("image", image), Argument("format", usage::text)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Encodes an image and returns the bytes of the file. JPEG has quality 90, WebP \
         is lossless. Metadata such as the EXIF orientation is not written; the image \
         has been turned upright.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_argument("format", "'png', 'jpeg', 'webp' or 'bmp'.")
    .with_sql_example(
        "SELECT filename, image_encode(image_resize(content, 64, 64), 'jpeg') AS small\n\
         FROM read_blob('sql/data/photos/*.png');",
    )
    .with_related_udf("image_decode")
    .with_related_udf("image_resize")
    .build()
});

/// The SQL function `image_encode(image, format)`.
#[derive(Debug)]
pub struct ImageEncode;

#[async_trait]
impl ExpensiveFunction for ImageEncode {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        if let Some(format) = literal_text(args, 1) {
            writable(format)?;
        }
        Ok(DataType::Binary)
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Self::rows()))
    }
}

impl Strict for ImageEncode {
    type Value = Vec<u8>;

    const ANSWER: &'static str = "bytes";

    fn rows() -> EachRow<Self::Value> {
        EachRow {
            usage: &USAGE,
            value: encoded,
            collect: binary_array,
        }
    }
}

fn writable(format: &str) -> Result<Format> {
    let format: Format = word(&USAGE, format)?;
    let checked = format.check_encodable();
    checked.map_err(|error| image_error(USAGE.name, &error, "try_image_decode"))?;
    Ok(format)
}

fn encoded(row: &Row<'_>) -> Result<Option<Vec<u8>>> {
    let Some(format) = row.text(0) else {
        return Ok(None);
    };
    let format = writable(format)?;
    row.with_image(|image| encode(image, format)).map(Some)
}

fn binary_array(files: Vec<Option<Vec<u8>>>) -> Result<ArrayRef> {
    let bytes: usize = files.iter().flatten().map(Vec::len).sum();
    if i32::try_from(bytes).is_err() {
        return exec_err!(
            "image_encode: {bytes} bytes of images are too many for one record batch, \
             lower datafusion.execution.batch_size"
        );
    }
    Ok(Arc::new(BinaryArray::from_iter(files)))
}
