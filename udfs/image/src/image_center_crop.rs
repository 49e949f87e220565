//! `image_center_crop`: the middle of an image.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Image, center_crop};
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
    name: "image_center_crop",
    syntax: "image_center_crop(image, width, height)",
    arguments: &[
        Argument("image", image),
        Argument("width", pixels),
        Argument("height", pixels),
    ],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Cuts the middle out of an image and returns it as an IMAGE (HWC). An image \
         that is smaller gets black borders. Positions between two pixels are rounded \
         as by the center_crop of torchvision.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_argument("width", "Width of the result in pixels, at least 1.")
    .with_argument("height", "Height of the result in pixels, at least 1.")
    .with_sql_example(
        "SELECT filename, image_center_crop(content, 224, 224) AS image\nFROM \
         read_blob('sql/data/photos/*.png');",
    )
    .with_related_udf("image_crop")
    .with_related_udf("image_resize")
    .build()
});

/// The SQL function `image_center_crop(image, width, height)`.
#[derive(Debug)]
pub struct ImageCenterCrop;

#[async_trait]
impl ExpensiveFunction for ImageCenterCrop {
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

impl Strict for ImageCenterCrop {
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
    let (Some(width), Some(height)) = (row.pixels(0)?, row.pixels(1)?) else {
        return Ok(None);
    };
    row.with_image(|image| center_crop(image, width, height))
        .map(Some)
}
