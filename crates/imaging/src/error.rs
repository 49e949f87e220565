//! Why an image could not be used.

use crate::Format;

/// Why an image could not be used. Each variant but the last is about one image, so
/// others are unaffected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are something else, such as the HTML page of a failed download.
    #[error("not an image: {found}")]
    NotAnImage {
        /// What the bytes are, as far as one can tell.
        found: String,
    },
    /// An image, but of a kind that is not decoded.
    #[error("{what} is not supported, convert it to PNG or JPEG first")]
    Unsupported {
        /// The format or the feature of a format.
        what: String,
    },
    /// The file is damaged or was cut short.
    #[error("corrupt {format} image: {reason}")]
    Corrupt {
        /// What the file begins as.
        format: Format,
        /// What the decoder found.
        reason: String,
    },
    /// The image would take too much memory.
    #[error(
        "image of {width}x{height} pixels is larger than the limit of {limit} pixels"
    )]
    TooLarge {
        /// Pixels in a row.
        width: u32,
        /// Pixels in a column.
        height: u32,
        /// The most pixels that are allowed.
        limit: u64,
    },
    /// The decoder panicked, which is a bug. It ends this image and no other.
    #[error(
        "the decoder of this image failed: {reason}; this is a bug, please report it with \
         the file"
    )]
    Decoder {
        /// The panic's message.
        reason: String,
    },
    /// What was asked for makes no sense. The call must change, not the image.
    #[error("{message}")]
    Argument {
        /// The value and what it should have been.
        message: String,
    },
}

impl Error {
    /// A stable name for the kind of error, to group and filter by.
    pub fn code(&self) -> &'static str {
        match self {
            Error::NotAnImage { .. } => "NOT_AN_IMAGE",
            Error::Unsupported { .. } => "UNSUPPORTED_FORMAT",
            Error::Corrupt { .. } => "CORRUPT_IMAGE",
            Error::TooLarge { .. } => "TOO_LARGE",
            Error::Decoder { .. } => "DECODER_FAILED",
            Error::Argument { .. } => "INVALID_ARGUMENT",
        }
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Error::Argument {
            message: message.into(),
        }
    }
}
