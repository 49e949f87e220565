//! `image_info`: what the header of an image file says.

use std::sync::{Arc, LazyLock};

use atoll_imaging::{Error, info};
use atoll_udf_common::image::{ImageColumn, ImageValue, image, image_error};
use atoll_udf_common::{Argument, Usage};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, StringArray, StructArray, UInt8Array, UInt32Array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Result;
use datafusion::common::utils::take_function_args;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "image_info",
    syntax: "image_info(image)",
    arguments: &[Argument("image", image)],
    optional: 0,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns struct<format, width, height, channels, bit_depth, orientation, \
         has_alpha> from the header of an image file, without decoding its pixels. \
         `width` and `height` are those of the upright image, `orientation` is the EXIF \
         value from 1 to 8, `channels` counts those after decoding (1 or 3), and \
         `has_alpha` is NULL where the header does not say it (GIF). An IMAGE has no \
         format. Bytes without the header of an image fail the query.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_sql_example(
        "SELECT filename, info['format'] AS format, info['width'] AS width\n\
         FROM (\n    \
             SELECT filename, image_info(content) AS info\n    \
             FROM read_blob('sql/data/photos/*.jpg')\n\
         ) AS photos;",
    )
    .with_related_udf("image_decode")
    .with_related_udf("try_image_decode")
    .build()
});

/// The SQL function `image_info(image)`.
///
/// Headers are read in microseconds, so this is an ordinary function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ImageInfo {
    signature: Signature,
}

impl Default for ImageInfo {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for ImageInfo {
    fn name(&self) -> &str {
        USAGE.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        USAGE.coerce(arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [images] = take_function_args(self.name(), args.args)?;
        let images = ImageColumn::try_new(self.name(), &images.into_array(rows)?)?;
        let infos = (0..rows)
            .map(|row| images.get(row).map(|image| row_info(&image)).transpose())
            .collect::<Result<Vec<_>, Error>>()
            .map_err(|error| image_error(self.name(), &error, "try_image_decode"))?;
        Ok(ColumnarValue::Array(info_array(&infos)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("format", DataType::Utf8, true),
        Field::new("width", DataType::UInt32, true),
        Field::new("height", DataType::UInt32, true),
        Field::new("channels", DataType::UInt8, true),
        Field::new("bit_depth", DataType::UInt8, true),
        Field::new("orientation", DataType::UInt8, true),
        Field::new("has_alpha", DataType::Boolean, true),
    ])
}

/// One row of the result.
struct RowInfo {
    format: Option<&'static str>,
    width: u32,
    height: u32,
    channels: u8,
    bit_depth: u8,
    orientation: u8,
    has_alpha: Option<bool>,
}

fn row_info(image: &ImageValue<'_>) -> Result<RowInfo, Error> {
    match image {
        ImageValue::Encoded(bytes) => {
            let info = info(bytes)?;
            Ok(RowInfo {
                format: Some(info.format.name()),
                width: info.width,
                height: info.height,
                channels: info.channels,
                bit_depth: info.bit_depth,
                orientation: info.orientation,
                has_alpha: info.has_alpha,
            })
        }
        ImageValue::Decoded(image) => Ok(RowInfo {
            format: None,
            width: image.width,
            height: image.height,
            channels: image.channels,
            bit_depth: 8,
            orientation: 1,
            has_alpha: Some(false),
        }),
    }
}

fn info_array(infos: &[Option<RowInfo>]) -> Result<ArrayRef> {
    let bytes = |field: fn(&RowInfo) -> u8| -> ArrayRef {
        Arc::new(UInt8Array::from_iter(
            infos.iter().map(|info| info.as_ref().map(field)),
        ))
    };
    let sizes = |field: fn(&RowInfo) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter(
            infos.iter().map(|info| info.as_ref().map(field)),
        ))
    };
    let formats: StringArray = infos
        .iter()
        .map(|info| info.as_ref().and_then(|info| info.format))
        .collect();
    let alphas: BooleanArray = infos
        .iter()
        .map(|info| info.as_ref().and_then(|info| info.has_alpha))
        .collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(formats),
        sizes(|info| info.width),
        sizes(|info| info.height),
        bytes(|info| info.channels),
        bytes(|info| info.bit_depth),
        bytes(|info| info.orientation),
        Arc::new(alphas),
    ];
    let nulls = NullBuffer::from_iter(infos.iter().map(Option::is_some));
    Ok(Arc::new(StructArray::try_new(
        fields(),
        columns,
        Some(nulls),
    )?))
}
