//! `image_resize`: an image in another size, as Pillow resizes.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Filter, Image, resize};
use atoll_udf_common::image::{image, image_array, image_type};
use atoll_udf_common::{Argument, Call, ExpensiveFunction, PreparedCall, Usage, usage};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs};

use crate::arguments::{check_pixels, literal_text, pixels, word};
use crate::rows::{EachRow, Row};
use crate::try_form::Strict;
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "image_resize",
    syntax: "image_resize(image, width, height [, filter])",
    arguments: &[
        Argument("image", image),
        Argument("width", pixels),
        Argument("height", pixels),
        Argument("filter", usage::text),
    ],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Resizes an image to exactly width x height and returns an IMAGE (HWC). \
         Proportions are not kept. Shrinking averages all pixels that a new one covers \
         (antialiasing), and the result equals that of Pillow.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_argument("width", "Width of the result in pixels, at least 1.")
    .with_argument("height", "Height of the result in pixels, at least 1.")
    .with_argument(
        "filter",
        "'nearest', 'bilinear', 'bicubic' or 'lanczos3'. The default is 'bicubic', as in \
         Pillow.",
    )
    .with_sql_example(
        "SELECT filename, image_encode(image_resize(content, 64, 64), 'png') AS small\n\
         FROM read_blob('sql/data/photos/*.png');",
    )
    .with_related_udf("image_crop")
    .with_related_udf("image_center_crop")
    .build()
});

/// The SQL function `image_resize(image, width, height [, filter])`.
#[derive(Debug)]
pub struct ImageResize;

#[async_trait]
impl ExpensiveFunction for ImageResize {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        check_pixels(&USAGE, args)?;
        if let Some(filter) = literal_text(args, 3) {
            word::<Filter>(&USAGE, filter)?;
        }
        Ok(image_type())
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Self::rows()))
    }
}

impl Strict for ImageResize {
    type Value = Image;

    const ANSWER: &'static str = "image";

    fn rows() -> EachRow<Self::Value> {
        EachRow {
            usage: &USAGE,
            value: resized,
            collect: image_array,
        }
    }
}

fn resized(row: &Row<'_>) -> Result<Option<Image>> {
    let (Some(width), Some(height)) = (row.pixels(0)?, row.pixels(1)?) else {
        return Ok(None);
    };
    let filter = match (row.has(2), row.has(2).then(|| row.text(2)).flatten()) {
        (false, _) => Filter::Bicubic,
        (true, Some(filter)) => word(&USAGE, filter)?,
        (true, None) => return Ok(None),
    };
    row.with_image(|image| resize(image, width, height, filter))
        .map(Some)
}
