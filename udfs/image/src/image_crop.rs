//! `image_crop`: a rectangle of an image.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Image, crop};
use atoll_udf_common::image::{image, image_array, image_type};
use atoll_udf_common::{Argument, Call, ExpensiveFunction, PreparedCall, Usage};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{Documentation, ReturnFieldArgs};

use crate::arguments::{check_pixels, pixels};
use crate::rows::{EachRow, Row};
use crate::try_form::Strict;
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "image_crop",
    syntax: "image_crop(image, x, y, width, height)",
    arguments: &[
        Argument("image", image),
        Argument("x", pixels),
        Argument("y", pixels),
        Argument("width", pixels),
        Argument("height", pixels),
    ],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Cuts a rectangle out of an image and returns it as an IMAGE (HWC). A rectangle \
         that reaches outside the image is an error.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_argument("x", "Column of the upper left pixel, from 0.")
    .with_argument("y", "Row of the upper left pixel, from 0.")
    .with_argument("width", "Width of the rectangle in pixels, at least 1.")
    .with_argument("height", "Height of the rectangle in pixels, at least 1.")
    .with_sql_example(
        "SELECT image_encode(image_crop(content, 160, 20, 130, 160), 'png') AS face\n\
         FROM read_blob('sql/data/photos/astronaut.png');",
    )
    .with_related_udf("image_center_crop")
    .with_related_udf("image_resize")
    .build()
});

/// The SQL function `image_crop(image, x, y, width, height)`.
#[derive(Debug)]
pub struct ImageCrop;

#[async_trait]
impl ExpensiveFunction for ImageCrop {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        check_pixels(&USAGE, args)?;
        Ok(image_type())
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Self::rows()))
    }
}

impl Strict for ImageCrop {
    type Value = Image;

    const ANSWER: &'static str = "image";

    fn rows() -> EachRow<Self::Value> {
        EachRow {
            usage: &USAGE,
            value: cropped,
            collect: image_array,
        }
    }
}

fn cropped(row: &Row<'_>) -> Result<Option<Image>> {
    let (Some(x), Some(y), Some(width), Some(height)) = (
        row.pixels(0)?,
        row.pixels(1)?,
        row.pixels(2)?,
        row.pixels(3)?,
    ) else {
        return Ok(None);
    };
    row.with_image(|image| crop(image, x, y, width, height))
        .map(Some)
}
