//! What is kept of one row.

use atoll_imaging::{Error, Hash, contrast};
use atoll_udf_common::image::{ImageColumn, ImageValue, guarded};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::Result;
use sha2::{Digest, Sha256};

/// What is kept of the content of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    /// The first half of its SHA-256, which no two contents share by chance; none without
    /// a content.
    pub(super) content: Option<u128>,
    /// Its image, or why there is none; nothing where the data has no images.
    pub(super) picture: Option<Result<Picture, String>>,
}

/// What is kept of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    /// The perceptual hash.
    pub(super) hash: u64,
    /// The standard deviation of its luma.
    pub(super) contrast: f32,
}

/// Looks at the bytes of a file.
pub(super) fn file(bytes: &[u8]) -> Seen {
    image(&ImageValue::Encoded(bytes))
}

/// Looks at the rows of a column of images.
pub(super) fn images(column: &ArrayRef) -> Result<Vec<Seen>> {
    // As data sets of Hugging Face have them.
    let bytes = match column.data_type() {
        DataType::Struct(_) => column.as_struct().column_by_name("bytes"),
        _ => None,
    };
    let column = bytes.unwrap_or(column);
    let images = ImageColumn::try_new(super::NAME, column)?;
    let rows = (0..column.len()).map(|row| match images.get(row) {
        Some(value) => image(&value),
        None => Seen {
            content: None,
            picture: Some(Err("the image is NULL".to_string())),
        },
    });
    Ok(rows.collect())
}

/// Whether the rows of a column are images.
pub(super) fn is_image(data_type: &DataType) -> bool {
    let is_bytes = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        )
    };
    match data_type {
        DataType::Struct(fields) => {
            let names = ["width", "height", "channels", "data"];
            let bytes = fields.find("bytes");
            bytes.is_some_and(|(_, field)| is_bytes(field.data_type()))
                || names.iter().all(|name| fields.find(name).is_some())
        }
        data_type => is_bytes(data_type),
    }
}

/// Looks at rows of anything else.
pub(super) fn others(columns: &[ArrayRef]) -> Result<Vec<Seen>> {
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let rows = converter.convert_columns(columns)?;
    let seen = rows.iter().map(|row| Seen {
        content: Some(half(Sha256::digest(row.as_ref()).as_slice())),
        picture: None,
    });
    Ok(seen.collect())
}

fn image(value: &ImageValue<'_>) -> Seen {
    let mut digest = Sha256::new();
    match value {
        ImageValue::Encoded(bytes) => digest.update(bytes),
        ImageValue::Decoded(image) => {
            digest.update(image.width.to_le_bytes());
            digest.update(image.height.to_le_bytes());
            digest.update([image.channels]);
            digest.update(image.data);
        }
    }
    let picture = || {
        let image = value.decode()?;
        Ok::<_, Error>(Picture {
            width: image.width,
            height: image.height,
            hash: Hash::Perceptual.of(image.as_ref())?,
            // Rounded, which is near enough for a threshold.
            contrast: contrast(image.as_ref())? as f32,
        })
    };
    Seen {
        content: Some(half(digest.finalize().as_slice())),
        picture: Some(guarded(picture).map_err(|error| {
            let code = error.code();
            format!("{error} ({code})")
        })),
    }
}

fn half(digest: &[u8]) -> u128 {
    digest
        .iter()
        .take(16)
        .fold(0, |half, byte| (half << 8) | u128::from(*byte))
}
