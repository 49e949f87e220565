//! Decoding, resizing and normalising of images.
//!
//! The same bytes give the same pixels on every machine, and the pixels are Pillow's
//! as far as the formats allow: models were trained on them, so an image that is
//! only nearly the same costs accuracy that no error message ever mentions. No input
//! panics, and the size of an image is checked before memory is taken for it.
//!
//! This crate knows nothing about SQL or Arrow. It is the only one that names image
//! codecs.

mod buffer;
mod crop;
mod decode;
mod encode;
mod error;
mod format;
mod gif;
mod guard;
mod hash;
mod image;
mod jpeg;
mod orientation;
mod preprocess;
mod resize;
mod rows;
mod simd;
mod stats;
mod tiff;

pub use crop::{center_crop, crop};
pub use decode::{DecodeOptions, Info, MAX_PIXELS, decode, info};
pub use encode::encode;
pub use error::Error;
pub use format::Format;
pub use hash::{Hash, hamming};
pub use image::{Image, ImageRef};
pub use preprocess::{Color, CropMode, Layout, Preprocess, ResizeMode};
pub use resize::{Filter, resize};
pub use stats::contrast;
