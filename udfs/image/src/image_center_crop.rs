//! `image_center_crop`: the middle of an image.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Image, center_crop};
use atoll_udf_common::image::{image_array, image_type};
use atoll_udf_common::{Call, ExpensiveFunction, PreparedCall, not_here};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::arguments::{Kind, Usage};
use crate::rows::{EachRow, Row};
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    function: "image_center_crop",
    syntax: "image_center_crop(image, width, height)",
    arguments: &[("width", Kind::Pixels(1)), ("height", Kind::Pixels(1))],
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
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ImageCenterCrop {
    signature: Signature,
}

impl Default for ImageCenterCrop {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for ImageCenterCrop {
    fn name(&self) -> &str {
        USAGE.function
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        USAGE.coerce(arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(image_type())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        USAGE.check_literals(&args)?;
        Ok(USAGE.field(image_type()))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        not_here(self.name())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

#[async_trait]
impl ExpensiveFunction for ImageCenterCrop {
    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(EachRow {
            usage: &USAGE,
            value: cropped,
            collect: image_array,
        }))
    }
}

fn cropped(row: &Row<'_>) -> Result<Option<Image>> {
    let (Some(width), Some(height)) = (row.pixels(0)?, row.pixels(1)?) else {
        return Ok(None);
    };
    row.with_image(|image| center_crop(image, width, height))
        .map(Some)
}
