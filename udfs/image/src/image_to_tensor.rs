//! `image_to_tensor`: an image as the numbers that a network takes.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_imaging::{Error, ImageRef, Preprocess};
use atoll_udf_common::image::{image, image_error};
use atoll_udf_common::structs::{check_keys, metadata_text, row_to_json};
use atoll_udf_common::{Argument, Call, ExpensiveFunction, PreparedCall, Usage, usage};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, ListArray, StructArray,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{Documentation, ReturnFieldArgs};

use crate::rows::{EachRow, Row};
use crate::try_form::Strict;
use crate::{IMAGE_ARGUMENT, SECTION};

const USAGE: Usage = Usage {
    name: "image_to_tensor",
    syntax: "image_to_tensor(image [, options])",
    arguments: &[Argument("image", image), Argument("options", usage::any)],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns the pixels of an image as LIST<FLOAT> with (pixel * scale - mean) / \
         std in each element, pixels from 0 to 255. The shape is [channels, height, \
         width] (NCHW without the batch dimension), or [height, width, channels] with \
         layout 'NHWC'; a gray image has one channel unless color says otherwise. Sizes \
         are not changed: use image_resize and image_center_crop before.",
        USAGE.syntax,
    )
    .with_argument("image", IMAGE_ARGUMENT)
    .with_argument(
        "options",
        "Struct with any of `mean` and `std` (one number, or a list with one a channel; \
         default 0 and 1), `scale` (default 1), `layout` ('NCHW' or 'NHWC') and `color` \
         ('RGB', 'BGR' or 'L'; default as the image).",
    )
    .with_sql_example(
        "SELECT image_to_tensor(image, {scale: 0.00392157, mean: 0.5, std: 0.5}) AS x\n\
         FROM 'sql/data/digits.parquet'\n\
         LIMIT 3;",
    )
    .with_related_udf("image_resize")
    .with_related_udf("image_center_crop")
    .build()
});

/// The SQL function `image_to_tensor(image [, options])`.
#[derive(Debug)]
pub struct ImageToTensor;

#[async_trait]
impl ExpensiveFunction for ImageToTensor {
    fn usage(&self) -> &Usage {
        &USAGE
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, args: &ReturnFieldArgs<'_>) -> Result<DataType> {
        if let Some(options) = args.arg_fields.get(1) {
            check_keys(USAGE.name, "option", options.data_type(), &KEYS)?;
        }
        if let Some(Some(ScalarValue::Struct(options))) = args.scalar_arguments.get(1) {
            let pixel = ImageRef {
                width: 1,
                height: 1,
                channels: 3,
                data: &[0; 3],
            };
            // A gray image may want one mean where colour wants three: either will do.
            let gray = ImageRef {
                channels: 1,
                data: &[0],
                ..pixel
            };
            let settings = settings(options, 0)?;
            tensor(pixel, &settings)
                .or_else(|error| tensor(gray, &settings).map_err(|_| error))
                .map_err(|error| image_error(USAGE.name, &error, ""))?;
        }
        Ok(DataType::List(item()))
    }

    async fn prepare(&self, _call: &Call<'_>) -> Result<Arc<dyn PreparedCall>> {
        Ok(Arc::new(Self::rows()))
    }
}

impl Strict for ImageToTensor {
    type Value = Vec<f32>;

    const ANSWER: &'static str = "tensor";

    fn rows() -> EachRow<Self::Value> {
        EachRow {
            usage: &USAGE,
            value: row_tensor,
            collect: list_array,
        }
    }
}

/// The options: those of a model's metadata that do not change the size.
const KEYS: [&str; 5] = ["mean", "std", "scale", "layout", "color"];

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

fn row_tensor(row: &Row<'_>) -> Result<Option<Vec<f32>>> {
    let mut options = Vec::new();
    if row.has(0) {
        let (column, n) = row.column(0);
        let Some(structs) = column.as_struct_opt() else {
            return Ok(None);
        };
        if structs.is_null(n) {
            return Ok(None);
        }
        options = settings(structs, n)?;
    }
    row.with_image(|image| tensor(image, &options)).map(Some)
}

/// One row of options as text, without those that are NULL.
fn settings(structs: &StructArray, row: usize) -> Result<Vec<(String, String)>> {
    let options = row_to_json(structs, row)?;
    let given = options.into_iter().filter(|(_, value)| !value.is_null());
    Ok(given
        .map(|(key, value)| (key, metadata_text(&value)))
        .collect())
}

fn tensor(image: ImageRef<'_>, options: &[(String, String)]) -> Result<Vec<f32>, Error> {
    let color = if image.channels == 1 { "L" } else { "RGB" };
    let options = options
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let preprocess = Preprocess::new(image.width, image.height)?
        .with_options([("color", color)].into_iter().chain(options))?;
    let mut out = vec![0.0; preprocess.output_len()];
    preprocess.apply(image, &mut out)?;
    Ok(out)
}

fn list_array(tensors: Vec<Option<Vec<f32>>>) -> Result<ArrayRef> {
    let elements: usize = tensors.iter().flatten().map(Vec::len).sum();
    if i32::try_from(elements).is_err() {
        return exec_err!(
            "image_to_tensor: {elements} numbers are too many for one record batch, \
             resize the images or lower datafusion.execution.batch_size"
        );
    }
    let lengths = tensors
        .iter()
        .map(|tensor| tensor.as_ref().map_or(0, Vec::len));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = NullBuffer::from_iter(tensors.iter().map(Option::is_some));
    let mut values = Vec::with_capacity(elements);
    // By value, so that each tensor is freed once it is copied.
    for tensor in tensors.into_iter().flatten() {
        values.extend(tensor);
    }
    let values = Arc::new(Float32Array::from(values));
    Ok(Arc::new(ListArray::try_new(
        item(),
        offsets,
        values,
        Some(nulls),
    )?))
}
