//! SQL functions over images.
//!
//! Each takes the bytes of an image file or a decoded IMAGE, and gives NULL for a
//! NULL argument. A strict function fails the query on the first bad image;
//! its `try_` form gives the error as a value instead.
//!
//! Pixels are `atoll_imaging`'s business: this crate maps columns to its types.

mod arguments;
mod hamming_distance;
mod image_center_crop;
mod image_crop;
mod image_decode;
mod image_encode;
mod image_hash;
mod image_info;
mod image_resize;
mod image_to_tensor;
mod rows;
mod try_form;
mod try_image_decode;

use atoll_udf_common::expensive;
use datafusion::logical_expr::{DocSection, ScalarUDF};

pub use hamming_distance::HammingDistance;
pub use image_center_crop::ImageCenterCrop;
pub use image_crop::ImageCrop;
pub use image_decode::ImageDecode;
pub use image_encode::ImageEncode;
pub use image_hash::ImageHash;
pub use image_info::ImageInfo;
pub use image_resize::ImageResize;
pub use image_to_tensor::ImageToTensor;
pub use try_image_decode::TryImageDecode;

use try_form::TryForm;

/// Where the function reference lists this family.
const SECTION: DocSection = DocSection {
    include: true,
    label: "Image Functions",
    description: Some(
        "Functions over images. Each takes the bytes of a PNG, JPEG, GIF, WebP, BMP or \
         TIFF file, or an IMAGE: struct<width, height, channels, data> with 8-bit pixels \
         in rows from top to bottom, channels interleaved (HWC), 1 channel for gray and \
         3 for RGB.",
    ),
};

/// How the documentation describes the first argument of every function.
const IMAGE_ARGUMENT: &str = "Bytes of an image file, or an IMAGE.";

/// The functions of this family.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        ScalarUDF::new_from_impl(HammingDistance::default()),
        expensive(ImageCenterCrop),
        expensive(ImageCrop),
        expensive(ImageDecode),
        expensive(ImageEncode),
        expensive(ImageHash),
        ScalarUDF::new_from_impl(ImageInfo::default()),
        expensive(ImageResize),
        expensive(ImageToTensor),
        expensive(TryForm::new(
            ImageCenterCrop,
            "try_image_center_crop",
            "try_image_center_crop(image, width, height)",
            "SELECT try_image_center_crop(content, 224, 224)['error_code'] AS error_code\n\
             FROM read_blob('sql/data/photos/*.png');",
        )),
        expensive(TryForm::new(
            ImageCrop,
            "try_image_crop",
            "try_image_crop(image, x, y, width, height)",
            "SELECT try_image_crop(content, 0, 0, 9999, 1)['error'] AS error\n\
             FROM read_blob('sql/data/photos/coffee.png');",
        )),
        expensive(TryImageDecode),
        expensive(TryForm::new(
            ImageEncode,
            "try_image_encode",
            "try_image_encode(image, format)",
            "SELECT octet_length(try_image_encode(content, 'jpeg')['bytes']) AS bytes\n\
             FROM read_blob('sql/data/photos/*.png');",
        )),
        expensive(TryForm::new(
            ImageHash,
            "try_image_hash",
            "try_image_hash(image [, hash])",
            "SELECT filename, try_image_hash(content)['hash'] AS hash\n\
             FROM read_blob('sql/data/photos/*.png');",
        )),
        expensive(TryForm::new(
            ImageResize,
            "try_image_resize",
            "try_image_resize(image, width, height [, filter])",
            "SELECT filename, try_image_resize(content, 64, 64)['error_code'] AS error_code\n\
             FROM read_blob('sql/data/photos/*.png');",
        )),
        expensive(TryForm::new(
            ImageToTensor,
            "try_image_to_tensor",
            "try_image_to_tensor(image [, options])",
            "SELECT array_length(try_image_to_tensor(content)['tensor']) AS numbers\n\
             FROM read_blob('sql/data/photos/coffee.png');",
        )),
    ]
}
