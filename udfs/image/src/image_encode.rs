//! `image_encode`: an image as the bytes of a file.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Format, encode};
use atoll_udf_common::image::image_error;
use atoll_udf_common::{Call, ExpensiveFunction, PreparedCall, not_here};
use datafusion::arrow::array::{ArrayRef, BinaryArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::arguments::{Kind, Usage, literal_text};
use crate::rows::{EachRow, Row};
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    function: "image_encode",
    syntax: "image_encode(image, format)",
    arguments: &[("format", Kind::Text)],
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
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ImageEncode {
    signature: Signature,
}

impl Default for ImageEncode {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Volatile),
        }
    }
}

impl ScalarUDFImpl for ImageEncode {
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
        Ok(DataType::Binary)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let Some(format) = literal_text(&args, 1) {
            writable(format)?;
        }
        Ok(USAGE.field(DataType::Binary))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        not_here(self.name())
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

#[async_trait]
impl ExpensiveFunction for ImageEncode {
    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(EachRow {
            usage: &USAGE,
            value: encoded,
            collect: binary_array,
        }))
    }
}

fn writable(format: &str) -> Result<Format> {
    let format: Format = USAGE.word(format)?;
    let checked = format.check_encodable();
    checked.map_err(|error| image_error(USAGE.function, &error, "try_image_decode"))?;
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
