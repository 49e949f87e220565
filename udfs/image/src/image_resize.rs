//! `image_resize`: an image in another size, as Pillow resizes.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Filter, Image, resize};
use atoll_udf_common::image::{image_array, image_type};
use atoll_udf_common::{Call, ExpensiveFunction, PreparedCall, not_here};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::arguments::{Kind, Usage, literal_text};
use crate::rows::{EachRow, Row};
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    function: "image_resize",
    syntax: "image_resize(image, width, height [, filter])",
    arguments: &[
        ("width", Kind::Pixels(1)),
        ("height", Kind::Pixels(1)),
        ("filter", Kind::Text),
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
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ImageResize {
    signature: Signature,
}

impl Default for ImageResize {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for ImageResize {
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
        if let Some(filter) = literal_text(&args, 3) {
            USAGE.word::<Filter>(filter)?;
        }
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
impl ExpensiveFunction for ImageResize {
    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(EachRow {
            usage: &USAGE,
            value: resized,
            collect: image_array,
        }))
    }
}

fn resized(row: &Row<'_>) -> Result<Option<Image>> {
    let (Some(width), Some(height)) = (row.pixels(0)?, row.pixels(1)?) else {
        return Ok(None);
    };
    let filter = match (row.has(2), row.has(2).then(|| row.text(2)).flatten()) {
        (false, _) => Filter::Bicubic,
        (true, Some(filter)) => USAGE.word(filter)?,
        (true, None) => return Ok(None),
    };
    row.with_image(|image| resize(image, width, height, filter))
        .map(Some)
}
