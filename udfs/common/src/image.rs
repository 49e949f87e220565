//! The IMAGE type: a decoded image as an Arrow struct.
//!
//! Every function that takes an image takes either the bytes of an image file or an
//! IMAGE, and reads both through [`ImageColumn`]. What the pixels mean is
//! `atoll_imaging`'s business.

use std::sync::Arc;

use atoll_compute::panics::catch;
use atoll_imaging::{DecodeOptions, Error, Image, ImageRef, decode};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, StructArray, UInt8Array,
    UInt32Array, make_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, UInt8Type, UInt32Type};
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, plan_err,
};

use crate::args::{bytes_at, is_text};

/// The field of a struct that holds a file.
const BYTES: &str = "bytes";

/// The most pixel bytes in one array: what Arrow's 32-bit offsets can say.
const MAX_ARRAY_BYTES: usize = i32::MAX as usize;

/// IMAGE: struct<width, height, channels, data>, the fields of [`Image`]. The data
/// is interleaved: rows from top to bottom, pixels from left to right, then channels
/// (HWC).
pub fn image_type() -> DataType {
    DataType::Struct(image_fields())
}

fn image_fields() -> Fields {
    Fields::from(vec![
        Field::new("width", DataType::UInt32, true),
        Field::new("height", DataType::UInt32, true),
        Field::new("channels", DataType::UInt8, true),
        Field::new("data", DataType::Binary, true),
    ])
}

/// An argument that is the bytes of an image file or an IMAGE, for a
/// [`Usage`](crate::Usage).
pub fn image(function: &str, _argument: &str, data_type: &DataType) -> Result<DataType> {
    coerce_image_type(function, data_type)
}

/// The type that an image is cast to: bytes stay as they are, a struct with the fields of
/// an IMAGE becomes an IMAGE.
pub fn coerce_image_type(function: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Ok(data_type.clone()),
        DataType::Null => Ok(DataType::Binary),
        // The type of images in the Parquet files of Hugging Face, STRUCT(bytes, path).
        DataType::Struct(fields) if is_file_struct(fields) => Ok(data_type.clone()),
        DataType::Struct(fields) => {
            let has = |field: &Field| fields.find(field.name()).is_some();
            match image_fields().iter().find(|field| !has(field)) {
                None => Ok(image_type()),
                Some(missing) => plan_err!(
                    "{function} takes an IMAGE struct<width, height, channels, data>, \
                     got a struct without the field {}",
                    missing.name()
                ),
            }
        }
        text if is_text(text) => plan_err!(
            "{function} takes an image, got text; pass the file's bytes, e.g. the \
             content column of read_blob"
        ),
        other => plan_err!(
            "{function} takes the bytes of an image file or an IMAGE, got {other}"
        ),
    }
}

/// Whether a struct holds a file: its bytes, and beside them what it is called.
pub fn is_file_struct(fields: &Fields) -> bool {
    let bytes = fields.find(BYTES);
    bytes.is_some_and(|(_, bytes)| {
        let is_binary = matches!(
            bytes.data_type(),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        );
        is_binary && fields.find("data").is_none()
    })
}

/// An image argument of one record batch. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ImageColumn {
    images: Images,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a record batch, never in a list"
)]
enum Images {
    Encoded(ArrayRef),
    Decoded {
        nulls: Option<NullBuffer>,
        width: UInt32Array,
        height: UInt32Array,
        channels: UInt8Array,
        data: BinaryArray,
    },
}

/// One image argument.
#[derive(Debug, Clone, Copy)]
pub enum ImageValue<'a> {
    /// The bytes of an image file.
    Encoded(&'a [u8]),
    /// An IMAGE.
    Decoded(ImageRef<'a>),
}

impl ImageColumn {
    /// Reads a column whose type [`coerce_image_type`] gave.
    pub fn try_new(function: &str, array: &ArrayRef) -> Result<Self> {
        let images = match array.data_type() {
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
            | DataType::Null => Images::Encoded(Arc::clone(array)),
            DataType::Struct(fields) if is_file_struct(fields) => {
                // With the NULLs of the struct itself.
                let (fields, mut columns, nulls) = array.as_struct().clone().into_parts();
                let place = fields.find(BYTES).map_or(0, |(place, _)| place);
                let bytes = columns.swap_remove(place);
                let nulls = NullBuffer::union(nulls.as_ref(), bytes.nulls());
                let bytes = bytes.to_data().into_builder().nulls(nulls);
                Images::Encoded(make_array(bytes.build()?))
            }
            DataType::Struct(_) => match decoded(array.as_struct()) {
                Some(images) => images,
                None => return wrong_type(function, array.data_type()),
            },
            other => return wrong_type(function, other),
        };
        Ok(ImageColumn { images })
    }

    /// The image in a row; `None` when it or a field of it is NULL.
    pub fn get(&self, row: usize) -> Option<ImageValue<'_>> {
        match &self.images {
            Images::Encoded(array) => bytes_at(array, row).map(ImageValue::Encoded),
            Images::Decoded {
                nulls,
                width,
                height,
                channels,
                data,
            } => {
                let null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
                    || width.is_null(row)
                    || height.is_null(row)
                    || channels.is_null(row)
                    || data.is_null(row);
                (!null).then(|| {
                    ImageValue::Decoded(ImageRef {
                        width: width.value(row),
                        height: height.value(row),
                        channels: channels.value(row),
                        data: data.value(row),
                    })
                })
            }
        }
    }
}

fn decoded(structs: &StructArray) -> Option<Images> {
    let column = |name| structs.column_by_name(name);
    Some(Images::Decoded {
        nulls: structs.nulls().cloned(),
        width: column("width")?.as_primitive_opt::<UInt32Type>()?.clone(),
        height: column("height")?.as_primitive_opt::<UInt32Type>()?.clone(),
        channels: column("channels")?.as_primitive_opt::<UInt8Type>()?.clone(),
        data: column("data")?.as_binary_opt::<i32>()?.clone(),
    })
}

fn wrong_type<T>(function: &str, data_type: &DataType) -> Result<T> {
    exec_err!("{function} takes the bytes of an image file or an IMAGE, got {data_type}")
}

impl ImageValue<'_> {
    /// The pixels: decodes a file's bytes with the default options, checks and copies
    /// an IMAGE.
    pub fn decode(&self) -> Result<Image, Error> {
        match self {
            ImageValue::Encoded(bytes) => {
                guarded(|| decode(bytes, &DecodeOptions::default()))
            }
            ImageValue::Decoded(image) => {
                image.check()?;
                Ok(image.to_image())
            }
        }
    }
}

/// Does what decodes an image. A decoder that panics has an error of this image only.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch(work).unwrap_or_else(|panic| {
        Err(Error::Decoder {
            reason: panic.to_string(),
        })
    })
}

/// Collects images to an array of IMAGE.
pub fn image_array(images: Vec<Option<Image>>) -> Result<ArrayRef> {
    let bytes: usize = images.iter().flatten().map(|image| image.data.len()).sum();
    if bytes > MAX_ARRAY_BYTES {
        return exec_err!(
            "{} decoded images take {bytes} bytes, but one record batch holds at most \
             {MAX_ARRAY_BYTES}; resize images in the same expression that decodes them, \
             or lower datafusion.execution.batch_size",
            images.len()
        );
    }
    let mut width = UInt32Array::builder(images.len());
    let mut height = UInt32Array::builder(images.len());
    let mut channels = UInt8Array::builder(images.len());
    let mut data = BinaryBuilder::with_capacity(images.len(), bytes);
    let mut valid = Vec::with_capacity(images.len());
    // By value, so that each image is freed once it is copied.
    for image in images {
        valid.push(image.is_some());
        width.append_option(image.as_ref().map(|image| image.width));
        height.append_option(image.as_ref().map(|image| image.height));
        channels.append_option(image.as_ref().map(|image| image.channels));
        data.append_option(image.map(|image| image.data));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(width.finish()),
        Arc::new(height.finish()),
        Arc::new(channels.finish()),
        Arc::new(data.finish()),
    ];
    let nulls = Some(NullBuffer::from(valid));
    Ok(Arc::new(StructArray::try_new(
        image_fields(),
        columns,
        nulls,
    )?))
}

/// Translates the error of one image, at the edge between Rust and SQL.
///
/// `try_form` is the function that gives the error as a value instead.
pub fn image_error(function: &str, error: &Error, try_form: &str) -> DataFusionError {
    let code = error.code();
    match error {
        // The call is wrong, not the image: no function makes that a value.
        Error::Argument { message } => exec_datafusion_err!("{function}: {message}"),
        error => exec_datafusion_err!(
            "{function}: {error} ({code}); {try_form} gives the error as a value instead"
        ),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;

    use super::*;

    fn image() -> Image {
        Image {
            width: 2,
            height: 1,
            channels: 1,
            data: vec![7, 8],
        }
    }

    #[test]
    fn images_come_back_from_their_array() {
        let array = image_array(vec![Some(image()), None]).unwrap();
        assert_eq!(array.data_type(), &image_type());
        let column = ImageColumn::try_new("f", &array).unwrap();
        assert_eq!(column.get(0).unwrap().decode(), Ok(image()));
        assert!(column.get(1).is_none());
    }

    #[test]
    fn a_damaged_image_struct_is_an_error() {
        let damaged = Image {
            data: vec![7],
            ..image()
        };
        let array = image_array(vec![Some(damaged)]).unwrap();
        let column = ImageColumn::try_new("f", &array).unwrap();
        let error = column.get(0).unwrap().decode().unwrap_err();
        assert_eq!(error.code(), "INVALID_ARGUMENT");
    }

    #[test]
    fn a_decoder_that_panics_has_an_error() {
        let none: Vec<u8> = Vec::new();
        let error = guarded(|| Ok(none[64])).unwrap_err();
        assert_eq!(error.code(), "DECODER_FAILED");
        assert!(error.to_string().contains("the index is 64"), "{error}");
    }

    #[test]
    fn text_is_refused_with_a_remedy() {
        let error = coerce_image_type("image_decode", &DataType::Utf8View).unwrap_err();
        assert!(
            error
                .strip_backtrace()
                .contains("content column of read_blob")
        );
        let text: ArrayRef = Arc::new(StringArray::from(vec!["photo.jpg"]));
        assert!(ImageColumn::try_new("image_decode", &text).is_err());
    }

    #[test]
    fn a_struct_must_have_the_fields_of_an_image() {
        let fields = Fields::from(vec![Field::new("width", DataType::Int64, true)]);
        let error = coerce_image_type("f", &DataType::Struct(fields)).unwrap_err();
        assert!(error.strip_backtrace().contains("without the field height"));
    }
}
